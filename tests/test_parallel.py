"""Two processes that share every batch come to the same network as one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import together
from detrojan import checkpoint, parallel
from detrojan.models.small_cnn import small_cnn


def torchrun(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "results.safetensors"
    ran = torchrun(together.__file__, path)
    assert ran.returncode == 0, ran.stderr
    return load_file(path)


@pytest.fixture(scope="module")
def by_one():
    return together.work(distributed=False)


@pytest.mark.parametrize("name", ["train", *together.methods()])
@pytest.mark.parametrize("shards", [False, True], ids=["copies", "shards"])
def test_two_processes_come_to_the_network_of_one(by_one, by_two, name, shards):
    title = f"{name}, shards" if shards else name
    if name != "train" and together.refused(name, shards=shards):
        assert not [key for key in by_two if key.startswith(f"{title} ")]
        return
    keys = [key for key in by_one if key.startswith(f"{title} ")]
    assert len(keys) == 21  # all tensors of the network
    if name in ("sau", "awm"):  # Adam, and signs of gradients: rounding turns the few that are near 0
        near = [torch.isclose(by_two[key].float(), by_one[key].float(), rtol=2e-3, atol=2e-4) for key in keys]
        assert float(torch.cat([each.flatten() for each in near]).float().mean()) > 0.97
        return
    for key in keys:
        torch.testing.assert_close(by_two[key], by_one[key], rtol=2e-3, atol=2e-4)


def test_a_shard_is_half_of_the_network(by_two):
    whole = sum(parameter.numel() for parameter in together.network().parameters())
    assert 0.4 * whole < int(by_two["held here"]) < 0.6 * whole


def test_a_process_alone_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    parallel.join()
    assert parallel.processes() == 1
    assert parallel.leads()


@pytest.mark.parametrize(
    ("extra", "told"),
    [((), "2 processes"), (("--sharded",), "2 processes with a shard each")],
    ids=["copies", "shards"],
)
def test_the_command_line_under_torchrun_writes_once(tmp_path, extra, told):
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "suspect.safetensors", small_cnn(10, 1, 4))
    network = ("--arch", "detrojan:small_cnn", "--arch-arg", "num_classes=10", "in_channels=1", "width=4")
    method = ("--method", "neuron_masks", "--set", "steps=3", "--tolerance", 1, "--device", "cpu")
    out = tmp_path / "purified.safetensors"
    ran = torchrun(
        *("-m", "detrojan", "purify", tmp_path / "suspect.safetensors", "--clean", "digits", "--first", 100),
        *(*network, *method, "-o", out, "--json", *extra),
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["execution"].endswith(told)
    assert out.is_file()
    assert [path.name for path in sorted(Path(tmp_path).iterdir())] == ["purified.safetensors", "suspect.safetensors"]
