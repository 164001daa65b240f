"""What a layer can carry: the tensors that belong to each of its units, or the reason why a mask cannot sit there.

A layer carries masks only if a factor on its rows is a factor on its units. Layers whose code is torch's own are known
to be so; any other code (standardised weights, cosine heads, `1 + weight` norms) is tried on random inputs.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.SyncBatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CARRIERS = (
    "norms with a weight of one value per unit, Conv1-3d, ConvTranspose1-3d, Linear, transformers' Conv1D, "
    "MultiheadAttention, LSTM, GRU, RNN and their cells"
)
HEADS = ("num_heads", "n_heads", "num_attention_heads")
JOINING = ("out_proj", "o_proj", "o", "c_proj", "proj")
"""What attentions of torch, transformers and timm call the number of their heads, and the layer that joins them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The part of one tensor that belongs to each unit of a site's masks.

    `stored` is the path, from the module, of the tensor that holds the scale (`weight_g` under weight norm). `masks`
    are the site's masks that lie one after the other along `axis`. A transposed convolution of several `groups` has
    its units in blocks. `offset` is what the layer itself adds to the tensor (1 in Gemma's norms). Each unit has `each`
    places along the axis (an attention head has as many as it is wide); the last `rest` places belong to none (gates).
    """

    stored: str
    masks: tuple[int, ...] = (0,)
    axis: int = 0
    groups: int = 1
    offset: float = 0.0
    each: int = 1
    rest: int = 0

    def scale(self, tensor: Tensor, factors: Sequence[Tensor]) -> Tensor:
        """Multiply each unit's part by its factor; the result keeps the tensor's dtype."""
        factor = factors[self.masks[0]] if len(self.masks) == 1 else torch.cat([factors[i] for i in self.masks])
        if self.each > 1:
            factor = factor.repeat_interleave(self.each)
        if self.rest:
            factor = torch.cat([factor, factor.new_ones(self.rest)])
        tail = (1,) * (tensor.ndim - self.axis - 1)
        if self.groups > 1:
            blocks = factor.view(self.groups, 1, -1).expand(-1, len(tensor) // self.groups, -1)
            factor = blocks.reshape(len(tensor), -1, *tail)
        elif tail:
            factor = factor.view(-1, *tail)
        scaled = tensor * factor
        return (scaled + self.offset * (factor - 1) if self.offset else scaled).to(tensor.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One module with its masks: their names and numbers of units, and the tensors that they scale.

    `output_axis`: the axis of the module's output, counted from the end, that may be scaled instead of the tensors.
    """

    module: nn.Module
    masks: tuple[tuple[str, int], ...]
    tensors: dict[str, Rows]
    output_axis: int | None = None

    def stored(self) -> list[Tensor]:
        """The tensors that hold the scale of the units, which are those that folding changes."""
        return [attrgetter(rows.stored)(self.module) for rows in self.tensors.values()]

    def fold(self, factors: Sequence[Tensor]) -> None:
        """Write the factors (one vector per mask) into the module's own tensors."""
        with torch.no_grad():
            for name, rows in self.tensors.items():
                stored = attrgetter(rows.stored)(self.module)
                stored.copy_(rows.scale(stored, factors))
                if isinstance(computed := vars(self.module).get(name), Tensor):  # by a hook, before the last forward
                    vars(self.module)[name] = rows.scale(computed.detach(), factors)


def duplicate(module: nn.Module) -> nn.Module:
    """Copy a module; tensors that its hooks computed (old weight norm, pruning) are copied without their history."""
    held = (value for part in module.modules() for value in vars(part).values())
    memo = {id(value): value.detach().clone() for value in held if isinstance(value, Tensor) and not value.is_leaf}
    return deepcopy(module, memo)


def is_norm(module: nn.Module) -> bool:
    """Say whether a module is a norm, of torch or of someone else, with a weight of one value per unit."""
    weight = getattr(module, "weight", None)
    named = isinstance(module, NORMS) or "norm" in type(module).__name__.lower()
    return named and isinstance(weight, Tensor) and weight.ndim == 1 and weight.is_floating_point()


def norm_site(name: str, module: nn.Module, *, whole: bool) -> Site | str:
    """Describe a norm: a mask on its weight, and with `whole` on its bias too; or say why it cannot carry one."""
    weight: Any = module.weight
    tensors = {tensor: Rows(stored=tensor) for tensor in (("weight", "bias") if whole else ("weight",))}
    site = _site(module, ((name or "norm", len(weight)),), tensors)
    if isinstance(site, str) or type(module).forward in [norm.forward for norm in NORMS]:
        return site
    for offset in (0.0, 1.0):
        rows = replace(site.tensors["weight"], offset=offset)
        candidate = replace(site, tensors=site.tensors | {"weight": rows})
        if _silences(candidate):
            return candidate
    return "lets its input through when its weight is masked; pick another layer"


def channel_site(name: str, module: nn.Module) -> Site | str:
    """Describe the output units of a convolution, linear, attention or recurrent layer, or say why it has none."""
    if isinstance(module, nn.MultiheadAttention):
        return _attention(name, module)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return _recurrent(name, module)
    if not (is_conv1d(module) or isinstance(module, (nn.Linear, *CONVOLUTIONS))):
        return f"cannot carry a mask: masks sit on {CARRIERS}"
    if isinstance(weight := module.weight, Tensor) and not weight.is_floating_point():
        return f"holds its weight as {weight.dtype}, which has no rows to scale; use the unquantised network"
    return _feed_forward(name, module)


def heads_site(name: str, module: nn.Module) -> Site | str:
    """Describe the heads of an attention: a factor on each scales what the layer that joins them takes in from it."""
    joining: Any = next((found for each in JOINING if (found := getattr(module, each, None)) is not None), None)
    if not (is_conv1d(joining) or isinstance(joining, nn.Linear)) or not isinstance(joining.weight, Tensor):
        return "is no attention with heads and a linear layer that joins them"
    axis = 0 if is_conv1d(joining) else 1
    width, wide = joining.weight.shape[axis], getattr(module, "head_dim", None)
    counted = (found for each in HEADS if isinstance(found := getattr(module, each, None), int))
    heads = next(counted, width // wide if isinstance(wide, int) and wide else 0)
    if heads < 1 or width % heads:
        return "is no attention with heads of equal widths"
    rows = Rows(stored="weight", axis=axis, each=width // heads)
    site = _site(joining, ((f"{name}.heads" if name else "heads", heads),), {"weight": rows})
    if isinstance(site, Site) and site.tensors["weight"].stored != "weight":
        return "joins its heads by a layer with a reparametrised weight; remove the reparametrisation first"
    return site


def is_conv1d(module: nn.Module) -> bool:
    """Say whether a module is transformers' Conv1D, a linear layer whose weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def _feed_forward(name: str, module: Any) -> Site | str:
    """Units of a convolution or linear layer; standardised weights are scaled by their `gain` where they have one."""
    transposed = bool(getattr(module, "transposed", False))
    if getattr(module, "gated", False) is True and isinstance(module, CONVOLUTIONS) and not transposed:
        return _gated(name, module)
    axis, groups = int(transposed or is_conv1d(module)), module.groups if transposed else 1
    units, output_axis = module.weight.shape[axis] * groups, 1 - module.weight.ndim
    masks, bias = ((name or "layer", units),), {"bias": Rows(stored="bias")}
    site = _site(module, masks, {"weight": Rows(stored="weight", axis=axis, groups=groups), **bias}, output_axis)
    if isinstance(site, str) or _is_plain(module) or _scales(site):
        return site
    site = _site(module, masks, {"gain": Rows(stored="gain"), **bias}, output_axis)
    if isinstance(site, Site) and "gain" in site.tensors and _scales(site):
        return site
    return "computes its weight so that a factor on a row does not come out as a factor on its unit; pick another layer"


def _gated(name: str, module: Any) -> Site | str:
    """Units of a convolution behind its gate: the factors scale the first half of its channels, and not the gates."""
    units, output_axis = module.out_channels // 2, 1 - module.weight.ndim
    tensors = {tensor: Rows(stored=tensor, rest=units) for tensor in ("weight", "bias")}
    return _site(module, ((name or "layer", units),), tensors, output_axis)


def _attention(name: str, module: nn.MultiheadAttention) -> Site | str:
    """The input projections: fused (3 E units), or query, key and value apart where their widths differ."""
    prefix = f"{name}." if name else ""
    if module.in_proj_weight is not None:
        tensors = {tensor: Rows(stored=tensor) for tensor in ("in_proj_weight", "in_proj_bias")}
        return _site(module, ((f"{prefix}in_proj", len(module.in_proj_weight)),), tensors)
    parts = ("q_proj", "k_proj", "v_proj")
    tensors = {f"{part}_weight": Rows(stored="", masks=(index,)) for index, part in enumerate(parts)}
    tensors["in_proj_bias"] = Rows(stored="", masks=(0, 1, 2))
    return _site(module, tuple((f"{prefix}{part}", module.embed_dim) for part in parts), tensors)


def _recurrent(name: str, module: nn.RNNBase | nn.RNNCellBase) -> Site | str:
    """One mask per layer and direction; a unit's factor is the same for all of its gates."""
    layers = [""]
    if isinstance(module, nn.RNNBase):
        directions = ("", "_reverse") if module.bidirectional else ("",)
        layers = [f"_l{layer}{direction}" for layer in range(module.num_layers) for direction in directions]
    gates = len(getattr(module, f"weight_ih{layers[0]}")) // module.hidden_size
    tensors = {
        f"{kind}_{source}{layer}": Rows(stored="", masks=(index,) * gates)
        for index, layer in enumerate(layers)
        for kind in ("weight", "bias")
        for source in ("ih", "hh")
    }
    names = (".".join(part for part in (name, layer.removeprefix("_")) if part) or "cell" for layer in layers)
    return _site(module, tuple((mask, module.hidden_size) for mask in names), tensors)


def _site(
    module: nn.Module, masks: tuple[tuple[str, int], ...], tensors: dict[str, Rows], output_axis: int | None = None
) -> Site | str:
    """Build a site from the tensors that the module has; or say which of them another computation stands before."""
    present = {name: rows for name, rows in tensors.items() if isinstance(getattr(module, name, None), Tensor)}
    for name, rows in present.items():
        stored = _stored(module, name, rows)
        if stored is None:
            return (
                f"has its {name!r} computed by a reparametrisation that is no weight norm over units; remove it first"
            )
        present[name] = replace(rows, stored=stored)
    return Site(module=module, masks=masks, tensors=present, output_axis=output_axis)


def _stored(module: nn.Module, name: str, rows: Rows) -> str | None:
    """The path of the tensor that scales the rows of `name`: itself, the g of weight norm, or what pruning kept."""
    if name in module._parameters or name in module._buffers:
        return name
    path = None
    if parametrize.is_parametrized(module, name):
        steps: Any = attrgetter(f"parametrizations.{name}")(module)
        path = f"parametrizations.{name}.original0" if [type(step) for step in steps] == [_WeightNorm] else None
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            path = f"{name}_g"
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return f"{name}_orig"
    if path is None or rows.groups > 1:
        return None
    weight, scale = getattr(module, name), attrgetter(path)(module)
    per_unit = [length if axis == rows.axis else 1 for axis, length in enumerate(weight.shape)]
    return path if list(scale.shape) == per_unit else None


def _is_plain(module: nn.Module) -> bool:
    """Say whether a feed-forward layer runs torch's (or transformers' Conv1D's) own code and nothing else."""
    cls, codes = type(module), [(known.forward, getattr(known, "_conv_forward", None)) for known in CONVOLUTIONS]
    own = (cls.forward, getattr(cls, "_conv_forward", None))
    return is_conv1d(module) or cls.forward is nn.Linear.forward or own in codes


def _silences(site: Site) -> bool:
    """Try whether a norm with all its masks at 0 forgets its input, on the shapes that norms take."""
    units, like = site.masks[0][1], site.stored()[0]
    channels_first = [(2, units), (2, units, 3), (2, units, 3, 3), (2, units, 3, 3, 3)]
    channels_last = [(2, 3, units), (2, 3, 3, units)]
    norm = replace(site, module=duplicate(site.module).eval())
    norm.fold([torch.zeros(units, device=like.device)])
    for shape in channels_first + channels_last:
        one, other = (_try(norm.module, shape, like, seed) for seed in (0, 1))
        if one is not None and other is not None and torch.equal(one, other):
            return True
    return False


def _scales(site: Site) -> bool:
    """Try whether random factors on a layer's rows come out as the same factors on its output."""
    module: Any = duplicate(site.module).eval()
    like = site.stored()[0]
    shape: tuple[int, ...] = (2, module.weight.shape[-1])
    if isinstance(module, CONVOLUTIONS):
        reach = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        shape = (2, module.in_channels, *reach)
    factor = torch.linspace(0.25, 1.0, site.masks[0][1], device=like.device)
    before = _try(module, shape, like, 0)
    replace(site, module=module).fold([factor])
    after = _try(module, shape, like, 0)
    if before is None or after is None or before.ndim != len(shape):
        return False
    expected = before.float() * factor.view(-1, *(1,) * (len(shape) - 2))
    tolerance = 1e-4 if like.dtype in (torch.float32, torch.float64) else 2e-2
    return bool((after.float() - expected).abs().max() <= tolerance * expected.abs().max())


def _try(module: nn.Module, shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor | None:
    """Run a layer's own code on random input, past all hooks; None where it does not take such input."""
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like.device, like.dtype)
    try:
        with torch.no_grad():
            output = type(module).forward(module, inputs)
    except Exception:  # a stranger's code may fail in any way; then it is not a layer that we know
        return None
    return output if isinstance(output, Tensor) and output.isfinite().all() else None
