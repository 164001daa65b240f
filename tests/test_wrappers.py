"""Wrappers around a network are taken off for tuning and put on again."""

import pytest
import torch
from torch import nn

from detrojan.masks import Masks
from masking import Net, assert_folds, conv_net, images

# Wrappers


WRAPPERS = {
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "data parallel": nn.DataParallel,
    "both": lambda network: nn.DataParallel(torch.compile(network, backend="eager")),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrappers_are_taken_off_and_put_on_again(kind):
    victim = WRAPPERS[kind](conv_net()).eval()
    masks = Masks(victim, "norm")
    assert masks.names == ("1",)
    folded = assert_folds(masks, images())
    assert type(folded) is type(victim)
    assert list(folded.state_dict()) == list(victim.state_dict())
    assert folded.training is victim.training is False


def test_distributed_data_parallel_is_put_on_again(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        victim = nn.parallel.DistributedDataParallel(conv_net())
        folded = assert_folds(Masks(victim, "norm"), images())
        assert type(folded) is type(victim)
        assert list(folded.state_dict()) == list(victim.state_dict())
    finally:
        torch.distributed.destroy_process_group()


def test_a_compiled_part_is_masked():
    network = Net(body=torch.compile(conv_net()[:3], backend="eager"), flat=nn.Flatten(), head=nn.Linear(216, 2)).eval()
    masks = Masks(network, "norm")
    assert masks.names == ("body._orig_mod.1",)
    folded = assert_folds(masks, images())
    assert list(folded.state_dict()) == list(network.state_dict())
