"""A route for single channels through a network: the layers on it, and the others that touch the same channels.

Tensors that are joined by additions, norms, activations and pooling number their channels alike; they share a space.
A route is the way from the image to the last linear layer that passes the fewest operations, so in a residual network
it runs along the shortcuts.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from detrojan.errors import Unsupported

PASSING = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Identity)
PASSING_NAMES = {"relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "flatten", "mean", "dropout", "view"}
ADDING_NAMES = {"add", "iadd"}
ASKING_NAMES = {"size", "getattr"}
KNOWN = ("weights", "norm", "pass", "add")
ADVICE = "use a network of plain convolutions, batch norms, ReLU, pooling and additions, such as preact_resnet18"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution, linear layer or norm, with the spaces that it reads and writes.

    `spread` is the number of a linear layer's inputs for each channel, above 1 where an image was flattened. `tap` is
    the place in a kernel that meets the pixel which the output stands for. `source` is the norm whose output the
    layer reads through a ReLU, `settled` the norm that takes its output, where these are all there is.
    """

    module: nn.Conv2d | nn.Linear | nn.BatchNorm2d
    reads: int
    writes: int
    spread: int
    tap: tuple[int, ...]
    source: nn.BatchNorm2d | None
    settled: nn.BatchNorm2d | None
    on_route: bool

    def columns(self, channel: int) -> slice:
        """The inputs that belong to a channel."""
        return slice(channel * self.spread, (channel + 1) * self.spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """All layers in their order, and what the route sees of the image.

    `first` is the first convolution. `stride` is that of the route's later convolutions and pooling over its output,
    `reach` the size (rows, columns) of the output of the route's last convolution. `spaces` are those that the route
    leads through, without the image and the scores.
    """

    layers: tuple[Layer, ...]
    first: nn.Conv2d
    spaces: tuple[int, ...]
    stride: tuple[int, int]
    reach: tuple[int, int]

    @property
    def stops(self) -> tuple[Layer, ...]:
        """The layers on the route."""
        return tuple(layer for layer in self.layers if layer.on_route)


def find(model: nn.Module, inputs: Tensor) -> Route:
    """The route through `model` for inputs (B, C, H, W).

    Raises:
        Unsupported: the network's code cannot be followed, or a layer on the way is of a kind that is not known here.
    """
    name = type(model).__name__
    try:
        traced = fx.symbolic_trace(model)
        ShapeProp(traced).propagate(inputs)
    except Exception as error:
        raise Unsupported(f"the forward of {name} cannot be followed by torch.fx ({error}); {ADVICE}") from error
    graph = _Graph(traced)
    way = graph.shortest()
    if len(way) < 3 or not isinstance(graph.module(way[1]), nn.Conv2d) or len(_shape(way[-1])) != 2:
        raise Unsupported(f"{name} has no way that one channel could take from the image to the scores; {ADVICE}")
    passed = {graph.spaces[node] for node in way} - {graph.spaces[way[0]], graph.spaces[way[-1]]}
    for node in traced.graph.nodes:
        if graph.kinds[node] == "strange" and any(graph.spaces[given] in passed for given in node.all_input_nodes):
            raise Unsupported(f"{name} mixes its channels in {node.name}; {ADVICE}")
    spatial = [node for node in way if len(_shape(node)) == 4]
    last = max(place for place, node in enumerate(spatial) if graph.kinds[node] == "weights")
    sizes = [_shape(node)[2:] for node in spatial[1 : last + 1]]
    return Route(
        layers=tuple(graph.layer(node, way) for node in traced.graph.nodes if graph.kinds[node] in ("weights", "norm")),
        first=graph.module(way[1]),
        spaces=tuple(sorted(passed)),
        stride=(_stride([size[0] for size in sizes]), _stride([size[1] for size in sizes])),
        reach=(sizes[-1][0], sizes[-1][1]),
    )


class _Graph:
    """A traced network with the kind and the space of each node."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.nodes, self.modules = list(traced.graph.nodes), dict(traced.named_modules())
        self.kinds = {node: _kind(node, self.modules) for node in self.nodes}
        self.spaces: dict[Any, int] = {}
        for number, node in enumerate(self.nodes):
            merged = {self.spaces[given] for given in self.streams(node)} if self.kinds[node] != "weights" else set()
            space = min(merged, default=number)
            self.spaces = {known: space if own in merged else own for known, own in self.spaces.items()}
            self.spaces[node] = space

    def module(self, node: Any) -> Any:
        """The module that a node calls."""
        return self.modules.get(str(node.target))

    def streams(self, node: Any) -> list[Any]:
        """The inputs whose channels a node passes on or reads; none where it is not known what it does."""
        count = {"add": None, "weights": 1, "norm": 1, "pass": 1}.get(self.kinds[node], 0)
        return list(node.all_input_nodes)[:count]

    def shortest(self) -> list[Any]:
        """The nodes from the image to the last linear layer; empty where there is no way."""
        start = next(node for node in self.nodes if node.op == "placeholder")
        head = next(node for node in self.nodes if node.op == "output").args[0]
        came: dict[Any, Any] = {start: None}
        waiting = deque([start])
        while waiting:
            here = waiting.popleft()
            for user in here.users:
                if user not in came and here in self.streams(user):
                    came[user] = here
                    waiting.append(user)
        if head not in came or not isinstance(self.module(head), nn.Linear):
            return []
        way = [head]
        while came[way[0]] is not None:
            way.insert(0, came[way[0]])
        return way

    def layer(self, node: Any, way: list[Any]) -> Layer:
        """What the route must know of a node with weights."""
        module, given, users = self.module(node), node.args[0], list(node.users)
        channels = min(_shape(other)[1] for other in self.nodes if self.spaces[other] == self.spaces[given])
        return Layer(
            module=module,
            reads=self.spaces[given],
            writes=self.spaces[node],
            spread=_shape(given)[1] // channels,
            tap=getattr(module, "padding", ()),
            source=self._source(given),
            settled=self.module(users[0]) if len(users) == 1 and self.kinds[users[0]] == "norm" else None,
            on_route=node in way,
        )

    def _source(self, node: Any) -> nn.BatchNorm2d | None:
        rectified = False
        while self.kinds[node] == "pass":
            rectified |= isinstance(self.module(node), nn.ReLU) or _name(node) == "relu"
            node = node.args[0]
        return self.module(node) if rectified and self.kinds[node] == "norm" else None


def _kind(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and _plain(module)):
            return "weights"
        if isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
            return "norm"
        return "pass" if isinstance(module, PASSING) else "strange"
    if node.op in ("call_function", "call_method"):
        name = _name(node)
        if name in ADDING_NAMES and len({_shape(given) for given in node.all_input_nodes}) == 1:
            return "add"
        if name in PASSING_NAMES and _shape(node)[:1] == _shape(node.args[0])[:1]:
            return "pass"
        return "asking" if name in ASKING_NAMES else "strange"
    return node.op


def _plain(convolution: nn.Conv2d) -> bool:
    padding = convolution.padding
    centred = isinstance(padding, tuple) and all(p < k for p, k in zip(padding, convolution.kernel_size, strict=True))
    return centred and convolution.groups == 1 and convolution.dilation == (1, 1)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _stride(sizes: list[int]) -> int:
    stride = 1
    for before, after in pairwise(sizes):
        stride *= max(1, round(before / after))
    return stride


def _shape(node: Any) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return tuple(getattr(meta, "shape", ()))
