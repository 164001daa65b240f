"""Masks: attach one factor in [0, 1] to each neuron of a network, tune the factors, fold them into a plain network.

The masked network is a frozen copy of the victim; only the factors are trainable. Where the masks sit is decided in
`placement`, what a layer can carry in `sites`, and how a layer computes with factors in `masked_layers`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detrojan.errors import BadArgument, Unsupported
from detrojan.masked_layers import attach, detach
from detrojan.parallel import sharded
from detrojan.placement import Placement, Predicate, find_sites
from detrojan.sites import Site, duplicate
from detrojan.wrappers import unwrap

__all__ = ["MaskSummary", "Masks", "Placement", "Predicate"]

BATCH_NORM = nn.modules.batchnorm._BatchNorm
INSTANCE_NORM = nn.modules.instancenorm._InstanceNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSummary:
    """One mask in figures: how many factors, what share is pruned (<= 0.01) and intact (>= 0.99), their mean."""

    name: str
    count: int
    pruned: float
    intact: float
    mean: float


@dataclass(frozen=True, slots=True)
class _Made:
    """How masks were made, and of which victim; a copy of the masks does not copy the victim."""

    again: Callable[[], "Masks"]

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Made":
        return self


class Masks(nn.Module):
    """A copy of a network with a factor on each neuron.

    The victim is copied once and never changed. Layers' own code runs as it is, so that with all factors at 1 the
    outputs are the victim's. `torch.compile`d, DataParallel and DistributedDataParallel wrappers are taken off for the
    tuning (which then runs on one device, uncompiled) and put back by `fold`.

    Args:
        model: the victim, any module.
        placement: `norm` (weights of norms), `neuron` (weights and biases of norms), `channel` (output units of
            convolutions, linear, attention and recurrent layers, biases included), `auto` (`norm` where there are norms
            of the batch, group or instance kind, else `channel`), `heads` (of attentions), or a predicate (name,
            module) that picks layers: norms get `neuron` masks, others `channel` masks.
        statistics: `batch`: in train mode batch norms use, and update, batch statistics; `frozen`: they never do.
        dropout: False keeps dropout layers (and stochastic depth) off in train mode.
        where: a further filter (name, module) on the layers that the placement chose.

    Attributes:
        factors: one fp32 vector of ones per mask, in the order of registration; the only trainable parameters.
        names: the name of each mask: its layer's, with `.in_proj` or `.q_proj` ... for the inputs of an attention,
            `.heads` for its heads, and `.l0`, `.l0_reverse` ... for the layers of a recurrent network.
        network: the masked network itself.

    Raises:
        BadArgument: a setting is wrong, or norms would cancel the masks (channel masks before batch statistics).
        Unsupported: the network has no place for such masks, or cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module,
        placement: Placement | Predicate = "auto",
        *,
        statistics: Literal["batch", "frozen"] = "frozen",
        dropout: bool = True,
        where: Predicate | None = None,
    ) -> None:
        super().__init__()
        if statistics not in ("batch", "frozen"):
            raise BadArgument(f"statistics must be 'batch' or 'frozen', got {statistics!r}")
        victim, self._rewrap = unwrap(model)
        self._made = _Made(partial(Masks, model, placement, statistics=statistics, dropout=dropout, where=where))
        _check(victim)
        self._modes = {name: module.training for name, module in victim.named_modules()}
        self._trainable = {name for name, parameter in victim.named_parameters() if parameter.requires_grad}
        self.network = _copy(victim).requires_grad_(False)
        sites = find_sites(self.network, placement, where)
        self.factors = nn.ParameterList()
        for site in sites:
            self._attach(site)
        self.names = tuple(name for site in sites for name, _ in site.masks)
        self._held = _held_in_eval(self.network, frozen=statistics == "frozen", dropout=dropout)
        self.train()
        if any(site.output_axis is not None for site in sites):
            _refuse_cancelled(self.network, chosen_by_hand=callable(placement))
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the masked network."""
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> "Masks":  # noqa: FBT001, FBT002 - torch's signature
        """Switch to train mode, save for the norms and dropouts that the settings keep in eval mode."""
        super().train(mode)
        for module in self._held:
            module.training = False
        return self

    def levels(self, count: Literal["tensor", "block"] = "tensor") -> tuple[int, ...]:
        """The l of each mask for a schedule mu(l), from 1 in order.

        By `tensor` each mask has its own; by `block` the masks of one repeated block (the innermost layer with a number
        in its path, such as `encoder.layers.3`) share one.
        """
        if count == "tensor":
            return tuple(range(1, len(self.names) + 1))
        if count != "block":
            raise BadArgument(f"levels count by 'tensor' or by 'block', got {count!r}")
        modules, order = dict(self.network.named_modules()), dict[str, int]()
        return tuple(order.setdefault(_block(name, modules), len(order) + 1) for name in self.names)

    @torch.no_grad()
    def clamp_(self, low: float | Sequence[float] = 0.0, high: float = 1.0) -> None:
        """Project all factors to [low, high] in place; `low` may be one floor per mask."""
        floors = [low] * len(self.factors) if isinstance(low, int | float) else list(low)
        if len(floors) != len(self.factors):
            raise BadArgument(f"low must be a number or one per mask ({len(self.factors)}), got {len(floors)}")
        for factor, floor in zip(self.factors, floors, strict=True):
            factor.clamp_(floor, high)

    def fold(self) -> nn.Module:
        """Return a plain network with the factors written into its weights; these masks stay as they are.

        Class, keys, their order, dtypes, trainable flags and modes are the victim's; batch norms keep the statistics
        that tuning gave them. In eval mode its outputs are the masked network's.
        """
        network = (self._again() if sharded(self) else duplicate(self)).get_submodule("network")
        detach(network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in self._trainable)
        for name, module in network.named_modules():
            module.training = self._modes[name]
        return self._rewrap(network)

    def state(self) -> dict[str, Tensor]:
        """The factors by name, copied to the processor's memory."""
        return {name: factor.detach().cpu().clone() for name, factor in zip(self.names, self.factors, strict=True)}

    def summary(self) -> tuple[MaskSummary, ...]:
        """Each mask in figures, in order."""
        return tuple(
            MaskSummary(
                name=name,
                count=factor.numel(),
                pruned=float((factor <= 0.01).float().mean()),
                intact=float((factor >= 0.99).float().mean()),
                mean=float(factor.mean()),
            )
            for name, factor in self.state().items()
        )

    @torch.no_grad()
    def _again(self) -> "Masks":
        """The same masks on another copy of the victim: a sharded network cannot be copied itself."""
        twin = self._made.again()
        theirs = dict(twin.network.named_buffers()) | dict(twin.factors.named_parameters())
        for name, value in (*self.network.named_buffers(), *self.factors.named_parameters()):
            theirs[name].copy_(value)
        return twin

    def _attach(self, site: Site) -> None:
        device, first = site.stored()[0].device, len(self.factors)
        for _, units in site.masks:
            self.factors.append(nn.Parameter(torch.ones(units, device=device)))
        attach(site, self.factors, first)


