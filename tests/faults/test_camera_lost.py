"""Fail safe: a camera whose process dies or stands still costs the parts meanwhile, and comes back by itself."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.events import moment_of
from appliance.messages import RecordMessage
from tests.action_tap import ActionTap
from tests.camera_process import CameraProcess
from tests.line import eventually
from tests.plant import Plant
from tests.stations import needs_mosquitto

PARTS = 5
DEADLINE_MS = 5000
ONCE_MS = 60_000
LOSSES: dict[str, tuple[Callable[[CameraProcess], None], Callable[[CameraProcess], None]]] = {
    "killed": (CameraProcess.kill, CameraProcess.start),
    "standing still": (CameraProcess.freeze, CameraProcess.thaw),
}

pytestmark = [
    pytest.mark.faults,
    needs_mosquitto,
]


def announce(plant: Plant, *part_ids: str) -> None:
    """Announce one part after the other, as they come past the camera."""
    for part_id in part_ids:
        known = len(plant.outcomes)
        plant.announce(part_id, DEADLINE_MS, ONCE_MS)
        plant.wait_for_outcomes(known + 1)


def announce_until_one(plant: Plant, prefix: str, *, passes: bool) -> None:
    """Let parts come until the camera is there, or its last picture is used up; they stay what they are."""

    def is_so() -> bool:
        part_id = f"{prefix}-{len(plant.outcomes)}"
        announce(plant, part_id)
        return plant.outcomes[part_id].passes is passes

    assert eventually(is_so), plant.log()


@pytest.mark.parametrize("loss", LOSSES)
def test_parts_without_a_camera_are_faults_and_inspection_goes_on_when_it_is_back(tmp_path: Path, loss: str) -> None:
    lose, restore = LOSSES[loss]
    before, meanwhile, after = ([f"{when}-{n}" for n in range(PARTS)] for when in ("before", "meanwhile", "after"))
    with CameraProcess() as camera, Plant(tmp_path, camera=camera.section) as plant, ActionTap(plant) as tap:
        announce_until_one(plant, "starting", passes=True)
        announce(plant, *before)
        lose(camera)
        announce_until_one(plant, "losing", passes=False)
        announce(plant, *meanwhile)
        restore(camera)
        announce_until_one(plant, "returning", passes=True)
        announce(plant, *after)
        announced = set(plant.outcomes)
        plant.wait_for_records(len(announced))
        assert plant.stop() == 0
        rows = plant.query("SELECT seq, part_id, verdict, reason FROM inspection ORDER BY seq")
        assert plant.query("SELECT count(*) FROM open_trigger") == [(0,)]
        actions = tap.all()
    assert [row[0] for row in rows] == list(range(1, len(announced) + 1)), "triggers are not verdicts"
    assert {row[1] for row in rows} == announced
    verdicts = {row[1]: row[2:] for row in rows}
    assert {verdicts[part_id] for part_id in meanwhile} == {("FAULT", "camera")}
    assert {verdicts[part_id] for part_id in before + after} == {("ACCEPT", "complete")}
    assert {part_id for part_id, outcome in plant.outcomes.items() if outcome.passes} == {
        part_id for part_id in announced if verdicts[part_id] == ("ACCEPT", "complete")
    }
    for part_id in announced:
        assert [action.message.verdict for action in actions[f"t-{part_id}"]] == [verdicts[part_id][0]]
    messages = [record.message for record in plant.records]
    assert [message.seq for message in messages] == [row[0] for row in rows]
    assert len({message.boot_id for message in messages}) == 1, "the appliance was started again"
    assert all(is_of_its_part(message) for message in messages if message.verdict == "ACCEPT")


def is_of_its_part(message: RecordMessage) -> bool:
    captured_at = message.views[0].captured_at
    assert captured_at is not None
    age_ms = (moment_of(message.decided_at) - moment_of(captured_at)) / timedelta(milliseconds=1)
    return -1 <= age_ms <= message.latency_ms + 1
