"""Object detection: boxes around what is in an image, each with a class."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from detrojan import augmentation
from detrojan.augmentation import Mixed, bytes_of, pixels_of
from detrojan.data.samples import LabelKind
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.intervals import Estimate
from detrojan.tasks import _boxes as boxes_of
from detrojan.tasks._detectors import OneStage, TwoStage, detections_of, detector_in, losses_of, outputs_of
from detrojan.tasks._viewless import Viewless

Run = Callable[[Any, Tensor], Any]
LEVELS = {"0.5": (0.5,), "0.5:0.95": tuple(0.5 + 0.05 * step for step in range(10))}
OVERLAP = 0.5
"""From here on a box counts as found, in all scores but mAP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection(Viewless):
    """What the batch (B, C, H, W), the loss and the detections of torchvision's SSD, SSDlite and Faster R-CNN mean.

    Images lie in [0, 1]; the detectors scale and normalise them themselves. Classes count from 0 here, without the
    background. Augmentation varies brightness and contrast by up to `strength`, so that boxes stay where they are.
    MixUp mixes images, and the losses against both images' boxes (LossMix: Vasconcelos et al., 2023). What is found has
    rows (class, score, left, top, right, bottom); the `most` surest of an image are kept, and those whose score is at
    least `sure` are its answer. `iou` is the overlap of the mean average precision: `0.5` as for VOC, or the mean over
    `0.5:0.95` as for COCO; but nothing is ignored here, as both do it with difficult objects and crowds.
    """

    labels: ClassVar[LabelKind] = "boxes"
    metric: ClassVar[str] = "mAP"
    judged: ClassVar[str] = "F1 of the boxes"

    strength: float = 0.2
    sure: float = 0.5
    most: int = 100
    iou: Literal["0.5", "0.5:0.95"] = "0.5"

    def __post_init__(self) -> None:
        if not 0 <= self.strength < 1 or not 0 < self.sure < 1:
            raise BadArgument(
                f"strength must lie in [0, 1) and sure between 0 and 1, got {self.strength} and {self.sure}"
            )
        if self.most < 1:
            raise BadArgument(f"most, the boxes of an image that are kept, must be at least 1, got {self.most}")
        if self.iou not in LEVELS:
            raise BadArgument(f"iou must be one of {', '.join(LEVELS)}, got {self.iou!r}")

    def augment(self, inputs: Tensor, generator: Any) -> Tensor:
        """Vary brightness and contrast of each image of a batch (B, C, H, W); bytes stay bytes."""
        if inputs.ndim != 4:
            raise BadData(
                f"images in which something is found are (B, C, H, W), found {tuple(inputs.shape)}; choose the task "
                "that fits"
            )
        pixels = pixels_of(inputs)
        grey = pixels.mean((1, 2, 3), keepdim=True)
        draw = torch.rand(len(pixels), generator=generator, device=generator.device).to(pixels.device)
        contrast = (1 + self.strength * (2 * draw - 1)).view(-1, 1, 1, 1)
        varied = augmentation.brightness(torch.lerp(grey, pixels, contrast), generator, strength=self.strength)
        return bytes_of(varied) if inputs.dtype == torch.uint8 else varied

    def mixup(self, inputs: Tensor, generator: torch.Generator) -> Mixed:
        """Mix each prepared image (B, C, H, W) with a partner of the batch; the losses are mixed alike."""
        return augmentation.mixup(inputs, generator)

    def forward(self, run: Run, network: nn.Module, inputs: Any) -> OneStage | TwoStage:
        """What the network says of prepared images (B, C, H, W) before it is known what they hold.

        The body runs once; the heads of a detector of two stages run with each loss, in the same precision.

        Raises:
            Unsupported: there is no such detector in the network.
        """
        return outputs_of(run, network, inputs)

    def teach(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The stored images (B, C, H, W) as they are: boxes are not shown."""
        del labels
        return inputs

    def read(self, run: Run, network: nn.Module, inputs: Any) -> Tensor:
        """What a network in eval mode finds in prepared images, by its own thresholds: (B, `most`, 6)."""
        detector_in(network)
        found: Tensor = run(partial(self._found, network), inputs)
        return found

    def logits(self, outputs: Any) -> Tensor:
        """The scores (B, A, 1 + K) of the background and the classes for all A default boxes of an SSD.

        Raises:
            Unsupported: the detector has two stages, whose second scores other boxes each time.
        """
        if isinstance(outputs, OneStage):
            return outputs.scores
        raise Unsupported(
            "a detector of two stages has no scores of the same boxes for two networks, which comparing their answers "
            "needs; use nft, fine_tuning or ft_sam, or take an SSD"
        )

    def answers(self, scores: Tensor) -> Tensor:
        """The classes' probabilities (B, A, 1 + K): what is in each default box, in most of them the background.

        What an answer tells of its image is summed over the boxes, so that those that are always empty add nothing.
        """
        return scores.softmax(-1)

    def log_answers(self, scores: Tensor) -> Tensor:
        """The logarithms (B, A, 1 + K) of the same."""
        return scores.log_softmax(-1)

    def loss(self, outputs: Any, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """What torchvision's own loss says of each image alone, (B,), in float32; boxes (B, M, 5) are not smoothed.

        Raises:
            BadData: a box is of a class that the detector does not have.
        """
        del label_smoothing
        return losses_of(outputs, labels)

    def predict(self, outputs: Any) -> Tensor:
        """The sure boxes (B, M, 5) in pixels, of a network's outputs or of what was read, (B, D, 6)."""
        found = outputs if isinstance(outputs, Tensor) else self._rows(detections_of(outputs))
        corners = found[..., 2:].round().long()
        kept = (found[..., 1] >= self.sure) & (corners[..., 2:] > corners[..., :2]).all(-1)
        width = max(1, int(kept.sum(1).max()))
        boxes = torch.cat([found[..., :1].long(), corners], -1).masked_fill(~kept[..., None], -1)
        order = (~kept).int().argsort(dim=1, stable=True)[:, :width]
        return boxes.gather(1, order[..., None].expand(-1, -1, 5))

    def same(self, first: Tensor, second: Tensor) -> Tensor:
        """The F1 of one network's sure boxes against another's, (N,), of what was read (N, D, 6)."""
        return boxes_of.f1(self._sure(first), self.predict(second), OVERLAP)

    def outcomes(self, answers: Tensor, labels: Tensor) -> Tensor:
        """The F1 of each image's sure boxes, (N,), at an overlap of a half; 1 where there is nothing and none is found.

        Args:
            answers: what was read, (N, D, 6).
            labels: the true boxes (N, M, 5).
        """
        return boxes_of.f1(self._sure(answers), labels, OVERLAP)

    def score(self, answers: Tensor, labels: Tensor) -> Estimate:
        """The mean average precision of what was read (N, D, 6), at the overlap `iou`, as COCO computes it.

        There are no regions to be ignored: a box on a difficult object or a crowd that the samples leave out is a wrong
        one, so that the official figures of VOC and COCO are somewhat higher.

        Raises:
            MissingExtra: pycocotools is not installed.
        """
        return boxes_of.mean_average_precision(answers, labels, levels=LEVELS[self.iou])

    def fooled(self, answers: Tensor, wanted: Tensor) -> Tensor:
        """In which images more than half of what the attacker wants came true, (N,).

        A row of `wanted` (N, M, 5) is a box that must be found; or, where its class is -2 - c, one at whose place no
        box of class c may be found; -1 leaves the place alone.
        """
        gone = wanted[..., 0] < -1
        asked = torch.cat([torch.where(gone, -2 - wanted[..., 0], wanted[..., 0])[..., None], wanted[..., 1:]], -1)
        found = boxes_of.meetings(self._sure(answers), asked, OVERLAP).any(1)
        counted = asked[..., 0] >= 0
        return 2 * ((found != gone) & counted).sum(1) > counted.sum(1)

    def _found(self, network: nn.Module, images: Tensor) -> Tensor:
        return self._rows(network(list(images)))

    def _rows(self, found: list[dict[str, Tensor]]) -> Tensor:
        rows = []
        for each in found:
            values = torch.cat([each["labels"][:, None] - 1.0, each["scores"][:, None], each["boxes"]], 1).float()
            kept = values[values[:, 1].argsort(descending=True, stable=True)][: self.most]
            rows.append(nn.functional.pad(kept, (0, 0, 0, self.most - len(kept)), value=-1))
        return torch.stack(rows)

    def _sure(self, found: Tensor) -> Tensor:
        return found.masked_fill(found[..., 1:2] < self.sure, -1)


METHOD = Detection
