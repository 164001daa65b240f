import numpy as np
import pytest
import torch

from detrojan.data.samples import Samples
from detrojan.report.contact_sheet import CELL, COLUMNS, GREY, amplification, class_name, contact_sheet


def samples(count=3, side=10, channels=3):
    pixels = torch.randint(90, 110, (count, channels, side, side), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 3
    return Samples(inputs=pixels.to(torch.uint8), labels=labels, class_names=("cat, house cat", "dog", "x" * 80))


def sheet(clean, triggered):
    image = contact_sheet(clean, triggered, torch.ones_like(clean.labels), title="title", caption="caption")
    return np.asarray(image)


@pytest.mark.parametrize(("change", "factor"), [(0, 100), (1, 100), (3, 20), (30, 2), (100, 1), (145, 1)])
def test_the_amplification_fills_the_range_without_clipping(change, factor):
    clean = torch.full((1, 1, 8, 8), 110, dtype=torch.uint8)
    assert amplification(clean, clean + change) == factor
    assert amplification(clean + change, clean) == factor


def test_a_few_large_changes_do_not_hide_the_small_ones():
    clean = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    triggered = clean + 2
    triggered[..., 0, :10] = 255
    assert amplification(clean, triggered) == 50


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_enlarged_by_a_whole_number_and_nothing_else(channels):
    clean = samples(channels=channels)
    triggered = clean.inputs.clone()
    triggered[..., -1, -1] += 20
    drawn, scale = sheet(clean, triggered), CELL // 10
    wanted = clean.inputs[0].expand(3, -1, -1).permute(1, 2, 0).numpy().repeat(scale, 0).repeat(scale, 1)
    windows = np.lib.stride_tricks.sliding_window_view(drawn[:250, :280], wanted.shape)[:, :, 0]
    places = np.argwhere((windows[:, :, ::7, ::7] == wanted[::7, ::7]).all((2, 3, 4)))
    assert len(places) == 1
    top, left = places[0]
    below = drawn[top + 2 * (10 * scale + 8) :, left:][: 10 * scale, : 10 * scale]
    assert (below[:-scale] == GREY).all()
    assert (below[-scale:, -scale:] == GREY + 5 * 20).all()


def test_more_images_than_columns_begin_a_new_band():
    one, two = (sheet(samples(count), samples(count).inputs) for count in (COLUMNS, COLUMNS + 1))
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > 1.8 * one.shape[0]


def test_nothing_is_drawn_past_the_edge():
    clean = samples(side=150)
    drawn = np.asarray(contact_sheet(clean, clean.inputs, clean.labels + 1, title="t" * 200, caption="c" * 200))
    paper = drawn[0, 0]
    assert (drawn[:, -5:] == paper).all()
    assert (drawn[-5:] == paper).all()


def test_the_same_input_gives_the_same_sheet():
    clean = samples()
    assert np.array_equal(sheet(clean, clean.inputs), sheet(clean, clean.inputs))


def test_class_names():
    clean = samples()
    assert [class_name(clean, label) for label in (0, 1, 3)] == ["cat", "dog", "class 3"]
