"""Boxes compared: which ones overlap, which of them were found, and the mean average precision of COCO.

Boxes are rows (class, left, top, right, bottom), what a detector found rows (class, score, left, top, right, bottom) in
falling order of the score; the class is -1 where there is none.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detrojan.errors import MissingExtra
from detrojan.intervals import LEVEL, Estimate

RESAMPLES = 100


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of the corners (N, D, 4) with those of (N, M, 4), (N, D, M)."""
    first, second = first[:, :, None].float(), second[:, None].float()
    sides = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(0)
    areas = [(each[..., 2:] - each[..., :2]).clamp(0).prod(-1) for each in (first, second)]
    shared = sides.prod(-1)
    return shared / (areas[0] + areas[1] - shared).clamp_min(1e-9)


def meetings(found: Tensor, boxes: Tensor, overlap: float) -> Tensor:
    """Which of the found (N, D, 6) are of the class of which of the boxes (N, M, 5) and cover it, (N, D, M)."""
    alike = (found[:, :, None, 0] == boxes[:, None, :, 0]) & (boxes[:, None, :, 0] >= 0)
    return alike & (overlaps(found[..., 2:], boxes[..., 1:]) >= overlap)


def f1(found: Tensor, boxes: Tensor, overlap: float) -> Tensor:
    """The harmonic mean of precision and recall of each image's found (N, D, 6) boxes (N, M, 5); 1 where none is.

    The surest is matched first, to the box that it covers best; each box is found once.
    """
    covering = overlaps(found[..., 2:], boxes[..., 1:]).masked_fill(~meetings(found, boxes, overlap), 0)
    there, here = (found[..., 0] >= 0).sum(1), (boxes[..., 0] >= 0).sum(1)
    open_ = torch.ones(boxes.shape[:2], dtype=torch.bool)
    right = torch.zeros(len(boxes))
    for rank in range(int(there.max()) if len(there) else 0):
        best, place = (covering[:, rank] * open_).max(1)
        right += best > 0
        open_[torch.arange(len(boxes)), place] &= best <= 0
    return torch.where(there + here > 0, 2 * right / (there + here).clamp_min(1), 1.0)


def mean_average_precision(found: Tensor, boxes: Tensor, *, levels: Sequence[float]) -> Estimate:
    """COCO's mAP of the found (N, D, 6) over the classes that occur and the levels of overlap, by pycocotools.

    The interval is a percentile bootstrap over the images, whose matches are computed once.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    judge = _judge(found, boxes, levels)
    with redirect_stdout(io.StringIO()):
        judge.evaluate()
        by_class = np.array(judge.evalImgs, dtype=object).reshape(-1, len(boxes)) if judge.evalImgs else None
        if by_class is None:
            return Estimate(value=float("nan"), low=0.0, high=1.0, count=len(boxes))
        rng, rows = np.random.default_rng(0), np.arange(len(boxes))
        value = _precision(judge, by_class, rows)
        drawn = [_precision(judge, by_class, rng.choice(rows, len(rows))) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) if np.isfinite(drawn).any() else (0, 1)
    return Estimate(value=value, low=float(low), high=float(high), count=len(boxes))


def _precision(judge: Any, by_class: NDArray[Any], chosen: NDArray[np.intp]) -> float:
    judge.evalImgs = by_class[:, chosen].flatten().tolist()
    judge.accumulate()
    precision = judge.eval["precision"]
    known = precision[precision > -1]  # a class that does not occur has none
    return float(known.mean()) if known.size else float("nan")


def _judge(found: Tensor, boxes: Tensor, levels: Sequence[float]) -> Any:
    evaluation = _library()
    coco = evaluation.COCO
    truth, answer = coco(), coco()
    names = sorted({int(name) for name in boxes[..., 0].unique().tolist() if name >= 0})
    common = {"images": [{"id": index} for index in range(len(boxes))], "categories": [{"id": name} for name in names]}
    with redirect_stdout(io.StringIO()):
        for each, rows in ((truth, _rows(boxes, None)), (answer, _rows(found, 1))):
            each.dataset = {**common, "annotations": rows}
            each.createIndex()
    judge = evaluation.COCOeval(truth, answer, "bbox")
    judge.params.iouThrs = np.array(levels)
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.params.maxDets = [found.shape[1]]
    judge.params.imgIds = list(range(len(boxes)))
    return judge


def _rows(boxes: Tensor, score: int | None) -> list[dict[str, Any]]:
    """The annotations of COCO; numbers from 1, since pycocotools takes 0 for none."""
    rows = []
    for number, (image, place) in enumerate((boxes[..., 0] >= 0).nonzero().tolist(), start=1):
        values = boxes[image, place].tolist()
        left, top, right, bottom = values[-4:]
        width, height = right - left, bottom - top
        row = {"id": number, "image_id": image, "category_id": int(values[0]), "iscrowd": 0}
        row |= {"bbox": [left, top, width, height], "area": width * height}
        rows.append(row if score is None else {**row, "score": values[score]})
    return rows


def _library() -> Any:
    try:
        from pycocotools import cocoeval
        from pycocotools.coco import COCO
    except ModuleNotFoundError as error:
        raise MissingExtra("pycocotools is not installed: pip install 'detrojan[detection]'") from error
    cocoeval.COCO = COCO
    return cocoeval
