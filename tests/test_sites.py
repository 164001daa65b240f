"""What a layer can carry: every kind of layer is masked exactly, and where it cannot be, left out with the reason."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from detrojan.errors import BadArgument, Unsupported
from detrojan.masks import Masks
from masking import Net, assert_folds, conv_net, images


class Attention(nn.Module):
    """One attention layer with key and value of their own widths, and a head."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True, **settings), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        attend = self.attend
        return self.head(attend(x, x[..., : attend.kdim], x[..., : attend.vdim])[0])


# Where masks sit


NORMS = {
    "batch 1d": (nn.BatchNorm1d(6), (4, 6)),
    "batch 2d": (nn.BatchNorm2d(6), (4, 6, 3, 3)),
    "batch 3d": (nn.BatchNorm3d(6), (4, 6, 2, 2, 2)),
    "synchronised": (nn.SyncBatchNorm(6), (4, 6, 3)),
    "layer": (nn.LayerNorm(6), (4, 3, 6)),
    "layer without bias": (nn.LayerNorm(6, bias=False), (4, 3, 6)),
    "root mean square": (nn.RMSNorm(6), (4, 3, 6)),
    "group": (nn.GroupNorm(2, 6), (4, 6, 5)),
    "instance": (nn.InstanceNorm2d(6, affine=True), (4, 6, 3, 3)),
}


@pytest.mark.parametrize("placement", ["norm", "neuron"])
@pytest.mark.parametrize("kind", NORMS)
def test_a_norm_is_masked_on_its_weight_or_as_a_whole(kind, placement):
    norm, shape = NORMS[kind]
    norm = copy.deepcopy(norm).eval()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    masks = Masks(Net(norm=norm), placement)
    inputs = torch.randn(shape)
    assert_folds(masks, inputs)
    masks.factors[0].data.zero_()
    bias = getattr(norm, "bias", None)
    rest = torch.zeros(6) if placement == "neuron" or bias is None else bias.detach()
    axis = -1 if shape[-1] == 6 else 1
    assert torch.equal(masks(inputs).movedim(axis, -1), rest.expand(masks(inputs).movedim(axis, -1).shape))


UNITS = {
    "conv 1d": (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9)),
    "conv 2d": (nn.Conv2d(4, 6, 3, padding_mode="reflect", padding=1), (2, 4, 9, 9)),
    "conv 3d": (nn.Conv3d(4, 6, 1), (2, 4, 3, 3, 3)),
    "conv unbatched": (nn.Conv2d(4, 6, 3, bias=False), (4, 9, 9)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3), (2, 4, 9)),
    "transposed grouped": (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "transposed 3d": (nn.ConvTranspose3d(4, 6, 1), (2, 4, 3, 3, 3)),
    "linear": (nn.Linear(4, 6), (2, 3, 4)),
}


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_at_zero_is_silent_and_the_others_are_untouched(kind):
    layer, shape = UNITS[kind]
    network = Net(layer=layer)
    masks = Masks(network, lambda name, module: name == "layer")
    inputs = torch.randn(shape)
    masks.factors[0].data[1] = 0.0
    axis = -1 if kind == "linear" else (0 if kind == "conv unbatched" else 1)
    for masked in (masks(inputs), masks.fold()(inputs)):
        expected = network(inputs).movedim(axis, 0).clone()
        expected[1] = 0
        assert torch.allclose(masked.movedim(axis, 0), expected, atol=1e-6)
    assert_folds(masks, inputs)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ("attend.in_proj", "attend.out_proj")),
        ({"kdim": 4, "vdim": 6}, ("attend.q_proj", "attend.k_proj", "attend.v_proj", "attend.out_proj")),
    ],
)
def test_attention_is_masked_on_its_projections_also_on_its_fast_path(settings, names):
    masks = Masks(Attention(**settings).eval(), "channel")
    assert masks.names == names
    inputs = torch.randn(2, 3, 8)
    assert_folds(masks, inputs)
    slow = masks(inputs)
    with torch.no_grad():
        assert torch.allclose(masks(inputs), slow, atol=1e-6)
    picked = Masks(Attention(**settings), lambda _, module: isinstance(module, nn.MultiheadAttention))
    assert picked.names == names


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_recurrent_cell_has_one_factor_per_hidden_unit(cell):
    network = Net(cell=cell(5, 7), head=nn.Linear(7, 2))
    masks = Masks(network, "channel")
    assert (masks.names, [len(f) for f in masks.factors]) == (("cell",), [7])
    assert_folds(masks, torch.randn(3, 5))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_masked_recurrent_unit_stays_at_zero(kind):
    network = Net(rnn=kind(5, 7, 2, bidirectional=True), head=nn.Linear(14, 2))
    masks = Masks(network, "channel")
    assert masks.names == ("rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse")
    masks.factors[2].data[3] = 0.0
    inputs = torch.randn(4, 3, 5)
    hidden = masks.network.rnn(inputs)[0]
    assert not hidden[..., 3].any()
    assert hidden[..., 4].all()
    assert torch.equal(hidden, masks.fold().rnn(inputs)[0])


