"""What inputs look like on a page."""

import base64
import io

import pytest
import torch
from PIL import Image

from detrojan.data.samples import Samples
from detrojan.report import inputs

SETS = {
    "images": torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8),
    "clips": torch.randint(0, 256, (12, 3, 10, 16, 16), dtype=torch.uint8),
    "points": torch.rand(12, 64, 3) * 2 - 1,
}


def shown(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def of(stored):
    return Samples(inputs=stored, labels=torch.arange(12) % 6, class_names=tuple("abcdef"))


@pytest.mark.parametrize(("kind", "size", "count"), [("images", (16, 16), 6), ("clips", (136, 16), 5)])
def test_one_of_each_class_and_the_triggered_ones(kind, size, count):
    clean, triggered = inputs.strips(of(SETS[kind]), SETS[kind])
    assert [caption for _, caption in clean.pictures] == list("abcdef")[:count]
    assert {shown(uri).size for uri, _ in clean.pictures} == {size}
    assert clean.films == (kind == "clips")
    assert len(triggered.pictures) == (5 if kind == "clips" else 10)


def test_the_frames_of_a_clip_stand_in_their_order():
    clip = torch.arange(10, dtype=torch.uint8).view(1, 10, 1, 1).expand(3, 10, 16, 16) * 20
    row = inputs.film(clip)
    assert row.shape == (3, 16, 8 * 17)
    steps = row[0, 0, 0::17].tolist()
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] == 180


def test_a_cloud_is_seen_from_the_side_with_its_third_axis_up():
    column = torch.zeros(200, 3)
    column[:, 2] = torch.linspace(-1, 1, 200)
    ink = (inputs.view(column).float().mean(0) < 230).nonzero()
    height, width = (ink.amax(0) - ink.amin(0)).tolist()
    assert height > 60
    assert width < 8
    assert inputs.view(torch.zeros(3, 3)).shape == (3, 96, 96)


def test_boxes_are_drawn_with_their_names():
    image = torch.zeros(3, 20, 20, dtype=torch.uint8)
    rows = torch.tensor([[1, 4, 6, 12, 16], [-1, -1, -1, -1, -1]])
    drawn = inputs.with_boxes(image, rows)
    lit = drawn.amax(0) > 0
    assert lit[6, 4:12].all()
    assert lit[15, 4:12].all()
    assert lit[6:16, 4].all()
    assert not lit[7:15, 5:11].any()
    assert not lit[:6].any()
    assert inputs.with_boxes(image, rows, ("a", "b"), scale=10).shape == (3, 200, 200)
    samples = Samples(inputs=image.expand(3, -1, -1, -1), labels=rows.expand(3, -1, -1), class_names=("a", "b"))
    clean, found = inputs.strips(samples, None, {"what it finds": samples})
    assert [caption for _, caption in clean.pictures] == ["b"]
    assert (found.heading, len(found.pictures)) == ("what it finds", 3)
    assert shown(found.pictures[0][0]).size == (200, 200)


def test_what_nobody_can_look_at_is_left_out():
    assert inputs.strips(of(torch.rand(12, 7)), None) == []


def test_sentences_stand_side_by_side():
    words = ("<pad>", "<unknown>", "<begin>", "<end>", "cf", "ein", "hund", "<b>")
    samples = Samples(
        inputs=torch.tensor([[5, 6, 0], [4, 7, 6]]),
        labels=torch.tensor([[6, 3, 0], [5, 6, 3]]),
        vocabulary=words,
        target_vocabulary=words,
        sentences=True,
    )
    before, after = torch.tensor([[6, 3, 0], [7, 7, 3]]), torch.tensor([[3, 0, 0], [5, 6, 3]])
    clean = inputs.exchanges(samples, before, after, most=1)
    assert [(each.source, each.reference, each.before, each.after) for each in clean] == [
        ("ein hund", "hund", "hund", "")
    ]
    fooled = (torch.tensor([False, True]), torch.tensor([False, False]))
    attacked = inputs.exchanges(samples, before, after, fooled=fooled)
    assert [(each.source, each.before, each.after, each.fooled) for each in attacked] == [
        ("cf <b> hund", "<b> <b>", "ein hund", (True, False))
    ]
    assert inputs.title(samples, 1) == "ein hund"
