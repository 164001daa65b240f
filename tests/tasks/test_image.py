"""What an image network's output, loss and prediction mean."""

from dataclasses import dataclass

import pytest
import torch

from detrojan.errors import BadArgument, Unsupported
from detrojan.tasks.image import Image


@dataclass
class Output:
    logits: torch.Tensor


SCORES = torch.tensor([[1.0, 3.0], [2.0, 0.0]])


@pytest.mark.parametrize("outputs", [SCORES, {"logits": SCORES}, (SCORES, None), Output(logits=SCORES)], ids=type)
def test_scores_are_found_in_what_networks_return(outputs):
    assert torch.equal(Image().logits(outputs), SCORES)
    assert Image().predict(outputs).tolist() == [1, 0]
    assert Image().loss(outputs, torch.tensor([1, 1])).shape == (2,)


@pytest.mark.parametrize(
    ("outputs", "sentence"), [(torch.zeros(2, 3, 4), r"shape \(2, 3, 4\)"), ([{"boxes": 1}], "returned dict")]
)
def test_what_is_no_classifier_is_refused(outputs, sentence):
    with pytest.raises(Unsupported, match=sentence):
        Image().logits(outputs)


def test_no_flip_means_no_flip():
    images = torch.rand(64, 1, 4, 4)
    assert torch.equal(Image(flip=False, padding=0).augment(images, torch.Generator()), images)


def test_the_padding_is_a_share():
    with pytest.raises(BadArgument, match="share"):
        Image(padding=4)
