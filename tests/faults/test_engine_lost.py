"""Fail safe: an engine that fails at each part costs those parts a FAULT, and the process starts anew."""

from pathlib import Path

import cv2
import pytest

from appliance.engine_faults import MOST_IN_A_ROW
from appliance.health import EXIT_HUNG
from tests.models import spot_picture
from tests.plant import START_S, Plant
from tests.planted import fails_when_bright
from tests.stations import needs_mosquitto

DEADLINE_MS = 5000
ONCE_MS = 60_000
FAINT, BRIGHT = 60, 150
"""Grey levels of a background: the engine fails at the second."""

pytestmark = [pytest.mark.faults, needs_mosquitto]


def plant_with(folder: Path, backgrounds: list[int]) -> Plant:
    """Make a plant whose pictures are of these backgrounds, one after the other."""
    plant = Plant(folder)
    fails_when_bright(folder / "tiny.bundle")
    for old in (folder / "pictures").iterdir():
        old.unlink()
    for number, background in enumerate(backgrounds):
        cv2.imwrite(str(folder / "pictures" / f"{number:02}.png"), spot_picture(64, 64, background=background))
    return plant


def inspect(plant: Plant, count: int) -> list[str]:
    """Let parts come one by one; returns the verdicts of all that came so far, in their order."""
    for _ in range(count):
        known = len(plant.outcomes)
        plant.announce(f"part-{known}", DEADLINE_MS, ONCE_MS)
        plant.wait_for_records(known + 1)
        plant.wait_for_outcomes(known + 1)
    return [f"{each.message.verdict} {each.message.reason}" for each in plant.records]


def test_a_station_whose_engine_fails_again_and_again_is_started_anew_and_goes_on(tmp_path: Path) -> None:
    with plant_with(tmp_path, [FAINT, *[BRIGHT] * MOST_IN_A_ROW]) as plant:
        verdicts = inspect(plant, 1 + MOST_IN_A_ROW)
        assert plant.process is not None
        assert plant.process.wait(30) == EXIT_HUNG
        plant.start()  # as systemd does
        assert plant.consumer.wait_until_online(START_S), plant.log()
        assert inspect(plant, 1) == [*verdicts, "ACCEPT complete"]
    assert verdicts == ["ACCEPT complete", *["FAULT runtime"] * MOST_IN_A_ROW]
    assert "the model's engine failed at 3 parts in a row" in plant.log()


def test_an_engine_that_answers_between_is_not_lost(tmp_path: Path) -> None:
    with plant_with(tmp_path, [FAINT, *[BRIGHT] * (MOST_IN_A_ROW - 1)]) as plant:
        verdicts = inspect(plant, 3 * MOST_IN_A_ROW)
        assert plant.process is not None
        assert plant.process.poll() is None
    assert verdicts == ["ACCEPT complete", *["FAULT runtime"] * (MOST_IN_A_ROW - 1)] * 3
