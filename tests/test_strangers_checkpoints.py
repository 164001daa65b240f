"""Models that others trained and published: read, fitted, measured, and written back as they came."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from detrojan import architectures, checkpoint

STRANGERS = Path(__file__).with_name("strangers.py")
FILES = {
    "vggsmall-cifar10-badnets.pth": ("vgg_small", 10, "torch", ("net",), ("acc", "epoch")),
    "vggsmall-cifar10-trojan_wm.pth": ("vgg_small", 10, "torch", ("net",), ("acc", "epoch")),
    "vggsmall-gtsrb-trojan_sq.pth": ("vgg_small", 43, "torch", ("net",), ("acc", "epoch")),
    "wrn16_1-cifar10-grid.pth.tar": (
        *("wrn16_1", 10, "torch-legacy", ("state_dict",)),
        ("epoch", "best_prec", "optimizer"),
    ),
}


@pytest.fixture(scope="module")
def images(shared_data: Path) -> tuple[Tensor, Tensor]:
    """The first 500 CIFAR-10 test images: x (500, 3, 32, 32) in [0, 1], and labels."""
    pack = np.load(shared_data / "cifar10-test.npz", allow_pickle=False)
    first, after = pack["offsets"][:2]
    sheet = np.asarray(Image.open(io.BytesIO(pack["blob"][first:after].tobytes())).convert("RGB"))
    tiles = sheet.reshape(-1, 32, 25, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)[:500]
    return torch.tensor(tiles) / 255, torch.tensor(pack["labels"][:500]).long()


@pytest.mark.parametrize("name", FILES)
def test_a_strangers_file_is_read_and_fits_its_architecture(name, shared_checkpoints):
    callable_, classes, container, location, others = FILES[name]
    read = checkpoint.read(shared_checkpoints / name)
    model = architectures.build(f"{STRANGERS}:{callable_}", num_classes=classes)
    checkpoint.load_into(model, read)
    assert (read.format, read.location) == (container, location)
    assert set(read.document) == {*location, *others}
    assert list(model.state_dict()) == list(read.state)
    assert all(torch.equal(value, read.state[key]) for key, value in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("name", [name for name in FILES if "cifar10" in name])
def test_the_accuracy_is_the_published_one(name, shared_checkpoints, images):
    x, y = images
    model = architectures.build(f"{STRANGERS}:{FILES[name][0]}")
    checkpoint.load_into(model, checkpoint.read(shared_checkpoints / name))
    with torch.inference_mode():
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    assert 0.80 <= accuracy <= 0.90  # published: 84.0, 85.0 and 84.2 % on 2,500 images


@pytest.mark.parametrize("name", FILES)
def test_a_strangers_file_is_written_back_as_it_came(name, shared_checkpoints, tmp_path):
    callable_, classes, container, location, others = FILES[name]
    read = checkpoint.read(shared_checkpoints / name)
    model = checkpoint.load_into(architectures.build(f"{STRANGERS}:{callable_}", num_classes=classes), read)
    with torch.no_grad():
        next(model.parameters()).mul_(0.5)
    digest = checkpoint.write(tmp_path / name, read, model)
    again = checkpoint.read(tmp_path / name)
    assert (again.format, again.location, again.sha256) == (container, location, digest)
    assert list(again.document) == list(read.document)
    assert type(again.document[location[0]]) is type(read.document[location[0]])
    assert [(k, v.dtype, v.shape) for k, v in again.state.items()] == [
        (k, v.dtype, v.shape) for k, v in read.state.items()
    ]
    changed = [key for key in read.state if not torch.equal(read.state[key], again.state[key])]
    assert changed == list(read.state)[:1]
    for other in set(others) - {"optimizer"}:
        assert again.document[other] == read.document[other]


def test_the_wrong_number_of_classes_is_named(shared_checkpoints):
    read = checkpoint.read(shared_checkpoints / "vggsmall-gtsrb-trojan_sq.pth")
    with pytest.raises(ValueError, match=r"classifier.weight is 43x2048 in the file and 10x2048 .* num_classes=43"):
        checkpoint.load_into(architectures.build(f"{STRANGERS}:vgg_small"), read)


def test_show_tells_what_a_strangers_file_holds(shared_checkpoints):
    shown = checkpoint.describe(shared_checkpoints / "wrn16_1-cifar10-grid.pth.tar")
    assert (shown.tensors, shown.num_classes, shown.prefix, shown.copies) == (82, 10, "", ())
    assert shown.dtypes == {"float32": 69, "int64": 13}
    assert shown.other_entries["epoch"] == "25"
    assert shown.other_entries["optimizer"] == "dict"
