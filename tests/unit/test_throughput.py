"""The throughput benchmark measures a real line, and fails for a part that is lost or late."""

from pathlib import Path
from typing import Any

import pytest

from appliance.demo.station import SHIPPED_BUNDLE
from benchmarks.end_to_end import write_pictures
from benchmarks.throughput import LARGEST_RATIO, Pace, is_kept, measure, missed

pytestmark = pytest.mark.long

KEPT: dict[str, Any] = {
    "losses": {"without_verdict": 0}, "verdicts": {"FAULT": 0}, "over_bare": {"frame_to_action": LARGEST_RATIO},
}  # fmt: skip


@pytest.mark.timeout(200)
def test_the_throughput_is_of_the_whole_line_beside_the_bare_runtime(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 6)
    found = measure(SHIPPED_BUNDLE, Pace("openvino", "f32", 1, 4.0), paths, parts=6, runs=3)
    assert (found["triggers"], sum(found["verdicts"].values()), any(found["losses"].values())) == (6, 6, False)
    assert found["over_bare"]["round_trip"] > found["over_bare"]["frame_to_action"] > 0
    assert {"infer", "record", "frame_to_action"} <= set(found["latency_ms"])


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        ({}, True),
        ({"losses": {"without_verdict": 1}}, False),
        ({"verdicts": {"FAULT": 1}}, False),
        ({"over_bare": {"frame_to_action": LARGEST_RATIO + 0.01}}, False),
    ],
)
def test_a_throughput_counts_only_if_nothing_was_lost_or_late(seen: dict[str, Any], kept: bool) -> None:
    assert is_kept({**KEPT, **seen}) is kept


def test_a_runtime_meets_its_goal_with_one_number_of_threads() -> None:
    late = {**KEPT, "verdicts": {"FAULT": 1}}
    found = [{"kind": "onnx", **late}, {"kind": "openvino", **late}, {"kind": "openvino", **KEPT}]
    assert missed(found) == {"onnx"}
