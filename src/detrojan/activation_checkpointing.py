"""Activation checkpointing: the blocks of a network forget what they computed, and compute it again for the gradient.

Memory then holds what stands between blocks, and the inside of one; a step costs one more forward. As torch computes
with the weights that it finds when it goes back, a network that runs with other tensors in place of its weights
(`functional.Replaced`) keeps its activations.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016); `torch.utils.checkpoint`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from detrojan.functional import holding_statistics, replaced
from detrojan.parallel import blocks_of

Again = Callable[[], AbstractContextManager[Any]]


def forget_activations(network: nn.Module, again: Again = nullcontext) -> None:
    """Let the innermost blocks of a network that we own, in place, compute their activations again for the gradient.

    They do so within a context that `again` makes. Copies of the network do the same; one without blocks
    (`parallel.blocks_of`) stays as it is, and so does a block that somebody gave a forward of its own. Networks of
    transformers keep no keys and values then, which a block that runs twice would append twice.
    """
    for module in network.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False
    blocks = blocks_of(network)
    for block in blocks:
        innermost = not set(block.modules()).intersection(blocks) - {block}
        if innermost and "forward" not in vars(block):
            block.forward = MethodType(partial(_forgetting, again), block)


def _forgetting(again: Again, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = MethodType(type(block).forward, block)
    if replaced() or not torch.is_grad_enabled():
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _OnceMore(again, block)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


class _OnceMore(AbstractContextManager[None]):
    """What a block computes within; its batch norms have seen this batch, and leave their running statistics alone.

    It is entered once for each time that torch goes back through the block.
    """

    def __init__(self, again: Again, block: nn.Module) -> None:
        self._made, self._entered = (again, partial(holding_statistics, block)), ExitStack()

    def __enter__(self) -> None:
        for made in self._made:
            self._entered.enter_context(made())

    def __exit__(self, *error: object) -> None:
        self._entered.close()
