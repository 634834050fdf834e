"""The figures on the page about performance are those of the files that the benchmarks wrote."""

import json
from typing import Any

import pytest

from benchmarks.results import RESULTS

LINES = (RESULTS.parents[1] / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
RUNS = ("onnx f32, 1 thread(s)", "openvino int8, 1 thread(s)", "openvino int8, 2 thread(s)")
MINE = {"onnxruntime": "our line", "openvino": "our line, OpenVINO"}


def results(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def row(begin: str) -> list[str]:
    """The cells of the one row that begins so, without the first."""
    (found,) = [line for line in LINES if line.startswith(f"| {begin}")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


def test_the_peers_are_compared_by_the_figures_that_were_measured() -> None:
    measured = results("peers")
    rates = {name: each["parts_per_s"] for name, each in measured["contenders"].items()}
    for name, over in measured["ratios"].items():
        same = MINE[measured["contenders"][name]["runtime"]]
        assert over["same_model"] == pytest.approx(rates[same] / rates[name], abs=0.006)
        assert over["fastest"] == pytest.approx(rates["our line, OpenVINO INT8"] / rates[name], abs=0.006)
        (line,) = [line for line in LINES if line.startswith("|") and f" {rates[name]} |" in line]
        assert f"| {over['same_model']} x" in line
        assert line.endswith(f"| {over['fastest']} x |")


@pytest.mark.parametrize(
    "stage",
    ["accept", "capture", "correct", "infer", "decide", "record", "deliver", "frame_to_action", "round_trip"],
)
def test_each_stage_at_the_limit_is_told_as_it_was_measured(stage: str) -> None:
    measured = results("throughput")
    wanted = [measured[run]["latency_ms"][stage][rank] for run in RUNS for rank in ("p50", "p95", "p99")]
    assert row(stage) == [f"{value:.1f}" for value in wanted]


def test_the_bare_model_at_the_limit_is_told_as_it_was_measured() -> None:
    measured = results("throughput")
    wanted = [measured[run]["bare_ms"][rank] for run in RUNS for rank in ("p50", "p95", "p99")]
    assert row("bare model at this pace") == [f"{value:.1f}" for value in wanted]
    rates = [f"{measured[run]['rate_hz']:g}" for run in RUNS]
    assert [cell for cell in row("parts per second") if cell] == rates
