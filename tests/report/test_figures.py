"""The figures: they fit one layer and sixty, two classes and two hundred, and are inert inline SVG."""

import base64
import io
import re
import warnings
from xml.etree import ElementTree

import matplotlib
import pytest
import torch
from PIL import Image

from detrojan.intervals import proportion
from detrojan.report import figures


def masks(layers):
    return {f"norm{n}": torch.linspace(0, 1, 11) for n in range(layers)}


def classes(count, right=8):
    return {label: proportion(right, 10) for label in range(count)}


DRAWINGS = {
    **{f"cut {n}": lambda w, n=n: figures.cut(masks(n), width=w) for n in (1, 2, 60)},
    "cut nothing": lambda w: figures.cut({"norm": torch.ones(3)}, width=w),
    **{f"loss {n}": lambda w, n=n: figures.loss([1.0 / (i + 1) for i in range(n)], width=w) for n in (1, 2, 2000)},
    **{
        f"classes {n}": lambda w, n=n: figures.per_class(classes(n), classes(n, 5), {}, width=w)
        for n in (1, 2, 43, 200)
    },
}


@pytest.mark.parametrize("width", [330, 760])
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_inert_svg_of_the_width(drawing, width):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = DRAWINGS[drawing](width)
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"].startswith(f"0 0 {width} ")
    assert root.attrib["aria-label"]
    assert not re.search(r"<style|<script|metadata|http|xlink|#0a000|DejaVu", text)
    assert "nan" not in text
    assert "var(--accent)" in text
    assert len(text) < 150_000


@pytest.mark.parametrize("drawing", ["cut 60", "loss 2", "classes 43"])
def test_same_input_same_text_whatever_the_users_style(drawing):
    first = DRAWINGS[drawing](760)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        assert DRAWINGS[drawing](760) == first
        assert matplotlib.rcParams["font.size"] == 30


def bars(text):
    """Heights of the filled boxes, by opacity."""
    found = {}
    for path, style in re.findall(r'<path d="([^"]+)"[^>]*style="([^"]*fill: var\(--accent\)[^"]*)"', text):
        heights = [float(y) for _, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        opacity = re.search(r"opacity: ([\d.]+)", style)
        found.setdefault(float(opacity[1]) if opacity else 1.0, []).append(max(heights) - min(heights))
    return found


def test_bars_stack_the_shares():
    mask = torch.tensor([0.0, 0.01, 0.3, 0.6, 0.98, 0.99, 1.0, 1.0])
    heights = bars(figures.cut({"a": mask, "b": torch.ones(8)}, width=760))
    unit = heights[1.0][0] / 2
    assert heights[0.6][0] / unit == pytest.approx(1, rel=1e-3)
    assert heights[0.3][0] / unit == pytest.approx(2, rel=1e-3)
    assert heights[1.0][1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("bound", "expected"), [(figures.PRUNED, 0.5), (0.5, 0.5), (figures.INTACT, 0.75)])
def test_share(bound, expected):
    assert figures.share(torch.tensor([0.0, 0.01, 0.5, 0.99]), bound) == expected


def test_names_are_plain_text_and_shortened():
    names = {0: "<b>$x_1$</b>", 1: "a sign with a very long name indeed", 2: "猫 🐈"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = figures.per_class(classes(3), classes(3), names, width=330)
    shown = [element.text for element in ElementTree.fromstring(text).iter("text")]
    assert {"<b>$x_1$</b>", "a sign with a very …", "猫 🐈"} <= set(shown)


def test_classes_in_only_one_of_the_two_are_left_out():
    text = figures.per_class(classes(3), classes(2), {n: f"name{n}" for n in range(3)}, width=760)
    assert "name1" in text
    assert "name2" not in text


def decoded(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("image", "mode", "pixel"),
    [
        (torch.full((3, 4, 5), 200, dtype=torch.uint8), "RGB", (200, 200, 200)),
        (torch.full((1, 4, 5), 7, dtype=torch.uint8), "L", 7),
        (torch.full((1, 4, 5), 0.5), "L", 128),
        (torch.full((1, 4, 5), 3.0), "L", 255),
        (torch.full((3, 4, 5), 0.2, dtype=torch.bfloat16), "RGB", (51, 51, 51)),
    ],
)
def test_picture_keeps_its_pixels(image, mode, pixel):
    shown = decoded(figures.picture(image))
    assert (shown.mode, shown.size, shown.getpixel((0, 0))) == (mode, (5, 4), pixel)


def test_large_picture_becomes_a_thumbnail():
    assert decoded(figures.picture(torch.zeros(3, 224, 112))).size == (48, 96)


def test_floats_are_scaled_from_the_given_range():
    image = torch.tensor([[[-2.0, 2.0]]])
    assert [decoded(figures.picture(image, low=-2, high=2)).getpixel((x, 0)) for x in (0, 1)] == [0, 255]
