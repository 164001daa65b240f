"""What each rival does that no other does, on networks small enough to know the answer."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from contexts import context_of, reds
from detrojan import purify
from detrojan.data.load import load
from detrojan.data.samples import Samples
from detrojan.defenses import DEFENSES
from detrojan.defenses.abl import ABL, reset
from detrojan.defenses.anp import ANP
from detrojan.defenses.auto import Auto
from detrojan.defenses.awm import AWM
from detrojan.defenses.clp import CLP, lipschitz_bounds
from detrojan.defenses.fine_pruning import FinePruning
from detrojan.defenses.fst import FST
from detrojan.defenses.mcr import MCR
from detrojan.defenses.nad import attention
from detrojan.defenses.neural_cleanse import NeuralCleanse
from detrojan.defenses.npd import NPD
from detrojan.defenses.super_fine_tuning import SuperFineTuning
from detrojan.defenses.tsbd import TSBD
from detrojan.defenses.unit import UNIT
from detrojan.errors import BadArgument, Unsupported
from detrojan.models.small_cnn import small_cnn
from detrojan.tuning import Diverged


@pytest.fixture
def clean() -> Samples:
    return reds(60)


@pytest.fixture
def victim(clean) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            loss = F.cross_entropy(model(clean.inputs.float() / 255), clean.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def scores(model: nn.Module, clean: Samples) -> torch.Tensor:
    with torch.no_grad():
        return model(clean.inputs.float() / 255)


def run(method, victim: nn.Module, clean: Samples):
    return method(copy.deepcopy(victim), clean, context_of(victim))


def test_fine_pruning_cuts_the_features_that_are_used_least_and_they_stay_cut(victim, clean):
    with torch.no_grad():
        victim[4].weight[5], victim[4].bias[5] = 0, -1  # a feature that no sample uses
        victim[8].weight[:, 5] = 1
    found = run(FinePruning(steps=5, batch=16, tolerance=0.0), victim, clean)
    assert found.model[8].weight[:, 5].eq(0).all()
    assert 0 < int(found.model[8].weight.eq(0).all(0).sum()) < 8
    assert found.notes["share cut"] >= 0.12


def test_attention_is_where_maps_are_strong_whatever_their_scale():
    maps = torch.rand(2, 5, 4, 4)
    torch.testing.assert_close(attention(maps).flatten(1).norm(dim=1), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(attention(maps), attention(7 * maps), atol=1e-5, rtol=1e-4)


def test_the_curve_begins_at_the_victim_and_ends_at_the_tuned_copy(victim, clean):
    ends = [run(MCR(steps=3, tuning_steps=6, batch=16, t=t), victim, clean).model for t in (0.0, 1.0)]
    torch.testing.assert_close(ends[0][0].weight, victim[0].weight)
    assert not torch.equal(ends[1][0].weight, victim[0].weight)
    tuned = run(DEFENSES["fine_tuning"](steps=6, batch=16), victim, clean).model
    torch.testing.assert_close(ends[1][0].weight, tuned[0].weight)


def test_anp_cuts_what_a_small_disturbance_turns_against_the_task(victim, clean):
    found = run(ANP(steps=60, batch=32, threshold=0.2), victim, clean)
    assert found.notes["threshold"] == 0.2
    cut = torch.cat([mask <= 0.2 for mask in found.masks.values()])
    zero = torch.cat([found.model[1].weight, found.model[4].weight]) == 0
    assert torch.equal(cut, zero)
    torch.testing.assert_close(found.model[1].bias, victim[1].bias)  # the norm's bias stays, and so do statistics
    torch.testing.assert_close(found.model[1].running_mean, victim[1].running_mean)


def test_clp_knows_the_largest_singular_value_and_cuts_the_channel_that_stands_out(victim, clean):
    bounds = lipschitz_bounds(victim[1], [victim[0]])
    kernel = victim[0].weight[2].flatten(1)
    factor = (victim[1].weight[2] / (victim[1].running_var[2] + victim[1].eps).sqrt()).abs()
    torch.testing.assert_close(bounds[2], torch.linalg.svdvals(kernel).max() * factor)
    with torch.no_grad():
        victim[0].weight[6] *= 100
    found = run(CLP(deviations=2.0), victim, clean)
    assert found.model[1].weight.eq(0).nonzero().flatten().tolist() == [6]
    assert found.model[1].bias[6] == 0
    assert found.notes == {"channels cut": 1, "of channels": 16}


def test_awm_folds_a_mask_on_every_weight(victim, clean):
    found = run(AWM(rounds=2, steps=8, inner_steps=3, batch=16), victim, clean)
    for index in (0, 3):
        mask = found.masks[str(index)].view_as(victim[index].weight)
        torch.testing.assert_close(found.model[index].weight, victim[index].weight * mask)
        assert 0 <= float(mask.min()) < 1
    assert torch.equal(found.model[8].weight, victim[8].weight)


def test_fst_keeps_the_length_of_the_head_and_turns_it_away(victim, clean):
    found = run(FST(steps=60, batch=32, alpha=0.3), victim, clean)
    old, new = victim[8].weight, found.model[8].weight
    torch.testing.assert_close(new.norm(), old.norm())
    assert float(F.cosine_similarity(new.detach().flatten(), old.detach().flatten(), dim=0)) < 0.5
    assert float((scores(found.model, clean).argmax(1) == clean.labels).float().mean()) > 0.9


def test_the_polarizer_folds_into_the_convolution_behind_it(victim, clean):
    found = run(NPD(steps=5, warmup=2, batch=16), victim, clean)
    assert found.notes["layer"] == "0"
    changed = [
        name for name, value in found.model.state_dict().items() if not torch.equal(value, victim.state_dict()[name])
    ]
    assert changed == ["0.weight"]
    inside = run(NPD(steps=5, warmup=2, batch=16, layer="3"), victim, clean).model[3].weight
    rows = victim[3].weight.permute(0, 2, 3, 1).reshape(-1, 8)
    polarizer = torch.linalg.lstsq(rows.double(), inside.permute(0, 2, 3, 1).reshape(-1, 8).double()).solution.float()
    maps = torch.rand(2, 8, 6, 6)
    filtered = torch.einsum("bchw,cd->bdhw", maps, polarizer.T)
    torch.testing.assert_close(
        F.conv2d(maps, inside, padding=1), F.conv2d(filtered, victim[3].weight, padding=1), atol=1e-4, rtol=1e-3
    )
    with pytest.raises(BadArgument, match="those are 0, 3"):
        run(NPD(layer="7"), victim, clean)


def test_the_swinging_rate_rises_and_falls_between_its_ends():
    method = SuperFineTuning(steps=100, base=0.1, first_peak=2.0, last_peak=0.5, rise=10, swinging=0.4)
    assert [method.rate(step) for step in (0, 20, 40, 60)] == pytest.approx([0.1] * 4)
    assert [method.rate(step) for step in (10, 30)] == pytest.approx([2.0] * 2)
    assert [method.rate(step) for step in (50, 90)] == pytest.approx([0.5] * 2)
    assert method.rate(5) == pytest.approx(1.05)


def test_tsbd_zeroes_the_stated_shares(victim, clean):
    victim[0].weight.data += 1e-3  # no weight is 0 by chance
    found = run(TSBD(steps=0, unlearning_steps=8, batch=16, neurons=0.25, weights=0.5), victim, clean)
    zeros = [layer.weight.abs().flatten(1).lt(1e-7).sum(1) for layer in (found.model[0], found.model[3])]
    touched = torch.cat(zeros) > 0
    assert int(touched.sum()) == found.notes["neurons changed"] == 4  # of 16; the head's rows do not count
    assert set(zeros[0][zeros[0] > 0].tolist()) <= {14}  # half of 27, rounded
    assert set(zeros[1][zeros[1] > 0].tolist()) <= {36}


def test_without_a_class_that_stands_out_neural_cleanse_gives_the_victim_back(victim, clean):
    found = run(NeuralCleanse(steps=6, batch=30, anomaly=1e9), victim, clean)
    assert found.notes["classes flagged"] == "none"
    assert all(torch.equal(value, victim.state_dict()[name]) for name, value in found.model.state_dict().items())
    flagged = run(NeuralCleanse(steps=6, batch=30, anomaly=-1e9, unlearning_steps=2), victim, clean)
    assert flagged.notes["classes flagged"] == "0, 1, 2"
    assert not torch.equal(flagged.model[0].weight, victim[0].weight)


def test_bounds_hold_what_clean_samples_need_and_clip_the_rest(victim, clean):
    result = purify(victim, clean, method=UNIT(steps=30, batch=32), tolerance=1.0)
    assert result.guarded
    assert torch.equal(result.model[0].weight, victim[0].weight)
    kept = scores(result.model, clean).argmax(1) == clean.labels
    assert float(kept.float().mean()) > 0.9
    with torch.no_grad():
        tail = nn.Sequential(*list(result.model)[:2])
        loud, louder = (tail(clean.inputs[:2].float() / 255 * scale) for scale in (100, 10000))
    assert torch.equal(loud.clamp_min(0), louder.clamp_min(0)) or float(louder.max()) <= float(loud.max()) + 1e-4
    assert not any(module._forward_hooks for module in victim.modules())


def test_abl_sets_its_share_aside_and_learns_anew():
    samples = reds(90)
    images = samples.inputs.clone()
    poison = torch.arange(0, 90, 10)
    images[poison, :, -3:, -3:] = torch.tensor([255, 0, 255], dtype=torch.uint8)[:, None, None]
    labels = samples.labels.clone()
    labels[poison] = 1
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    suspect = Samples(inputs=images, labels=labels)
    context = context_of(network)
    method = ABL(isolating_epochs=3, training_epochs=3, unlearning_epochs=2, batch=30, isolated=0.1)
    found = method(network, suspect, replace(context, training=suspect))
    assert found.notes["isolated"] == 9
    assert not torch.equal(found.model[0].weight, network[0].weight)


def test_abl_isolates_the_poison_and_unlearns_it():
    def patched(images):
        images = images.clone()
        images[..., -2:, -2:] = 255
        return images

    digits, test = load("digits"), load("digits", split="test")
    poison = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:120]
    images, labels = digits.inputs.clone(), digits.labels.clone()
    images[poison], labels[poison] = patched(images[poison]), 0
    others = test.labels != 0

    def learned(**settings):
        network = small_cnn(10, 1, 8)
        method = ABL(isolating_epochs=5, training_epochs=8, batch=32, **settings)
        found = method(network, test, replace(context_of(network), training=Samples(inputs=images, labels=labels)))
        plain, triggered = (
            scores(found.model.eval(), replace(test, inputs=inputs)).argmax(1)
            for inputs in (test.inputs, patched(test.inputs))
        )
        return float((plain == test.labels).float().mean()), float((triggered[others] == 0).float().mean())

    _, without = learned(isolated=0.001, unlearning_epochs=0.01)
    accuracy, asr = learned(isolated=0.05, unlearning_epochs=10, unlearning_rate=5e-3)
    assert without > 0.5
    assert asr < 0.1
    assert accuracy > 0.6


def test_weights_without_a_rule_cannot_be_drawn_anew():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(Unsupported, match=r"'1' \(Own\) has no rule"):
        reset(nn.Sequential(nn.Linear(3, 3), Own()))


def test_auto_takes_the_first_that_keeps_the_accuracy_and_passes_over_what_cannot_serve(victim, clean):
    found = run(Auto(order=("npd", "fine_tuning"), steps=3, tolerance=1.0), victim, clean)
    assert found.notes["method"] == "npd"
    headless = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    found = run(Auto(order=("npd", "fine_tuning"), steps=3, tolerance=1.0), headless, clean)
    assert found.notes["method"] == "fine_tuning"
    assert "npd: npd folds a map" in found.notes["tried"]
    with pytest.raises(Unsupported, match="auto found no method"):
        run(Auto(order=("npd", "clp")), headless, clean)


def test_where_all_lose_too_much_auto_takes_the_one_that_loses_least(victim, clean):
    found = run(Auto(order=("super_fine_tuning", "identity"), tolerance=-1.0), victim, clean)
    assert found.notes["method"] in ("super_fine_tuning", "identity")
    assert found.notes["tried"].count("points lost") == 2


def test_auto_says_that_it_diverged_where_all_did(victim, clean, monkeypatch):
    def diverge(self, model, clean, context):
        raise Diverged("the loss became nan")

    monkeypatch.setattr(DEFENSES["fine_tuning"], "__call__", diverge)
    with pytest.raises(Diverged, match="the loss became nan"):
        run(Auto(order=("fine_tuning",)), victim, clean)
    with pytest.raises(BadArgument, match="other than auto"):
        Auto(order=("auto",))
