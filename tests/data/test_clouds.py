"""Point clouds by name: ModelNet as packs, HDF5 and meshes, and the shapes that need no files."""

import sys

import numpy as np
import pytest
import torch

from detrojan.data.clouds import unit_sphere
from detrojan.data.load import load
from detrojan.errors import BadArgument, BadFile, MissingExtra

RNG = np.random.default_rng(0)
TITLES = ("bath", "chair", "sofa")


def test_the_unit_sphere():
    clouds = unit_sphere(torch.rand(4, 30, 3) * torch.tensor([1.0, 5, 2]) + 7)
    assert clouds.mean(1).abs().max() < 1e-6
    assert torch.allclose(clouds.norm(dim=-1).amax(1), torch.ones(4))
    assert unit_sphere(torch.ones(1, 5, 3)).abs().max() == 0  # a single place has no size


def pack(root, **changes):
    arrays = {"classes": np.array(TITLES)}
    for split, count in (("train", 6), ("test", 3)):
        arrays[f"x_{split}"] = RNG.integers(0, 256, (count, 20, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = (np.arange(count) % 3).astype(np.uint8)
    np.savez(root / "modelnet10_points1024.npz", **{**arrays, **changes})
    return arrays


def test_the_pack_of_modelnet10(tmp_path):
    stored = pack(tmp_path)
    samples = load("modelnet10:points=16", split="test", root=tmp_path)
    expected = unit_sphere(torch.from_numpy(stored["x_test"][:, :16]).float() / 127.5 - 1)
    assert torch.allclose(samples.inputs, expected)
    assert (samples.kind, samples.class_names) == ("points", TITLES)
    assert samples.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_test": np.zeros((3, 20, 2), np.uint8)}, r"shape \(3, 20, 2\), not \(N, P, 3\)"),
        ({"y_test": np.zeros(4, np.uint8)}, r"3 clouds and labels of shape \(4,\)"),
        ({"y_test": np.full(3, 3, np.uint8)}, "labels go from 3 to 3, past 3 classes"),
        ({"x_test": np.full((3, 20, 3), np.nan)}, "NaN"),
        ({"y_test": np.array([{}, {}, {}])}, "not a readable pack of clouds"),
    ],
)
def test_a_damaged_pack(tmp_path, changes, sentence):
    pack(tmp_path, **changes)
    with pytest.raises(BadFile, match=rf"modelnet10_points1024\.npz: .*{sentence}"):
        load("modelnet10:points=8", split="test", root=tmp_path)


