"""Image folders, and how pictures of any mode and size become pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from detrojan.data.images import Decoder
from detrojan.data.load import load
from detrojan.errors import BadArgument, BadData, BadFile


def write(path, *, color=(10, 20, 30), size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, three images."""
    write(tmp_path / "dog" / "b.png", color=(1, 2, 3))
    write(tmp_path / "dog" / "a.png", color=(4, 5, 6))
    write(tmp_path / "cat" / "deep" / "c.bmp", color=(7, 8, 9))
    (tmp_path / "dog" / "notes.csv").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_a_folder_is_read_in_sorted_order(folder):
    samples = load(folder)
    assert samples.class_names == ("cat", "dog")
    assert samples.labels.tolist() == [0, 1, 1]
    assert samples.inputs.dtype == torch.uint8
    assert samples.inputs.shape == (3, 3, 4, 4)
    assert samples.inputs[:, :, 0, 0].tolist() == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]


def test_a_folder_can_be_given_as_text(folder):
    assert len(load(f"{folder}/")) == 3


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("L", 100, "png", [100, 100, 100]),
        ("1", 1, "png", [255, 255, 255]),
        ("RGBA", (9, 8, 7, 0), "png", [9, 8, 7]),
        ("LA", (50, 255), "png", [50, 50, 50]),
        ("P", 0, "gif", [0, 0, 0]),
        ("I;16", 257 * 40, "png", [40, 40, 40]),
        ("CMYK", (0, 0, 0, 255), "jpg", [0, 0, 0]),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, color, suffix, expected):
    write(tmp_path / "a" / f"x.{suffix}", mode=mode, color=color)
    assert load(tmp_path).inputs[0, :, 0, 0].tolist() == expected


def test_one_channel_when_asked_for(folder):
    samples = load(folder, channels=1)
    assert samples.inputs.shape == (3, 1, 4, 4)
    assert samples.inputs[1].unique().tolist() == [5]


@pytest.mark.parametrize(("fit", "expected"), [("crop", [255, 255]), ("stretch", [0, 0])])
def test_sizes_that_differ_are_brought_to_one(tmp_path, fit, expected):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 255
    for name, pixels in (("wide", wide), ("tall", wide.transpose(1, 0, 2))):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "x.png")
    samples = load(tmp_path, size=4, fit=fit)
    assert samples.inputs.shape == (2, 3, 4, 4)
    assert [samples.inputs[0, 0, 0, 0].item(), samples.inputs[1, 0, 0, 0].item()] == expected


@pytest.mark.parametrize(("split", "expected"), [("train", "cat"), ("test", "dog")])
def test_a_divided_folder(tmp_path, split, expected):
    write(tmp_path / "Train" / "cat" / "x.png")
    write(tmp_path / "val" / "dog" / "x.png")
    assert load(tmp_path, split=split).class_names == (expected,)


def test_a_divided_folder_without_the_split(tmp_path):
    write(tmp_path / "train" / "cat" / "x.png")
    with pytest.raises(BadData, match="has no folder for split 'test', only train"):
        load(tmp_path, split="test")


def test_sizes_that_differ_without_a_size(folder):
    write(folder / "dog" / "z.png", size=(5, 4))
    with pytest.raises(BadData, match=r"c.bmp is 4 x 4 and .*z.png is 5 x 4 pixels; give size= \(--size\)"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n but then nothing", b"plain text"])
def test_an_image_that_cannot_be_read_is_named(folder, content):
    (folder / "dog" / "broken.png").write_bytes(content)
    with pytest.raises(BadFile, match=r"broken.png: not a readable image"):
        load(folder)


def test_a_truncated_image_is_named(folder):
    path = folder / "dog" / "cut.png"
    Image.effect_noise((32, 32), 50).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadFile, match=r"cut.png: not a readable image"):
        load(folder)


def test_float_pixels_are_refused(folder):
    Image.new("F", (4, 4), 0.5).save(folder / "dog" / "f.tiff")
    with pytest.raises(BadFile, match=r"f.tiff: .* floats, whose range is unknown"):
        load(folder)


def test_empty_classes_and_stray_images_are_told_together(folder):
    (folder / "bird").mkdir()
    write(folder / "lost.png")
    with pytest.raises(BadData, match=r"no images in class directory bird and images outside .*: lost.png"):
        load(folder)


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(BadData, match="must hold one directory per class"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 0}, "size must be at least 1 pixel, got 0"),
        ({"fit": "pad"}, "fit must be 'crop' or 'stretch', got 'pad'"),
        ({"channels": 4}, r"channels must be 1 \(grey\) or 3 \(RGB\), got 4"),
    ],
)
def test_decoder_settings(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        Decoder(**settings)
