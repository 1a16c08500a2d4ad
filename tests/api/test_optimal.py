"""`forecast optimal`, `forecast plan` and `forecast compare`: from a table to an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.api.optimal import find_optimum
from forecast.api.plan import PlanRequest, make_plan
from forecast.cli.app import build_app
from forecast.core.errors import FitError, InputError, UsageError
from forecast.laws import get_law
from forecast.laws.rungs import ladder_budgets
from forecast.observations.measurements import Selection

LAW = get_law("chinchilla")
THETA = LAW.vector({"A": 400.0, "B": 400.0, "E": 1.7, "alpha": 0.34, "beta": 0.34})
HEADER = "family,model,task,params,params_non_embedding,tokens,flops,loss,acc,n_items,chance,is_final"


def rows(
    family: str, *, efficiency: float = 1.0, low: float = 1e18, high: float = 1e21, embedding: float = 0.0, seed: int = 0
) -> list[str]:
    """Seven sizes at five budgets; C = 6 N D with N without the `embedding` share."""
    rng = np.random.default_rng(seed)
    found = []
    for i, c in enumerate(np.geomspace(low, high, 5)):
        for j, factor in enumerate(np.geomspace(0.3, 3.3, 7)):
            n = np.sqrt(c / 6) * factor
            d = c / (6 * n)
            loss = float(
                LAW.predict(np.array([[n * efficiency**0.5, d * efficiency**0.5]]), THETA)[0]
                * np.exp(0.001 * rng.standard_normal())
            )
            total = n + embedding * (1e8 + 0.1 * n)
            acc = 0.25 + 0.7 / (1 + np.exp(3 * (loss - 2.4)))
            found.append(
                f"{family},{family}-{i}-{j},text,{total:.8e},{n:.8e},{d:.8e},{6 * n * d:.8e},{loss:.8f},{acc:.6f},,0.25,true"
            )
    return found


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([HEADER, *rows("base")]) + "\n", encoding="utf-8")
    return path


def silent(_text: str) -> None:
    return None


def run(*arguments: str) -> dict[str, object]:
    outcome = CliRunner().invoke(build_app(), [*arguments, "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0
    found = json.loads(outcome.stdout)
    assert isinstance(found, dict)
    return found


def test_every_approach_finds_the_optimum(table: Path, tmp_path: Path) -> None:
    figure = tmp_path / "optimal.png"
    found = run("optimal", "--csv", str(table), "-C", "6e22", "--bootstrap", "60", "--plot", str(figure))
    approaches = {entry["approach"]: entry for entry in found["allocations"]}  # type: ignore[attr-defined]
    assert {"Hoffmann 2 (isoFLOP in log N)", "Llama 3 (isoFLOP in log D)", "Hoffmann 3 (parametric loss)"} <= set(approaches)
    for entry in approaches.values():
        assert entry["params"] == pytest.approx(1e11, rel=0.3)
        assert entry["extrapolates"] == pytest.approx(np.log10(60), abs=0.01)
        assert entry["tokens"] / entry["params"] == pytest.approx(entry["tokens_per_param"])
    assert (
        approaches["Hoffmann 3 (parametric loss)"]["params_lo"] < 1e11 < approaches["Hoffmann 3 (parametric loss)"]["params_hi"]
    )
    assert found["flops_convention"] == "6nd-total"
    assert figure.stat().st_size > 20_000
    text = CliRunner().invoke(
        build_app(), ["optimal", "--csv", str(table), "-C", "1e22", "--bootstrap", "30"], catch_exceptions=False
    )
    assert "Hoffmann 3" in text.stdout


def test_parameters_of_the_flops_own_convention_are_taken(tmp_path: Path) -> None:
    """FLOPs count no embeddings; the total count would bend the optimum, so N without embeddings is used, and said."""
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([HEADER, *rows("base", embedding=1.0)]) + "\n", encoding="utf-8")
    report, _ = find_optimum(path, Selection(), [1e22], approaches=["3"], replicates=0, notice=silent)
    assert report.params_kind == "non-embedding"
    assert report.flops_convention == "6nd-non-embedding"
    assert report.allocations[0].a == pytest.approx(0.5, abs=0.02)
    recounted, _ = find_optimum(
        path, Selection(), [1e22], approaches=["3"], convention="6nd-total", replicates=0, notice=silent
    )
    assert recounted.params_kind == "total"


def test_printed_constants_need_no_runs() -> None:
    found = run("optimal", "--published", "-C", "3.8e25")
    names = [entry["approach"] for entry in found["allocations"]]  # type: ignore[attr-defined]
    assert "Besiroglu 2024, table 1" in names
    assert "Llama 3, figure 3" in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimal", "-C", "-1", "--published"], "--flops is -1"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--approach", "4"], "no approach '4'"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--level", "2"], "level 2"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--flops-convention", "measured"], "cannot be counted by 'measured'"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--metric", "nll"], "no column 'nll'"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--plot", "x.gif"], "cannot draw 'x.gif'"),
        (["plan", "-C", "1e22", "--fraction", "2"], "fraction is 2"),
        (["plan", "-C", "nan"], "--flops is nan"),
        (["optimal", "-C", "1e22", "--csv", "TABLE", "--bootstrap", "3"], "3 bootstrap replicates; expected 0 for none, or at"),
        (["plan", "-C", "1e22", "--rungs", "1"], "1 rungs"),
        (["plan", "-C", "1e22", "--tokens-per-param", "1e-300"], "1e-300 tokens per parameter"),
        (["plan", "-C", "1e22", "--n-ctx", "10000000000"], "a context of 10000000000 tokens"),
        (["plan", "-C", "1e22", "--family", "base"], "none are given"),
        (["compare", "base", "base", "--csv", "TABLE"], "compared with itself"),
        (["compare", "base", "other", "--csv", "TABLE"], "unknown family 'other'"),
        (["compare", "base", "other", "--csv", "TABLE", "--level", "1"], "level 1"),
    ],
)
def test_a_mistake_is_named(table: Path, arguments: list[str], message: str) -> None:
    words = [str(table) if word == "TABLE" else word for word in arguments]
    with pytest.raises(UsageError, match=message) as caught:
        CliRunner().invoke(build_app(), words, catch_exceptions=False)
    assert caught.value.exit_code == 2


def test_too_few_runs_say_why_for_each_approach(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("\n".join([HEADER, *rows("base")[:3]]) + "\n", encoding="utf-8")
    with pytest.raises(FitError, match=r"(?s)no approach can be used.*Hoffmann 1.*Hoffmann 2.*Llama 3.*Hoffmann 3"):
        find_optimum(path, Selection(), [1e22], replicates=0, notice=silent)


def test_a_ladder_costs_what_was_allowed() -> None:
    plan = make_plan(None, Selection(), PlanRequest(target_flops=1e23, fraction=0.02, rungs=5), metric=None, notice=silent)
    assert plan.ladder_flops == pytest.approx(2e21, rel=1e-6)
    assert [rung.flops for rung in plan.rungs] == pytest.approx(ladder_budgets(2e21, 5))
    for rung in plan.rungs:
        assert rung.params_non_embedding == 12 * rung.n_layer * rung.d_model**2
        assert rung.flops == pytest.approx(6 * rung.params_non_embedding * rung.tokens)
        assert rung.learning_rate == pytest.approx(0.3118 * rung.flops_deepseek**-0.125)
        assert rung.batch_tokens == pytest.approx(0.2920 * rung.flops_deepseek**0.3271)
    losses = [rung.loss for rung in plan.rungs if rung.loss is not None]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 5


def test_a_fixed_ratio_and_hours() -> None:
    request = PlanRequest(target_flops=1.2e22, tokens_per_param=20, flops_per_second=1e15)
    plan = make_plan(None, Selection(), request, metric=None, notice=silent)
    assert plan.target_params == pytest.approx(1e10, rel=1e-9)
    assert plan.target_tokens == pytest.approx(2e11, rel=1e-9)
    for rung in plan.rungs:
        assert rung.hours == pytest.approx(rung.flops / 3.6e18)
        assert rung.tokens_per_param == pytest.approx(20, rel=0.3)


def test_the_next_run_beats_the_alternatives_per_flop(table: Path) -> None:
    found = run("plan", "-C", "1e24", "--csv", str(table), "--next-budget", "1e22")
    following = found["next_run"]
    assert isinstance(following, dict)
    assert following["flops"] <= 1e22 * (1 + 1e-9)
    assert following["target_sd_after"] < following["target_sd_now"]
    best = following["reduction_per_flop"]
    for name, after in following["alternatives"].items():
        reduction = following["target_sd_now"] ** 2 - after**2
        assert reduction / following["alternatives_flops"][name] <= best * (1 + 1e-9)


def test_hyperparameters_are_refitted_on_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    lines = ["family,model,task,params,tokens,flops,loss,learning_rate,batch_tokens"]
    for i, c in enumerate(np.geomspace(1e18, 1e20, 5)):
        n = np.sqrt(c / 120)
        best = 0.5 * c**-0.15
        for j, factor in enumerate((0.25, 0.5, 1.0, 2.0, 4.0)):
            loss = 1.8 + 480 / n**0.35 + 2100 / (20 * n) ** 0.37 + 0.05 * np.log(factor) ** 2
            lines.append(f"f,m{i}-{j},t,{n:.6e},{20 * n:.6e},{c:.6e},{loss:.6f},{best * factor:.8e},{0.3 * c**0.33:.6e}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    plan = make_plan(path, Selection(), PlanRequest(target_flops=1e22), metric=None, notice=silent)
    assert plan.hyperparameters.startswith("refitted")
    for rung in plan.rungs:
        assert rung.learning_rate == pytest.approx(0.5 * rung.flops_deepseek**-0.15, rel=1e-3)


def test_a_family_twice_as_efficient_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    dense = [
        row
        for family, efficiency, seed in (("good", 2.0, 0), ("base", 1.0, 1))
        for low in (1e18, 2e18, 3.3e18)
        for row in rows(f"{family}", efficiency=efficiency, low=low, high=low * 1000, seed=seed)
        if row.split(",")[1].endswith("-3")
    ]
    named = [row.replace(row.split(",")[1], f"{row.split(',')[1]}-{index}") for index, row in enumerate(dense)]
    path.write_text("\n".join([HEADER, *named]) + "\n", encoding="utf-8")
    for metric in ("loss", "acc"):
        found = run("compare", "good", "base", "--csv", str(path), "--metric", metric, "--bootstrap", "200")
        for gain in found["along"]:  # type: ignore[attr-defined]
            assert gain["ratio"] == pytest.approx(2.0, rel=0.15)
        assert found["gain"]["lo"] > 1.0  # type: ignore[index]
        assert found["verdict"] == "base needs more compute than good"
    with pytest.raises(UsageError, match="outside the common range"):
        CliRunner().invoke(build_app(), ["compare", "good", "base", "--csv", str(path), "--at", "9"], catch_exceptions=False)


def test_families_without_a_common_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "apart.csv"
    text = "\n".join([HEADER, *rows("small", low=1e15, high=1e16), *rows("large", low=1e20, high=1e21)])
    path.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(FitError, match="no level is reached by both"):
        CliRunner().invoke(
            build_app(), ["compare", "small", "large", "--csv", str(path), "--bootstrap", "50"], catch_exceptions=False
        )


def test_families_of_two_conventions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "conventions.csv"
    head = "family,model,task,flops,flops_convention,loss"
    body = [
        f"{family},{family}{i},t,{c:.3e},{kind},{3 - 0.2 * i}"
        for family, kind in (("a", "6nd-total"), ("b", "measured"))
        for i, c in enumerate(np.geomspace(1e18, 1e21, 6))
    ]
    path.write_text("\n".join([head, *body]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="counts FLOPs by"):
        CliRunner().invoke(build_app(), ["compare", "a", "b", "--csv", str(path)], catch_exceptions=False)


def test_deepseeks_compute_is_counted_from_shapes(tmp_path: Path) -> None:
    shapes = [(8, 256), (10, 384), (12, 512), (14, 640), (16, 768), (20, 1024), (24, 1280)]
    lines = ["family,model,task,params,tokens,loss,n_layer,d_model,n_ctx"]
    for budget in (1e18, 1e19, 1e20):
        for n_layer, d_model in shapes:
            m = 72 * n_layer * d_model**2 + 12 * n_layer * d_model * 4096
            d = budget / m
            loss = 1.7 + 400 / (m / 6) ** 0.34 + 400 / d**0.34
            lines.append(f"f,f{len(lines)},t,{12 * n_layer * d_model**2 + 5e7},{d},{loss},{n_layer},{d_model},4096")
    path = tmp_path / "shapes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = run("optimal", "-C", "1e20", "--csv", str(path), "--flops-convention", "deepseek-md", "--bootstrap", "0")
    assert (found["flops_convention"], found["params_kind"]) == ("deepseek-md", "M / 6")
    by_name = {entry["approach"]: entry for entry in found["allocations"]}  # type: ignore[attr-defined]
    best = by_name["Hoffmann 3 (parametric loss)"]
    assert best["a"] == pytest.approx(0.5, abs=0.01)
    assert best["params"] * best["tokens"] * 6 == pytest.approx(1e20, rel=1e-6)
    assert best["params"] == pytest.approx(best["tokens"], rel=0.05)  # A = B and alpha = beta
    text = path.read_text().replace("n_ctx", "window")
    (tmp_path / "no_context.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="no column 'n_ctx'"):
        run("optimal", "-C", "1e20", "--csv", str(tmp_path / "no_context.csv"), "--flops-convention", "deepseek-md")
