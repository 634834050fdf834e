"""appliance bench: what is measured, what is proposed, and that nothing unproved is."""

import importlib.util
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from appliance.bench import RUNS_IN_A_ROW, Candidate, at_rest, in_yaml, propose, thread_counts, times_ms, ways
from appliance.bundle.golden import GoldenImage
from appliance.config import RuntimeSection
from appliance.engine import default_threads, instances, usable_cores
from appliance.events import Pixels
from appliance.ports import RawDetections
from tests.accelerator import why_no_accelerator
from tests.end_to_end.test_commands import appliance
from tests.models import golden_of_all_kinds, tiny_bundle, tiny_manifest, tiny_model
from tests.planted import honest_golden, write

pytestmark = pytest.mark.long


def candidate(threads: int, p50_ms: float | None, **changes: Any) -> Candidate:
    times_ms = None if p50_ms is None else {"p50": p50_ms, "p99": 2 * p50_ms}
    return Candidate("openvino", threads, "f32", times_ms=times_ms, **changes)


def test_every_runtime_is_measured_and_the_proposal_is_a_configuration(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    ended = appliance("bench", "--bundle", tiny_bundle(tmp_path / "tiny.bundle"), "--rounds", 3, "--json", report)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(report.read_text())
    kinds = {each["kind"] for each in document["candidates"] if each["times_ms"]}
    has_openvino = importlib.util.find_spec("openvino") is not None
    assert kinds - {"tensorrt"} == ({"onnx", "openvino"} if has_openvino else {"onnx"})
    assert ("tensorrt" in kinds) <= (not why_no_accelerator())
    assert all(bool(each["times_ms"]) != bool(each["refusal"]) for each in document["candidates"])
    proposed = yaml.safe_load(ended.stdout[ended.stdout.index("runtime:") :])["runtime"]
    assert document["proposed"]["threads"] <= default_threads()
    there = instances(RuntimeSection.model_validate(proposed))
    assert (f"{there} parts are inspected at once: measure --copies {there}" in ended.stdout) == (there != 1)
    assert proposed.get("threads") == (None if proposed["kind"] == "tensorrt" else document["proposed"]["threads"])
    assert RuntimeSection.model_validate(proposed).kind in kinds


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (0.2, "nothing else running (load average 0.2 before)"),
        (3.14, "beside other work (load average 3.1 before): measure again when this computer rests"),
        (None, "what else was running is not told here"),
    ],
)
def test_whether_the_computer_was_at_rest_is_told(load: float | None, words: str) -> None:
    assert at_rest(load) == words


def test_bench_says_whether_something_else_was_running(tmp_path: Path) -> None:
    before = os.getloadavg()[0]
    ended = appliance("bench", "--bundle", tiny_bundle(tmp_path / "tiny.bundle"), "--rounds", 1)
    (line,) = (each for each in ended.stdout.splitlines() if each.startswith("one picture at a time, "))
    told = re.search(r"load average ([0-9.]+) before", line)
    assert told
    assert abs(float(told[1]) - before) <= 1.0
    assert f", {at_rest(float(told[1]))}; the processor " in line


def test_all_models_of_a_bundle_are_measured_side_by_side(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.bundle", variants={"int8": tiny_model(64, 64)})
    ended = appliance("bench", "--bundle", bundle, "--rounds", 1, "--json", tmp_path / "bench.json")
    assert ended.returncode == 0, ended.stderr
    candidates = json.loads((tmp_path / "bench.json").read_text())["candidates"]
    with_onnx = {each["precision"]: each["times_ms"] for each in candidates if each["kind"] == "onnx"}
    assert with_onnx["int8"]
    assert with_onnx["f32"]
    refused = {each["refusal"] for each in candidates if (each["kind"], each["precision"]) == ("openvino", "int8")}
    assert all(refused), "this model has nothing that could be computed with 8 bits"


@pytest.mark.skipif(usable_cores() < 2, reason="one core leaves nothing to pin")
def test_several_threads_are_measured_with_pinning_and_without(tmp_path: Path) -> None:
    ended = appliance(
        "bench", "--bundle", tiny_bundle(tmp_path / "t.bundle"), "--rounds", 1, "--json", tmp_path / "bench.json"
    )
    assert ended.returncode == 0, ended.stderr
    rows = [row for row in json.loads((tmp_path / "bench.json").read_text())["candidates"] if row["kind"] == "onnx"]
    engines = {(row["threads"], row["pins_threads"]): row["engine"] for row in rows if row["times_ms"]}
    assert engines[2, True] == f"{engines[2, False]} pinned"
    assert (1, True) not in engines


def test_copies_are_measured_at_work_at_once_and_the_proposal_says_how_many(tmp_path: Path) -> None:
    bundle, report = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "bench.json"
    ended = appliance("bench", "--bundle", bundle, "--rounds", 1, "--copies", 2, "--json", report)
    assert ended.returncode == 0, ended.stderr
    assert "2 copies of the model at work at once" in ended.stdout
    document = json.loads(report.read_text())
    assert document["copies"] == 2
    assert all(row["threads"] * 2 <= max(2, usable_cores()) for row in document["candidates"])
    proposed = yaml.safe_load(ended.stdout[ended.stdout.index("runtime:") :])["runtime"]
    assert RuntimeSection.model_validate(proposed).instances == 2


class MeetingRuntime:
    """Answers only when another copy is asked, too."""

    def __init__(self, meeting: threading.Barrier) -> None:
        self._meeting = meeting

    def infer(self, images: Pixels) -> RawDetections:
        self._meeting.wait(30)
        return RawDetections(np.zeros((1, 0, 4), np.float32), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64))

    def describe(self) -> str:
        return "meeting"

    def close(self) -> None: ...


