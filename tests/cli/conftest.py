"""A tiny suspect with its clean samples, as files, and a runner that tells what a command line did."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detrojan import checkpoint
from detrojan.cli import main
from detrojan.models.small_cnn import small_cnn


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def detrojan(capsys, monkeypatch) -> Callable[..., Outcome]:
    """Run a command line in this process."""
    monkeypatch.delenv("DETROJAN_TRACEBACK", raising=False)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(code=code, out=out, err=err)

    return run


@pytest.fixture(scope="session")
def arch() -> tuple[str, ...]:
    """The options that name the network of `suspect` and `other`."""
    return ("--arch", "detrojan:small_cnn", "--arch-arg", "num_classes=2", "in_channels=3", "width=4")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with train and test, two classes in each: dark and bright images of 8 x 8 pixels."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split in ("train", "test"):
        for name, low in (("bright", 150), ("dark", 0)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(12):
                pixels = draw.integers(low, low + 100, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def suspect(tmp_path_factory) -> Path:
    """A network that has not learnt anything, inside a training script's container."""
    path = tmp_path_factory.mktemp("suspect") / "suspect.pth"
    torch.manual_seed(0)
    torch.save({"net": small_cnn(2, 3, 4).state_dict(), "epoch": 7}, path)
    return path


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Path:
    """Other weights for the same network, as safetensors."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    torch.manual_seed(1)
    checkpoint.save(path, small_cnn(2, 3, 4))
    return path
