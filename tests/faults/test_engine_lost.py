"""Fail safe: an engine that fails at each part costs those parts a FAULT, and the process starts anew."""

from pathlib import Path

import cv2
import pytest
import yaml

from appliance.config import load_config
from appliance.engine_faults import MOST_IN_A_ROW
from appliance.errors import StorageError
from appliance.health import EXIT_HUNG
from appliance.links.topics import Topics
from appliance.ports import TriggerRequest
from appliance.wiring import Appliance
from tests.device_root import JETSON, write
from tests.models import spot_picture
from tests.plant import START_S, Plant, write_station
from tests.planted import fails_when_bright
from tests.stations import Line, needs_mosquitto, until

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
        line = Line(plant.broker.port, Topics.of(plant.settings()), is_mqtt5=False)
        verdicts = inspect(plant, 1 + MOST_IN_A_ROW)
        assert plant.process is not None
        assert plant.process.wait(30) == EXIT_HUNG
        alarm = until(lambda: line.documents(line.topics.alarm), "the alarm")[-1]
        last = until(
            lambda: [each for each in line.documents(line.topics.status) if each["state"] == "offline"], "the goodbye"
        )[-1]
        line.close()
        plant.start()  # as systemd does
        assert plant.consumer.wait_until_online(START_S), plant.log()
        assert inspect(plant, 1) == [*verdicts, "ACCEPT complete"]
    assert verdicts == ["ACCEPT complete", *["FAULT runtime"] * MOST_IN_A_ROW]
    assert alarm["name"] == "engine_lost"
    assert "the model's engine failed at 3 parts in a row: view top: ONNX Runtime failed" in alarm["text"]
    assert "the model's engine failed at 3 parts in a row" in last["reason"]


def test_a_device_that_is_set_back_brings_no_parts_to_a_lost_engine(tmp_path: Path) -> None:
    root, config = write(tmp_path / "root", JETSON), write_station(tmp_path)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"runtime": {"instances": 1}}))
    fails_when_bright(tmp_path / "tiny.bundle")
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), spot_picture(64, 64, background=BRIGHT))
    with Appliance(*load_config(config), None, root, ends_when_lost=True) as appliance:
        for number in range(MOST_IN_A_ROW):
            appliance.station.on_trigger(TriggerRequest(f"t-{number}", f"part-{number}"))
        assert appliance.wants_to_end.wait(30)
        for mode in ("pmode:0000", "pmode:0002 fmode:quiet"):
            write(root, {"var/lib/nvpmodel/status": mode})
            appliance.device_watch.look()
        with pytest.raises(StorageError, match="the model's engine failed at 3 parts in a row"):
            appliance.station.on_trigger(TriggerRequest("t-late", "late"))


def test_an_engine_that_answers_between_is_not_lost(tmp_path: Path) -> None:
    with plant_with(tmp_path, [FAINT, *[BRIGHT] * (MOST_IN_A_ROW - 1)]) as plant:
        verdicts = inspect(plant, 3 * MOST_IN_A_ROW)
        assert plant.process is not None
        assert plant.process.poll() is None
    assert verdicts == ["ACCEPT complete", *["FAULT runtime"] * (MOST_IN_A_ROW - 1)] * 3
