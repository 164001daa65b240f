"""One seed, many named streams, and the global generators as they were."""

import random

import numpy as np
import torch

from detrojan.randomness import Seeds


def test_names_and_seeds_give_different_streams_and_equal_ones_the_same():
    def draw(seed, name):
        return torch.rand(4, generator=Seeds(seed=seed).generator(name))

    assert torch.equal(draw(1, "a"), draw(1, "a"))
    assert not torch.equal(draw(1, "a"), draw(1, "b"))
    assert not torch.equal(draw(1, "a"), draw(2, "a"))
    assert Seeds(seed=1).numpy("a").random() == Seeds(seed=1).numpy("a").random()


def test_the_global_generators_are_given_back():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    wanted = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    with Seeds(seed=7).seeded("x"):
        inside = (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    assert wanted == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
    assert inside != wanted
    with Seeds(seed=7).seeded("x"):
        assert inside == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
