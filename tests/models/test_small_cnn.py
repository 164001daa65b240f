import pytest
import torch

from detrojan import architectures


@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 16, 10), (3, 8, 2), (1, 5, 3)])
def test_scores_for_small_images_of_any_kind(channels, size, classes):
    network = architectures.build("detrojan:small_cnn", num_classes=classes, in_channels=channels, width=4)
    assert network(torch.rand(2, channels, size, size)).shape == (2, classes)


def test_width_is_that_of_the_first_convolution():
    network = architectures.build("detrojan:small_cnn", width=6)
    assert [m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)] == [6, 12, 24]
