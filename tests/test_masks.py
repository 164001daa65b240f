"""Masks: modes and statistics, what is computed, what folding leaves, schedules, refusals."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import VisionTransformer

from detrojan.errors import BadArgument, Unsupported
from detrojan.masks import Masks, MaskSummary
from detrojan.models.preact_resnet import PreActResNet
from masking import assert_folds, conv_net, images, randomise

# Statistics and modes


@pytest.mark.parametrize("placement", ["channel", lambda name, _: name == "0"])
def test_channel_masks_before_batch_statistics_are_refused(placement):
    sentence = (
        "cancelled by the norm .* no gradient: '1' .BatchNorm2d. uses batch statistics; use statistics='frozen' or"
    )
    with pytest.raises(BadArgument, match=sentence):
        Masks(conv_net(), placement, statistics="batch")
    assert Masks(conv_net(), placement).train()(images()).shape == (4, 2)


@pytest.mark.parametrize(
    "norm",
    [
        lambda units: nn.BatchNorm2d(units, track_running_stats=False),
        nn.InstanceNorm2d,
        lambda units: nn.GroupNorm(units, units),
    ],
)
def test_channel_masks_before_norms_that_cannot_be_frozen_are_refused(norm):
    with pytest.raises(BadArgument, match="even with statistics='frozen'; use placement='norm' or a predicate"):
        Masks(conv_net(norm), "channel")
    assert Masks(conv_net(norm), lambda name, _: name == "4").names == ("4",)


def test_norms_that_the_victim_keeps_frozen_are_no_trap():
    class AlwaysEval(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> nn.Module:
            return super().train(False)

    masks = Masks(conv_net(AlwaysEval), "channel", statistics="batch")
    assert masks.names == ("0", "4")


@pytest.mark.parametrize(("statistics", "moves"), [("batch", True), ("frozen", False)])
def test_batch_statistics_move_in_the_masks_and_their_fold_only(statistics, moves):
    victim = conv_net()
    victim[0].weight.requires_grad_(False)
    victim[1].train()
    state, modes = copy.deepcopy(victim.state_dict()), [m.training for m in victim.modules()]
    flags = [p.requires_grad for p in victim.parameters()]
    masks = Masks(victim, "neuron", statistics=statistics).train()
    for _ in range(3):
        masks(images() + 1).sum().backward()
    folded = masks.fold()
    assert torch.equal(folded[1].running_mean, state["1.running_mean"]) is not moves
    assert all(torch.equal(tensor, state[key]) for key, tensor in victim.state_dict().items())
    for network in (victim, folded):
        assert [m.training for m in network.modules()] == modes
        assert [p.requires_grad for p in network.parameters()] == flags
    assert all(p.grad is None for p in victim.parameters())


@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_is_a_switch(dropout):
    masks = Masks(conv_net(), "norm", dropout=dropout).train()
    assert masks.network[3].training is dropout
    assert torch.equal(masks(images()), masks(images())) is not dropout
    assert masks.eval().network[3].training is False


# What is computed


def test_no_gradient_of_the_large_weights_is_formed():
    masks = Masks(conv_net(), "channel").train()
    output = masks(images())
    output.sum().backward()
    assert all((p.grad is not None) == name.startswith("factors") for name, p in masks.named_parameters())
    sizes = {tuple(t.shape) for t in leaves(output.grad_fn)}
    assert sizes == {(6,), (4,)}


def leaves(node: torch.autograd.graph.Node | None) -> list[Tensor]:
    """The tensors at the end of an autograd graph."""
    if node is None:
        return []
    own = [node.variable] if hasattr(node, "variable") else []
    return own + [tensor for following, _ in node.next_functions for tensor in leaves(following)]


@pytest.mark.parametrize("placement", ["norm", "channel"])
def test_factors_are_right_under_activation_checkpointing(placement):
    masks = randomise(Masks(conv_net(), placement)).eval()
    masks(images()).square().sum().backward()
    expected = [factor.grad.clone() for factor in masks.factors]
    masks.zero_grad()
    checkpoint(masks, images(), use_reentrant=False).square().sum().backward()
    assert all(torch.allclose(f.grad, g) for f, g in zip(masks.factors, expected, strict=True))


@pytest.mark.parametrize("placement", ["norm", "neuron", "channel"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_keep_fp32_factors(dtype, placement):
    masks = Masks(conv_net().to(dtype), placement)
    assert_folds(masks, images(dtype), tolerance=5e-2)
    masks(images(dtype)).sum().backward()
    assert {f.dtype for f in masks.factors} == {f.grad.dtype for f in masks.factors} == {torch.float32}
    assert {t.dtype for t in masks.fold().parameters()} == {dtype}


def test_autocast_keeps_fp32_factors_in_the_graph():
    masks = Masks(conv_net(), "channel").train()
    with torch.autocast("cpu", torch.bfloat16):
        masks(images()).float().sum().backward()
    assert all(factor.grad.any() for factor in masks.factors)


# Folding


def test_folding_leaves_the_masks_and_gives_the_same_twice():
    masks = randomise(Masks(conv_net(), "channel"))
    before = masks.state()
    first, second = masks.fold(), masks.fold()
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert all(torch.equal(before[name], factor) for name, factor in masks.state().items())
    assert first[0].weight.data_ptr() != second[0].weight.data_ptr() != masks.network[0].weight.data_ptr()


def test_a_folded_network_is_plain():
    victim = PreActResNet((1, 1), 4).eval()
    seen = []
    victim.bn.register_forward_hook(lambda module, inputs, output: seen.append(output))
    masks = randomise(Masks(victim, "neuron"))
    folded = masks.fold()
    assert [type(m) for m in folded.modules()] == [type(m) for m in victim.modules()]
    assert [sorted(vars(m)) for m in folded.modules()] == [sorted(vars(m)) for m in victim.modules()]
    assert len(folded.bn._forward_hooks) == 1
    folded.bn._forward_hooks.clear()
    assert torch.equal(pickle.loads(pickle.dumps(folded))(images()), folded(images()))
    assert "detrojan.mask" not in str(pickle.dumps(folded))


def test_a_folded_state_dict_survives_the_disk():
    masks = randomise(Masks(conv_net(), "channel"))
    folded, file = masks.fold(), io.BytesIO()
    torch.save(folded.state_dict(), file)
    file.seek(0)
    loaded = conv_net()
    loaded.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(loaded(images()), folded(images()))


def test_masks_themselves_can_be_copied():
    masks = randomise(Masks(conv_net(), "channel")).eval()
    twin = copy.deepcopy(masks)
    twin.factors[0].data.zero_()
    assert not torch.equal(twin(images()), masks(images()))
    assert torch.equal(twin.fold()(images()), twin(images()))


# Schedules, projection, figures


@pytest.mark.parametrize(
    ("network", "count", "levels"),
    [
        (PreActResNet((1, 1), 4), "tensor", (1, 2, 3, 4, 5)),
        (PreActResNet((1, 1), 4), "block", (1, 1, 2, 2, 3)),
        (conv_net(), "block", (1,)),
        (VisionTransformer(8, 4, 2, 2, 8, 16), "block", (1, 1, 2, 2, 3)),
        (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, norm=nn.LayerNorm(8)),
            "block",
            (1, 1, 2, 2, 3),
        ),
    ],
)
def test_levels_count_tensors_or_blocks(network, count, levels):
    assert Masks(network, "norm").levels(count) == levels


def test_levels_refuse_another_count():
    with pytest.raises(BadArgument, match="levels count by 'tensor' or by 'block', got 'stage'"):
        Masks(conv_net()).levels("stage")


def test_clamp_projects_with_a_floor_per_mask():
    masks = Masks(conv_net(), "channel")
    for factor in masks.factors:
        factor.data = torch.linspace(-1, 2, len(factor))
    masks.clamp_([0.5, 0.25])
    assert [(f.min().item(), f.max().item()) for f in masks.factors] == [(0.5, 1.0), (0.25, 1.0)]
    masks.clamp_(high=0.5)
    assert all(f.max() == 0.5 for f in masks.factors)
    with pytest.raises(BadArgument, match=r"one per mask \(2\), got 3"):
        masks.clamp_([0.0, 0.0, 0.0])


def test_the_summary_counts_pruned_and_intact_factors():
    masks = Masks(conv_net(), "norm")
    masks.factors[0].data = torch.tensor([0.0, 0.005, 0.5, 0.995, 1.0, 1.0])
    (summary,) = masks.summary()
    mean = masks.factors[0].mean().item()
    assert summary == MaskSummary(name="1", count=6, pruned=pytest.approx(1 / 3), intact=0.5, mean=pytest.approx(mean))
    assert torch.equal(masks.state()["1"], masks.factors[0])


# Networks that cannot be masked


def test_a_network_that_cannot_be_copied_is_refused_with_a_way_out():
    network = conv_net()
    network.lock = threading.Lock()
    with pytest.raises(Unsupported, match=r"cannot be copied: .*; build it anew, load its state_dict"):
        Masks(network)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lazy_and_scripted_networks_are_refused():
    with pytest.raises(BadArgument, match=r"parameter '0\.weight' is still lazy .* run the network once"):
        Masks(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(Unsupported, match="TorchScript"):
        Masks(torch.jit.script(nn.Sequential(nn.Linear(2, 2))))


def test_tensors_left_by_a_forward_are_no_obstacle():
    network = conv_net()
    network.cached = network(images())
    assert_folds(Masks(network, "norm"), images())
