"""Signed, sound as files, and bad: each is stopped by a gate; see benchmarks/bad_models.py for what the table says."""

from collections.abc import Iterator

import pytest

from tests.bad_releases import FLAWS
from tests.stations import needs_mosquitto
from tests.trial_line import Trial, TrialLine

GATES = {
    "shadow_parts": 40, "canary_parts": 40, "watch_parts": 100, "watch_h": 0, "alpha": 0.2, "beta": 0.05,
    "most_escapes": 0.3, "most_overkill": 0.1, "most_disagreement": 0.2, "most_imbalance": 0.1, "most_faults": 0.02,
    "most_missed": 0.02, "most_late": 0.1,
}  # fmt: skip
"""So loose that a good release is through after some hundred parts; what is bad here is plainly so."""

PARTS_BEFORE = 300
LIMIT_S = 300.0
LONGEST_ROLLBACK_S = 5.0
"""On a computer on which much else runs; the benchmark holds it against 1 s."""

pytestmark = [
    needs_mosquitto,
    pytest.mark.long,
    pytest.mark.timeout(2 * LIMIT_S),  # a release may end the station three times, and much else may run
]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialLine]:
    with TrialLine(tmp_path_factory.mktemp("line"), GATES) as line:
        line.wait_for_parts(PARTS_BEFORE)
        yield line


def stopped(line: TrialLine, name: str) -> Trial:
    """Try a bad release out: its gate stops it, the good one is in force again, and each part has one verdict."""
    trial = line.try_out(name, LIMIT_S)
    assert (trial.caught_at, trial.outcome) in {(each, "quarantined") for each in FLAWS[name].caught_at}, trial
    assert line.in_force() == line.good, f"{name}: what was good is in force again, on disk and at the line"
    assert trial.announced > 0
    assert trial.without_one_verdict == 0, trial
    return trial


@pytest.mark.parametrize("name", ["blind, golden images kept", "blind", "blind, known part"])
def test_a_bad_release_never_decides_over_a_part(name: str, line: TrialLine) -> None:
    assert stopped(line, name).switches_back == 0, "what is in force was in force all the time"


@pytest.mark.parametrize("name", ["blind, known part later", "NaN, later"])
def test_a_release_that_turns_bad_at_the_line_is_taken_back_by_one_switch_between_two_parts(
    name: str, line: TrialLine
) -> None:
    check_one_switch(stopped(line, name))


@pytest.mark.parametrize("name", ["blind, known part in WATCH", "NaN, in WATCH"])
def test_so_is_one_that_is_in_force_for_good(name: str, line: TrialLine) -> None:
    check_one_switch(stopped(line, name))


@pytest.mark.parametrize("name", ["slow, later", "slow, in WATCH"])
def test_a_release_that_turns_slow_is_taken_back_and_its_parts_are_faults_in_time(name: str, line: TrialLine) -> None:
    trial = stopped(line, name)
    assert trial.fault_reasons["deadline"] > 0
    assert trial.switches_back >= 1  # one more where it is so slow that the station ends itself as hanging


def test_a_release_that_ends_the_station_is_gone_with_the_next_start(line: TrialLine) -> None:
    check_restarts(stopped(line, "crashing, later"))


def test_one_that_ends_the_station_in_force_for_good_is_taken_back_when_enough_is_seen(line: TrialLine) -> None:
    check_restarts(stopped(line, "crashing, in WATCH"))


@pytest.mark.parametrize("name", ["hungry, later", "hungry, in WATCH"])
def test_a_release_that_takes_all_memory_is_too_late_or_ends_the_station_and_is_taken_back(
    name: str, line: TrialLine
) -> None:
    trial = stopped(line, name)
    assert trial.faults > 0
    assert trial.switches_back >= 1


def check_one_switch(trial: Trial) -> None:
    assert (trial.switches_back, trial.station_restarts) == (1, 0), trial
    assert trial.rollback_s is not None
    assert trial.rollback_s < LONGEST_ROLLBACK_S
    assert trial.fault_reasons.keys() <= {"runtime", "deadline", "queue_full"}, "what the release itself did not answer"


def check_restarts(trial: Trial) -> None:
    """Parts that it had taken are FAULT(restart), those that came while it was away are FAULT(missed_trigger)."""
    assert trial.station_restarts > 0
    assert trial.fault_reasons["restart"] > 0
    if trial.caught_at == "CANARY":  # each start is with the release before, which nobody has to put back
        assert trial.switches_back == trial.station_restarts, trial
    else:
        assert trial.switches_back == 1, trial
