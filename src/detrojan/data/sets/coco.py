"""COCO 2017: photographs with boxes of 80 classes (Lin et al., 2014), as they are unpacked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detrojan.data.annotations import Labels, check_labels, labelled, read_coco
from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

PARTS: dict[Split, str] = {"train": "train2017", "test": "val2017"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coco:
    """`annotations/instances_<part>.json` and the folder `<part>`, below the root or its `coco`.

    Each photograph stands in a square of `size` pixels with a row of tags, or with `labels=boxes` its boxes. `most`
    ends the set after so many photographs, in the order of the file; 0 takes all.
    """

    size: int = 224
    most: int = 0
    labels: Labels = "tags"

    def __post_init__(self) -> None:
        check_labels("coco", self.labels)
        if not isinstance(self.size, int) or self.size < 8 or self.most < 0:
            raise BadArgument(f"coco: size must be at least 8 pixels and most at least 0, got {self.size}, {self.most}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - fetched by hand
        """Read the pictures that the JSON file lists.

        Raises:
            BadData: the annotations are not there.
            BadFile: they or a picture are missing or damaged.
        """
        part = PARTS[split]
        places = [place / "annotations" / f"instances_{part}.json" for place in (root / "coco", root)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            files = (f"coco/annotations/instances_{part}.json with coco/{part}", f"annotations with {part}")
            raise Official(title="COCO 2017", files=files).missing(root, "it is fetched by hand")
        folder = path.parent.parent / part

        def opener(name: str) -> Callable[[], Image.Image]:
            return lambda: Image.open(folder / name)

        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"{path}: damaged COCO annotations ({error}); fetch the data set again") from error
        pictures, names = read_coco(text, name=str(path), opener=opener)
        return labelled(
            pictures[: self.most or None], class_names=names, size=self.size, name=f"coco {split}", labels=self.labels
        )


METHOD = Coco
