"""The HTML report: one self-contained file that can be mailed, archived, and read in ten years."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from forecast.core.forecasts import Forecast
from forecast.core.printable import printable

_TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True, kw_only=True)
class Section:
    """One family on one task: what was measured, what is forecast, and how a check on the largest run came out."""

    family: str
    task: str
    n_checkpoints: int
    n_runs: int
    min_flops: float
    max_flops: float
    chance: float | None
    largest_model: str
    largest_accuracy: float | None
    """Fraction, by `accuracy_metric`."""
    accuracy_metric: str
    num_fewshot: int | None = None
    """Solved examples in the prompt; None when unknown."""
    forecasts: tuple[Forecast, ...]
    check: Forecast | None
    """The largest run, forecast from the smaller ones; its `truth` is known."""
    figure_svg: str
    """Inline SVG of both steps; empty when nothing could be fitted."""
    problem: str = ""
    """Why there is no forecast, when there is none."""


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that the page shows."""

    title: str
    created_at: str
    """UTC, ISO 8601."""
    version: str
    """Version of this program."""
    database: str
    sections: tuple[Section, ...]
    provenance: tuple[Mapping[str, object], ...]
    """One row per family, task and way of scoring: where the numbers came from."""


def _percent(fraction: float | None, digits: int = 1) -> str:
    r"""Write a fraction as a percentage.

    >>> _percent(0.63215)  # a narrow no-break space keeps the sign on its number's line
    '63.2\u202f%'
    """
    if fraction is None or not math.isfinite(fraction):
        return "–"
    return f"{100 * fraction:.{digits}f}\u202f%"


def _scientific(number: float | None) -> str:
    """Write a large number with its power of ten.

    >>> str(_scientific(3.8e25))
    '3.8&thinsp;×&thinsp;10<sup>25</sup>'
    """
    if number is None or not math.isfinite(number) or number <= 0:
        return "–"
    exponent = math.floor(math.log10(number))
    mantissa = number / 10**exponent
    if round(mantissa, 1) >= 10:
        mantissa, exponent = 1.0, exponent + 1
    return Markup("{:.1f}&thinsp;×&thinsp;10<sup>{}</sup>").format(mantissa, exponent)


def _anchors(sections: Sequence[Section]) -> dict[int, str]:
    """Return a name for each section's place, by its identity; different names may look alike once only letters are left."""
    names = ("".join(c if c.isalnum() else "-" for c in f"{section.family}-{section.task}") for section in sections)
    return {id(section): f"s{i}-{name}" for i, (section, name) in enumerate(zip(sections, names, strict=True), start=1)}


def _shown(value: object) -> object:
    """Show names as they are: no character that turns the writing direction, none that HTML cannot hold."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def render_page(content: ReportContent) -> str:
    """Return the report as one HTML document with its style and figures inside; nothing in it is fetched."""
    environment = Environment(autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    anchors = _anchors(content.sections)
    environment.filters |= {
        "percent": _percent,
        "scientific": _scientific,
        "anchor": lambda section: anchors[id(section)],
        "svg": Markup,
    }
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(content=content)
