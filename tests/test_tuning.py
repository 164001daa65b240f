"""What a purification costs, and the pieces of the step loop that methods share."""

import sys
from dataclasses import replace

import pytest
import torch

from contexts import context_of, reds
from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.models.small_cnn import small_cnn
from detrojan.tuning import Meter
from detrojan.weight_tuning import ROUNDING, falling, fine_tune, reestimate, shared_out, tunable, unlearn


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process in a file")
def test_memory_that_was_freed_before_counts_when_it_is_taken_again():
    for _ in range(3):
        meter = Meter().start()
        torch.ones(16 << 20).sum()
        assert 60 << 20 < meter.cost().peak_bytes < 200 << 20


@pytest.mark.parametrize(("device", "peak"), [("cpu", 7), ("cuda", 5)])
def test_memory_is_that_of_the_device_above_the_start(device, peak, monkeypatch):
    process, gpu = iter([10, 17]), {"memory_allocated": 100, "max_memory_allocated": 105, "reset_peak_memory_stats": 0}
    monkeypatch.setattr("detrojan.tuning._bytes", lambda _: next(process))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, told in gpu.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, told=told: told)
    assert Meter(device=torch.device(device)).start().cost().peak_bytes == peak


def test_a_rate_falls_from_the_first_to_the_last():
    rate = falling(0.4, 10, last=0.1)
    assert rate(0) == pytest.approx(0.4)
    assert rate(5) == pytest.approx(0.25)
    assert rate(10) == pytest.approx(0.1)
    assert all(rate(step) > rate(step + 1) for step in range(10))


@pytest.mark.parametrize(("steps", "rounds", "wanted"), [(10, 3, [3, 3, 4]), (2, 4, [0, 1, 0, 1]), (6, 2, [3, 3])])
def test_steps_are_shared_out_and_none_is_lost(steps, rounds, wanted):
    assert shared_out(steps, rounds) == wanted


def test_a_tunable_copy_is_trainable_whatever_the_victim_is():
    victim = small_cnn(3, 3, 4).eval().requires_grad_(False)
    copy = tunable(victim, context_of(victim))
    assert copy.training
    assert all(weight.requires_grad for weight in copy.parameters())
    assert not any(weight.requires_grad for weight in victim.parameters())
    assert not victim.training


@pytest.mark.parametrize(
    ("shape", "resized", "batches"),
    [
        ((3, 32, 32), None, [256, 44]),
        ((3, 64, 64), None, [256, 44]),
        ((3, 128, 128), None, [64, 64, 64, 64, 44]),
        ((3, 8, 8), (128, 128), [64, 64, 64, 64, 44]),
    ],
)
def test_large_inputs_are_predicted_in_smaller_batches(shape, resized, batches):
    class Flat(torch.nn.Module):
        def forward(self, images):
            seen.append(len(images))
            return images.mean((2, 3))

    seen, images = [], torch.zeros(300, *shape, dtype=torch.uint8)
    context = replace(context_of(Flat()), preprocessing=Preprocessing(size=resized))
    scores = context.predict(Flat(), Samples(inputs=images, labels=torch.zeros(300, dtype=torch.int64)))
    assert scores.shape == (300, 3)
    assert seen == batches


def test_unlearning_ends_when_the_task_is_forgotten():
    torch.manual_seed(0)
    victim, samples = small_cnn(3, 3, 4), reds(60, 16)
    context = context_of(victim)
    network = tunable(victim, context)
    fine_tune(network, samples, context, steps=40, batch=30, learning_rate=0.1)
    learned = float((context.predict(network, samples).argmax(1) == samples.labels).float().mean())
    losses = unlearn(network, samples, context, steps=80, batch=30, learning_rate=0.05, until=0.4)
    left = float((context.predict(network, samples).argmax(1) == samples.labels).float().mean())
    assert learned > 0.9
    assert left <= 0.4 + ROUNDING
    assert len(losses) < 80
    assert len(losses) % 4 == 0


def test_statistics_follow_and_weights_stay():
    victim, samples = small_cnn(3, 3, 4).eval(), reds(30, 16)
    weights = [weight.clone() for weight in victim.parameters()]
    buffers = {name: buffer.clone() for name, buffer in victim.named_buffers()}
    reestimate(victim, samples, context_of(victim), steps=3, batch=10)
    assert all(torch.equal(a, b) for a, b in zip(weights, victim.parameters(), strict=True))
    assert any(not torch.equal(buffers[name], buffer) for name, buffer in victim.named_buffers())
    assert not victim.training
