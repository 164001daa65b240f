"""What a network does, found by running it."""

import pytest
import torch
from torch import nn

from contexts import context_of, reds
from detrojan import architectures
from detrojan.errors import Unsupported
from detrojan.tracing import features, head_of, norms_and_convolutions, order_of_convolutions, stages, watched


class OutOfOrder(nn.Module):
    """Runs its layers in another order than that in which they are listed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_of_first = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm_before = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.norm_of_first(self.first(images)).relu()
        maps = self.second(self.norm_before(maps).relu())
        return self.head(maps.mean((2, 3)))


def test_a_norm_follows_the_convolution_that_runs_into_it():
    network = OutOfOrder()
    found = norms_and_convolutions(network, reds(4), context_of(network))
    assert found == [(network.norm_of_first, [network.first])]
    assert order_of_convolutions(network, reds(4), context_of(network)) == ["first", "second"]


def test_in_a_pre_activation_network_norms_follow_sums_of_convolutions():
    network = architectures.build("detrojan:preact_resnet18", num_classes=3, width=4).requires_grad_(False)
    names = {module: name for name, module in network.named_modules()}
    found = {
        names[norm]: [names[convolution] for convolution in sources]
        for norm, sources in norms_and_convolutions(network, reds(4, 32), context_of(network))
    }
    assert len(found) == 17
    assert found["layers.0.0.bn1"] == ["conv1"]
    assert found["layers.0.0.bn2"] == ["layers.0.0.conv1"]
    assert set(found["layers.0.1.bn1"]) == {"layers.0.0.conv2", "conv1"}  # the stem runs round the first block
    assert set(found["layers.1.1.bn1"]) == {"layers.1.0.conv2", "layers.1.0.shortcut"}


def test_stages_end_with_the_last_layer_of_each_size():
    network = architectures.build("detrojan:preact_resnet18", num_classes=3, width=4)
    found = stages(network, reds(4, 32), context_of(network))
    assert found == ["layers.0", "layers.1", "layers.2", "layers.3"]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
    assert stages(plain, reds(4, 16), context_of(plain)) == ["1", "2", "3"]


def test_running_leaves_the_mode_and_no_hook():
    network = OutOfOrder().train()
    context = context_of(network)
    stages(network, reds(4), context)
    norms_and_convolutions(network, reds(4), context)
    features(network, network.head, reds(5), context, batch=2)
    assert network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_features_are_what_the_head_takes_in():
    network = OutOfOrder().eval()
    samples, context = reds(5), context_of(network)
    found = features(network, network.head, samples, context, batch=2)
    assert found.shape == (5, 4)
    torch.testing.assert_close(network.head(found), context.predict(network, samples))


def test_a_layer_is_watched_even_where_the_block_fails():
    layer = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), watched([layer]):
        raise ZeroDivisionError
    assert not layer._forward_hooks


def test_a_head_must_be_one_linear_layer():
    assert isinstance(head_of(OutOfOrder()), nn.Linear)
    with pytest.raises(Unsupported, match="Conv2d makes them"):
        head_of(nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
