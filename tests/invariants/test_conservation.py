"""Invariant 1: every accepted trigger gets exactly one final verdict, whatever happens on the way."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import RuntimeFault
from appliance.events import Challenge, Reason, Trigger, Verdict, utc_now
from appliance.stores.ledger import SqliteLedger
from tests.line import Line, eventually


def test_triggers_equal_verdicts_on_a_good_day(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        for number in range(30):
            line.trigger(f"{'bad' if number % 3 == 0 else 'good'}-{number}")
        records = line.wait_for(30)
    assert [record.seq for _, record in records] == list(range(1, 31))
    assert sum(item.decision.verdict is Verdict.REJECT for item, _ in records) == 10


def test_two_parts_are_inspected_at_once_and_each_gets_its_own_verdict(tmp_path: Path) -> None:
    with Line(tmp_path, instances=2) as line:
        line.inspection.gate.clear()
        for part_id in ("good-1", "bad-2", "good-3"):
            line.trigger(part_id)
        eventually(lambda: len(line.inspection.inspected) == 2)
        line.inspection.gate.set()
        line.wait_for(3)
    given = {part_id: verdict for part_id, (verdict, _) in line.verdicts().items()}
    assert given == {"good-1": Verdict.ACCEPT, "bad-2": Verdict.REJECT, "good-3": Verdict.ACCEPT}


def test_a_lost_camera_gives_a_fault_verdict_and_is_opened_again_for_the_next_part(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.camera.lost = lambda part_id: part_id == "lost"
        for part_id in ("good-1", "lost", "good-2"):
            line.trigger(part_id)
        line.wait_for(3)
    assert line.verdicts()["lost"] == (Verdict.FAULT, Reason.CAMERA)
    assert line.verdicts()["good-2"] == (Verdict.ACCEPT, Reason.COMPLETE)
    assert line.camera.opened == 2


def test_a_picture_that_was_used_before_is_a_fault(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.trigger("first")
        line.wait_for(1)
        line.camera.repeat_frame_id = True
        line.trigger("second")
        line.wait_for(2)
    assert line.verdicts()["second"] == (Verdict.FAULT, Reason.CAMERA)


def test_a_picture_taken_too_long_after_the_trigger_is_a_fault(tmp_path: Path) -> None:
    with Line(tmp_path, max_capture_delay_ms=100) as line:
        line.camera.delay_ns = 101_000_000
        line.trigger("moved-on")
        line.wait_for(1)
    assert line.verdicts()["moved-on"] == (Verdict.FAULT, Reason.CAMERA)


def test_a_picture_from_long_before_the_trigger_is_a_fault(tmp_path: Path) -> None:
    with Line(tmp_path, max_capture_delay_ms=100) as line:
        line.camera.delay_ns = -101_000_000
        line.trigger("not-there-yet")
        line.wait_for(1)
    assert line.verdicts()["not-there-yet"] == (Verdict.FAULT, Reason.CAMERA)


def test_parts_that_a_slow_model_cannot_take_are_faults_and_do_not_pile_up(tmp_path: Path) -> None:
    with Line(tmp_path, queue_size=2) as line:
        line.inspection.gate.clear()
        for number in range(12):
            line.trigger(f"part-{number}")
        line.wait_for(5)
        line.inspection.gate.set()
        line.wait_for(12)
    reasons = [reason for _, reason in line.verdicts().values()]
    assert reasons.count(Reason.QUEUE_FULL) >= 5
    assert reasons.count(Reason.COMPLETE) >= 2
    assert len(line.records) == 12


def test_one_lost_view_of_two_is_a_fault_and_the_other_is_not_judged_alone(tmp_path: Path) -> None:
    with Line(tmp_path, views=("top", "side")) as line:
        line.cameras["side"].lost = lambda part_id: part_id == "half"
        line.trigger("half")
        line.trigger("whole")
        line.wait_for(2)
    assert line.verdicts()["half"] == (Verdict.FAULT, Reason.CAMERA)
    assert line.verdicts()["whole"] == (Verdict.ACCEPT, Reason.COMPLETE)
    assert line.inspection.inspected == ["whole"]


def test_a_part_that_finds_the_queue_full_is_a_fault_and_not_silence(tmp_path: Path) -> None:
    with Line(tmp_path, queue_size=2) as line:
        line.camera.gate.clear()
        for number in range(6):
            line.trigger(f"part-{number}")
        line.wait_for(2)
        line.camera.gate.set()
        line.wait_for(6)
    reasons = [reason for _, reason in line.verdicts().values()]
    assert len(line.records) == 6
    assert reasons.count(Reason.QUEUE_FULL) >= 2
    assert reasons.count(Reason.COMPLETE) >= 2


def test_a_runtime_that_fails_gives_a_fault(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.inspection.failure = RuntimeFault("the engine answered NaN; prove the bundle again")
        line.trigger("part")
        line.wait_for(1)
    assert line.verdicts()["part"] == (Verdict.FAULT, Reason.RUNTIME)


def test_a_repeated_trigger_gets_the_same_verdict_again_and_never_a_second_inspection(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.trigger("bad-1", "t-1")
        line.wait_for(1)
        line.trigger("bad-1", "t-1", is_repeat=True)
        line.trigger("bad-1", "t-1")
        assert eventually(lambda: len(line.link.actions) == 3 and len(line.link.records) == 3)
    assert len({action.seq for action in line.link.actions}) == 1
    assert {record.payload for record in line.link.records} == {line.records[0][1].payload}
    assert line.inspection.inspected == ["bad-1"]


@pytest.mark.parametrize("challenge", Challenge)
def test_a_challenge_part_gets_the_verdict_of_every_other_part_and_the_record_says_what_it_was(
    tmp_path: Path, challenge: Challenge
) -> None:
    with Line(tmp_path) as line:
        for number, known in enumerate((None, challenge)):
            line.trigger(f"good-{number}", challenge=known)
            line.trigger(f"bad-{number}", challenge=known)
        line.wait_for(4)
        line.trigger("good-1", is_repeat=True)
        assert eventually(lambda: len(line.link.actions) == 5)
    told = {part: (verdict, reason) for part, (verdict, reason) in line.verdicts().items()}
    assert told["good-0"] == told["good-1"] == (Verdict.ACCEPT, Reason.COMPLETE)
    assert told["bad-0"] == told["bad-1"] == (Verdict.REJECT, Reason.DEFECT)
    recorded = {json.loads(record.payload)["part_id"]: json.loads(record.payload) for _, record in line.records}
    assert {part: document["challenge"] for part, document in recorded.items()} == {
        "good-0": None, "bad-0": None, "good-1": challenge.value, "bad-1": challenge.value,
    }  # fmt: skip
    assert {action.verdict for action in line.link.actions if action.part_id == "good-1"} == {Verdict.ACCEPT}


def test_a_challenge_part_that_a_crash_left_open_is_still_one(tmp_path: Path) -> None:
    with SqliteLedger.open(tmp_path / "ledger.db", "device-1", "boot-1") as ledger:
        assert ledger.accept(Trigger("t-1", "caught", utc_now(), 0, 0, challenge=Challenge.BAD))
    with Line(tmp_path, boot_id="boot-2") as again:
        pass
    assert [json.loads(record.payload)["challenge"] for _, record in again.records] == ["bad"]


def test_a_trigger_repeated_while_its_part_is_open_changes_nothing(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.inspection.gate.clear()
        line.trigger("part", "t-1")
        assert eventually(lambda: line.inspection.inspected == ["part"])
        line.trigger("part", "t-1", is_repeat=True)
        line.inspection.gate.set()
        line.wait_for(1)
    assert len(line.records) == 1


def test_a_repeat_of_a_trigger_that_was_never_seen_is_a_fault_without_a_picture(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.trigger("passed", is_repeat=True)
        line.wait_for(1)
    assert line.verdicts()["passed"] == (Verdict.FAULT, Reason.MISSED_TRIGGER)
    assert line.camera.frame_id == 0


def test_parts_left_open_by_a_crash_get_fault_restart_once_and_no_action(tmp_path: Path) -> None:
    with SqliteLedger.open(tmp_path / "ledger.db", "device-1", "boot-1") as ledger:  # as a crash leaves it: no verdict
        assert ledger.accept(Trigger("t-1", "caught-in-the-middle", utc_now(), 0, 0))
    for boot in ("boot-2", "boot-3"):
        with Line(tmp_path, boot_id=boot) as again:
            pass
        expected = [Reason.RESTART] if boot == "boot-2" else []
        assert [item.decision.reason for item, _ in again.records] == expected
        assert again.link.actions == []
        assert all(item.is_late and 0 <= item.latency_us < 60_000_000 for item, _ in again.records)


def test_a_clock_set_back_an_hour_changes_no_verdict_and_no_deadline(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        line.trigger("before")
        line.wait_for(1)
        line.clock.set_back_s = 3600
        line.trigger("after")
        records = line.wait_for(2)
        assert eventually(lambda: len(line.link.actions) == 2)
    assert line.verdicts()["after"] == (Verdict.ACCEPT, Reason.COMPLETE)
    assert [record.seq for _, record in records] == [1, 2]
    assert records[1][0].decided_at < records[0][0].decided_at
    assert line.link.actions[1].deadline_ns > line.link.actions[0].deadline_ns


def test_stopping_lets_open_parts_come_to_their_verdict(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        for number in range(5):
            line.trigger(f"good-{number}")
    assert set(line.verdicts().values()) == {(Verdict.ACCEPT, Reason.COMPLETE)}
    assert len(line.records) == 5


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.sampled_from(["good", "bad", "lost"])),
        st.tuples(st.just("repeat"), st.integers(0, 20)),
        st.tuples(st.just("unseen"), st.integers(0, 5)),
    ),
    max_size=25,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, queue_size=st.integers(1, 4))
def test_any_sequence_of_triggers_gives_one_verdict_each(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, object]], queue_size: int
) -> None:
    sent: list[str] = []
    with Line(tmp_path_factory.mktemp("line"), queue_size=queue_size) as line:
        line.camera.lost = lambda part_id: part_id.startswith("lost")
        for number, (kind, value) in enumerate(events):
            if kind == "new":
                sent.append(f"{value}-{number}")
                line.trigger(sent[-1])
            elif kind == "repeat" and sent:
                line.trigger(sent[int(str(value)) % len(sent)], is_repeat=True)
            elif kind == "unseen" and f"unseen-{value}" not in sent:
                sent.append(f"unseen-{value}")
                line.trigger(sent[-1], is_repeat=True)
        line.wait_for(len(sent))
    assert sorted(item.trigger.part_id for item, _ in line.records) == sorted(sent)
    assert [record.seq for _, record in sorted(line.records, key=lambda pair: pair[1].seq)] == list(
        range(1, len(sent) + 1)
    )
    assert not any(v is Verdict.ACCEPT for p, (v, _) in line.verdicts().items() if not p.startswith("good"))
