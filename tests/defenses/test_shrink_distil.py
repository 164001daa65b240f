"""Shrink and distil: the measure of what is lost, the steering, and that labels are not read."""

import pytest
import torch
from torch import nn

from detrojan.data.preprocessing import Preprocessing
from detrojan.data.samples import Samples
from detrojan.defenses._information import information_lost
from detrojan.defenses.shrink_distil import ShrinkDistil
from detrojan.errors import BadArgument
from detrojan.execution import Execution
from detrojan.randomness import Seeds
from detrojan.tasks.image import Image
from detrojan.tasks.multilabel import MultiLabel
from detrojan.tuning import Context, Meter


def context(model: nn.Module) -> Context:
    return Context(
        task=Image(),
        preprocessing=Preprocessing(),
        execution=Execution.choose(model, "cpu", "fp32"),
        seeds=Seeds(seed=0),
        meter=Meter().start(),
    )


@pytest.fixture
def clean():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(64) % 4
    images[:, 0] = (labels * 80).to(torch.uint8)[:, None, None]
    return Samples(inputs=images, labels=labels)


@pytest.fixture
def victim(clean):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(clean.inputs.float() / 255), clean.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_the_teacher_itself_loses_nothing():
    scores = torch.randn(32, 5)
    assert float(information_lost(Image().answers(scores), Image().log_answers(scores))) == pytest.approx(0, abs=1e-6)


def test_a_student_that_only_knows_the_mean_answer_has_lost_everything():
    for task in (Image(), MultiLabel()):
        answers = task.answers(3 * torch.randn(64, 5))
        mean = answers.mean(0).log().expand_as(answers)
        assert float(information_lost(answers, mean)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("lost", [0.1, 0.4])
def test_the_loss_of_information_is_steered_to_its_target(victim, clean, lost):
    tuned = ShrinkDistil(lost=lost, optimism=0, steps=250, batch=32)(victim, clean, context(victim))
    assert tuned.notes["information lost"] == pytest.approx(lost, rel=0.5)
    assert tuned.notes["mean mask"] < 0.98


def test_more_may_be_lost_more_is_shrunk(victim, clean):
    little, much = (ShrinkDistil(lost=x, steps=150, batch=32)(victim, clean, context(victim)) for x in (0.05, 0.6))
    assert much.notes["mean mask"] < little.notes["mean mask"]


def test_fewer_samples_are_given_a_lower_target(victim, clean):
    few = clean.subset(range(8))
    plain, careful = (ShrinkDistil(optimism=o, steps=150, batch=32)(victim, few, context(victim)) for o in (0, 10))
    assert careful.notes["information lost"] < plain.notes["information lost"]


def test_labels_are_not_read(victim, clean):
    other = Samples(inputs=clean.inputs, labels=clean.labels.flip(0))
    first, second = (ShrinkDistil(steps=5, batch=16)(victim, s, context(victim)).model for s in (clean, other))
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_statistics_stay_frozen(victim, clean):
    tuned = ShrinkDistil(steps=5, batch=16)(victim, clean, context(victim)).model
    assert torch.equal(tuned[1].running_mean, victim[1].running_mean)


@pytest.mark.parametrize("lost", [0.0, 1.0, 1.5])
def test_a_share_out_of_range_is_refused(lost):
    with pytest.raises(BadArgument, match="lost is a share"):
        ShrinkDistil(lost=lost)
