"""The report page: complete, self-contained, and safe whatever names a user gave."""

from __future__ import annotations

import html.parser
import re

from forecast.core.forecasts import BacktestSummary, FittedOn, Forecast, IntervalEstimate, Target, Verdict
from forecast.report.page import ReportContent, Section, render_page


def make_forecast(name: str, truth: float | None = None) -> Forecast:
    return Forecast(
        task="arc_easy",
        family="fam",
        target=Target(name=name, flops=3.2e21),
        level=0.9,
        nll=None,
        accuracy=IntervalEstimate(metric="acc", point=0.612, lo=0.55, hi=0.67),
        method="direct",
        verdict=Verdict.UNCERTAIN,
        reasons=("The noise is 4 < 5 points.",),
        backtest=BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None),
        fitted_on=FittedOn(n_checkpoints=5, n_runs=5, min_flops=1e18, max_flops=1e20),
        truth=truth,
    )


def make_section(family: str = "fam", **changes: object) -> Section:
    fields: dict[str, object] = {
        "family": family,
        "task": "arc_easy",
        "n_checkpoints": 5,
        "n_runs": 5,
        "min_flops": 1e18,
        "max_flops": 9.97e19,
        "chance": 0.25,
        "largest_model": "big",
        "largest_accuracy": 0.5,
        "accuracy_metric": "acc",
        "forecasts": (make_forecast("10 x"), make_forecast("100 x")),
        "check": make_forecast("big", truth=0.5),
        "figure_svg": "<svg><title>figure</title></svg>",
    }
    return Section(**(fields | changes))  # type: ignore[arg-type]


def make_page(*sections: Section) -> str:
    provenance = ({"family": "fam", "task": "arc_easy", "shots": None, "source": "derived"},)
    return render_page(
        ReportContent(
            title="Capability forecasts",
            created_at="2026-01-01T00:00:00+00:00",
            version="0.1.0",
            database="results.duckdb",
            sections=sections,
            provenance=provenance,
        )
    )


def test_numbers_verdict_and_reasons_are_on_the_page() -> None:
    page = make_page(make_section())
    for text in (
        "61.2\u202f%",
        "55.0\u202f% to 67.0\u202f%",
        "uncertain",
        "The noise is 4 &lt; 5 points.",
        "<svg><title>figure",
        "measured 50.0\u202f%",
    ):
        assert text in page
    assert "3.2&thinsp;×&thinsp;10<sup>21</sup>" in page
    assert "1.0&thinsp;×&thinsp;10<sup>20</sup>" in page  # 9.97e19 rounds up into the next power


def test_a_section_without_forecast_says_why() -> None:
    page = make_page(make_section(forecasts=(), check=None, figure_svg="", problem="No forecast: two checkpoints only."))
    assert "No forecast: two checkpoints only." in page
    assert "no forecast" in page


def test_nothing_is_fetched_and_names_are_escaped() -> None:
    page = make_page(make_section(family="<script>alert(1)</script>"))
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert "@import" not in page


def test_control_characters_are_shown_and_not_obeyed() -> None:
    page = make_page(make_section(family="a\u202eb\x1b[31m\x00 \udcff 模型 😀"))
    assert r"a\u202eb\x1b[31m\x00 \udcff 模型 😀" in page
    page.encode("utf-8")


def test_sections_with_names_that_look_alike_have_places_of_their_own() -> None:
    page = make_page(make_section(family="a b"), make_section(family="a-b"), make_section(family="a/b"))
    places = re.findall(r'id="([^"]+)"', page)
    assert len(set(places)) == len(places)
    assert set(re.findall(r'href="#([^"]+)"', page)) == set(places)


def test_every_tag_is_closed() -> None:
    open_tags: list[str] = []
    void = {"meta", "br"}

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in void:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(make_page(make_section(), make_section(forecasts=(), check=None, figure_svg="")))
    assert open_tags == []
