"""The line as the agent asks it: a station that is busy is asked again, within reason, and no release is blamed."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.agent_line import MqttLine
from appliance.agent_station import Station
from appliance.clock import SystemClock
from appliance.errors import DeliveryError
from appliance.update.journal import Journal
from appliance.update.line import Beside, Candidate, LineRefusedError
from tests.agent_place import Place, device_at_a_broker
from tests.answering_station import PRODUCT
from tests.certificates import needs_openssl
from tests.stations import needs_mosquitto, until
from tests.tiny_releases import NAME

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]
LONGEST_SILENCE_S = 10.0
WORDS = "another release is being loaded"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with device_at_a_broker(tmp_path) as place:
        place.adopt()
        yield place


def line(place: Place, busy_s: float) -> MqttLine:
    return MqttLine(
        Station.read(place.folder / "config.yaml"), place.folder / "agent" / "slots" / "models", busy_s=busy_s
    )


def test_a_station_that_is_busy_is_waited_for_and_it_counts_for_nothing(place: Place) -> None:
    new, place.station.busy = place.offer(2), {"shadow": 4, "release": 4}
    seen = set[str]()

    def is_in_force() -> bool:
        assert place.agent("update") == 0
        with closing(Journal(place.folder / "agent" / "journal.db", SystemClock())) as journal:
            (update,) = journal.latest()
            seen.add(update.waits_for)
            assert update.progress.crashes == 0, update
            return update.progress.outcome == "success"

    until(is_in_force, "the release is in force", 60)
    assert place.in_force() == new
    assert place.station.busy == {"shadow": 0, "release": 0}
    assert {f"the station is busy, {command} is asked again: {WORDS}" for command in ("shadow", "release")} <= seen


def test_a_station_that_is_busy_for_too_long_refuses(place: Place) -> None:
    candidate = Candidate(NAME, place.current, place.in_force())
    place.station.busy = {"release": 3}
    with pytest.raises(LineRefusedError, match=WORDS):
        line(place, 0).decide_with(candidate)
    patient = line(place, 60)
    for _ in range(2):
        with pytest.raises(DeliveryError, match=f"the station is busy, release is asked again: {WORDS}"):
            patient.decide_with(candidate)
    patient.decide_with(candidate)
    assert place.station.busy == {"release": 0}


def test_what_a_station_refuses_for_good_is_no_matter_of_patience(place: Place) -> None:
    place.station.refuses["release"] = "it is older than what is in force"
    with pytest.raises(LineRefusedError, match="older"):
        line(place, 60).decide_with(Candidate(NAME, place.current, place.in_force()))


@pytest.mark.parametrize("unsound", [True, False, None])
def test_what_ended_beside_the_line_is_unsound_only_where_the_station_says_so(
    place: Place, unsound: bool | None
) -> None:
    ended = {"state": "ended", "product": PRODUCT, "candidate": "c" * 64, "skipped": 7, "problem": "it says NaN"}
    place.station.shadow = ended if unsound is None else ended | {"unsound": unsound}
    assert line(place, 60).shadow_of(NAME) == Beside("c" * 64, "it says NaN", 7, is_unsound=unsound is True)


def test_who_waits_for_an_answer_says_often_that_it_gets_on(place: Place) -> None:
    """The answer has its own limit; a worker that is silent meanwhile would be taken as hung."""
    steps, station = list[float](), place.station

    def on_step() -> None:
        steps.append(time.monotonic())
        if len(steps) > 3:
            station.may_answer.set()

    asked = MqttLine(Station.read(place.folder / "config.yaml"), place.current.parents[1], on_step=on_step)
    station.may_answer.clear()
    assert asked.in_force(NAME) == place.in_force()
    assert max(later - earlier for earlier, later in pairwise(steps)) < LONGEST_SILENCE_S
