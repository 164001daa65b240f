"""OFF files, good and broken, and points drawn from their surfaces."""

import pytest
import torch

from detrojan.data.meshes import Mesh, read_meshes, read_off
from detrojan.errors import BadFile

SQUARE = "OFF\n4 2 0\n0 0 0\n2 0 0\n2 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"


def saved(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        SQUARE,
        SQUARE.replace("OFF\n", "OFF"),  # as in many files of ModelNet
        SQUARE.replace("3 0 1 2\n3 0 2 3\n", "4 0 1 2 3\n").replace("4 2 0", "4 1 0"),
        SQUARE.replace("OFF\n", "# a square\nOFF\n\n").replace("4 2 0", "4 2"),
        SQUARE.replace("3 0 1 2", "3 0 1 2 255 0 0"),
    ],
    ids=["plain", "glued", "polygon", "comment", "colour"],
)
def test_ways_to_write_a_square(tmp_path, text):
    mesh = read_off(saved(tmp_path / "m.off", text))
    assert mesh.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.areas.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with OFF"),
        ("PLY\n4 2 0", "does not begin with OFF"),
        ("OFF", "counts of vertices, faces and edges are ''"),
        (SQUARE.replace("4 2 0", "four"), "counts of vertices, faces and edges are 'four'"),
        (SQUARE.replace("4 2 0", "4 3 0"), "4 vertices and 3 faces are announced, and 6 lines follow"),
        (SQUARE.replace("2 1 0", "2 1"), "4 vertices have 11 coordinates"),
        (SQUARE.replace("2 1 0", "2 x 0"), "could not convert"),
        (SQUARE.replace("2 1 0", "2 nan 0"), "a vertex is NaN"),
        (SQUARE.replace("3 0 2 3", "3 0 2 4"), "a face names vertex 4 of 4"),
        (SQUARE.replace("3 0 2 3", "3 0 2 -1"), "a face names vertex -1 of 4"),
        (SQUARE.replace("3 0 2 3", "3 0 2"), "fewer corners than it announces"),
        ("OFF\n4 0 0\n0 0 0\n2 0 0\n2 1 0\n0 1 0\n", "no surface"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "no surface"),
        ("OFF\n0 0 0\n", "no surface"),
    ],
)
def test_a_broken_mesh_is_refused_whole(tmp_path, text, reason):
    with pytest.raises(BadFile, match=rf"broken\.off: not a readable OFF mesh \(.*{reason}"):
        read_off(saved(tmp_path / "broken.off", text))


def test_bytes_are_no_mesh(tmp_path):
    (tmp_path / "b.off").write_bytes(b"OFF\n\xff\xfe")
    with pytest.raises(BadFile, match=r"b\.off: not a readable OFF mesh"):
        read_off(tmp_path / "b.off")


def test_points_are_spread_by_area():
    corners = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 1, 5]], dtype=torch.float64)
    mesh = Mesh(vertices=corners, triangles=torch.tensor([[0, 1, 2], [3, 4, 5]]))
    points = mesh.sample(8000, torch.Generator().manual_seed(0))
    upper = points[points[:, 2] > 2]
    assert len(upper) / 8000 == pytest.approx(0.75, abs=0.02)
    assert upper.mean(0).tolist() == pytest.approx([1, 1 / 3, 5], abs=0.03)  # the centroid of the triangle
    assert (points[:, :2] >= 0).all()


def test_a_folder_of_classes(tmp_path):
    for title, height in (("wide", 1), ("tall", 3)):
        for part in ("train", "test"):
            for number in range(2):
                saved(tmp_path / title / part / f"{title}_{number}.off", SQUARE.replace("1 0\n", f"{height} 0\n"))
    samples = read_meshes(tmp_path, split="train", points=50, name="two")
    assert samples.class_names == ("tall", "wide")
    assert samples.labels.tolist() == [0, 0, 1, 1]
    assert samples.inputs.shape == (4, 50, 3)
    assert samples.inputs.mean(1).abs().max() < 1e-6
    assert torch.allclose(samples.inputs.norm(dim=-1).amax(1), torch.ones(4))
    assert not torch.equal(samples.inputs[0], samples.inputs[1])  # each file has a seed of its own
    assert torch.equal(samples.inputs, read_meshes(tmp_path, split="train", points=50, name="two").inputs)
    saved(tmp_path / "tall" / "train" / "bad.off", "OFF\n")
    with pytest.raises(BadFile, match=r"bad\.off: not a readable OFF mesh"):
        read_meshes(tmp_path, split="train", points=50, name="two")


def test_an_incomplete_folder(tmp_path):
    with pytest.raises(BadFile, match="has no folders of classes"):
        read_meshes(tmp_path, split="train", points=50, name="none")
    (tmp_path / "chair").mkdir()
    with pytest.raises(BadFile, match=r"chair/test: has no \.off files"):
        read_meshes(tmp_path, split="test", points=50, name="none")
