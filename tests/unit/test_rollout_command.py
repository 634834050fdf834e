"""A release reaches a fleet in rings: the commands as people type them, on a real repository with real keys."""

import json
from pathlib import Path

import pytest

from tests.fleet import AT_ONCE, BACK, NEW, OLD, FleetDesk
from tests.release_desk import ServedFolder
from tests.update_server import UpdateServer

pytestmark = pytest.mark.long


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDesk:
    return FleetDesk(tmp_path)


def test_a_good_release_reaches_ring_after_ring_and_every_device(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    assert fleet.told() == ["lab-1"]
    assert fleet.run("advance") == 0
    assert fleet.told() == ["lab-1"], "nobody has shown anything yet"
    for ring, size in (("lab", 1), ("line", 4), ("quarter", 1), ("all", 3)):
        told = fleet.ring(ring)
        assert len(told) == size
        for device in told:
            fleet.say(device, "success")
        assert fleet.run("advance") == 0
    assert fleet.told() == sorted(fleet.reporters)
    assert fleet.status()["phase"] == "done"


def test_the_line_ring_is_one_whole_line_of_each_site(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    lines = {device[:-1] for device in fleet.ring("line")}
    assert len(lines) == 2
    assert {line.partition("-")[0] for line in lines} == {"ulm", "oslo"}


def test_a_device_reads_with_its_own_client_what_it_is_told(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    with UpdateServer(ServedFolder(Path(fleet.desk.address))) as server:
        device = fleet.desk.device(server)
        assignment = json.loads(device.download("assign/ulm/lab-1.json"))
        (release,) = assignment["releases"]
        assert device.repository.find(release["path"]).digests["sha256"] == release["sha256"]
    assert (assignment["rollout"], assignment["ring"], assignment["seq"]) == ("r1", "lab", 2)
    assert assignment["gates"]["watch_h"] == 1, "a laboratory's hour, not a line's day"


@pytest.mark.parametrize("outcome", ["failed", "rolled_back", "quarantined"])
def test_a_failure_in_the_lab_ends_the_rollout_there(fleet: FleetDesk, outcome: str) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", outcome)
    assert fleet.run("advance") == 1
    assert fleet.status()["phase"] == "halted"
    assert fleet.told(OLD) == sorted(fleet.reporters.keys() - {"lab-1"})
    assert fleet.told(BACK) == ["lab-1"]
    assert fleet.run("advance") == 1
    assert fleet.told(NEW) == []


@pytest.mark.parametrize("state", ["SHADOW", "CANARY", "COMMIT", "WATCH"])
def test_installed_is_not_success(fleet: FleetDesk, state: str) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", "running", state, parts=10**6)
    assert fleet.run("advance") == 0
    assert fleet.told() == ["lab-1"]
    assert "0 of 1 devices reached success" in " ".join(fleet.status()["waits_for"])


def test_success_with_another_number_or_content_is_none(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    for changes in ({"seq": 9}, {"sha256": "0" * 64}, {"name": "cans"}, {"kind": "app"}):
        fleet.say("lab-1", "success", **changes)
        assert fleet.run("advance") == 0
        assert fleet.told() == ["lab-1"]


def test_a_halt_calls_back_who_has_not_committed_and_leaves_the_others(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    first, second, third, fourth = fleet.ring("line")
    fleet.say(first, "running", "WATCH")
    fleet.say(second, "running", "SHADOW")
    fleet.say(third, "rolled_back")
    assert fleet.run("advance") == 1
    assert fleet.told(NEW) == sorted([first, "lab-1"])
    assert fleet.told(BACK) == sorted([second, third, fourth])
    called = fleet.assignment(second)
    assert (called.seq, called.releases[0].seq) == (3, 3), "a new number for what it had"
    assert called.releases[0].sha256 == fleet.chosen[OLD].sha256
    fleet.say(first, "rolled_back")
    assert fleet.run("advance") == 1
    assert fleet.told(BACK) == sorted([first, second, third, fourth]), "who gave it up after the halt, too"


def test_a_called_device_is_back_when_it_says_so_under_the_new_assignment(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", "running", "SHADOW")
    assert fleet.run("halt", "--why", "bad light") == 0
    assert (fleet.status()["called_back"], fleet.status()["not_back_yet"]) == (1, 1)
    fleet.say("lab-1", "rolled_back", "ROLLBACK", assignment_seq=2)
    assert fleet.status()["not_back_yet"] == 0


def test_a_recall_calls_everybody_back_also_those_who_have_it(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    fleet.say(fleet.ring("line")[0], "success")
    ring = fleet.ring("line")
    assert fleet.run("recall") == 0
    assert fleet.told(BACK) == sorted(["lab-1", *ring])
    fleet.say("lab-1", "running", "WATCH", path=BACK)
    assert fleet.status()["not_back_yet"] == 5
    fleet.say("lab-1", "success", path=BACK)
    assert fleet.status()["not_back_yet"] == 4
    assert fleet.run("resume") == 78


def test_while_it_is_paused_nobody_new_is_told_and_a_gate_still_breaks(fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    assert fleet.run("pause", keys=("online",)) == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    assert fleet.told() == ["lab-1"]
    assert fleet.run("resume") == 0
    assert fleet.run("advance") == 0
    assert len(fleet.told()) == 5
    assert fleet.run("pause") == 0
    for device in fleet.ring("line")[:2]:
        fleet.say(device, "failed")
    assert fleet.run("advance") == 1
    assert fleet.status()["phase"] == "halted"


def test_without_a_way_back_a_halt_says_what_is_to_be_done_and_does_it_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = FleetDesk(tmp_path, has_back=False)
    assert fleet.run("start", "--release", NEW) == 0
    assert "no way back is named" in capsys.readouterr().err
    fleet.say("lab-1", "failed")
    assert fleet.run("advance") == 1
    assert "trainer publish release" in " ".join(capsys.readouterr().out.split())
    assert fleet.told(NEW) == ["lab-1"]
    fleet.release_old()
    assert fleet.run("halt", "--back", BACK) == 0
    assert fleet.told(BACK) == ["lab-1"]


def test_a_halt_names_a_way_back_for_each_release_that_the_fleet_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, named = FleetDesk(tmp_path, has_back=False), "models/boards/boards-{}.bundle".format
    assert fleet.desk.release(fleet.desk.bundle(revision=7)) == 0
    assert fleet.desk.assign("--device", "lab-1", "--release", named(3)) == 0
    assert fleet.desk.release(fleet.desk.bundle(revision=9)) == 0
    assert fleet.run("start", "--release", named(4)) == 0
    assert fleet.told(named(4)) == ["lab-1"]
    fleet.release_old()
    assert fleet.desk.release(fleet.desk.bundle(revision=7)) == 0
    capsys.readouterr()
    assert fleet.run("halt", "--back", named(5)) == 78
    assert "lab-1 had another model/boards" in " ".join(capsys.readouterr().err.split())
    assert fleet.run("halt", "--back", named(5), "--back", named(6)) == 0
    assert fleet.told(named(6)) == ["lab-1"], "each goes back to what it had"


def test_a_way_back_that_devices_would_refuse_is_refused_here(
    fleet: FleetDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet.run("start", "--release", NEW, "--back", OLD) == 78
    assert "refuse lower numbers" in " ".join(capsys.readouterr().err.split())
    assert fleet.desk.release(fleet.desk.bundle(revision=7)) == 0
    assert fleet.run("start", "--release", NEW, "--back", "models/boards/boards-4.bundle") == 78
    assert "had another model/boards" in " ".join(capsys.readouterr().err.split())
    assert fleet.told(OLD) == sorted(fleet.reporters), "nothing was changed"


def test_a_protected_line_holds_the_next_ring_until_a_person_excuses_the_device(tmp_path: Path) -> None:
    fleet = FleetDesk(
        tmp_path, {"lab": {"least_h": 0}, "line": {"least_h": 0, "halt_percent": 90, "success_percent": 50}}
    )
    assert fleet.start() == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    odd, *others = fleet.ring("line")
    for device in others:
        fleet.say(device, "success")
    fleet.say(odd, "rolled_back")
    assert fleet.run("advance") == 0
    assert len(fleet.told()) == 5
    assert "protected their lines" in " ".join(fleet.status()["waits_for"])
    assert fleet.run("resume", "--excuse", odd, "--why", "its lamp was broken") == 0
    assert fleet.run("advance") == 0
    assert len(fleet.told()) > 5


def test_a_device_of_an_earlier_ring_that_goes_back_later_holds_the_next_ring(tmp_path: Path) -> None:
    fleet = FleetDesk(tmp_path, {**AT_ONCE, "lab": {"least_h": 0, "halt_percent": 100}})
    assert fleet.start() == 0
    fleet.say("lab-1", "success")
    assert fleet.run("advance") == 0
    ring = fleet.ring("line")
    fleet.say("lab-1", "rolled_back")
    for device in ring:
        fleet.say(device, "success")
    assert fleet.run("advance") == 0
    assert fleet.told() == sorted(["lab-1", *ring])
    assert "Ring lab: 1 of its devices protected their lines" in " ".join(fleet.status()["waits_for"])


def test_two_rollouts_of_one_model_at_once_are_refused(fleet: FleetDesk, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.start() == 0
    assert fleet.run("start", "--release", NEW, name="r2") == 78
    assert "r1 is running with it" in " ".join(capsys.readouterr().err.split())
    assert fleet.start() == 78
    assert "take another name" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("keys", [("online",), ("ulm",)])
def test_without_the_keys_nothing_is_begun(fleet: FleetDesk, keys: tuple[str, ...]) -> None:
    before = fleet.desk.standing().timestamp.signed_bytes
    assert fleet.run("start", "--release", NEW, keys=keys) == 78
    assert fleet.desk.standing().timestamp.signed_bytes == before
    assert fleet.start() == 0, "and it can be begun afterwards"


def test_after_the_online_key_was_exchanged_another_rollout_can_begin(
    fleet: FleetDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can move the one that the old key sealed, so it does not stand in the way."""
    desk = fleet.desk
    assert fleet.start() == 0
    assert desk.new_key("online2", "online") == 0
    assert desk.change("rotate", "--old", desk.public("online"), "--new", desk.public("online2"), folder="new") == 0
    for name in ("anna", "ben"):
        assert desk.sign(name, *desk.requests("new")) == 0
    assert desk.publish_signed(desk.requests("new"), "online", "online2") == 0
    assert fleet.run("advance", keys=("ulm", "online2")) == 65
    words = ("start", "--release", BACK)
    assert fleet.run(*words, keys=("ulm", "online2")) == 78
    capsys.readouterr()
    assert fleet.run(*words, keys=("ulm", "online2"), name="r2") == 0
    assert "r1.json is not sealed" in " ".join(capsys.readouterr().err.split())
    assert fleet.assignment("lab-1").rollout == "r2"


def test_a_record_that_somebody_altered_is_not_believed(fleet: FleetDesk, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.start() == 0
    path = Path(fleet.desk.address) / "rollouts" / "r1.json"
    document = json.loads(path.read_text())
    document["record"]["opened"]["all"] = document["record"]["opened"]["lab"]
    path.chmod(0o644)
    path.write_text(json.dumps(document))
    assert fleet.run("advance") == 65
    assert "not sealed" in capsys.readouterr().err
    assert fleet.told() == ["lab-1"]


def test_an_older_record_that_somebody_puts_back_is_refused(
    fleet: FleetDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed it is; a halt would be undone by it."""
    assert fleet.start() == 0
    path = Path(fleet.desk.address) / "rollouts" / "r1.json"
    old = path.read_bytes()
    assert fleet.run("halt") == 0
    path.chmod(0o644)
    path.write_bytes(old)
    assert fleet.run("advance") == 65
    assert "put an old one back" in capsys.readouterr().err
