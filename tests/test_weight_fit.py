"""Weights and networks: prefixes, ties, and the sentence for each way in which they do not fit."""

import pytest
import torch
from torch import nn

from detrojan import checkpoint
from detrojan.errors import BadWeights


class Net(nn.Module):
    """A convolution, a norm and a head."""

    def __init__(self, num_classes=3, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)


class Tied(nn.Module):
    """A language model's embedding, tied to its output."""

    def __init__(self, *, tied=True):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        if tied:
            self.out.weight = self.embed.weight


def _saved(path, document, **options):
    torch.save(document, path, **options)
    return path


def _same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "backbone.net."])
@pytest.mark.parametrize("where", ["file", "network"])
def test_a_common_prefix_is_stripped_or_added(prefix, where, tmp_path):
    plain, wrapped = Net(), Net()
    for name in reversed(prefix.split(".")[:-1]):
        wrapped = nn.ModuleDict({name: wrapped})
    source, target = (wrapped, plain) if where == "file" else (plain, wrapped)
    read = checkpoint.read(_saved(tmp_path / "a.pth", source.state_dict()))
    assert checkpoint.load_into(target, read) is target
    assert not target.training
    for one, other in zip(source.state_dict().values(), target.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_wrapped_modules_take_plain_files(tmp_path):
    read = checkpoint.read(_saved(tmp_path / "a.pth", Net().state_dict()))
    loaded = checkpoint.load_into(nn.DataParallel(Net()), read)
    assert torch.equal(loaded.module.conv.weight, read.state["conv.weight"])


@pytest.mark.parametrize(
    ("change", "network", "sentence"),
    [
        (lambda s: s.pop("fc.bias"), Net, r"does not fit Net: 1 keys missing \(fc.bias\); check --arch"),
        (lambda s: s.update(extra=torch.ones(1)), Net, r"1 unexpected \(extra\)"),
        (lambda s: None, lambda: Net(num_classes=7), r"2 of another shape \(fc.weight is 3x4 .*7x4.*num_classes=3$"),
        (
            lambda s: None,
            lambda: Net(width=8),
            r"7 of another shape \(conv.weight is 4x3x3x3 .* and 4 more\); check --arch",
        ),
        (lambda s: None, lambda: nn.Linear(2, 2), r"2 keys missing \(weight, bias\), 9 unexpected \(.* and 6 more\)"),
        (lambda s: s["fc.bias"].fill_(float("nan")), Net, r"NaN or infinite values in fc.bias"),
        (lambda s: s["bn.running_var"].fill_(float("inf")), Net, r"NaN or infinite values in bn.running_var"),
        (
            lambda s: s.update({"fc.bias": torch.ones(3, dtype=torch.int8)}),
            Net,
            r"fc.bias holds integer numbers \(torch.int8\)",
        ),
        (lambda s: s.update({"fc.bias": torch.ones(3, dtype=torch.complex64)}), Net, r"fc.bias holds complex numbers"),
        (lambda s: s.update({"fc.bias": torch.ones(3).to_sparse()}), Net, r"fc.bias is a sparse tensor"),
        (lambda s: s.update({"fc.bias": torch.ones(3, device="meta")}), Net, r"fc.bias is a data-less \(meta\) tensor"),
        (
            lambda s: s.update({"fc.bias": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}),
            *(Net, r"fc.bias is a quantized tensor"),
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, network, sentence, tmp_path):
    state = Net().state_dict()
    change(state)
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    read = checkpoint.read(_saved(tmp_path / "a.pth", state))
    with pytest.raises(BadWeights, match=sentence):
        checkpoint.load_into(model, read)
    _same(model.state_dict(), before)


def test_old_files_without_batch_counters_fit(tmp_path):
    state = {name: value for name, value in Net().state_dict().items() if "tracked" not in name}
    model = checkpoint.load_into(Net(), checkpoint.read(_saved(tmp_path / "a.pth", state)))
    assert torch.equal(model.conv.weight, state["conv.weight"])


def test_tied_weights_may_be_there_once_and_must_agree(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", Tied())
    read = checkpoint.read(tmp_path / "a.safetensors")
    assert list(read.state) == ["embed.weight"]
    assert torch.equal(checkpoint.load_into(Tied(), read).out.weight, read.state["embed.weight"])
    apart = checkpoint.read(_saved(tmp_path / "b.pth", Tied(tied=False).state_dict()))
    with pytest.raises(BadWeights, match=r"different values for embed.weight and out.weight"):
        checkpoint.load_into(Tied(), apart)
