"""NumPy archives: key names, layouts, splits, and what is refused."""

import numpy as np
import pytest
import torch

from detrojan.data.load import load
from detrojan.errors import BadData, BadFile

RNG = np.random.default_rng(0)
NHWC = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])

CLIPS = RNG.integers(0, 256, (6, 3, 2, 5, 4), dtype=np.uint8)
TOKENS = RNG.integers(1, 30_000, (6, 7))


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


@pytest.mark.parametrize(
    "keys",
    [
        ("x", "y"),
        ("X", "Y"),
        ("images", "labels"),
        ("data", "targets"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ],
)
def test_common_key_names(tmp_path, keys):
    samples = load(saved(tmp_path, **dict(zip(keys, (NHWC, Y), strict=True))))
    assert torch.equal(samples.inputs, torch.from_numpy(NHWC).permute(0, 3, 1, 2))
    assert samples.labels.tolist() == Y.tolist()


@pytest.mark.parametrize(("split", "value"), [("train", 1), ("test", 2)])
@pytest.mark.parametrize("test_key", ["test", "val"])
def test_keys_choose_the_split(tmp_path, split, value, test_key):
    arrays = {"x_train": NHWC * 0 + 1, "y_train": Y, f"x_{test_key}": NHWC * 0 + 2, f"y_{test_key}": Y}
    assert load(saved(tmp_path, **arrays), split=split).inputs.unique().tolist() == [value]


@pytest.mark.parametrize(
    ("array", "shape", "dtype"),
    [
        (NHWC, (6, 3, 5, 4), torch.uint8),
        (NHWC.transpose(0, 3, 1, 2), (6, 3, 5, 4), torch.uint8),
        (NHWC[:, :3], (6, 3, 3, 4), torch.uint8),
        (NHWC[..., 0], (6, 1, 5, 4), torch.uint8),
        (NHWC[..., :1], (6, 1, 5, 4), torch.uint8),
        (NHWC.astype(np.int64), (6, 3, 5, 4), torch.uint8),
        (NHWC.transpose(0, 3, 1, 2) / 255, (6, 3, 5, 4), torch.float32),
        (NHWC / 255, (6, 3, 5, 4), torch.float32),
        (NHWC[:, :3] / 255, (6, 3, 4, 3), torch.float32),
        (NHWC[:, 0, :, 0].astype(np.float16), (6, 4), torch.float32),
        (CLIPS, (6, 3, 2, 5, 4), torch.uint8),
        (CLIPS.astype(np.int64)[:, :1], (6, 1, 2, 5, 4), torch.uint8),
        (TOKENS, (6, 7), torch.int64),
        (TOKENS.astype(np.int32), (6, 7), torch.int64),
    ],
)
def test_layouts(tmp_path, array, shape, dtype):
    samples = load(saved(tmp_path, x=array, y=Y))
    assert samples.inputs.shape == shape
    assert samples.inputs.dtype == dtype


def test_column_labels_and_class_names(tmp_path):
    samples = load(saved(tmp_path, x=NHWC, y=Y[:, None].astype(np.uint8), class_names=np.array(["a", "b", "c"])))
    assert samples.labels.tolist() == Y.tolist()
    assert samples.class_names == ("a", "b", "c")


def test_size_resizes_bytes(tmp_path):
    assert load(saved(tmp_path, x=NHWC, y=Y), size=8).inputs.shape == (6, 3, 8, 8)
    assert load(saved(tmp_path, x=NHWC[..., 0], y=Y), size=8).inputs.shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"foo": NHWC, "y": Y}, r"needs an array named x, images, .*found foo, y"),
        ({"x": NHWC}, r"needs an array named y, labels, .* \(or with _train behind\), found x"),
        ({"x": NHWC, "y": Y[:5]}, "6 inputs and 5 labels"),
        ({"x": NHWC, "y": Y / 2}, "labels must be integers .* found float64"),
        ({"x": NHWC, "y": np.eye(3, dtype=int)[Y]}, r"found int64 of shape \(6, 3\); turn one-hot rows"),
        ({"x": NHWC.astype(int) * 2, "y": Y}, r"integer images must lie in 0..255, found 0..5\d\d"),
        ({"x": np.zeros((6, 4, 4, 4), np.uint8), "y": Y}, r"1 or 3 channels, found shape \(6, 4, 4, 4\)"),
        ({"x": CLIPS.transpose(0, 2, 3, 4, 1), "y": Y}, r"clips \(N, C, T, H, W\).*found shape \(6, 2, 5, 4, 3\)"),
        ({"x": np.array(["a"] * 6), "y": Y}, "images must be uint8 or float, found <U1"),
    ],
)
def test_arrays_that_cannot_serve(tmp_path, arrays, sentence):
    with pytest.raises(BadData, match=sentence):
        load(saved(tmp_path, **arrays))


def test_floats_are_not_resized(tmp_path):
    with pytest.raises(BadData, match=r"only uint8 images can be resized, found torch.float32"):
        load(saved(tmp_path, x=NHWC / 255, y=Y), size=8)


def test_pickled_objects_are_not_opened(tmp_path):
    path = saved(tmp_path, x=np.array([print, None], dtype=object), y=Y)
    with pytest.raises(BadFile, match=r"set.npz: not a readable .npz archive \(Object arrays cannot be loaded"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut", b"\x80\x04N."])
def test_a_damaged_archive(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"set.npz: not a readable .npz archive"):
        load(path)


def test_a_truncated_archive(tmp_path):
    path = saved(tmp_path, x=NHWC, y=Y)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadFile, match="not a readable"):
        load(path)


@pytest.mark.parametrize("damage", ["blob", "labels"])
def test_a_damaged_pack(tmp_path, damage):
    arrays = {"blob": np.zeros(9, np.uint8), "offsets": np.array([0, 9]), "labels": np.zeros(3, np.uint8)}
    path = saved(tmp_path, **{key: value for key, value in arrays.items() if key != "labels" or damage == "blob"})
    with pytest.raises(BadFile, match=r"set.npz: not a readable data pack"):
        load(path)
