"""Which layers of a network carry masks: the built-in placements, or a user's predicate."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from torch import nn

from detrojan.errors import BadArgument, Unsupported
from detrojan.sites import CARRIERS, CONVOLUTIONS, Site, channel_site, heads_site, is_norm, norm_site

Predicate = Callable[[str, nn.Module], bool]
Placement = Literal["auto", "norm", "neuron", "channel", "heads"]
Found = Iterator[tuple[str, Site]]

OF_CHANNELS = re.compile("Batch|Group|Instance|FilterResponse|Evo")


def find_sites(network: nn.Module, placement: Placement | Predicate, where: Predicate | None = None) -> list[Site]:
    """List the sites that a placement, or a user's predicate, chooses, in the order of registration.

    `auto` is `norm` where the network has norms of the batch, group or instance kind, and `channel` elsewhere. Built-in
    placements leave out the layer that makes the outputs (channel), tied tensors and layers where a mask is not exact.
    `heads` are those of attentions.

    Raises:
        BadArgument: the placement is unknown, or the predicate picks a module that cannot carry a mask.
        Unsupported: nothing in the network can.
    """
    if not callable(placement) and placement not in get_args(Placement):
        known = ", ".join(map(repr, get_args(Placement)))
        raise BadArgument(f"placement must be {known} or a predicate, got {placement!r}")
    shared = _shared_tensors(network)
    found = list(_picked(network, placement, shared) if callable(placement) else _built_in(network, placement, shared))
    sites = [site for name, site in found if where is None or where(name, site.module)]
    if not sites:
        choice = "the predicate" if callable(placement) else f"placement={placement!r}"
        lack = f"`where` leaves out all that {choice} chose" if found else f"{choice} finds no place for a mask"
        other = "placement='channel'" if placement in ("norm", "neuron", "heads") else "placement='norm'"
        raise Unsupported(
            f"{lack} in {type(network).__name__}; use {other} or a predicate that picks among {CARRIERS} (built-in "
            "placements leave out output layers, tied weights and reparametrised weights)"
        )
    return sites


def _built_in(network: nn.Module, placement: Placement, shared: set[int]) -> Found:
    if placement == "heads":
        return _heads(network, shared)
    norms = list(_norms(network, shared, whole=placement == "neuron"))
    if placement == "auto":
        placement = "norm" if any(OF_CHANNELS.search(_lineage(site.module)) for _, site in norms) else "channel"
    return _channels(network, shared) if placement == "channel" else iter(norms)


def _norms(network: nn.Module, shared: set[int], *, whole: bool) -> Found:
    for name, module in network.named_modules():
        site = norm_site(name, module, whole=whole) if is_norm(module) else None
        if isinstance(site, Site) and not _is_tied(site, shared):
            yield name, site


def _channels(network: nn.Module, shared: set[int]) -> Found:
    outputs = outputs_of(network)
    for name, module in network.named_modules():
        site = None if module in outputs or is_norm(module) else channel_site(name, module)
        if isinstance(site, Site) and not _is_tied(site, shared):
            yield name, site


def _heads(network: nn.Module, shared: set[int]) -> Found:
    for name, module in network.named_modules():
        site = heads_site(name, module)
        if isinstance(site, Site) and not _is_tied(site, shared):
            yield name, site


def _picked(network: nn.Module, predicate: Predicate, shared: set[int]) -> Found:
    """Turn a user's choice into sites; an attention picked as a whole brings its output projection along."""
    picked = {module for name, module in network.named_modules() if predicate(name, module)}
    picked |= {module.out_proj for module in picked if isinstance(module, nn.MultiheadAttention)}
    for name, module in network.named_modules():
        if module not in picked:
            continue
        site = norm_site(name, module, whole=True) if is_norm(module) else channel_site(name, module)
        if isinstance(site, Site) and _is_tied(site, shared):
            site = "shares its tensors with another module, which would be masked along with it; untie them first"
        if isinstance(site, str):
            raise BadArgument(f"the predicate picks {name!r} ({type(module).__name__}), which {site}")
        yield name, site


def _shared_tensors(network: nn.Module) -> set[int]:
    """Identities of the tensors that stand in more than one place (of different modules, or twice in one)."""
    modules = list(network.modules())
    places = [tensor for m in modules for tensor in (*m._parameters.values(), *m._buffers.values())]
    return {identity for identity, count in Counter(id(t) for t in places if t is not None).items() if count > 1}


def _is_tied(site: Site, shared: set[int]) -> bool:
    return any(id(tensor) in shared for tensor in site.stored())


def outputs_of(network: nn.Module) -> set[nn.Module]:
    """The layers that make the outputs: those that the network itself names, else its last linear layer.

    Where it has no linear layer, its last convolution. Of torchvision's detectors, those that score and move boxes.
    """
    of_boxes: set[nn.Module] = {
        part
        for module in network.modules()
        for part in _scoring(module)
        if isinstance(part, (nn.Linear, *CONVOLUTIONS))
    }
    if of_boxes:
        return of_boxes
    for ask in ("get_classifier", "get_output_embeddings"):  # timm, transformers
        answer = getattr(network, ask, None)
        named = answer() if callable(answer) else None
        layers: set[nn.Module] = {
            part
            for layer in _modules_in(named)
            for part in layer.modules()
            if isinstance(part, (nn.Linear, *CONVOLUTIONS))
        }
        if layers:
            return layers
    for kind in (nn.Linear, CONVOLUTIONS):
        last = [module for module in network.modules() if isinstance(module, kind)][-1:]
        if last:
            return set(last)
    return set()


def _scoring(module: nn.Module) -> Iterator[nn.Module]:
    """The modules in a part of a detector that score boxes, or say how far they move; none of other modules."""
    if type(module).__name__ in ("SSDHead", "SSDLiteHead", "FastRCNNPredictor"):
        yield from module.modules()
    if type(module).__name__ == "RPNHead":
        yield from (part for part in (module.cls_logits, module.bbox_pred) if isinstance(part, nn.Module))


def _modules_in(value: object) -> list[nn.Module]:
    values = value if isinstance(value, tuple | list) else [value]
    return [item for item in values if isinstance(item, nn.Module)]


def _lineage(module: nn.Module) -> str:
    return " ".join(cls.__name__ for cls in type(module).__mro__)
