"""ModelNet10: 4,899 CAD models of furniture in 10 classes (Wu et al., "3D ShapeNets", 2015), as point clouds."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from detrojan.data.clouds import as_samples, at_least_two, check, first_points
from detrojan.data.meshes import read_meshes
from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadFile

PACK = "modelnet10_points1024.npz"
FOLDER = "ModelNet10"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNet10:
    """ModelNet10 with its official split; `points` are drawn from each surface, and axis 2 points up.

    Each cloud is centred on its mean and scaled into the unit sphere.
    """

    points: int = 1024

    def __post_init__(self) -> None:
        at_least_two(self.points, name="modelnet10")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - it is put there by hand
        """Read the pack (1,024 points, sampled from voxel grids of 24 a side), else the official folder of meshes."""
        name = f"modelnet10 {split} ({self.points} points)"
        if (root / PACK).is_file():
            return self._pack(root / PACK, split, name)
        if not (root / FOLDER).is_dir():
            raise Official(title="ModelNet10", files=(PACK, FOLDER)).missing(root, "torchvision does not download it")
        return read_meshes(root / FOLDER, split=split, points=self.points, name=name)

    def _pack(self, path: Path, split: Split, name: str) -> Samples:
        """Coordinates are stored as bytes: value / 127.5 - 1."""
        try:
            with np.load(path, allow_pickle=False) as file:
                stored, labels = (torch.from_numpy(file[f"{key}_{split}"]) for key in "xy")
                classes = tuple(str(title) for title in file["classes"])
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise BadFile(f"{path}: not a readable pack of clouds ({error}); fetch the file again") from error
        check(stored, labels, len(classes), source=path)
        clouds = first_points(stored, self.points, source=path).float() / 127.5 - 1
        return as_samples(clouds, labels, class_names=classes, name=name)


METHOD = ModelNet10
