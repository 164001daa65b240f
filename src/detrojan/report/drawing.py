"""How the pages' figures are drawn: as inline SVG at the size, in pixels, at which it is shown.

Stand-in colours become CSS variables of the page, so that figures follow its light or dark scheme. The same input gives
the same bytes.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, PAPER = "#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005"
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", PAPER: "--surface"}
TEXT = 12.0


@contextmanager
def canvas(width: int, height: float, *, left: float, bottom: float) -> Iterator[tuple[Figure, Axes]]:
    """Axes with margins in pixels and light grid lines, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the letters that matplotlib's own font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "detrojan", "font.size": TEXT})
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        figure.patch.set_visible(False)
        spot = (left / width, bottom / height, (width - left - 14) / width, (height - bottom - 10) / height)
        axes = figure.add_axes(spot)
        axes.patch.set_visible(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, pad=6, colors=MUTED, labelcolor=MUTED)
        axes.xaxis.label.set_color(MUTED)
        axes.grid(visible=True, axis="y", color=LINE, linewidth=1)
        axes.set_axisbelow(True)
        yield figure, axes


def svg(figure: Figure, name: str, title: str) -> Markup:
    """The drawing alone: no declarations, no metadata, ids that begin with `name`, colours and font from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r">\s+<", ">\n<", text.replace("xlink:href", "href"))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: inherit", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head = f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {figure.bbox.width:g} {figure.bbox.height:g}">'
    return Markup(re.sub(r"<svg[^>]*>", head, text, count=1).strip())  # noqa: S704 - matplotlib escapes its texts
