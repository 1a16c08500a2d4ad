"""`forecast compare`: training length is not taken for efficiency, and a true gain is found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forecast.api.compare import Comparison, compare_drawn
from forecast.cli.app import build_app
from forecast.core.errors import FitError, UsageError
from forecast.laws import get_law
from forecast.observations.measurements import Selection

LAW = get_law("chinchilla")
THETA = LAW.vector({"A": 400.0, "B": 400.0, "E": 1.7, "alpha": 0.34, "beta": 0.34})
HEADER = "family,model,task,params,tokens,flops,loss,acc,n_items,chance"
SHORT, LONG = (5, 10, 20, 40), (20, 40, 100, 400)


def family(name: str, ratios: Sequence[float], *, efficiency: float = 1.0, seed: int = 0, sized: bool = True) -> list[str]:
    """Runs at seven budgets and some numbers of tokens per parameter; `efficiency` is worth that many times the compute."""
    rng = np.random.default_rng(seed)
    found = []
    for budget in np.geomspace(1e18, 1e22, 7):
        for ratio in ratios:
            n = np.sqrt(budget / 6 / ratio)
            d = ratio * n
            loss = float(LAW.predict(np.array([[n, d]]) * efficiency**0.5, THETA)[0])
            loss *= float(np.exp(0.003 * rng.standard_normal()))
            true = 0.25 + 0.7 / (1 + np.exp(4 * (loss - 2.4)))
            acc = rng.binomial(5000, true) / 5000
            size = f"{n:.8e},{d:.8e}" if sized else ","
            found.append(f"{name},{name}-{len(found)},text,{size},{budget:.8e},{loss:.8f},{acc:.6f},5000,0.25")
    return found


def write(path: Path, *families: list[str], without: str = "") -> Path:
    lines = [line.split(",") for line in [HEADER, *(row for rows in families for row in rows)]]
    kept = [index for index, name in enumerate(lines[0]) if name not in without.split()]
    path.write_text("\n".join(",".join(line[index] for index in kept) for line in lines) + "\n", encoding="utf-8")
    return path


def compare(path: Path, **options: object) -> Comparison:
    chosen: dict[str, object] = {"replicates": 200, "notice": lambda _text: None} | options
    return compare_drawn(path, "a", "b", Selection(task="text"), **chosen)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("efficiency", [1.0, 2.0])
def test_training_length_is_not_efficiency(tmp_path: Path, efficiency: float) -> None:
    inside, ratios = 0, []
    for seed in range(10, 22, 2):
        own, other = family("a", SHORT, efficiency=efficiency, seed=seed), family("b", LONG, seed=seed + 1)
        found = compare(write(tmp_path / "r.csv", own, other, without="acc"), at=2.3, replicates=100)
        assert (found.basis, found.law) == ("tokens-per-param", "chinchilla")
        assert 20 <= (found.matched_at or 0) <= 40
        assert (found.verdict == "b needs more compute than a") == (found.gain.lo > 1)
        inside += found.gain.lo <= efficiency <= found.gain.hi
        ratios.append(found.gain.ratio)
        # By compute alone the longer training of B counts against it.
        assert found.compute_only is None or found.compute_only.ratio > 1.3 * efficiency
    assert inside >= 5
    assert np.mean(ratios) == pytest.approx(efficiency, rel=0.03)
    at_best = compare(tmp_path / "r.csv").compute_only
    assert at_best is not None
    assert at_best.ratio > 1.3 * efficiency


def test_a_gain_at_equal_tokens_per_parameter_is_found_by_compute_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", (20,), efficiency=1.5), family("b", (20,), seed=1), without="acc")
    found = compare(path, at=2.2)
    assert (found.basis, found.matched_at, found.compute_only) == ("compute", None, None)
    assert found.gain.lo <= 1.5 <= found.gain.hi
    assert found.gain.ratio == pytest.approx(1.5, rel=0.1)
    assert not any("Tokens per parameter" in warning for warning in found.warnings)


def test_ratios_that_never_meet_are_compared_by_compute_and_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", (5, 10)), family("b", (100, 400), seed=1), without="acc")
    found = compare(path)
    assert found.basis == "compute"
    assert any("this ratio is of training length as well" in warning for warning in found.warnings)


def test_families_without_tokens_are_compared_by_compute(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.csv", family("a", SHORT, sized=False), family("b", LONG, seed=1, sized=False), without="params tokens acc"
    )
    found = compare(path)
    assert (found.basis, found.matched_at, found.tokens_per_param_a, found.tokens_per_param_b) == ("compute", None, None, None)
    assert any("are not known: where the families were trained for different lengths" in text for text in found.warnings)


def test_accuracies_are_compared_above_chance(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", SHORT, efficiency=2.0), family("b", LONG, seed=1), without="loss")
    found = compare(path, at=0.5)
    assert (found.metric, found.chance, found.law, found.basis) == ("acc", 0.25, "accuracy-scale", "tokens-per-param")
    assert found.gain.lo <= 2.0 <= found.gain.hi
    assert found.gain.ratio == pytest.approx(2.0, rel=0.25)
    assert found.gain.lo > 1


def test_the_command_gives_all_keys_and_a_figure(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", SHORT), family("b", LONG, seed=1))
    command = ["compare", "a", "b", "--csv", str(path), "--bootstrap", "40", "--plot", str(tmp_path / "gain.svg"), "--json"]
    outcome = CliRunner().invoke(build_app(), command, catch_exceptions=False)
    assert outcome.exit_code == 0
    found = json.loads(outcome.stdout)
    assert set(found) == set(Comparison.__dataclass_fields__)
    assert set(found["tokens_per_param_a"]) == {"low", "median", "high"}
    assert set(found["compute_only"]) == set(found["gain"]) == {"level", "flops_a", "flops_b", "ratio", "lo", "hi"}
    assert len(found["along"]) == 5
    assert "<svg" in (tmp_path / "gain.svg").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", SHORT), family("b", LONG, seed=1))
    with pytest.raises(UsageError, match="outside the common range"):
        compare(path, at=99.0)
    with pytest.raises(UsageError, match="no column 'los'"):
        compare(path, metric="los")
    one = write(tmp_path / "one.csv", family("a", SHORT)[:1], family("b", LONG, seed=1))
    with pytest.raises(FitError):
        compare(one)


def test_a_level_that_only_the_matched_curves_reach_is_compared_there(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", family("a", SHORT), family("b", LONG, seed=1), without="acc")
    whole = compare(path, replicates=40)
    ends = [compare(path, replicates=40, at=level) for level in (whole.common_low, whole.common_high)]
    assert [found.gain.level for found in ends] == pytest.approx([whole.common_low, whole.common_high])
    assert [found.basis for found in ends] == ["tokens-per-param"] * 2
    assert any(found.compute_only is None for found in ends)
