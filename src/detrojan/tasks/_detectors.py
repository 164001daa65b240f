"""torchvision's detectors in parts: their dense outputs, the loss of each image, and what they find.

A part stands in for the detector's own `forward` while the network runs, so that masks, replaced weights and autocast
work as ever, and no module changes its mode: whether norms use batch statistics is for the caller to say. Boxes are
(left, top, right, bottom) in pixels of the images that came in, whatever size the detector scales them to.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from detrojan import parallel
from detrojan.errors import BadData, Unsupported

Run = Callable[[Callable[[Tensor], Any], Tensor], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStage:
    """What an SSD says of a batch of images of a size (height, width), for each of A default boxes.

    `scores` (B, A, 1 + K) are of the background and the classes, `offsets` (B, A, 4) lead from the `anchors` (B, A, 4)
    to boxes.
    """

    detector: SSD
    size: tuple[int, int]
    scores: Tensor
    offsets: Tensor
    anchors: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStage:
    """What the body of a Faster R-CNN makes of a batch; its heads run when it is known what for."""

    run: Run
    network: nn.Module
    inputs: Tensor
    features: dict[str, Tensor]
    shown: ImageList


def outputs_of(run: Run, network: nn.Module, images: Tensor) -> OneStage | TwoStage:
    """Run a network on images (B, C, H, W) as far as the labels do not matter.

    Raises:
        Unsupported: there is no such detector in it.
    """
    detector = detector_in(network)
    if isinstance(detector, SSD):
        found = run(partial(_computing, network, partial(_dense, detector)), images)
        return OneStage(detector=detector, size=(images.shape[-2], images.shape[-1]), **found)
    if parallel.processes() > 1:
        raise Unsupported("a detector of two stages is tuned by one process; start it without torchrun, or take an SSD")
    features, shown = run(partial(_computing, network, partial(_body, detector)), images)
    return TwoStage(run=run, network=network, inputs=images, features=features, shown=shown)


def losses_of(outputs: OneStage | TwoStage, labels: Tensor) -> Tensor:
    """What torchvision's loss says of each image alone, with its boxes (B, M, 5): (B,).

    An image of an SSD in which there is nothing counts by its hardest default boxes, as one with a single match does;
    torchvision's loss would not see it.

    Raises:
        BadData: a box is of a class that the detector does not have.
    """
    if isinstance(outputs, OneStage):
        _check_classes(labels, outputs.scores.shape[2] - 1)
        return _multibox_loss(outputs, labels)
    detector = detector_in(outputs.network)
    stages = partial(_two_stage_losses, detector, outputs, labels)
    losses: Tensor = outputs.run(partial(_computing, outputs.network, stages), outputs.inputs)
    return losses


def detections_of(outputs: OneStage | TwoStage) -> list[dict[str, Tensor]]:
    """What a detector finds, as its own eval mode says it: boxes (D, 4), scores and labels (D,) for each image."""
    if isinstance(outputs, OneStage):
        dense = {"bbox_regression": outputs.offsets.detach(), "cls_logits": outputs.scores.detach()}
        anchors, sizes = list(outputs.anchors), [outputs.size] * len(outputs.scores)
        found: list[dict[str, Tensor]] = outputs.detector.postprocess_detections(dense, anchors, sizes)
        return found
    stages = partial(_two_stage_detections, detector_in(outputs.network), outputs)
    read: list[dict[str, Tensor]] = outputs.run(partial(_computing, outputs.network, stages), outputs.inputs)
    return read


def detector_in(network: nn.Module) -> SSD | FasterRCNN:
    """The detector in a network, below masks and other wrappers.

    Raises:
        Unsupported: there is none.
    """
    for module in network.modules():
        if isinstance(module, SSD):
            return module
        if isinstance(module, FasterRCNN) and not (module.roi_heads.has_mask() or module.roi_heads.has_keypoint()):
            return module
    raise Unsupported(
        f"detection works with torchvision's SSD, SSDlite and Faster R-CNN, and {type(network).__name__} holds none of "
        "them; name one, such as torchvision:ssd300_vgg16, or choose the task that fits"
    )


def _computing(network: nn.Module, forward: Callable[[Tensor], Any], images: Tensor) -> Any:
    """Run a network in which the detector computes something else than detections."""
    with _standing_in(detector_in(network), forward):
        return network(images)


@contextmanager
def _standing_in(detector: nn.Module, forward: Callable[[Tensor], Any]) -> Iterator[None]:
    vars(detector)["forward"] = forward
    try:
        yield
    finally:
        del vars(detector)["forward"]


def _dense(detector: SSD, images: Tensor) -> dict[str, Tensor]:
    shown, _ = detector.transform(list(images))
    features = detector.backbone(shown.tensors)
    maps = [features] if isinstance(features, Tensor) else list(features.values())
    found = detector.head(maps)
    anchors = torch.stack(detector.anchor_generator(shown, maps))
    return {
        "scores": found["cls_logits"].float(),
        "offsets": found["bbox_regression"].float(),
        "anchors": anchors * _scale(images, shown.image_sizes[0]),
    }


def _multibox_loss(outputs: OneStage, labels: Tensor) -> Tensor:
    """Smooth L1 of the matched default boxes, and cross-entropy of those and of the hardest others, by matches."""
    coder, ratio = outputs.detector.box_coder, outputs.detector.neg_to_pos_ratio
    place = torch.stack([_matched(outputs, row, boxes) for row, boxes in enumerate(labels)])
    there = place >= 0
    chosen = labels.gather(1, place.clamp_min(0)[..., None].expand(-1, -1, 5))
    wanted = coder.encode_single(chosen[..., 1:].float().flatten(0, 1), outputs.anchors.flatten(0, 1))
    aims = torch.where(there[..., None], wanted.view_as(outputs.offsets), outputs.offsets.detach())
    moved = F.smooth_l1_loss(outputs.offsets, aims, reduction="none").sum(2)
    classes = torch.where(there, chosen[..., 0] + 1, 0)
    named = F.cross_entropy(outputs.scores.flatten(0, 1), classes.flatten(), reduction="none").view_as(moved)
    hardest = named.detach().masked_fill(there, -torch.inf).argsort(1, descending=True).argsort(1)
    count = there.sum(1, keepdim=True).clamp_min(1)
    counted = there | ((hardest < ratio * count) & ~there)
    return ((moved + named * counted) / count).sum(1)


def _matched(outputs: OneStage, row: int, boxes: Tensor) -> Tensor:
    """For each default box the place of the box (M, 5) that it stands for, (A,); -1 for the background."""
    kept = (boxes[:, 0] >= 0).nonzero().flatten()
    anchors = outputs.anchors[row]
    if not len(kept):
        return torch.full((len(anchors),), -1, device=anchors.device)
    found = outputs.detector.proposal_matcher(box_iou(boxes[kept, 1:].float(), anchors))
    return torch.where(found >= 0, kept[found.clamp_min(0)], -1)


def _body(detector: FasterRCNN, images: Tensor) -> tuple[dict[str, Tensor], ImageList]:
    shown, _ = detector.transform(list(images))
    features = detector.backbone(shown.tensors)
    return {"0": features} if isinstance(features, Tensor) else dict(features), shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposed:
    """What the first stage says of its anchors, and the boxes that it proposes for each image."""

    anchors: list[Tensor]
    objectness: Tensor
    offsets: Tensor
    boxes: list[Tensor]


def _propose(detector: FasterRCNN, outputs: TwoStage) -> _Proposed:
    rpn, maps, shown = detector.rpn, list(outputs.features.values()), outputs.shown
    objectness, offsets = rpn.head(maps)
    anchors = rpn.anchor_generator(shown, maps)
    by_level = [each.shape[1:].numel() for each in objectness]
    objectness, offsets = (each.float() for each in concat_box_prediction_layers(objectness, offsets))
    decoded = rpn.box_coder.decode(offsets.detach(), anchors).view(len(anchors), -1, 4)
    boxes, _ = rpn.filter_proposals(decoded, objectness, shown.image_sizes, by_level)
    return _Proposed(anchors=anchors, objectness=objectness, offsets=offsets, boxes=boxes)


def _second_stage(detector: FasterRCNN, outputs: TwoStage, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
    heads = detector.roi_heads
    pooled = heads.box_roi_pool(outputs.features, boxes, outputs.shown.image_sizes)
    scores, offsets = heads.box_predictor(heads.box_head(pooled))
    return scores.float(), offsets.float()


def _two_stage_losses(detector: FasterRCNN, outputs: TwoStage, labels: Tensor, images: Tensor) -> Tensor:
    """The four losses of torchvision in sum, of each image apart; anchors and proposals are drawn as it does."""
    rpn, heads = detector.rpn, detector.roi_heads
    scale = _scale(images, outputs.shown.image_sizes[0])
    targets = [
        {"boxes": kept[:, 1:].float() / scale, "labels": kept[:, 0] + 1}
        for kept in (boxes[boxes[:, 0] >= 0] for boxes in labels)
    ]
    proposed = _propose(detector, outputs)
    objects, matched = rpn.assign_targets_to_anchors(proposed.anchors, targets)
    aims = rpn.box_coder.encode(matched, proposed.anchors)
    count = len(proposed.anchors[0])
    first = [
        sum(rpn.compute_loss(objectness, offsets, [own], [aim]))
        for objectness, offsets, own, aim in zip(
            proposed.objectness.split(count), proposed.offsets.split(count), objects, aims, strict=True
        )
    ]
    boxes, _, classes, aims = heads.select_training_samples(proposed.boxes, targets)
    scores, offsets = _second_stage(detector, outputs, boxes)
    _check_classes(labels, scores.shape[1] - 1)
    sizes = [len(each) for each in boxes]
    second = [
        sum(fastrcnn_loss(each, offset, [own], [aim]))
        for each, offset, own, aim in zip(scores.split(sizes), offsets.split(sizes), classes, aims, strict=True)
    ]
    return torch.stack([one + other for one, other in zip(first, second, strict=True)])


@torch.no_grad()
def _two_stage_detections(detector: FasterRCNN, outputs: TwoStage, images: Tensor) -> list[dict[str, Tensor]]:
    boxes, sizes = _propose(detector, outputs).boxes, outputs.shown.image_sizes
    scores, offsets = _second_stage(detector, outputs, boxes)
    found = zip(*detector.roi_heads.postprocess_detections(scores, offsets, boxes, sizes), strict=True)
    scale = _scale(images, sizes[0])
    return [{"boxes": corners * scale, "scores": sure, "labels": classes} for corners, sure, classes in found]


def _scale(images: Tensor, shown: tuple[int, int]) -> Tensor:
    """What leads from the pixels of a detector's own size (height, width) to those of the images, for a box (4,)."""
    across, down = images.shape[-1] / shown[1], images.shape[-2] / shown[0]
    return torch.tensor([across, down, across, down], device=images.device)


def _check_classes(labels: Tensor, known: int) -> None:
    highest = int(labels[..., 0].max())
    if highest >= known:
        raise BadData(
            f"a box is of class {highest}, but the detector knows {known} classes, from 0; check the order of the "
            f"classes and the architecture's num_classes"
        )
