"""Meshes: the OFF format of ModelNet, folders of such files, and points drawn uniformly from surfaces."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detrojan.data.clouds import as_samples
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadFile
from detrojan.randomness import Seeds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """Corners (V, 3) float64, and triangles (F, 3) int64 of places in them."""

    vertices: Tensor
    triangles: Tensor

    @property
    def areas(self) -> Tensor:
        """The area of each triangle, (F,)."""
        a, b, c = self.vertices[self.triangles].unbind(1)
        return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2

    def sample(self, points: int, generator: torch.Generator) -> Tensor:
        """Points (P, 3) drawn uniformly from the surface."""
        chosen = torch.multinomial(self.areas, points, replacement=True, generator=generator)
        a, b, c = self.vertices[self.triangles[chosen]].unbind(1)
        u, v = torch.rand(2, points, 1, dtype=torch.float64, generator=generator)
        root = u.sqrt()
        return a * (1 - root) + b * root * (1 - v) + c * root * v


def read_off(path: Path) -> Mesh:
    """Read an OFF file; polygons are cut into triangles, colours behind the corners of a face are passed over.

    The first line may run on into the counts (`OFF490 518 0`), as in many files of ModelNet.

    Raises:
        BadFile: the file cannot be read or is no whole mesh with a surface; nothing is half read.
    """
    try:
        return _parsed(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: not a readable OFF mesh ({error}); fetch the file again") from error


def read_meshes(folder: Path, *, split: Split, points: int, name: str) -> Samples:
    """Clouds of `points` points from a folder `<class>/{train,test}/*.off`; each file has a seed of its own.

    Raises:
        BadFile: a class has no files of this split, or one of them is damaged.
    """
    classes = tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] not in "._"))
    clouds, labels = [], []
    for label, title in enumerate(classes):
        files = sorted((folder / title / split).glob("*.off"))
        if not files:
            raise BadFile(f"{folder / title / split}: has no .off files, so {folder} is incomplete; unpack it again")
        for file in files:
            drawn = Seeds(seed=0).generator(file.relative_to(folder).as_posix())
            clouds.append(read_off(file).sample(points, drawn))
            labels.append(label)
    if not clouds:
        raise BadFile(f"{folder}: has no folders of classes; unpack it again")
    return as_samples(torch.stack(clouds), torch.tensor(labels), class_names=classes, name=name)


def _parsed(text: str) -> Mesh:
    lines = [line for line in (raw.partition("#")[0].strip() for raw in text.splitlines()) if line]
    if not lines or not lines[0].startswith("OFF"):
        raise ValueError("it does not begin with OFF")
    header, *lines = [lines[0][3:], *lines[1:]] if lines[0] != "OFF" else lines[1:] or [""]
    counts = header.split()
    if len(counts) not in (2, 3) or not all(count.isdigit() for count in counts):
        raise ValueError(f"its counts of vertices, faces and edges are {header!r}")
    corners, faces = int(counts[0]), int(counts[1])
    if len(lines) < corners + faces:
        raise ValueError(f"{corners} vertices and {faces} faces are announced, and {len(lines)} lines follow")
    mesh = Mesh(
        vertices=torch.from_numpy(_vertices(lines[:corners])),
        triangles=torch.from_numpy(_triangles(lines[corners : corners + faces], corners)),
    )
    if not float(mesh.areas.sum()) > 0:
        raise ValueError("it has no surface")
    return mesh


def _vertices(lines: list[str]) -> NDArray[np.float64]:
    values = np.array(" ".join(lines).split(), dtype=np.float64)
    if len(values) != 3 * len(lines):
        raise ValueError(f"{len(lines)} vertices have {len(values)} coordinates")
    if not np.isfinite(values).all():
        raise ValueError("a vertex is NaN or infinite")
    return values.reshape(-1, 3)


def _triangles(lines: list[str], corners: int) -> NDArray[np.int64]:
    """Each face as a fan around its first corner."""
    rows = [[int(word) for word in line.split()[: int(line.split()[0]) + 1]] for line in lines]
    if any(len(row) != row[0] + 1 or row[0] < 0 for row in rows):
        raise ValueError("a face has fewer corners than it announces")
    fans = [(row[1], *pair) for row in rows for pair in pairwise(row[2:])]
    found = np.array(fans, dtype=np.int64).reshape(-1, 3)
    if found.size and not 0 <= found.min() <= found.max() < corners:
        raise ValueError(f"a face names vertex {found.min() if found.min() < 0 else found.max()} of {corners}")
    return found
