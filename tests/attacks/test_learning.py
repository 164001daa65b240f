"""What attackers learn with: a surrogate whose parts belong together, and batches of the stored images."""

import torch

from attacking import images
from detrojan.attacks._learning import batches, surrogate
from detrojan.attacks.badnets import BadNets
from detrojan.recipe import Recipe
from detrojan.victim import train


class Visitor(BadNets):
    """Keeps the workshop that it was shown."""

    def forge(self, workshop):
        Visitor.seen = surrogate(workshop, 40)
        return self


def test_a_surrogates_scores_are_its_features_times_its_head_plus_a_bias():
    samples = images()
    train("detrojan:small_cnn", samples, attack=Visitor(), recipe=Recipe(epochs=1), device="cpu", precision="fp32",
          in_channels=3, num_classes=5)  # fmt: skip
    network, pixels = Visitor.seen, samples.inputs[:6].float().div(255).requires_grad_()
    scores = network(pixels)
    bias = scores - network.features(pixels) @ network.head.T
    assert scores.shape == (6, 5)
    torch.testing.assert_close(bias, bias[:1].expand(6, -1), atol=1e-4, rtol=1e-4)
    assert not network.head.requires_grad
    (slope,) = torch.autograd.grad(scores.sum(), pixels)
    assert slope.abs().sum() > 0


def test_batches_are_pixels_without_repeats():
    samples = images(count=10)
    drawn = list(batches(samples.inputs, steps=3, size=4, generator=torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in drawn] == [4, 4, 4]
    assert all(batch.amin() >= 0 and batch.amax() <= 1 for batch in drawn)
    assert all(len(batch.flatten(1).unique(dim=0)) == 4 for batch in drawn)
    assert len(next(batches(samples.inputs, steps=1, size=99, generator=torch.Generator()))) == 10
