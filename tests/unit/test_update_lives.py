"""Whole lives of updates on a device with a real repository, real bundles and a line that judges with them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance.bundle.gate_settings import Gates
from appliance.update.lifecycle import State
from appliance.update.line import Gate, Grounds, SeenPart
from tests.counting_judge import CountingJudge
from tests.planted import wrong_normalisation
from tests.simulated_line import SimulatedLine
from tests.update_agent import Along, Device, Fleet, fork_agent
from tests.update_server import UpdateServer

pytestmark = pytest.mark.long

FORWARD = ["CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "PROVE", "SHADOW", "CANARY", "COMMIT", "WATCH", "REPORT",
           "CLEANUP", "IDLE"]  # fmt: skip
BACK = ["ROLLBACK", "VERIFY_ROLLBACK", "FAILURE", "REPORT", "CLEANUP", "IDLE"]


@pytest.fixture(params=["model", "recipe"])
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(tmp_path, request.param)


only_models = pytest.mark.parametrize("fleet", ["model"], indirect=True)


@pytest.fixture
def server(fleet: Fleet) -> Iterator[UpdateServer]:
    with UpdateServer(fleet.repository.files) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, fleet: Fleet, server: UpdateServer) -> Device:
    return fleet.device(tmp_path / "device", server)


def states(device: Device) -> list[str]:
    return [step.state for step in device.journal.steps(device.newest().number)]


def test_a_good_release_goes_through_every_gate_and_is_in_force(device: Device, fleet: Fleet) -> None:
    before = device.in_force()
    new = fleet.offer(2)
    update = device.update()
    assert (update.progress.outcome, states(device)) == ("success", FORWARD), update
    assert device.in_force() == device.line.in_force(device.name) == new
    assert device.kind.keeps(device.name, before), "the release before can be gone back to"
    assert [event["state"] for event in device.line.told] == FORWARD
    assert not list((device.state / "files").glob("[!.]*")), "its bytes are in the slot, once"
    device.update()
    assert len(device.journal.steps(update.number)) == len(FORWARD), "what is in force is not begun again"


def test_nothing_is_a_success_before_it_was_watched_to_the_end(device: Device, fleet: Fleet) -> None:
    fleet.offer(2, gates={"watch_h": 24})
    now = device.clock.now = datetime.now(timezone.utc)
    update = device.update()
    assert (update.progress.state, update.progress.outcome) == (State.WATCH, "running")
    assert update.waits_for == "0.0 of 24 h"
    device.clock.now = now + timedelta(hours=23.9)
    assert device.update(3).progress.outcome == "running", "a restart begins no new day, and ends none"
    device.clock.now = now + timedelta(hours=24.1)
    assert device.update().progress.outcome == "success"


def test_what_is_no_release_is_quarantined(device: Device, fleet: Fleet) -> None:
    release = fleet.publish(2, b"signed, and nothing that could judge")
    fleet.assign(release)
    update = device.update()
    assert (update.progress.outcome, states(device)[2:]) == ("quarantined", ["VERIFY", *BACK])
    assert release["sha256"] in device.journal.quarantined()
    fleet.assign(release)
    device.update()
    assert device.newest().number == update.number


@only_models
def test_a_release_that_finds_other_things_here_is_refused_by_its_proof(
    device: Device, fleet: Fleet, tmp_path: Path
) -> None:
    fleet.assign(fleet.publish(2, wrong_normalisation(tmp_path / "wrong.bundle").read_bytes()))
    update = device.update()
    assert (update.progress.outcome, states(device)[-7:]) == ("quarantined", ["PROVE", *BACK])
    assert "does not do here" in update.reason
    assert not device.line.told or device.line.asked[0][0] != "shadow", "the line never hears of it"


@pytest.mark.parametrize(
    ("flaw", "words", "last", "tries"),
    [
        ("refused", "is not acceptable here", "SHADOW", 3),
        ("faults", "it could not judge (runtime)", "SHADOW", 1),
        ("ends beside", "the child process crashed", "SHADOW", 3),
        ("answers NaN beside", "scores that are NaN", "SHADOW", 1),
        ("late", "answered too late", "CANARY", 1),
        ("ends the line", "the line restarted", "CANARY", 3),
    ],
)
def test_what_the_line_sees_wrong_with_a_release_brings_the_old_one_back(
    device: Device, fleet: Fleet, flaw: str, words: str, last: str, tries: int
) -> None:
    before = device.in_force()
    new = fleet.offer(2)
    device.line.behaves[new] = flaw  # type: ignore[assignment]
    update = device.update()
    assert update.progress.outcome == "quarantined", update
    assert words in update.reason
    assert (states(device)[-7], states(device).count(last)) == (last, tries)
    assert device.in_force() == device.line.in_force(device.name) == before
    assert device.line.shadow_of(device.name).sha256 == ""
    assert not device.kind.keeps(device.name, new), "nobody goes back to it by mistake"


def test_what_goes_wrong_after_the_commit_flips_the_link_back(device: Device, fleet: Fleet) -> None:
    before, new = device.in_force(), fleet.offer(2)

    def goes_bad() -> None:
        assert device.in_force() == new
        device.line.behaves[new] = "faults"

    device.around = lambda kind: Along(kind, {"watch": goes_bad})
    update = device.update()
    assert (update.progress.outcome, states(device)[-7:]) == ("quarantined", ["WATCH", *BACK])
    assert device.in_force() == device.line.in_force(device.name) == before


@pytest.mark.parametrize("at", ["shadow", "canary", "commit", "watch", "cleanup"])
def test_a_line_that_is_away_is_waited_for(device: Device, fleet: Fleet, at: str) -> None:
    new = fleet.offer(2)

    def leaves() -> None:
        device.line.is_away = True

    device.around = lambda kind: Along(kind, {at: leaves})
    update = device.update(12)
    assert (update.progress.state.value.lower(), update.is_waiting) == (at, True)
    assert update.waits_for == "no station answered within 10 s"
    device.around = lambda kind: kind
    device.line.is_away = False
    assert device.update().progress.outcome == "success"
    assert device.newest().progress.crashes == 0, "that was nobody's fault"
    assert device.in_force() == new


def test_a_rollback_waits_for_the_line_too_with_the_link_back_already(device: Device, fleet: Fleet) -> None:
    before, new = device.in_force(), fleet.offer(2)

    def goes_bad() -> None:
        device.line.behaves[new] = "faults"

    def leaves() -> None:
        device.line.is_away = True

    device.around = lambda kind: Along(kind, {"watch": goes_bad, "rollback": leaves})
    update = device.update(12)
    assert (update.progress.state, update.progress.outcome) == (State.ROLLBACK, "running")
    assert device.in_force() == before
    device.around, device.line.is_away = (lambda kind: kind), False
    assert device.update().progress.outcome == "quarantined"
    assert device.line.in_force(device.name) == before


def test_a_restart_of_the_line_in_shadow_is_nobodys_fault(device: Device, fleet: Fleet) -> None:
    fleet.offer(2, gates={"shadow_parts": 60})
    device.line.parts_per_look = 5
    for _ in range(5):
        device.update(2)
        device.line.restart()
    assert device.newest().progress.crashes == 0
    assert device.update().progress.outcome == "success"


def test_a_release_that_kills_the_agent_three_times_is_quarantined(device: Device, fleet: Fleet) -> None:
    before = device.in_force()
    new = fleet.offer(2)
    device.around = lambda kind: Along(kind, {"prove": lambda: __import__("os")._exit(9)})
    for _ in range(3):
        assert fork_agent(device, None) == {"ended": 9}
    assert device.update().progress.outcome == "quarantined"
    assert "the agent ended within PROVE" in device.newest().reason
    assert new in device.journal.quarantined()
    assert device.in_force() == before


def test_damage_on_disk_is_found_and_the_file_fetched_anew(device: Device, fleet: Fleet) -> None:
    new = fleet.offer(2)
    file = device.state / "files" / new

    def damages() -> None:
        content = file.read_bytes()
        if file.stat().st_nlink == 1 and not device.newest().progress.tries:
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    device.around = lambda kind: Along(kind, {"verify": damages})
    update = device.update()
    assert (update.progress.outcome, update.progress.tries) == ("success", 1)
    assert states(device)[:5] == ["CHECK", "DOWNLOAD", "VERIFY", "DOWNLOAD", "VERIFY"]


def test_a_server_that_is_away_is_waited_for_and_told(device: Device, fleet: Fleet, server: UpdateServer) -> None:
    fleet.offer(2)
    files, server.files = server.files, {}
    service = device.start()
    assert service.ask() is not None
    assert "answers 404" in service.journal.noted("problem")
    server.files = files
    update = device.update()
    assert update.progress.outcome == "success"
    assert device.journal.noted("problem") is None


def test_known_parts_are_no_measure_of_what_is_usual_at_the_line(device: Device, fleet: Fleet) -> None:
    class KnownBadParts(SimulatedLine):
        """Every part that is diverted was put in on purpose."""

        def observations(self, gate: Gate, sha256: str, since_seq: int) -> Iterator[SeenPart]:
            for part in super().observations(gate, sha256, since_seq):
                yield replace(part, challenge="bad" if part.verdict == "REJECT" else None)

    grounds: dict[Gate, Grounds] = {}

    def noting(gate: Gate, gates: Gates, known: Grounds, dumped: str = "") -> CountingJudge:
        grounds.setdefault(gate, known)
        return CountingJudge(gate, gates, known, dumped)

    device.line, device.make_judge = KnownBadParts(device.station, device.line.folder), noting
    device.line.restart()
    device.line.pass_parts(20)
    fleet.offer(2)
    assert device.update().progress.outcome == "success"
    assert grounds["canary"].parts_before >= 10
    assert (grounds["canary"].diverted_before, grounds["watch"].diverted_before) == (0, 0)
