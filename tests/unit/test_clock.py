"""What the wall clock is worth: as the kernel says, in every record and every heartbeat, and nowhere decisive."""

import json
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.events import Verdict
from appliance.links.announcements import StationState, Voice
from appliance.messages import HeartbeatMessage
from tests.line import Line

STATES = (True, False, None)


@pytest.mark.parametrize(
    ("answer", "is_synchronised"), [(0, True), (1, True), (4, True), (5, False), (-1, None)]
)  # TIME_OK, TIME_INS, TIME_WAIT, TIME_ERROR, not permitted: adjtimex(2)
def test_the_kernels_answer_is_read_as_its_manual_says(answer: int, is_synchronised: bool | None) -> None:
    assert SystemClock(lambda: answer).is_synchronised() is is_synchronised


def test_the_kernel_and_systemd_agree() -> None:
    program = shutil.which("timedatectl")
    question = [program or "false", "show", "--property=NTPSynchronized", "--value"]
    ended = subprocess.run(question, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip("systemd cannot be asked here")
    assert SystemClock().is_synchronised() is (ended.stdout.strip() == "yes")


def test_every_record_says_what_its_times_are_worth_whatever_the_verdict(tmp_path: Path) -> None:
    with Line(tmp_path) as line:
        for number, state in enumerate(STATES):
            line.clock.synchronised = state
            line.trigger(f"{'bad' if number else 'good'}-{number}")
            line.wait_for(number + 1)
        documents = [json.loads(record.payload) for _, record in line.records]
    assert [document["clock_synchronised"] for document in documents] == list(STATES)
    assert [document["verdict"] for document in documents] == [Verdict.ACCEPT, Verdict.REJECT, Verdict.REJECT]


@pytest.mark.parametrize("state", STATES)
def test_the_heartbeat_says_so_too(state: bool | None) -> None:
    voice = Voice("device-07", "boot-1", lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))
    beat = voice.heartbeat(StationState(clock_synchronised=state))
    assert HeartbeatMessage.model_validate_json(beat).clock_synchronised is state
