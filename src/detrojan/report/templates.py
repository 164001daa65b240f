"""What the pages share: the templates' environment, figures in two widths, and the versions at their foot."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detrojan import __version__
from detrojan.report.formats import FILTERS

WIDTHS = {"wide": 760, "narrow": 330}
"""Each figure is drawn twice, at these widths in pixels, and the page shows the one that fits the screen."""


def environment() -> Environment:
    """Templates beside this file; what they print is escaped, and a name that is not there is an error."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= FILTERS
    return found


def both_widths(draw: Callable[..., Markup], *data: Any) -> dict[str, Markup]:
    """A figure at both widths."""
    return {name: draw(*data, width=width) for name, width in WIDTHS.items()}


def versions() -> dict[str, str]:
    """Of Detrojan and of what it runs on."""
    return {"detrojan": __version__, "torch": torch.__version__, "python": platform.python_version()}
