"""Networks of clips: shapes, the published sizes, and the whole way from a victim to a purified network."""

import pytest
import torch

import detrojan
from detrojan import architectures
from detrojan.data.load import load
from detrojan.defenses.nft import NFT
from detrojan.recipe import Recipe

SIZES = {"r3d18": 33_371_472, "r2plus1d18": 31_505_325}
"""torchvision's weights for 400 classes, r3d_18 and r2plus1d_18, with stems of their own size (see the test)."""
NARROW = ("r3d10", "r3d18", "r2plus1d10", "r2plus1d18", "cnn_lstm")


def weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "theirs"), [("r3d18", "r3d_18"), ("r2plus1d18", "r2plus1d_18")])
def test_but_for_the_stem_they_are_torchvisions(name, theirs):
    with torch.device("meta"):
        ours = architectures.build(f"detrojan:{name}", num_classes=400)
        published = architectures.build(f"torchvision:{theirs}")
    assert weights(published) == SIZES[name]
    assert weights(ours) - weights(ours.stem) == weights(published) - weights(published.stem)
    keys, known = ([key for key in net.state_dict() if not key.startswith("stem")] for net in (ours, published))
    assert keys == known


@pytest.mark.parametrize(("frames", "side"), [(1, 16), (4, 16), (8, 40)])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_ones_give_scores_that_depend_on_the_clip(name, frames, side):
    torch.manual_seed(0)
    network = architectures.build(f"detrojan:{name}", width=4, num_classes=7, in_channels=1).eval()
    scores = network(torch.rand(4, 1, frames, side, side) * torch.arange(4.0).view(4, 1, 1, 1, 1))
    assert scores.shape == (4, 7)
    assert scores.std(0).min() > 1e-5
    assert network.get_parameter("fc.weight").shape[0] == 7


@pytest.mark.parametrize("name", NARROW)
def test_the_order_of_the_frames_matters(name):
    torch.manual_seed(0)
    network = architectures.build(f"detrojan:{name}", width=4).eval()
    clips = torch.rand(2, 3, 4, 16, 16)
    assert not torch.allclose(network(clips), network(clips.flip(2)))


SMALL = [
    ("detrojan:r3d10", {"width": 2}),
    ("detrojan:cnn_lstm", {"width": 4}),
    ("torchvision:mc3_18", {}),
]


@pytest.mark.parametrize(("name", "settings"), SMALL)
def test_from_a_victim_to_a_purified_network(name, settings):
    clips = load("motions:per_class=2,frames=4,size=16")
    recipe = Recipe(epochs=1, batch=6, learning_rate=0.01)
    victim = detrojan.train(name, clips, task="video", recipe=recipe, num_classes=6, device="cpu", **settings)
    assert victim.record["task"] == "video"
    result = detrojan.purify(victim.model, clips, task="video", method=NFT(steps=2), device="cpu")
    assert type(result.model) is type(victim.model)
    assert result.model(clips.inputs[:2].float() / 255).shape == (2, 6)
