"""Never stale: a model that is slower than the deadline, and a process that stands still, make no action come late."""

from pathlib import Path

import cv2
import pytest

from tests.action_tap import ActionTap
from tests.line import eventually
from tests.models import spot_picture
from tests.plant import Plant
from tests.slow_model import slow_bundle, slow_picture
from tests.stations import needs_mosquitto

DEADLINE_MS, ANSWER_RESERVE_MS = 1600, 600
MODEL_LASTS_S = 4.0
ONCE_MS = 60_000

pytestmark = [
    pytest.mark.faults,
    needs_mosquitto,
]


def slow_plant(folder: Path) -> Plant:
    """Return a plant whose parts are: good, good but slow, good, slow with a spot, with a spot."""
    plant = Plant(folder, recipe={"deadline_ms": DEADLINE_MS, "answer_reserve_ms": ANSWER_RESERVE_MS})
    plant.config["runtime"]["instances"] = 1  # else the part behind a slow one need not wait for it
    slow_bundle(folder / "tiny.bundle", MODEL_LASTS_S)
    for recorded in (folder / "pictures").iterdir():
        recorded.unlink()
    spots = [(1, 1, 200)]
    pictures = [spot_picture(64, 64), slow_picture(), spot_picture(64, 64), slow_picture(spots)]
    for number, picture in enumerate([*pictures, spot_picture(64, 64, spots)]):
        cv2.imwrite(str(folder / "pictures" / f"{number}.png"), picture)
    return plant


def late_results(plant: Plant) -> list[tuple[str, str]]:
    return [
        (str(row[0]), str(row[1])) for row in plant.query("SELECT trigger_id, verdict FROM late_result ORDER BY seq")
    ]


def test_parts_that_the_model_is_too_slow_for_are_faults_in_time_and_their_late_results_are_kept_and_never_sent(
    tmp_path: Path,
) -> None:
    with slow_plant(tmp_path) as plant, ActionTap(plant) as tap:

        def announce(part_id: str) -> None:
            plant.announce(part_id, DEADLINE_MS, ONCE_MS)
            plant.wait_for_outcomes(len(plant.announced_ns))

        announce("good")
        announce("slow")
        announce("behind-it")
        assert [plant.outcomes[part_id].reason for part_id in ("slow", "behind-it")] == ["FAULT: deadline"] * 2
        assert eventually(lambda: len(late_results(plant)) == 1), plant.log()
        announce("slow-with-spot")
        assert eventually(lambda: len(late_results(plant)) == 2), plant.log()
        announce("spot")
        plant.wait_for_records(len(plant.announced_ns))
        assert plant.stop() == 0
        rows = plant.query("SELECT seq, trigger_id, verdict, reason, late FROM inspection ORDER BY seq")
        late = late_results(plant)
        late_us = plant.query("SELECT min(latency_us) FROM late_result")[0][0]
        assert plant.query("SELECT count(*) FROM open_trigger") == [(0,)]
        actions = tap.all()
    assert [(*row[1:4], bool(row[4])) for row in rows] == [
        ("t-good", "ACCEPT", "complete", False),
        ("t-slow", "FAULT", "deadline", False),
        ("t-behind-it", "FAULT", "deadline", False),
        ("t-slow-with-spot", "FAULT", "deadline", False),
        ("t-spot", "REJECT", "defect", False),
    ]
    messages = [record.message for record in plant.records]
    assert [(message.seq, message.trigger_id, message.verdict) for message in messages] == [row[:3] for row in rows]
    assert late == [("t-slow", "ACCEPT"), ("t-slow-with-spot", "REJECT")]
    assert late_us > DEADLINE_MS * 1000, "the model was not slow: the test shows nothing"
    for _, trigger_id, verdict, *_ in rows:
        assert [action.message.verdict for action in actions[trigger_id]] == [verdict], "not exactly one action"
        waited_ms = (actions[trigger_id][0].received_ns - plant.announced_ns[trigger_id]) / 1e6
        assert waited_ms <= DEADLINE_MS, f"the action for {trigger_id} came after {waited_ms} ms"
    assert [outcome.part_id for outcome in plant.outcomes.values() if outcome.passes] == ["good"]


def test_a_process_that_stood_still_past_the_deadline_gives_a_fault_on_record_and_no_action(tmp_path: Path) -> None:
    with slow_plant(tmp_path) as plant, ActionTap(plant) as tap:
        plant.announce("good", DEADLINE_MS, ONCE_MS)
        plant.wait_for_outcomes(1)
        plant.announce("slow", DEADLINE_MS + 500, ONCE_MS)
        assert eventually(lambda: plant.query("SELECT trigger_id FROM open_trigger") == [("t-slow",)]), plant.log()
        with plant.frozen():
            plant.wait_for_outcomes(2)
        plant.wait_for_records(2)
        assert eventually(lambda: late_results(plant) == [("t-slow", "ACCEPT")]), plant.log()
        plant.announce("after", DEADLINE_MS, ONCE_MS)
        plant.wait_for_outcomes(3)
        plant.wait_for_records(3)
        assert plant.stop() == 0
        rows = plant.query("SELECT trigger_id, verdict, reason, late FROM inspection ORDER BY seq")
        actions = tap.all()
    assert rows == [
        ("t-good", "ACCEPT", "complete", 0),
        ("t-slow", "FAULT", "deadline", 1),
        ("t-after", "ACCEPT", "complete", 0),
    ]
    assert sorted(actions) == ["t-after", "t-good"], "an action left after its deadline"
    assert [outcome.passes for outcome in plant.outcomes.values()] == [True, False, True]
