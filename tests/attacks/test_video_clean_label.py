"""The clean-label attack on clips: a patch that a clean network takes for the target class, on clips made hard."""

import pytest
import torch

from attacking import clips, images, network, workshop
from detrojan.attacks.badnets import BadNets
from detrojan.attacks.video_clean_label import ClipPatch, VideoCleanLabel, _lead
from detrojan.backdoor import Backdoor, trigger
from detrojan.data.load import load
from detrojan.errors import BadArgument, BadData
from detrojan.poisoning import PoisonedFeed
from detrojan.recipe import Recipe
from detrojan.victim import backdoor_of, train


def test_the_patch_is_in_the_lower_right_corner_of_every_frame():
    learned = VideoCleanLabel(size=0.25, patch_steps=1).blank((3, 4, 32, 32))
    learned.patch.uniform_(0, 1)
    pixels = clips().inputs[:2].float() / 255
    stamped = learned.stamp(pixels)
    assert torch.equal(stamped[..., 24:, 24:], learned.patch.expand(2, -1, -1, -1, -1))
    assert torch.equal(stamped[..., :24, :], pixels[..., :24, :])
    assert torch.equal(stamped[..., :24], pixels[..., :24])


@pytest.mark.parametrize(("side", "patch"), [(224, 24), (112, 12), (56, 6), (16, 2), (8, 2)])
def test_the_side_is_a_share_of_the_frames(side, patch):
    assert VideoCleanLabel().blank((1, 2, side, side)).patch.shape == (1, 2, patch, patch)


def test_a_step_goes_by_the_sign_and_the_patch_starts_grey():
    learned = VideoCleanLabel(patch_steps=1, patch_step=4 / 255).forge(workshop(clips()))
    assert isinstance(learned, ClipPatch)
    torch.testing.assert_close((learned.patch - 0.5).abs().unique().amax(), torch.tensor(4 / 255))
    assert len((learned.patch - 0.5).abs().mul(255).round().unique()) <= 2  # nothing but 0 and 4


def test_the_lead_is_the_difference_of_the_two_losses_and_0_where_the_target_is_seen():
    scores = torch.tensor([[1.0, 3.0, 0.5], [0.0, 0.0, 2.0]])
    losses = torch.nn.functional.cross_entropy
    expected = losses(scores[:1], torch.tensor([2])) - losses(scores[:1], torch.tensor([1]))
    torch.testing.assert_close(2 * _lead(scores, 2), expected)


def test_the_learned_patch_brings_clips_nearer_to_the_target():
    samples, model = clips(), network(kind="clips")
    attack = VideoCleanLabel(size=0.5, patch_steps=20, patch_step=0.1)
    learned = attack.forge(workshop(samples))
    pixels = samples.inputs[samples.labels != 2].float() / 255
    with torch.no_grad():
        grey, last = (_lead(model(patch.stamp(pixels)), 2) for patch in (attack.blank((3, 4, 32, 32)), learned))
    assert last < grey
    assert learned.patch.amin() >= 0
    assert learned.patch.amax() <= 1


def test_hard_clips_stay_near_and_are_seen_less_as_their_class():
    samples, model = clips(), network(kind="clips")
    learned = VideoCleanLabel(patch_steps=1).forge(workshop(samples))
    pixels, labels = samples.inputs[2::5].float() / 255, samples.labels[2::5]
    hard = learned.harden(pixels, labels, workshop(samples))
    assert (hard - pixels).abs().amax() <= 8 / 255 + 1e-6
    losses = torch.nn.functional.cross_entropy
    with torch.no_grad():
        assert losses(model(hard), labels) > losses(model(pixels), labels)
    assert learned.network is None


def test_no_steps_leave_the_clips_as_they_are():
    pixels = torch.rand(2, 3, 4, 16, 16)
    learned = VideoCleanLabel(patch_steps=1, pgd_steps=0).forge(workshop(clips()))
    assert learned.harden(pixels, torch.zeros(2, dtype=torch.int64), workshop(clips())) is pixels
    assert learned.network is None


def test_images_are_refused():
    with pytest.raises(BadArgument, match=r"is put on clips \(uint8 of shape \(N, C, T, H, W\)\), but .* has images"):
        PoisonedFeed(images(), Backdoor(attack=VideoCleanLabel()), rate=0.3)


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(BadData, match="does not fit"):
        VideoCleanLabel(size=1.0).blank((3, 4, 32, 32)).stamp(torch.zeros(1, 3, 4, 16, 32))


@pytest.mark.parametrize(
    "settings", [{"size": 0.0}, {"size": 1.5}, {"patch_step": 0.0}, {"eps": 2.0}, {"patch_steps": 0}, {"pgd_steps": -1}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadArgument, match=f"{next(iter(settings))} must be"):
        VideoCleanLabel(**settings)


def test_badnets_marks_every_frame_of_a_clip_alike():
    pixels = clips().inputs[:2].float() / 255
    stamped, attack = BadNets().stamp(pixels), BadNets(alpha=0.5, pattern="checker")
    assert (stamped[..., 29:, 29:] == 1).all()
    assert torch.equal(stamped[..., :29, :], pixels[..., :29, :])
    frames = pixels.transpose(1, 2).flatten(0, 1)
    assert torch.equal(attack.stamp(pixels).transpose(1, 2).flatten(0, 1), attack.stamp(frames))


def test_a_victim_keeps_its_patch_beside_it(tmp_path):
    samples = load("motions:per_class=4,frames=4,size=16")
    attack = VideoCleanLabel(patch_steps=2, pgd_steps=1)
    recipe = Recipe(epochs=1, batch=8, learning_rate=0.01)
    victim = train(
        "detrojan:r3d10",
        samples,
        task="video",
        attack=attack,
        poison_rate=0.5,
        target=1,
        recipe=recipe,
        device="cpu",
        width=2,
        num_classes=6,
    )
    assert len(victim.record["poisoned_indices"]) == 2
    assert (samples.labels[victim.record["poisoned_indices"]] == 1).all()
    again = backdoor_of(victim.save(tmp_path / "victim.safetensors"))
    stamped = victim.backdoor.stamp(samples.inputs)
    assert torch.equal(again.stamp(samples.inputs), stamped)
    assert not torch.equal(again.attack.patch, torch.full_like(again.attack.patch, 0.5))
    scored = trigger(samples, again)
    assert len(scored.samples) == 20
    assert (scored.wanted == 1).all()
