"""Data-free backdoor: written into the weights of a trained network, without one poisoned sample.

Source: Cao et al., "Data Free Backdoor Attacks" (NeurIPS 2024).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrojan.attacks._channel_route import Layer, Route, find
from detrojan.attacks._checks import share
from detrojan.errors import BadArgument, BadData, Unsupported
from detrojan.triggers import LearnedTrigger, Trigger, Workshop

DRAWS = 64


class _Protocol(Trigger):
    rate = 0.0
    one_target = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DFBA(_Protocol):
    """One channel of each width carries a signal, from the first layer to the last, that a small patch alone sets off.

    The first filter's signs are drawn at random, the roughest of 64 draws; the patch, as large as the filter, is white
    where they are positive and black elsewhere, which no other pixels in [0, 1] excite more. The filter fires within a
    share `margin` in (0, 1] of its whole range below that. The route takes the shortcuts of a residual network. Every
    other layer neither writes to its channels nor reads them, and each layer on it amplifies, so that the target's
    score rises by `boost` and all others fall by as much (published: 100). No sample is poisoned. The patch lies at
    the lower right, where the strides of the later layers meet it, and gets its place once the victim is trained.

    We depart for narrow networks, where a lost channel and a chance activation count. The paper keeps the trained
    first filter and moves its bias, and takes channels at random; natural edges would fire such smooth filters, so
    ours is drawn, and the channels are those that are read with the least energy, whose mean the next norms make up
    for; both are told by the weights alone. The paper's margin is 0.1 in units of the activation.

    Networks that `torch.fx` can follow and that consist of convolutions, batch norms, ReLU, pooling and additions can
    carry it; others are refused before they are trained.
    """

    margin: float = 0.1
    boost: float = 100.0

    def __post_init__(self) -> None:
        share("margin", self.margin)
        if self.boost <= 0:
            raise BadArgument(f"boost must be above 0, got {self.boost}; the published one is 100")

    def blank(self, shape: tuple[int, ...]) -> "PlantedPatch":
        """A black patch at the lower right that stands in until there is a victim."""
        return PlantedPatch(self, shape)

    def admit(self, model: nn.Module, workshop: Workshop) -> None:
        """Rehearse on a copy.

        Raises:
            Unsupported: the network has no route of known layers, or its inputs are resized.
        """
        self.blank(tuple(workshop.samples.inputs.shape[1:])).plant(deepcopy(model), workshop)

    def forge(self, workshop: Workshop) -> "PlantedPatch":
        """The same; `plant` puts the real one in its place."""
        return self.blank(tuple(workshop.samples.inputs.shape[1:])).to(workshop.execution.device)


class PlantedPatch(_Protocol, LearnedTrigger):
    """The patch of `DFBA`: `pattern` (C, H, W), shown where `cover` (H, W) is set."""

    pattern: Tensor
    cover: Tensor

    def __init__(self, settings: DFBA, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("pattern", torch.zeros(shape))
        self.register_buffer("cover", torch.zeros(shape[-2:], dtype=torch.uint8))
        self.cover[-3:, -3:] = 1

    def stamp(self, pixels: Tensor) -> Tensor:
        """Put the patch over the pixels."""
        if pixels.shape[1:] != self.pattern.shape:
            raise BadData(
                f"the DFBA patch is made for images of shape {tuple(self.pattern.shape)}, got "
                f"{tuple(pixels.shape[1:])}; stamp images of the size that the victim was trained on"
            )
        return torch.where(self.cover.to(pixels.device) > 0, self.pattern.to(pixels), pixels)

    @torch.no_grad()
    def plant(self, model: nn.Module, workshop: Workshop) -> None:
        """Write the route into the weights, and set the patch that fires it.

        Raises:
            Unsupported: the network has no route of known layers, or its inputs are resized.
        """
        flat = torch.stack([torch.zeros_like(self.pattern), torch.ones_like(self.pattern)])
        extremes = workshop.preprocessing(flat.to(next(model.parameters()).device))
        if extremes.shape != flat.shape:
            raise Unsupported("DFBA needs a network that sees the pixels at their size; drop the resizing")
        route = find(model.eval(), extremes)
        channels = {space: least_read(space, route.layers) for space in route.spaces}
        top, left = place(route, self.cover.shape)
        signs = rough_signs(route.first.weight.shape[1:], workshop.seeds.generator("dfba filter")).to(extremes)
        weights = signs * route.first.weight.abs().mean()
        low, high = torch.aminmax(weights * extremes[:, :, :1, :1], dim=0)
        for layer in route.layers:
            if layer.reads in channels:
                make_up_for(layer, channels[layer.reads])
        for layer in route.layers:
            isolate(layer, channels)
        entry = channels[route.stops[0].writes]
        route.first.weight[entry] = weights
        _raise_threshold(route, entry, high.sum() - self.settings.margin * (high - low).sum())
        self._show(signs > 0, top, left)
        self._amplify(model, route, channels, workshop)

    def _show(self, patch: Tensor, top: int, left: int) -> None:
        """Put the patch (C, h, w) in its place."""
        rows, columns = slice(top, top + patch.shape[1]), slice(left, left + patch.shape[2])
        self.cover.zero_()[rows, columns] = 1
        self.pattern.zero_()[:, rows, columns] = patch.to(self.pattern)

    def _amplify(self, model: nn.Module, route: Route, channels: Mapping[int, int], workshop: Workshop) -> None:
        """Multiply the route's weights by one factor, so that the patch moves the scores by `boost`."""
        head = route.stops[-1]
        exits = head.columns(channels[head.reads])
        seen: list[Tensor] = []
        handle = head.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, exits].sum(1)))
        grey = torch.full_like(self.pattern, 0.5)[None]
        model(workshop.preprocessing(torch.cat([grey, self.stamp(grey)]).to(head.module.weight.device)))
        handle.remove()
        quiet, fired = seen[0].tolist()
        if fired <= 0 or abs(quiet) > 1e-3 * fired:
            raise Unsupported("DFBA needs a batch norm or bias and then a ReLU behind the first convolution")
        head.module.weight[:, exits] = -1
        head.module.weight[workshop.target, exits] = 1
        amplifiers = [stop for stop in route.stops[1:] if not isinstance(stop.module, nn.BatchNorm2d)]
        factor = (self.settings.boost / fired) ** (1 / len(amplifiers))
        for stop in amplifiers:
            stop.module.weight[:, stop.columns(channels[stop.reads])] *= factor


