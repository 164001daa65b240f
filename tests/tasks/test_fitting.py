"""A task that does not fit the samples says so in a sentence."""

import pytest
import torch

from detrojan.errors import BadData
from detrojan.tasks import TASKS

SAMPLES = {
    "image": torch.zeros(2, 5, 3),
    "multilabel": torch.zeros(2, 5),
    "detection": torch.zeros(2, 5),
    "video": torch.zeros(2, 5, 3),
    "pointcloud": torch.zeros(2, 3, 8, 8),
    "text": torch.zeros(2, 5),
    "translation": torch.zeros(2, 5),
    "dialogue": torch.zeros(2, 5),
}


@pytest.mark.parametrize("task", list(TASKS))
def test_other_samples_are_refused(task):
    with pytest.raises(BadData, match="choose the task that fits"):
        TASKS.build(task).augment(SAMPLES[task], torch.Generator())
