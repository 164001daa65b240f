"""Which layers carry masks: the order, what built-in placements leave out, what a predicate may pick."""

import pytest
import torch
from torch import nn

from detrojan.errors import BadArgument, Unsupported
from detrojan.masks import Masks
from detrojan.models.preact_resnet import PreActResNet
from masking import Net, assert_folds, conv_net


def test_names_follow_the_order_of_registration_and_factors_are_ones():
    masks = Masks(PreActResNet((1, 1), 4), "norm")
    assert masks.names == ("layers.0.0.bn1", "layers.0.0.bn2", "layers.1.0.bn1", "layers.1.0.bn2", "bn")
    assert [len(factor) for factor in masks.factors] == [4, 4, 4, 8, 8]
    assert all(torch.equal(f, torch.ones_like(f)) and f.dtype == torch.float32 for f in masks.factors)
    assert [name for name, p in masks.named_parameters() if p.requires_grad] == [f"factors.{i}" for i in range(5)]


def test_outputs_embeddings_and_tied_layers_are_left_out():
    network = Net(
        embedding=nn.Embedding(9, 4), a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=nn.Linear(4, 4), head=nn.Linear(4, 9)
    )
    network.c.weight = network.b.weight
    network.head.weight = network.embedding.weight
    assert Masks(network, lambda name, _: name == "a").names == ("a",)
    masks = Masks(Net(**dict(network.named_children()), out=nn.Linear(9, 2)), "channel")
    assert masks.names == ("a",)
    with pytest.raises(BadArgument, match=r"picks 'b' \(Linear\), which shares its tensors with another module"):
        Masks(network, lambda name, _: name == "b")


def test_a_module_reached_by_two_names_has_one_mask():
    layer = nn.Linear(4, 4)
    masks = Masks(Net(first=layer, second=layer, head=nn.Linear(4, 2)), "channel")
    assert masks.names == ("first",)
    folded = assert_folds(masks, torch.randn(3, 4))
    assert folded.second is not masks.network.second


@pytest.mark.parametrize("name", ["2", "5", "3"])
def test_a_predicate_that_picks_what_cannot_carry_is_refused_with_what_can(name):
    with pytest.raises(BadArgument, match=rf"picks '{name}' .* cannot carry a mask: masks sit on norms .*Conv1-3d"):
        Masks(conv_net(), lambda own, _: own == name)


def test_a_predicate_and_a_filter_choose_layers():
    masks = Masks(conv_net(), lambda _, module: isinstance(module, nn.Conv2d | nn.BatchNorm2d))
    assert masks.names == ("0", "1", "4")
    assert Masks(conv_net(), "channel", where=lambda name, _: name != "0").names == ("4",)
    with pytest.raises(Unsupported, match="`where` leaves out all that placement='norm' chose"):
        Masks(conv_net(), "norm", where=lambda *_: False)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"placement": "filter"},
            "placement must be 'auto', 'norm', 'neuron', 'channel', 'heads' or a predicate, got 'filter'",
        ),
        ({"statistics": "eval"}, "statistics must be 'batch' or 'frozen', got 'eval'"),
    ],
)
def test_an_unknown_setting_is_named(settings, sentence):
    with pytest.raises(BadArgument, match=sentence):
        Masks(conv_net(), **settings)
