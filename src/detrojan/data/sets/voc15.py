"""VOC15: 1,295 photographs of PASCAL VOC 2012 and COCO 2017 with boxes of 15 classes, in one small pack."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detrojan.data.annotations import Labels, check_labels, labelled, read_coco
from detrojan.data.official import Official
from detrojan.data.samples import Samples
from detrojan.data.splits import Split
from detrojan.errors import BadArgument, BadFile

PACK = "voc15_multilabel.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voc15:
    """The pack, each photograph in a square of `size` pixels with a row of 15 tags; some have none of them.

    With `labels=boxes` it has its boxes instead.
    """

    size: int = 112
    labels: Labels = "tags"

    def __post_init__(self) -> None:
        check_labels("voc15", self.labels)
        if not isinstance(self.size, int) or self.size < 8:
            raise BadArgument(f"voc15: size must be at least 8 pixels, got {self.size}")

    def read(self, *, split: Split, root: Path, download: bool) -> Samples:  # noqa: ARG002 - no address to load it from
        """Read the pack.

        Raises:
            BadData: it is not there.
            BadFile: it is damaged.
        """
        path = root / PACK
        if not path.is_file():
            raise Official(title="voc15", files=(PACK,)).missing(root, "it has no address to be loaded from")
        try:
            with zipfile.ZipFile(path) as pack:
                members = {name: pack.read(name) for name in pack.namelist()}
                text = members[f"annotations_{split}.json"].decode()
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise BadFile(f"{path}: not a readable pack ({error}); fetch the file again") from error

        def opener(name: str) -> Callable[[], Image.Image]:
            encoded = members[f"images/{name}"]
            return lambda: Image.open(io.BytesIO(encoded))

        pictures, names = read_coco(text, name=str(path), opener=opener)
        return labelled(pictures, class_names=names, size=self.size, name=f"voc15 {split}", labels=self.labels)


METHOD = Voc15
