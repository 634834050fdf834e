"""How long a release was looked at, whatever the clock does; and which programs of a slot run."""

import json
import os
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance.update.app_programs import Looked, programs_of
from tests.app_releases import make_environment
from tests.line import eventually

BEGAN = datetime(2026, 11, 27, tzinfo=timezone.utc)
HOUR_S = 3600.0


def look(looked: Looked, *after_s: float, is_well: bool = True) -> Looked:
    for seconds in after_s:
        looked = looked.after(BEGAN + timedelta(seconds=seconds), HOUR_S, {}, is_well=is_well)
    return looked


def test_time_counts_while_somebody_looks_and_is_written_once_a_minute() -> None:
    looked = Looked.of(None, BEGAN)
    assert look(looked, 5, 30, 55).kept() == look(looked, 5).kept(), "no row for each look"
    assert look(looked, *range(0, 601, 5)).well_s == 600


@pytest.mark.parametrize("jump_s", [-40 * 365 * 86400, 40 * 365 * 86400])
def test_a_clock_that_is_set_is_no_time(jump_s: float) -> None:
    looked = look(Looked.of(None, BEGAN), 60, 120, jump_s)
    assert looked.well_s <= 120 + 120
    assert look(looked, jump_s + 60).well_s == looked.well_s + 60


def test_a_restart_of_the_agent_forgets_nothing_and_counts_two_minutes_at_most() -> None:
    looked = look(Looked.of(None, BEGAN), *range(60, 601, 60))
    again = Looked.of(json.loads(json.dumps(looked.kept())), BEGAN)
    assert again == looked
    assert look(again, 600 + 8 * HOUR_S).well_s == 720


def test_what_another_version_has_noted_is_begun_anew() -> None:
    assert Looked.of({"upto": 5, "judge": ""}, BEGAN) == Looked.of(None, BEGAN)


def test_time_without_a_program_is_counted_apart_and_forgotten_when_it_is_back() -> None:
    looked = look(look(Looked.of(None, BEGAN), 60, 120), 180, 240, 300, is_well=False)
    assert (looked.well_s, looked.away_s) == (120, 180)
    assert look(looked, 310).away_s == 0


def test_a_program_that_was_started_anew_is_counted() -> None:
    looked = Looked.of(None, BEGAN)
    for pid in (5, 5, 6, 6, 7):
        looked = looked.after(BEGAN, HOUR_S, {'["run"]': pid}, is_well=True)
        looked = looked.after(BEGAN, HOUR_S, {}, is_well=False)
    assert looked.restarts == 2


def test_a_program_is_known_by_its_slot_and_its_arguments(tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "b", "2.0")
    arguments = ["run", str(tmp_path / "out")]
    command = [folder / "bin" / "python", "-I", "-m", "appliance", *arguments]
    with subprocess.Popen(command, env={"PATH": os.environ["PATH"]}) as process:
        try:
            assert eventually(lambda: programs_of(folder) == {json.dumps(arguments): process.pid})
            assert programs_of(tmp_path / "a") == {}
        finally:
            process.terminate()
    assert programs_of(folder) == {}