def test_no_archive_is_no_pack(tmp_path):
    (tmp_path / "modelnet10_points1024.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(BadFile, match="not a readable pack of clouds"):
        load("modelnet10", root=tmp_path)


def test_more_points_than_are_stored(tmp_path):
    pack(tmp_path)
    with pytest.raises(BadArgument, match=r"has 20 points a cloud; points must be at most that, got 1024"):
        load("modelnet10", root=tmp_path)


@pytest.mark.parametrize("name", ["modelnet10", "modelnet40"])
def test_the_official_meshes(tmp_path, name):
    folder = tmp_path / {"modelnet10": "ModelNet10", "modelnet40": "ModelNet40"}[name]
    for title in TITLES:
        (folder / title / "train").mkdir(parents=True)
        (folder / title / "train" / f"{title}_0001.off").write_text("OFF3 1 0\n0 0 0\n2 0 0\n0 1 1\n3 0 1 2\n")
    samples = load(f"{name}:points=30", root=tmp_path)
    assert samples.inputs.shape == (3, 30, 3)
    assert samples.class_names == TITLES


@pytest.fixture
def hdf5(tmp_path):
    """Two files of two clouds that stand along axis 1."""
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("\n".join(TITLES))
    for number in range(2):
        with h5py.File(folder / f"ply_data_train{number}.h5", "w") as file:
            file["data"] = (RNG.random((2, 25, 3)) * [1, 9, 2]).astype(np.float32)
            file["label"] = np.array([[number], [2]], dtype=np.uint8)
    return folder


def test_the_hdf5_files_of_modelnet40(hdf5):
    samples = load("modelnet40:points=20", root=hdf5.parent)
    assert samples.inputs.shape == (4, 20, 3)
    assert samples.labels.tolist() == [0, 2, 1, 2]
    spread = samples.inputs.std((0, 1))
    assert spread.argmax() == 2  # they stand upright now
    assert samples.inputs.mean(1).abs().max() < 1e-6
    with pytest.raises(BadFile, match=r"has no ply_data_test\*\.h5"):
        load("modelnet40", split="test", root=hdf5.parent)
    (hdf5 / "ply_data_train1.h5").write_bytes(b"nothing")
    with pytest.raises(BadFile, match=r"ply_data_train1\.h5: not a readable file of clouds"):
        load("modelnet40:points=20", root=hdf5.parent)


def test_what_to_install_for_hdf5(tmp_path, monkeypatch):
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("chair")
    (folder / "ply_data_train0.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"needs h5py; pip install 'detrojan\[points\]'"):
        load("modelnet40", root=tmp_path)


@pytest.mark.parametrize("name", ["modelnet10", "modelnet40", "shapes"])
@pytest.mark.parametrize("points", [1, "few"])
def test_points_that_make_no_cloud(name, points):
    with pytest.raises(BadArgument, match=rf"{name}: points must be (a number of at least 2|int), got"):
        load(name, points=points)


def test_shapes_are_the_same_again_and_others_for_testing():
    train, again = load("shapes:points=40,per_class=3"), load("shapes:points=40,per_class=3")
    test = load("shapes:points=40,per_class=3", split="test")
    assert train.inputs.shape == (24, 40, 3)
    assert torch.equal(train.inputs, again.inputs)
    assert not torch.equal(train.inputs, test.inputs)
    assert train.labels.bincount().tolist() == [3] * 8
    assert train.class_names[:2] == ("sphere", "box")
    assert torch.allclose(train.inputs.norm(dim=-1).amax(1), torch.ones(24))


def test_shapes_lie_on_their_surfaces():
    from detrojan.data.sets.shapes import SURFACES

    draws = torch.rand(3, 2, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clouds = {name: surface(draws) for name, surface in SURFACES.items()}
    assert all(cloud.shape == (2, 4000, 3) and cloud.abs().max() <= 1 + 1e-9 for cloud in clouds.values())
    assert torch.allclose(clouds["sphere"].norm(dim=-1), torch.ones((), dtype=torch.float64))
    assert torch.allclose(clouds["box"].abs().amax(-1), torch.ones((), dtype=torch.float64))
    assert (clouds["box"].abs().mean((0, 1)) - 2 / 3).abs().max() < 0.03  # 1 on a third of the faces, else 1/2
    x, y, z = clouds["torus"].unbind(-1)
    assert torch.allclose(((x**2 + y**2).sqrt() - 0.7) ** 2 + z**2, torch.tensor(0.09, dtype=torch.float64))
    x, y, z = clouds["cone"].unbind(-1)
    assert ((x**2 + y**2).sqrt() <= (1 - z) / 2 + 1e-9).all()
    assert (clouds["cross"][..., :2].abs().amin(-1) == 0).all()


@pytest.mark.parametrize("setting", [{"per_class": 0}, {"noise": -1.0}])
def test_shapes_that_cannot_be(setting):
    with pytest.raises(BadArgument, match="must be"):
        load("shapes", **setting)


def test_floats_of_a_plain_archive_are_points(tmp_path):
    clouds = RNG.random((4, 12, 3))
    np.savez(tmp_path / "c.npz", x_train=clouds, y_train=np.array([0, 1, 0, 1]))
    samples = load(tmp_path / "c.npz")
    assert samples.kind == "points"
    assert samples.inputs.dtype == torch.float32
    assert np.allclose(samples.inputs.numpy(), clouds)


def test_modelnet10_as_it_lies_in_the_data_folder(shared_data):
    if not (shared_data / "modelnet10_points1024.npz").is_file():
        pytest.skip(f"needs modelnet10_points1024.npz under {shared_data}")
    samples = load("modelnet10:points=128", split="test", root=shared_data)
    assert samples.inputs.shape == (906, 128, 3)
    assert samples.labels.bincount().tolist() == [50, 100, 100, 85, 86, 100, 86, 100, 99, 100]
    assert samples.class_names[::9] == ("bathtub", "toilet")
    assert samples.inputs.mean(1).abs().max() < 1e-5
