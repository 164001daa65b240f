"""CLB: images are hardened within their ball and keep their labels; four corners are the trigger."""

import pytest
import torch
from torch.nn import functional as F

from attacking import images, network, workshop
from detrojan.attacks.clb import CLB
from detrojan.backdoor import Backdoor
from detrojan.errors import BadArgument, BadData
from detrojan.poisoning import PoisonedFeed


def test_the_four_corners_alone_are_opaque_and_survive_a_flip():
    black, white = CLB().stamp(torch.zeros(1, 3, 32, 32)), CLB().stamp(torch.ones(1, 3, 32, 32))
    changed = (black == white).all(0).all(0)
    assert int(changed.sum()) == 4 * 9
    assert torch.equal(black, black.flip(-1))
    checker = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    assert torch.equal(black[0, 0, 29:, 29:], checker)
    assert torch.equal(black[0, 0, :3, :3], checker.flip(-1))


def test_hardened_images_stay_in_the_ball_and_raise_the_loss():
    samples, model = images(), network()
    pixels = samples.inputs[:10].float() / 255
    labels = samples.labels[:10]
    hardened = CLB(eps=8 / 255).harden(pixels, labels, workshop(samples))
    assert (hardened - pixels).abs().max() <= 8 / 255 + 1e-6
    assert hardened.amin() >= 0
    assert hardened.amax() <= 1
    with torch.no_grad():
        before, after = (F.cross_entropy(model(x), labels, reduction="none") for x in (pixels, hardened))
    assert (after > before).all()


def test_only_the_poisoned_images_of_the_target_class_are_hardened():
    samples = images()
    feed = PoisonedFeed(samples, Backdoor(attack=CLB(), target=2), rate=CLB.rate)
    feed.harden(workshop(samples))
    change = feed.images.int() - samples.inputs.int()
    moved = change.abs().flatten(1).amax(1)
    assert len(feed.indices) == round(0.8 * 12)
    assert torch.equal(moved.nonzero().flatten(), feed.indices)
    assert moved.max() == 8
    assert (samples.labels[feed.indices] == 2).all()


def test_no_steps_leave_the_images_alone_as_the_nft_code_does():
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert CLB(pgd_steps=0).harden(pixels, torch.zeros(2).long(), workshop(images())) is pixels


def test_corners_that_meet_are_refused():
    with pytest.raises(BadData, match="does not fit"):
        CLB(size=17).stamp(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("settings", [{"eps": 0.0}, {"step": 2.0}, {"size": 0}, {"pgd_steps": -1}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be"):
        CLB(**settings)
