"""appliance agent adopt, update, run, rollback, hold, status: as people call them, with a broker and a repository."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from appliance.errors import BundleTrustError
from appliance.update.reports import read_report
from tests.agent_place import GATES, REPORT, Place, device_at_a_broker
from tests.certificates import needs_openssl
from tests.stations import mqtt_settings, needs_mosquitto, until
from tests.tiny_releases import NAME
from tests.update_agent import DEVICE
from tests.update_server import Exchange

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with device_at_a_broker(tmp_path) as place:
        yield place


def status(place: Place, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert place.agent("status", "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_release_is_taken_through_its_life_and_a_person_takes_it_back(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = place.adopt()
    assert f"{place.current} is tiny revision 1: certificate" in capsys.readouterr().out
    new = place.offer(2)
    assert place.agent("update") == 0
    place.update()
    assert "update of tiny to release 2: success in IDLE" in capsys.readouterr().out
    assert (place.in_force(), place.station.in_force) == (new, new)
    told = [arguments["state"] for name, arguments in place.station.commands if name == "update-event"]
    assert (told[0], told[-1], "SHADOW" in told, "WATCH" in told) == ("CHECK", "IDLE", True, True)
    found = status(place, capsys)
    report = read_report(place.server.put[REPORT][-1], REPORT, str(found["public_key"]))
    (release,) = report.releases
    assert (release.outcome, release.state, release.sha256, release.seq) == ("success", "IDLE", new, 2)
    assert release.parts >= 4
    assert report.device_id == DEVICE

    files, place.server.files = place.server.files, {}  # a person needs no network
    assert place.agent("rollback", "--by", "Ann") == 0
    assert f"release 2 of tiny is rolled back: tiny is release {old[:12]} again" in capsys.readouterr().out
    assert (place.in_force(), place.station.in_force) == (old, old)
    assert place.station.commands[-1][1].get("state", "IDLE") == "IDLE"
    assert [arguments.get("rollback") for name, arguments in place.station.commands if name == "release"][-1] is True
    assert place.agent("rollback", "--by", "Ann") == 1
    assert "nothing to roll back: what is in force of tiny did not come by the agent" in capsys.readouterr().err
    assert list(dict(status(place, capsys)["quarantine"])) == [new]  # type: ignore[call-overload]

    place.server.files = files
    assert place.agent("update") == 0
    assert place.in_force() == old, "what a person rolled back does not come again by itself"
    assert place.agent("release-quarantine", "b" * 64, "--by", "Ann") == 78
    assert place.agent("release-quarantine", new, "--by", "Ann") == 0
    assert status(place, capsys)["quarantine"] == {}


def test_a_hold_is_told_and_kept(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    old = place.adopt()
    assert place.agent("hold", "--by", "Ann") == 0
    place.offer(2)
    assert place.agent("update") == 0
    assert "Ann holds updates since" in capsys.readouterr().out
    assert (place.in_force(), status(place, capsys)["updates"]) == (old, [])
    assert place.agent("release-hold", "--by", "Bob") == 0
    assert "held by Ann" in capsys.readouterr().out
    place.update()
    assert place.in_force() != old
    assert place.agent("release-hold", "--by", "Bob") == 0
    assert "nothing was held" in capsys.readouterr().out


def test_a_running_agent_updates_by_itself_takes_a_wish_up_and_ends_when_asked(
    place: Place,
) -> None:
    old, new = place.adopt(), place.offer(2)
    process = place.start()
    until(lambda: place.current.resolve().name and place.in_force() == new, "the new release is in force", 90)
    until(lambda: b'"outcome": "success"' in place.server.put.get(REPORT, [b""])[-1], "success is reported", 90)
    second = place.start()
    _, complaints = second.communicate(timeout=30)
    assert (second.returncode, b"another agent runs in" in complaints) == (74, True), complaints
    assert place.agent("rollback", "--by", "Ann") == 0
    assert (place.in_force(), place.station.in_force) == (old, old)
    process.send_signal(signal.SIGTERM)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert b"Traceback" not in complaints


def test_an_agent_that_waits_is_a_process_of_its_own(place: Place) -> None:
    place.adopt()
    with pytest.raises(RuntimeError, match="start it as one of its own"):
        place.agent("run")


def test_a_report_that_nobody_takes_changes_nothing_and_is_sent_again(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.adopt()
    new = place.offer(2)

    def refuses(exchange: Exchange) -> None:
        exchange.head(503, {"Content-Length": 0})

    place.server.answers[REPORT] = refuses
    place.update()
    assert place.in_force() == new
    assert REPORT not in place.server.put
    del place.server.answers[REPORT]
    assert place.agent("update") == 0
    (sent,) = place.server.put[REPORT]
    key = str(status(place, capsys)["public_key"])
    assert read_report(sent, REPORT, key).releases[0].outcome == "success"
    with pytest.raises(BundleTrustError, match="not signed by the device"):
        read_report(sent.replace(b'"seq": 2', b'"seq": 3'), REPORT, key)
    with pytest.raises(BundleTrustError, match="not signed by the device"):
        read_report(sent, REPORT, "0" * 64)
    assert place.agent("update") == 0
    assert place.server.put[REPORT] == [sent], "what was taken is not sent again"


def test_events_are_kept_until_the_line_answers(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.adopt()
    release = place.fleet.publish(2, b"no bundle")
    place.fleet.assign(release, gates=GATES)
    settings = place.station._opened
    place.station._opened.close()
    assert place.agent("update") == 0
    assert int(str(status(place, capsys)["untold_events"])) >= 5
    assert settings is not None
    port = yaml.safe_load((place.folder / "config.yaml").read_text())["mqtt"]["port"]
    place.station.connect(mqtt_settings(port))
    place.agent("update")
    assert status(place, capsys)["untold_events"] == 0
    told = [arguments["state"] for name, arguments in place.station.commands if name == "update-event"]
    assert told == [
        "CHECK",
        "DOWNLOAD",
        "VERIFY",
        "ROLLBACK",
        "VERIFY_ROLLBACK",
        "FAILURE",
        "REPORT",
        "CLEANUP",
        "IDLE",
    ]


@pytest.mark.parametrize(
    ("words", "keys", "code", "complaint"),
    [
        (("update",), {"station": None}, 78, "does not name the station"),
        (("update",), {"assignment": None}, 78, "does not say whose assignment is read"),
        (("hold", "--by", " "), {}, 78, "say who wants it"),
        (("rollback", "--by", "Ann"), {}, 78, "the agent has no model yet"),
        (("adopt", "nothing.bundle", "--name", NAME, "--by", "Ann"), {}, 65, "cannot be read"),
        (("update",), {"reports_url": "http://x/"}, 78, r"reports_url"),
        (("update",), {"window": {"begins": "25:00"}}, 78, "window.begins"),
    ],
)
def test_a_mistake_is_told_in_words(
    place: Place, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], keys: dict[str, object], code: int,
    complaint: str,
) -> None:  # fmt: skip
    given = {name: value for name, value in (place.keys | keys).items() if value is not None}
    place.config.write_text(yaml.safe_dump(given))
    assert place.agent(*words) == code
    said = capsys.readouterr().err
    assert complaint in said
    assert "Traceback" not in said


def test_a_name_that_no_product_runs_is_not_adopted(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.agent("adopt", str(place.fleet.bundle(1)), "--name", "other", "--by", "Ann") == 78
    assert "no product of the station has `bundle: " in capsys.readouterr().err
    place.adopt()
    assert place.agent("adopt", str(place.fleet.bundle(1)), "--name", NAME, "--by", "Ann") == 78
    assert "is there already" in capsys.readouterr().err
