"""Wrappers around a network: `torch.compile`, DataParallel, DistributedDataParallel - taken off and put on again."""

from collections.abc import Callable

from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

Wrap = Callable[[nn.Module], nn.Module]


def unwrap(model: nn.Module) -> tuple[nn.Module, Wrap]:
    """Return the network inside all wrappers, and a call that wraps another network in the same way.

    The state_dict keys of what that call returns have the wrappers' prefixes (`module.`, `_orig_mod.`).
    """
    inner, wrap = _take_off(model)
    if inner is model:
        return model, lambda network: network
    core, wrap_inner = unwrap(inner)
    mode = model.training

    def rewrap(network: nn.Module) -> nn.Module:
        wrapped = wrap(wrap_inner(network))
        wrapped.training = mode
        return wrapped

    return core, rewrap


def _take_off(model: nn.Module) -> tuple[nn.Module, Wrap]:
    """Take off the outermost wrapper; the call holds its settings, not the wrapper itself."""
    if isinstance(model, OptimizedModule):
        context = model.dynamo_ctx
        return model._orig_mod, lambda network: OptimizedModule(network, context)
    if isinstance(model, DataParallel):
        devices, output, axis = model.device_ids, getattr(model, "output_device", None), getattr(model, "dim", 0)
        return model.module, lambda network: DataParallel(network, devices or None, output, axis)
    if isinstance(model, DistributedDataParallel):
        names = ("device_ids", "output_device", "dim", "process_group", "find_unused_parameters")
        settings = {name: getattr(model, name) for name in names}
        return model.module, lambda network: DistributedDataParallel(network, **settings)
    return model, lambda network: network
