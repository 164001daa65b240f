"""Small detectors of torchvision's classes, for images of 64 to 128 pixels, with batch norms.

Sources: Liu et al., "SSD: Single Shot MultiBox Detector" (2016); Ren et al., "Faster R-CNN" (2015).
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any

from torch import Tensor, nn


class Stages(nn.Module):
    """Residual stages that halve the image each; a map of each of the last `count` stages comes out, by its place.

    The first stage has `width` channels, each further one twice as many, at most 8 `width`.
    """

    def __init__(self, width: int, in_channels: int, stages: int, count: int) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock

        widths = [width * 2 ** min(stage, 3) for stage in range(stages)]
        stem = (nn.Conv2d(in_channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        blocks: list[nn.Module] = [nn.Sequential(*stem, BasicBlock(width, width))]
        for before, after in pairwise(widths):
            shortcut = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))
            blocks.append(BasicBlock(before, after, 2, shortcut))
        self.stages, self.count, self.out_channels = nn.ModuleList(blocks), count, widths[-count:]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, H, W) of images (B, in_channels, H, W), from large to small."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return OrderedDict((str(place), each) for place, each in enumerate(maps[-self.count :]))


def ssd_small(num_classes: int = 20, width: int = 16, in_channels: int = 3, size: int = 64) -> Any:
    """An SSD for images of `size` pixels with default boxes on maps of 1/8, 1/16 and 1/32 of the side."""
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    boxes = DefaultBoxGenerator([[2], [2], [2]], scales=[0.2, 0.38, 0.62, 0.9])
    body = Stages(width, in_channels, 5, 3)
    return SSD(body, boxes, (size, size), num_classes + 1, **_plain(in_channels), detections_per_img=50)


def faster_rcnn_small(num_classes: int = 20, width: int = 16, in_channels: int = 3, size: int = 64) -> Any:
    """A Faster R-CNN for images of `size` pixels with one map of 1/8 of the side."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    body: Any = Stages(width, in_channels, 3, 1)
    body.out_channels = body.out_channels[-1]
    sides = tuple(round(share * size) for share in (0.2, 0.35, 0.6))
    return FasterRCNN(
        body,
        min_size=size,
        max_size=size,
        **_plain(in_channels),
        rpn_anchor_generator=AnchorGenerator((sides,), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=30,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=4, sampling_ratio=2),
        box_head=TwoMLPHead(body.out_channels * 16, 8 * width),
        box_predictor=_predictor(8 * width, num_classes + 1),
        box_detections_per_img=50,
    )


def _predictor(features: int, classes: int) -> nn.Module:
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

    predictor: nn.Module = FastRCNNPredictor(features, classes)
    return predictor


def _plain(channels: int) -> dict[str, list[float]]:
    return {"image_mean": [0.5] * channels, "image_std": [0.25] * channels}
