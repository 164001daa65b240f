"""Every defense on networks of many kinds: it serves them, or says in a sentence what it misses."""

import pytest
import torch
from torch import nn

from defending import purify, quick
from detrojan import architectures
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.errors import BadArgument, Unsupported

NORMED = ("anp", "rnp", "neuron_masks", "shrink_distil", "unit")
SAID = {
    "mlp": {*NORMED, "awm", "clp", "nad", "npd"},
    "without norms": {*NORMED, "clp"},
    "vit": {"clp", "abl"},
    "no linear head": {"fine_pruning", "fst", "bti_dbf"},
    "inside a wrapper": set(),
    "preact_resnet18": set(),
    "mobilenet_v2": set(),
    "gray": set(),
    "logits in a record": set(),
    "with a head that is not used": set(),
    "weights that are computed": {"awm", "npd", "tsbd", "abl"},
    "norms without weights": {*NORMED, "nft", "clp"},
}
"""Which defenses cannot serve which network."""


class Record(nn.Module):
    """Gives its scores in a dictionary, as the models of some libraries do."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.network(images)}


class TwoHeads(nn.Module):
    """Has an auxiliary head that plays no part in its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary, self.network = nn.Linear(6, 3), small()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)


def small(channels: int = 3, *, norm: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def computed() -> nn.Module:
    network = small()
    for index in (0, 3, 7):
        nn.utils.parametrizations.weight_norm(network[index])
    return network


def plain_norms() -> nn.Module:
    network = small()
    network[1] = nn.BatchNorm2d(6, affine=False)
    return network


VARIANTS = {
    "inside a wrapper": lambda: nn.DataParallel(small()),
    "logits in a record": lambda: Record(small()),
    "with a head that is not used": TwoHeads,
    "weights that are computed": computed,
    "norms without weights": plain_norms,
}


def build(kind: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network of a kind, with the shape of its images."""
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3)), (3, 8, 8)
    if kind == "without norms":
        return small(norm=False), (3, 8, 8)
    if kind == "no linear head":
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 8, 8)
    if kind == "gray":
        return small(1), (1, 8, 8)
    if kind in VARIANTS:
        return VARIANTS[kind](), (3, 8, 8)
    if kind == "vit":
        return architectures.build("detrojan:vit_small", image_size=16, width=64, depth=2, num_classes=3), (3, 16, 16)
    if kind == "mobilenet_v2":
        return architectures.build("detrojan:mobilenet_v2", num_classes=3, width_mult=0.1), (3, 16, 16)
    return architectures.build("detrojan:preact_resnet18", num_classes=3, width=4), (3, 16, 16)


@pytest.mark.parametrize("kind", list(SAID))
@pytest.mark.parametrize("name", list(DEFENSES))
def test_a_network_is_served_or_refused_in_a_sentence(name, kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, shape = build(kind)
    labels = torch.arange(24) % 3
    images = torch.randint(0, 256, (24, *shape), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    samples = Samples(inputs=images, labels=labels)
    method = quick(name, steps=2)
    if name in SAID[kind]:
        with pytest.raises((Unsupported, BadArgument), match=r".{30,}"):
            purify(network.eval(), samples, method=method, tolerance=1.0, device="cpu")
        return
    result = purify(network.eval(), samples, method=method, tolerance=1.0, device="cpu")
    assert type(result.model) is type(network)
    assert list(result.model.state_dict()) == list(network.state_dict())
