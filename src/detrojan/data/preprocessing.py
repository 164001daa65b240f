"""What happens between stored samples and the model: to float, to size, normalised."""

import re
from dataclasses import dataclass, fields, replace
from math import floor
from typing import Any, Literal, Self

import torch
from torch import Tensor

from detrojan.data.samples import LabelKind
from detrojan.errors import BadArgument, BadData, MissingExtra, UnknownName, Unsupported, unknown_name

Interpolation = Literal["bilinear", "bicubic", "nearest"]
Pair = tuple[int, int]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a batch of stored samples becomes what the model expects, in the order of the fields.

    uint8 becomes float / 255, all else passes. `size` stretches to (height, width). `resize` scales the shorter side
    to so many pixels, `crop` cuts the middle (height, width) out. Then `mean` is subtracted and `std` divided by, one
    value per channel or one for all. Nothing is done by default but the division by 255.
    """

    size: Pair | None = None
    resize: int | None = None
    crop: Pair | None = None
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.size is not None and (self.resize is not None or self.crop is not None):
            raise BadArgument("preprocessing takes either size or resize and crop, got both")
        for name in ("size", "resize", "crop"):
            value = getattr(self, name)
            if value is not None and min(value if isinstance(value, tuple) else (value,)) < 1:
                raise BadArgument(f"preprocessing: {name} must be at least 1 pixel, got {value}")
        if self.interpolation not in ("bilinear", "bicubic", "nearest"):
            raise BadArgument(f"interpolation must be bilinear, bicubic or nearest, got {self.interpolation!r}")
        if any(value <= 0 for value in self.std or ()):
            raise BadArgument(f"preprocessing: std must be above 0, got {self.std}")
        if len(self.mean or (0,)) != len(self.std or (0,)) and 1 not in (len(self.mean or (0,)), len(self.std or (0,))):
            raise BadArgument(f"preprocessing: mean and std must be equally many, got {self.mean} and {self.std}")

    def __call__(self, inputs: Tensor) -> Tensor:
        """Prepare a batch (N, C, H, W); differentiable where the inputs are floats."""
        scaled = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        return self._normalised(self._shaped(scaled))

    def check(self, labels: LabelKind) -> None:
        """Refuse to move what is in an image where its labels say where that is.

        Raises:
            BadArgument: the labels are boxes, and images would be scaled or cut.
        """
        moves = [name for name in ("size", "resize", "crop") if getattr(self, name) is not None]
        if labels == "boxes" and moves:
            raise BadArgument(
                f"preprocessing: {' and '.join(moves)} would move what is in an image and leave the boxes around it "
                f"where they are, got {getattr(self, moves[0])}; read the samples in that size (--size), which scales "
                "both"
            )

    @classmethod
    def named(cls, name: str) -> Self:
        """The preset of this name: `none`, `cifar10`, `gtsrb`, `imagenet`."""
        if name not in PRESETS:
            raise unknown_name("preprocessing", name, PRESETS)
        return cls(**PRESETS[name])

    @classmethod
    def of_weights(cls, name: str) -> Self:
        """The recipe that published weights were trained for; nothing is downloaded.

        Args:
            name: `torchvision:ResNet18_Weights.IMAGENET1K_V1`, `torchvision:resnet18` (its default weights) or
                `timm:resnet18` (with a tag after a dot for other weights).

        Raises:
            UnknownName: the library has no such weights.
            Unsupported: the recipe is not one of image classification.
        """
        library, _, weights = name.partition(":")
        if library == "torchvision" and weights:
            return cls(**_of_torchvision(weights))
        if library == "timm" and weights:
            return cls(**_of_timm(weights))
        raise UnknownName(f"weights must be named torchvision:NAME or timm:NAME, got {name!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a command line's text: a preset, a weights' name, settings, or the one changed by the others.

        Examples: `cifar10`; `timm:resnet18`; `imagenet;size=64`; `mean=.5,.5,.5;std=.2,.2,.2;size=32`.
        """
        first, *rest = (part.strip() for part in text.split(";"))
        if "=" in first or not first:
            base, rest = cls(), [first, *rest]
        else:
            base = cls.of_weights(first) if ":" in first else cls.named(first)
        settings = dict(_setting(part) for part in rest if part)
        if "size" in settings:
            settings = {"resize": None, "crop": None, **settings}
        elif settings.keys() & {"resize", "crop"}:
            settings = {"size": None, **settings}
        return replace(base, **settings)

    def _shaped(self, images: Tensor) -> Tensor:
        if self.size is None and self.resize is None and self.crop is None:
            return images
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        how = {"interpolation": InterpolationMode(self.interpolation), "antialias": True}
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = functional.resize(images, list(self.size), **how)
        if self.resize is not None and min(images.shape[-2:]) != self.resize:
            images = functional.resize(images, [self.resize], **how)
        if self.crop is not None:
            images = functional.center_crop(images, list(self.crop))
        return images

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (_channels(values, images) for values in (self.mean, self.std))
        if mean is not None:
            images = images - mean
        return images if std is None else images / std


PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    "gtsrb": {"mean": (0.3403, 0.3121, 0.3214), "std": (0.2724, 0.2608, 0.2669)},
    "imagenet": {"resize": 256, "crop": (224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
}


def _channels(values: tuple[float, ...] | None, images: Tensor) -> Tensor | None:
    """The values as a tensor that spreads over (N, C, H, W)."""
    if values is None:
        return None
    if len(values) not in (1, images.shape[1]):
        raise BadData(
            f"preprocessing has {len(values)} mean or std values, but the inputs have {images.shape[1]} channels; "
            "give one value per channel or load with channels=3"
        )
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, *[1] * (images.ndim - 2))


def _of_torchvision(name: str) -> dict[str, Any]:
    from torchvision.models import get_model_weights, get_weight
    from torchvision.transforms._presets import ImageClassification

    try:
        weights = get_weight(name) if "." in name else get_model_weights(name.removesuffix("_Weights").lower()).DEFAULT
    except (ValueError, KeyError, AttributeError) as error:
        raise UnknownName(f"torchvision has no weights {name!r}; see torchvision.models.list_models()") from error
    recipe = weights.transforms()
    if not isinstance(recipe, ImageClassification):
        kind = type(recipe).__name__
        raise Unsupported(
            f"torchvision's {name} is for {kind}, not for image classification; give mean=, std= and size="
        )
    return {
        "resize": recipe.resize_size[0],
        "crop": (recipe.crop_size[0], recipe.crop_size[0]),
        "interpolation": recipe.interpolation.value,
        "mean": tuple(recipe.mean),
        "std": tuple(recipe.std),
    }


def _of_timm(name: str) -> dict[str, Any]:
    try:
        import timm
    except ImportError as error:
        raise MissingExtra(f"timm:{name} needs timm; pip install 'detrojan[timm]'") from error
    recipe = timm.get_pretrained_cfg(name)
    if recipe is None:
        raise UnknownName(f"timm has no weights {name!r}; see timm.list_pretrained()")
    height, width = recipe.input_size[1:]
    sizes: dict[str, Any] = {"resize": floor(min(height, width) / recipe.crop_pct), "crop": (height, width)}
    return {
        **({"size": (height, width)} if recipe.crop_mode == "squash" else sizes),
        "interpolation": recipe.interpolation,
        "mean": tuple(recipe.mean),
        "std": tuple(recipe.std),
    }


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = (part.strip() for part in text.partition("="))
    known = [field.name for field in fields(Preprocessing)]
    if name not in known:
        raise unknown_name("preprocessing setting", name, known)
    if name == "interpolation":
        return name, value
    number = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
    if name in ("mean", "std"):
        if re.fullmatch(rf"{number}(,{number})*", value):
            return name, tuple(float(part) for part in value.split(","))
        raise BadArgument(f"preprocessing: {name} must be numbers with commas between, got {value!r}")
    sides = re.fullmatch(r"(\d+)(?:[x,](\d+))?", value)
    if not sides or (name == "resize" and sides[2]):
        raise BadArgument(f"preprocessing: {name} must be a number of pixels, such as 32 or 32x48, got {value!r}")
    height = int(sides[1])
    return name, height if name == "resize" else (height, int(sides[2] or height))
