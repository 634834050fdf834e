"""What the page about the gates says of bad models at a real line is what the benchmark wrote."""

import json
from typing import Any

import pytest

from benchmarks.bad_models import MOST_ROLLBACK_S, by_kind, by_model, wrong
from benchmarks.results import RESULTS
from tests.bad_releases import FLAWS, KINDS

PAGE = (RESULTS.parents[1] / "docs" / "challenger.md").read_text(encoding="utf-8")
MEASURED: dict[str, Any] = json.loads((RESULTS / "bad_models.json").read_text(encoding="utf-8"))
MODELS: list[dict[str, Any]] = MEASURED["models"]


def test_each_flaw_was_measured_and_caught_where_the_benchmark_says_with_one_verdict_for_each_part() -> None:
    assert {each["model"]: each["mistake"] for each in MODELS} == {name: flaw.words for name, flaw in FLAWS.items()}
    assert [words for each in MODELS if (words := wrong(each))] == []


@pytest.mark.parametrize("row", by_kind(MODELS), ids=KINDS)
def test_each_kind_is_caught_before_any_part_and_by_each_gate_and_told_so(row: tuple[str, ...]) -> None:
    assert all(row)
    assert f"| {' | '.join(row)} |\n" in PAGE


@pytest.mark.parametrize("row", by_model(MODELS), ids=FLAWS)
def test_each_model_is_told_with_its_gate_its_parts_and_its_faults(row: tuple[str, ...]) -> None:
    (found,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row[0]} |")]
    assert found.startswith(f"| {' | '.join(row)} | "), found
    assert found.count("|") == len(row) + 2


def test_the_way_back_is_told_as_it_was_measured() -> None:
    took = [each["rollback_s"] for each in MODELS if each["rollback_s"] is not None and each["outcome"] != "success"]
    switched = [each for each in MODELS if each["switches_back"] == 1 and not each["station_restarts"]]
    assert max(took) < MOST_ROLLBACK_S
    assert f"{len(took)} ways back took at most {max(took) * 1000:,.0f} ms" in PAGE
    assert f"{sum(each['announced'] for each in MODELS):,} parts were announced, and each has one verdict" in PAGE
    assert {each["caught_at"] for each in switched} >= {"CANARY", "WATCH"}


def test_the_settings_and_the_day_are_those_of_the_measurement() -> None:
    gates = MEASURED["gates"]
    told = ", ".join(f"`{key}` {value:g}" for key, value in gates.items() if key.endswith("_parts"))
    assert told in PAGE.replace("\n", " ")
    assert f"Measured on {MEASURED['machine']['date']} on two cores" in PAGE
    assert MEASURED["machine"]["cores"] == 2