def _check(victim: nn.Module) -> None:
    if isinstance(victim, torch.jit.ScriptModule):
        raise Unsupported("a TorchScript network cannot carry masks; hand over the nn.Module that it was made from")
    lazy = (name for name, parameter in victim.named_parameters() if nn.parameter.is_lazy(parameter))
    if (name := next(lazy, None)) is not None:
        raise BadArgument(f"parameter {name!r} is still lazy and has no shape; run the network once on a batch first")


def _copy(victim: nn.Module) -> nn.Module:
    try:
        return duplicate(victim)
    except Exception as error:  # modules may hold anything: locks, files, generators
        raise Unsupported(
            f"the network ({type(victim).__name__}) cannot be copied: {error}; build it anew, load its state_dict and "
            "hand that over"
        ) from error


def _held_in_eval(network: nn.Module, *, frozen: bool, dropout: bool) -> list[nn.Module]:
    def norm(module: nn.Module) -> bool:
        tracks = "running_var" in module._buffers and not isinstance(module, INSTANCE_NORM)
        return tracks or isinstance(module, BATCH_NORM)

    def drops(module: nn.Module) -> bool:
        name = type(module).__name__
        return "Drop" in name or name == "StochasticDepth" or isinstance(module, nn.MultiheadAttention)

    return [m for m in network.modules() if (frozen and norm(m)) or (not dropout and drops(m))]


def _refuse_cancelled(network: nn.Module, *, chosen_by_hand: bool) -> None:
    """Refuse output masks before norms that divide them out again; the network is in train mode."""
    for name, module in network.named_modules():
        norm = f"{name!r} ({type(module).__name__})"
        trap = f"a channel mask is cancelled by the norm behind it and gets no gradient: {norm} uses"
        batch = isinstance(module, BATCH_NORM)
        if batch and module.training and module.running_mean is not None:
            raise BadArgument(f"{trap} batch statistics; use statistics='frozen' or placement='norm'")
        alone = isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
        always = (batch and module.running_mean is None) or alone or isinstance(module, INSTANCE_NORM)
        if always and not chosen_by_hand:
            source = "its batch" if batch else "each sample"
            raise BadArgument(
                f"{trap} the statistics of {source} even with statistics='frozen'; use placement='norm' or a predicate "
                "that picks layers with no such norm behind them"
            )


def _block(name: str, modules: dict[str, nn.Module]) -> str:
    """The innermost numbered ancestor of a mask that is more than a container, else any numbered one, else the mask.

    Numbered are `3` and, as in torchvision's vision transformers, `encoder_layer_3`.
    """
    parts = name.split(".")
    ends = [end for end in range(len(parts) - 1, 0, -1) if parts[end - 1].rpartition("_")[2].isdigit()]
    numbered = [".".join(parts[:end]) for end in ends]
    blocks = [path for path in numbered if not isinstance(modules.get(path), nn.Sequential | nn.ModuleList)]
    return next(iter(blocks or numbered), name)
