"""Invariants 3 and 4 at the station: no action before its record, none after its deadline."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import Reason, Verdict
from tests.line import Line, eventually

ANSWER_DUE_IN_30_S = {"deadline_ms": 60_000, "answer_reserve_ms": 30_000}


def test_no_action_leaves_before_its_record_is_committed(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        for number in range(20):
            line.trigger(f"part-{number}")
        line.wait_for(20)
        assert eventually(lambda: len(line.link.actions) == 20)
    assert line.link.was_committed == [True] * 20


def test_a_slow_inspection_is_answered_with_fault_before_the_deadline_and_its_late_result_is_never_acted_on(
    tmp_path: Path,
) -> None:
    with Line(tmp_path, **ANSWER_DUE_IN_30_S) as line:
        line.inspection.gate.clear()
        line.trigger("slow")
        assert eventually(lambda: line.inspection.inspected == ["slow"])
        line.clock.skipped_s += 31
        line.wait_for(1)
        assert eventually(lambda: len(line.link.actions) == 1)
        line.inspection.gate.set()
        assert eventually(lambda: line.late_results() == [("t-slow", "ACCEPT")])
        line.trigger("quick")
        line.wait_for(2)
    assert line.verdicts()["slow"] == (Verdict.FAULT, Reason.DEADLINE)
    assert [action.verdict for action in line.link.actions if action.part_id == "slow"] == [Verdict.FAULT]
    assert len(line.records) == 2


def test_a_camera_that_never_answers_is_a_fault_at_the_deadline(tmp_path: Path) -> None:
    with Line(tmp_path, deadline_ms=120, answer_reserve_ms=60) as line:
        line.camera.gate.clear()
        line.trigger("dark")
        records = line.wait_for(1)
    assert records[0][0].decision.verdict is Verdict.FAULT
    assert records[0][0].decision.reason in (Reason.DEADLINE, Reason.CAMERA)


def test_a_verdict_past_the_deadline_is_recorded_as_late_and_never_sent_as_an_action(tmp_path: Path) -> None:
    with Line(tmp_path, **ANSWER_DUE_IN_30_S) as line:
        line.ledger.refuses_record = True
        line.trigger("late")
        assert eventually(lambda: line.station.stopped_because != "")
        line.clock.skipped_s += 61
        line.ledger.refuses_record = False
        line.wait_for(1)
        assert eventually(lambda: len(line.link.records) == 1)
    assert line.records[0][0].is_late
    assert line.link.actions == []


def test_an_action_that_the_disk_outran_is_not_sent_but_counted(tmp_path: Path) -> None:
    with Line(tmp_path, **ANSWER_DUE_IN_30_S) as line:
        line.ledger.commits = threading.Event()
        line.trigger("good")
        assert eventually(lambda: line.ledger.is_recording)
        line.clock.skipped_s += 61
        line.ledger.commits.set()
        line.wait_for(1)
        assert line.station.on_command("status", {})["actions_outrun"] == 1
    assert line.verdicts() == {"good": (Verdict.ACCEPT, Reason.COMPLETE)}
    assert line.link.actions == []


@pytest.mark.parametrize("disk_takes_it", [True, False])
def test_the_part_is_inspected_while_the_disk_takes_the_trigger_but_nothing_leaves_before(
    tmp_path: Path, disk_takes_it: bool
) -> None:
    with Line(tmp_path) as line, ThreadPoolExecutor(1) as link:
        line.ledger.accepts = threading.Event()
        line.ledger.refuses_accept = not disk_takes_it
        trigger = link.submit(line.trigger, "part-1")
        assert eventually(lambda: line.inspection.inspected == ["part-1"])
        assert not line.records
        assert not line.link.actions
        line.ledger.accepts.set()
        if disk_takes_it:
            trigger.result()
        else:
            with pytest.raises(StorageError, match="disk is full"):
                trigger.result()
        line.ledger.refuses_accept = False
        assert eventually(lambda: line.station.stopped_because == "")
        line.trigger("part-2")
        line.wait_for(2 if disk_takes_it else 1)
    assert list(line.verdicts()) == (["part-1", "part-2"] if disk_takes_it else ["part-2"])


def test_a_stopped_station_takes_no_trigger(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        pass
    with pytest.raises(StorageError, match="asked to stop"):
        line.trigger("too-late")


def test_a_result_that_comes_while_the_deadline_verdict_is_being_committed_is_kept_beside_it(tmp_path: Path) -> None:
    with Line(tmp_path, **ANSWER_DUE_IN_30_S) as line:
        line.inspection.gate.clear()
        line.ledger.commits = threading.Event()
        line.trigger("slow")
        assert eventually(lambda: line.inspection.inspected == ["slow"])
        line.clock.skipped_s += 31
        assert eventually(lambda: line.ledger.is_recording)
        line.inspection.gate.set()
        line.trigger("next")
        line.ledger.commits.set()
        line.wait_for(2)
        assert eventually(lambda: line.late_results() == [("t-slow", "ACCEPT")])
    assert line.verdicts()["slow"] == (Verdict.FAULT, Reason.DEADLINE)


def test_a_late_result_waits_with_its_verdict_for_a_disk_that_refuses(tmp_path: Path) -> None:
    with Line(tmp_path, **ANSWER_DUE_IN_30_S) as line:
        line.inspection.gate.clear()
        line.ledger.refuses_record = True
        line.trigger("slow")
        assert eventually(lambda: line.inspection.inspected == ["slow"])
        line.clock.skipped_s += 61
        assert eventually(lambda: "disk is full" in line.station.stopped_because)
        line.inspection.gate.set()
        line.ledger.refuses_record = False
        line.wait_for(1)
        assert eventually(lambda: line.late_results() == [("t-slow", "ACCEPT")])
        assert eventually(lambda: line.station.stopped_because == "")
    assert line.link.actions == []


def test_a_trigger_that_waited_on_its_way_in_has_spent_that_time(tmp_path: Path) -> None:
    with Line(tmp_path, deadline_ms=1000, answer_reserve_ms=100) as line:
        line.trigger("waited", received_ns=line.clock.monotonic_ns() - 2_000_000_000)
        line.wait_for(1)
    assert line.verdicts()["waited"] == (Verdict.FAULT, Reason.DEADLINE)
    assert line.camera.frame_id == 0
    inspection = line.records[0][0]
    assert (inspection.decided_at - inspection.trigger.received_at).total_seconds() >= 2.0
    assert line.link.actions == []
