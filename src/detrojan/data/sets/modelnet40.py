"""ModelNet40: 12,311 CAD models in 40 classes (Wu et al., "3D ShapeNets", 2015), as point clouds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detrojan.data.clouds import as_samples, at_least_two, check, first_points
from detrojan.data.meshes import read_meshes
from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadFile, MissingExtra

CLOUDS = "modelnet40_ply_hdf5_2048"
FOLDER = "ModelNet40"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNet40:
    """ModelNet40 with its official split; `points` are drawn from each surface, and axis 2 points up.

    Each cloud is centred on its mean and scaled into the unit sphere.
    """

    points: int = 1024

    def __post_init__(self) -> None:
        at_least_two(self.points, name="modelnet40")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read PointNet's HDF5 files (2,048 points), else the official folder of meshes, which takes minutes."""
        name = f"modelnet40 {split} ({self.points} points)"
        if (root / CLOUDS).is_dir():
            return self._clouds(root / CLOUDS, split, name)
        if not (root / FOLDER).is_dir():
            raise Official(title="ModelNet40", files=(CLOUDS, FOLDER)).missing(root, "torchvision does not download it")
        return read_meshes(root / FOLDER, split=split, points=self.points, name=name)

    def _clouds(self, folder: Path, split: Split, name: str) -> Samples:
        files = sorted(folder.glob(f"ply_data_{split}*.h5"))
        titles = folder / "shape_names.txt"
        if not files or not titles.is_file():
            raise BadFile(
                f"{folder}: has no {'shape_names.txt' if files else f'ply_data_{split}*.h5'}; unpack the archive again"
            )
        classes = tuple(titles.read_text().split())
        parts = []
        for file in files:
            stored, labels = _read(file)
            check(stored, labels, len(classes), source=file)
            parts.append((first_points(stored, self.points, source=file), labels))
        clouds, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        return as_samples(_upright(clouds), labels, class_names=classes, name=name)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    """The clouds (N, P, 3) of one file, and their labels (N,)."""
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            return torch.from_numpy(file["data"][:]), torch.from_numpy(file["label"][:].reshape(-1).astype("int64"))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadFile(f"{path}: not a readable file of clouds ({error}); fetch the file again") from error


def _upright(clouds: Tensor) -> Tensor:
    """In these files axis 1 points up; turned about axis 0, axis 2 does."""
    x, y, z = clouds.unbind(-1)
    return torch.stack([x, -z, y], -1)


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra(f"{path} needs h5py; pip install 'detrojan[points]'") from error
    return h5py


METHOD = ModelNet40
