"""PASCAL VOC 2007 and 2012: photographs with boxes of 20 classes (Everingham et al., 2015), as they are unpacked."""

from dataclasses import dataclass
from pathlib import Path

from detrojan.data.annotations import Labels, check_labels, labelled, read_voc
from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

CLASS_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LISTS: dict[Split, dict[int, str]] = {
    "train": {2007: "trainval", 2012: "train"},
    "test": {2007: "test", 2012: "val"},
}
"""The list of images of each split; the test set of 2012 is not published, so its `val` stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voc:
    """The tree `VOCdevkit/VOC<year>`, each photograph in a square of `size` pixels with a row of 20 tags.

    With `labels=boxes` it has a box around each object instead.

    Objects that are marked difficult are left out unless `difficult`.
    """

    year: int = 2007
    size: int = 224
    difficult: bool = False
    labels: Labels = "tags"

    def __post_init__(self) -> None:
        check_labels("voc", self.labels)
        if self.year not in (2007, 2012):
            raise BadArgument(f"voc: year must be 2007 or 2012, got {self.year}")
        if not isinstance(self.size, int) or self.size < 8:
            raise BadArgument(f"voc: size must be at least 8 pixels, got {self.size}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - fetched by hand
        """Read the images of the split's list with their XML files.

        Raises:
            BadData: the tree is not there.
            BadFile: the list, an annotation or a picture is missing or damaged.
        """
        tree = root / "VOCdevkit" / f"VOC{self.year}"
        if not tree.is_dir():
            found = Official(title=f"PASCAL VOC {self.year}", files=(f"VOCdevkit/VOC{self.year}",))
            raise found.missing(root, "it is fetched by hand")
        listed = tree / "ImageSets" / "Main" / f"{LISTS[split][self.year]}.txt"
        try:
            names = listed.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"{listed}: the list of images is missing or damaged ({error}); unpack it again") from error
        pictures = [
            read_voc(
                tree / "Annotations" / f"{name}.xml",
                class_names=CLASS_NAMES,
                picture=tree / "JPEGImages" / f"{name}.jpg",
                difficult=self.difficult,
            )
            for name in names
        ]
        return labelled(
            pictures, class_names=CLASS_NAMES, size=self.size, name=f"voc {self.year} {split}", labels=self.labels
        )


METHOD = Voc