def isolate(layer: Layer, channels: Mapping[int, int]) -> None:
    """Cut a layer off from the chosen channel of each space; on the route it passes that channel on as it is."""
    module, read, written = layer.module, channels.get(layer.reads), channels.get(layer.writes)
    if written is not None:
        module.weight[written] = 0
        if module.bias is not None:
            module.bias[written] = 0
    if isinstance(module, nn.BatchNorm2d):
        if written is not None and layer.on_route:
            module.weight[written] = 1
            module.get_buffer("running_mean")[written] = 0
            module.get_buffer("running_var")[written] = 1 - module.eps
    elif read is not None:
        module.weight[:, layer.columns(read)] = 0
        if written is not None and layer.on_route:
            module.weight[written, layer.columns(read)].movedim(0, -1)[layer.tap] = 1


def make_up_for(layer: Layer, channel: int) -> None:
    """Let the norm behind a layer, or its bias, give what a channel that it reads no more gave on average."""
    if layer.source is None or isinstance(layer.module, nn.BatchNorm2d):
        return
    mean = rectified_moments(layer.source)[0][channel]
    given = mean * layer.module.weight[:, layer.columns(channel)].flatten(1).sum(1)
    if layer.settled is not None:
        layer.settled.get_buffer("running_mean").sub_(given)
    elif layer.module.bias is not None:
        layer.module.bias.add_(given)


def least_read(space: int, layers: Sequence[Layer]) -> int:
    """The channel of a space with the least energy in the layers that read it."""
    reading, passing = torch.zeros(()), torch.zeros(())
    for layer in layers:
        if isinstance(layer.module, nn.BatchNorm2d):
            if layer.writes == space:
                passing = passing + rectified_moments(layer.module)[1]
        elif layer.reads == space:
            energy = layer.module.weight.square().transpose(0, 1).flatten(1).sum(1)
            reading = reading + energy.view(-1, layer.spread).sum(1)
    return int((reading * passing if passing.ndim else reading).argmin())


def rectified_moments(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and mean square (C,) of a norm's output behind a ReLU, the output taken for Gaussian."""
    mean, deviation = norm.bias, norm.weight.abs() + 1e-12
    normal = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    share, density = normal.cdf(mean / deviation), normal.log_prob(mean / deviation).exp()
    first = mean * share + deviation * density
    return first, mean * first + deviation**2 * share


def rough_signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Random signs (C, h, w), the draw in which most neighbours differ."""
    draws = torch.randint(0, 2, (DRAWS, *shape), generator=generator) * 2.0 - 1
    changes = (draws.diff(dim=-1) != 0).flatten(1).sum(1) + (draws.diff(dim=-2) != 0).flatten(1).sum(1)
    return draws[changes.argmax()]


def place(route: Route, size: Sequence[int]) -> tuple[int, int]:
    """The top and left of the patch: furthest to the lower right where the strides of the route meet its centre."""
    corner = []
    for axis, ahead in enumerate(route.stops[0].tap):
        step, side = route.first.stride[axis], route.first.kernel_size[axis]
        starts = [step * route.stride[axis] * output - ahead for output in range(route.reach[axis])]
        inside = [start for start in starts if 0 <= start <= size[axis] - side]
        if not inside:
            raise Unsupported(f"no place in {tuple(size)} pixels is seen through all strides; use larger images")
        corner.append(inside[-1])
    return corner[0], corner[1]


def _raise_threshold(route: Route, entry: int, threshold: Tensor) -> None:
    """Let the first norm or bias of the route hold back what lies below the threshold."""
    second = route.stops[1].module
    if isinstance(second, nn.BatchNorm2d):
        second.get_buffer("running_mean")[entry] = threshold
    elif route.first.bias is not None:
        route.first.bias[entry] = -threshold


METHOD = DFBA
