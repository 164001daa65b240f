"""One table over networks of torchvision, timm and transformers: masks are exact, folding is plain and exact."""

import copy

import pytest
import torch
from torch import Tensor, nn

from detrojan.errors import Unsupported
from detrojan.masks import Masks
from networks import NETWORKS, Case, build

pytest.importorskip("timm")
pytest.importorskip("transformers")

WITHOUT_NORMS = {"vgg", "squeezenet", "timm_nfnet", "lstm", "lstm_projected", "gru", "rnn"}
WITHOUT_CHANNELS = {
    "timm_std_resnet"
}  # all its convolutions standardise their weights, and its output layer is left out
PLACEMENTS = [
    (placement, name)
    for name in NETWORKS
    for placement in ("norm", "neuron", "channel")
    if name not in (WITHOUT_CHANNELS if placement == "channel" else WITHOUT_NORMS)
]


@pytest.mark.parametrize(("placement", "name"), PLACEMENTS)
def test_masks_are_exact_on(name, placement):
    case = build(name)
    before = copy.deepcopy(case.network.state_dict())
    masks = Masks(case.network, placement)

    victim = copy.deepcopy(case.network).requires_grad_(False)  # some kernels round by whether weights are trainable
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs(case, masks, victim)), "ones are no identity"

    torch.manual_seed(1)
    for factor in masks.factors:
        nn.init.uniform_(factor, 0.0, 1.0)
    folded = masks.fold()
    for ours, theirs in pairs(case, folded, masks):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert type(folded) is type(case.network)
    assert [type(m) for m in folded.modules()] == [type(m) for m in case.network.modules()]
    assert layout(folded) == layout(case.network)
    assert all(torch.equal(tensor, before[key]) for key, tensor in case.network.state_dict().items())

    gradients = gradients_of(case, masks)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) > 0.5 * len(gradients)
    assert all(p.grad is None for p in masks.network.parameters())


@pytest.mark.parametrize("name", sorted(WITHOUT_NORMS | WITHOUT_CHANNELS))
def test_a_network_without_such_layers_is_refused_with_the_other_placement(name):
    placement, other = ("norm", "channel") if name in WITHOUT_NORMS else ("channel", "norm")
    with pytest.raises(Unsupported, match=f"finds no place for a mask in .* use placement='{other}'"):
        Masks(build(name).network, placement)


AUTO = {"vgg": "channel", "vgg_bn": "norm", "timm_std_resnet": "norm", "hf_bert": "channel", "lstm": "channel"}


@pytest.mark.parametrize(("name", "expected"), AUTO.items())
def test_auto_chooses_by_what_the_network_has(name, expected):
    network = build(name).network
    assert Masks(network).names == Masks(network, expected).names


@torch.no_grad()
def pairs(case: Case, one: nn.Module, other: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Outputs of two networks side by side, in eval mode, of the same number and shapes, and finite."""
    ours, theirs = case.run(one.eval()), case.run(other.eval())
    assert [t.shape for t in ours] == [t.shape for t in theirs] != []
    assert all(tensor.isfinite().all() for tensor in ours)
    return [pair for pair in zip(ours, theirs, strict=True) if pair[0].numel()]


def layout(network: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
    return [(key, tensor.shape, tensor.dtype) for key, tensor in network.state_dict().items()]


def gradients_of(case: Case, masks: Masks) -> list[Tensor | None]:
    """Gradients of a generic scalar of the outputs in train mode with respect to the factors."""
    weighted = (t * torch.linspace(0.5, 1.5, t.numel()).view_as(t) for t in case.run(masks.train()))
    torch.stack([t.square().sum() for t in weighted]).sum().backward()
    return [factor.grad for factor in masks.factors]