def test_each_copy_is_timed_while_the_others_are_at_work() -> None:
    meeting = threading.Barrier(2)
    spent_ms = times_ms([MeetingRuntime(meeting), MeetingRuntime(meeting)], np.zeros((1, 8, 8, 1), np.uint8))
    assert len(spent_ms) == 2 * RUNS_IN_A_ROW


def test_more_copies_than_a_station_may_have_are_refused_in_words() -> None:
    ended = appliance("bench", "--copies", 17)
    assert ended.returncode == 2
    assert "argument --copies: invalid choice: 17" in ended.stderr


def test_a_model_that_answers_otherwise_than_at_the_trainer_is_not_proposed(tmp_path: Path) -> None:
    ended = appliance(
        "bench", "--bundle", tiny_bundle(tmp_path / "t.bundle", model_onnx=tiny_model(64, 64, dark=True)), "--rounds", 1
    )
    assert ended.returncode == 1
    assert "no runtime may judge with this bundle here" in ended.stdout


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        (honest_golden()[:1], "none of its golden images is rejected, so that a model that finds nothing would do"),
        (
            honest_golden()[1:],
            "none of its golden images is accepted, so that a model that rejects every part would do",
        ),
    ],
)
def test_a_bundle_whose_golden_images_decide_nothing_is_refused_before_anything_is_measured(
    tmp_path: Path, golden: list[GoldenImage], words: str
) -> None:
    ended = appliance("bench", "--bundle", write(tmp_path / "t.bundle", tiny_model(64, 64), golden, tiny_manifest()))
    assert ended.returncode == 65
    assert f"appliance: bundle tiny revision 1 cannot be proved: {words}" in ended.stderr
    assert ended.stdout == ""


def test_golden_images_that_tell_little_are_named_beside_the_proposal(tmp_path: Path) -> None:
    few = appliance("bench", "--bundle", tiny_bundle(tmp_path / "few.bundle"), "--rounds", 1)
    assert few.returncode == 0, few.stderr
    assert "golden images that tell little: only 3 golden images speak for the proof, 32 should" in few.stdout
    full = write(tmp_path / "full.bundle", tiny_model(64, 64), golden_of_all_kinds(), tiny_manifest())
    assert "tell little" not in appliance("bench", "--bundle", full, "--rounds", 1).stdout


def test_the_fastest_is_proposed_if_it_leaves_a_core_free() -> None:
    free, all_cores = default_threads(), default_threads() + 1
    best = candidate(free, 9.0)
    assert propose([candidate(free, 12.0), best, candidate(all_cores, 5.0), candidate(free, None)]) is best


@pytest.mark.parametrize(
    ("cores", "tried"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (6, [1, 2, 4, 5, 6]), (16, [1, 2, 4, 8, 15, 16])]
)
def test_a_large_computer_has_the_numbers_between_tried_too(cores: int, tried: list[int]) -> None:
    assert thread_counts(cores) == tried


@pytest.mark.parametrize(
    ("most_threads", "cores", "copies", "tried"),
    [
        (1, 1, 1, [(1, False)]),
        (2, 1, 1, [(1, False), (2, False)]),
        (2, 2, 1, [(1, False), (2, False), (2, True)]),
        (2, 2, 2, [(1, False)]),
        (4, 4, 2, [(1, False), (2, False), (2, True)]),
        (2, 1, 3, [(1, False)]),
    ],
)
def test_threads_are_pinned_where_each_has_a_core(
    most_threads: int, cores: int, copies: int, tried: list[tuple[int, bool]]
) -> None:
    assert list(ways(most_threads, cores, copies)) == tried


@pytest.mark.parametrize(("pinned_ms", "is_worth_it"), [(9.9, False), (9.0, True)])
def test_pinned_threads_are_proposed_only_where_they_are_clearly_faster(pinned_ms: float, is_worth_it: bool) -> None:
    free, pinned = candidate(2, 10.0, copies=2), candidate(2, pinned_ms, copies=2, pins_threads=True)
    assert propose([pinned, free]) is (pinned if is_worth_it else free)


def test_nothing_is_proposed_where_nothing_may_judge() -> None:
    assert propose([candidate(1, None, refusal="refused")]) is None


@pytest.mark.parametrize(("second_ms", "is_worth_it"), [(9.9, False), (9.0, True)])
def test_bf16_is_proposed_only_where_it_is_clearly_faster(second_ms: float, is_worth_it: bool) -> None:
    exact, rough = candidate(1, 10.0), candidate(1, second_ms)
    rough.precision = "bf16"
    assert propose([rough, exact]) is (rough if is_worth_it else exact)


def test_the_configuration_has_no_key_that_means_nothing_to_the_runtime() -> None:
    assert in_yaml(candidate(2, 1.0)) == "runtime:\n  kind: openvino\n  threads: 2\n  precision: f32\n"
    pinned = Candidate("onnx", 2, "f32", pins_threads=True, copies=3)
    assert in_yaml(pinned) == "runtime:\n  kind: onnx\n  threads: 2\n  instances: 3\n  pins_threads: true\n"
    assert in_yaml(Candidate("onnx", 1, "f32")) == "runtime:\n  kind: onnx\n  threads: 1\n"