# Layers whose code is not torch's own


class Centred(nn.Module):
    """A norm whose scale is 1 + weight."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((units,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


class CentredNorm(Centred):
    """Recognised as a norm by its name."""


class ResponseNorm(Centred):
    """Adds its input: no factor on the weight silences a unit."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * x.square()


class Cosine(nn.Linear):
    """A linear layer that ignores the length of its rows."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, nn.functional.normalize(self.weight), self.bias)


class Padded(nn.Conv2d):
    """A convolution with code of its own that keeps its rows linear."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


class ReadFromOutside(nn.Module):
    """Uses a layer's tensors without calling the layer, as fused attentions do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.linear(x, self.inner.weight, self.inner.bias).relu())


def test_a_centred_norm_is_silenced_at_zero():
    masks = Masks(Net(norm=CentredNorm(6)), "norm")
    inputs = torch.randn(2, 3, 6)
    assert_folds(masks, inputs)
    masks.factors[0].data.zero_()
    assert masks(inputs).abs().max() < 1e-6


def test_layers_on_which_a_factor_is_lost_are_left_out_or_refused():
    network = Net(norm=ResponseNorm(6), cosine=Cosine(6, 6), plain=nn.Linear(6, 6), head=nn.Linear(6, 2))
    assert Masks(network, "channel").names == ("plain",)
    with pytest.raises(Unsupported, match="placement='norm' finds no place"):
        Masks(network, "norm")
    for name, reason in (("norm", "lets its input through"), ("cosine", "does not come out as a factor on its unit")):
        with pytest.raises(BadArgument, match=rf"picks '{name}' .* {reason}"):
            Masks(network, lambda own, _, name=name: own == name)


def test_a_strangers_convolution_that_is_linear_in_its_rows_is_masked():
    network = nn.Sequential(Padded(3, 6, 3), nn.Flatten(), nn.Linear(6 * 64, 2))
    masks = Masks(network, "channel")
    assert masks.names == ("0",)
    assert_folds(masks, images())


def test_tensors_read_from_outside_are_masked_too():
    masks = Masks(ReadFromOutside(), "channel")
    assert_folds(masks, torch.randn(3, 4))
    masks(torch.randn(3, 4)).sum().backward()
    assert masks.factors[0].grad.any()


# Reparametrised weights


REPARAMETRISED = {
    "weight norm by hooks": weight_norm,
    "weight norm by parametrisation": parametrizations.weight_norm,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_weight_norm_and_pruning_are_folded_into_their_own_tensors(kind):
    victim = conv_net(wrap=REPARAMETRISED[kind])
    victim(images())
    masks = Masks(victim, "channel")
    assert masks.names == ("0", "4")
    folded = assert_folds(masks, images())
    assert list(folded.state_dict()) == list(victim.state_dict())
    assert [type(m) for m in folded.modules()] == [type(m) for m in victim.modules()]
    masks.train()(images()).sum().backward()
    assert all(factor.grad.any() for factor in masks.factors)
    assert len(folded[0]._forward_pre_hooks) == len(victim[0]._forward_pre_hooks)


def doubled(layer: nn.Module) -> nn.Module:
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Softplus())
    return layer


OTHER = {
    "spectral norm by hooks": spectral_norm,
    "spectral norm by parametrisation": parametrizations.spectral_norm,
    "weight norm over inputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "another": doubled,
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_reparametrisations_are_left_out_or_refused(kind):
    network = nn.Sequential(OTHER[kind](nn.Conv2d(3, 6, 3)), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 2)).eval()
    assert_folds(Masks(network, "channel", where=lambda name, _: name != "3"), images())
    assert Masks(network, "channel").names == ("1",)
    with pytest.raises(BadArgument, match=r"picks '0' .* has its 'weight' computed by a reparametrisation"):
        Masks(network, lambda name, _: name == "0")
