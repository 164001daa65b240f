"""Features are what the last linear layer sees; their map keeps apart what the network keeps apart."""

import pytest
import torch
from torch import nn

from detrojan.attacks import ATTACKS
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.errors import Unsupported
from detrojan.evaluation.features import chart, features
from detrojan.models.small_cnn import small_cnn


@pytest.fixture
def test_set():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 90, (150, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(150) % 3
    return Samples(inputs=images + (labels * 80).to(torch.uint8)[:, None, None, None], labels=labels)


def test_features_are_what_the_last_linear_layer_sees(test_set):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3))
    found = features(network, test_set, preprocessing=Preprocessing(), device="cpu")
    assert torch.allclose(found, network[:3](test_set.inputs.float() / 255), atol=0.02)


@pytest.mark.parametrize("network", [nn.Sequential(nn.Flatten()), nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())])
def test_a_network_without_a_linear_layer_is_refused(test_set, network):
    with pytest.raises(Unsupported, match="has no linear layer"):
        features(network, test_set, preprocessing=Preprocessing(), device="cpu")


def test_a_layer_that_sees_parts_of_samples_is_refused(test_set):
    network = nn.Sequential(nn.Flatten(0, 1), nn.Flatten(1), nn.Unflatten(1, (8, 8)), nn.Flatten(0, 1), nn.Linear(8, 3))
    with pytest.raises(Unsupported, match="one input for each sample"):
        features(network, test_set, preprocessing=Preprocessing(), device="cpu")


def test_the_map_tells_apart_what_the_network_tells_apart(test_set):
    torch.manual_seed(0)
    backdoor = Backdoor(attack=ATTACKS.build("badnets", size=4), target=0)
    triggered = trigger(test_set, backdoor)
    network = small_cnn(3, 1, 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    charts = [
        chart(network, test_set, triggered, preprocessing=Preprocessing(), device="cpu", seed=seed)
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(charts[0].places, charts[1].places)
    assert not torch.equal(charts[0].labels, charts[2].labels)
    found = charts[0]
    assert found.places.shape == (len(found.labels), 2)
    assert int(found.triggered.sum()) == min(100, len(triggered.samples))
    assert set(found.labels[found.triggered].tolist()) == {1, 2}  # images of the target are not attacked
    dark, bright = (found.places[(found.labels == label) & ~found.triggered] for label in (0, 2))
    apart = torch.cdist(dark, bright).mean()
    assert apart > 1.5 * torch.cdist(dark, dark).mean()
