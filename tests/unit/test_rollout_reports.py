"""A device's word: taken when it is its own, new and whole; else refused, counted, and never success."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import StorageError
from tests.fleet import AT_ONCE, NEW, FleetDesk, Reporter, told
from tests.release_desk import ServedFolder
from tests.update_server import Exchange, UpdateServer
from trainer.release.assignment import Chosen
from trainer.release.report import MAX_BYTES, RefusedReportError, read_report
from trainer.rollout.reports import fetch

CHOSEN = Chosen(kind="model", name="boards", path=NEW, sha256="ab" * 32, length=5, seq=2)
DEVICE = Reporter("lab-1", "ulm")
GOOD = DEVICE.report(told(CHOSEN, "success"))


def read(data: bytes, device: Reporter = DEVICE) -> object:
    return read_report(data, device_id=device.device_id, site=device.site, key=device.public)


def why(data: bytes, device: Reporter = DEVICE) -> str:
    with pytest.raises(RefusedReportError) as refused:
        read(data, device)
    return refused.value.why


def test_a_report_is_what_its_device_signed() -> None:
    report = read_report(GOOD, device_id="lab-1", site="ulm", key=DEVICE.public)
    assert [(each.seq, each.outcome, each.parts) for each in report.releases] == [(2, "success", 2000)]


def test_the_signed_bytes_are_the_documents_keys_in_order_without_blanks() -> None:
    """What `appliance agent` signs; a vector from a device's own code."""
    document: dict[str, Any] = json.loads(_FROM_A_DEVICE)
    report = read_report(
        _FROM_A_DEVICE.encode(), device_id=document["device_id"], site=document["site"], key=document["public_key"]
    )
    assert (report.releases[0].outcome, report.assignment_seq) == ("success", 3)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_altered_byte_is_taken_unless_it_says_the_same(place: int, value: int) -> None:
    altered = GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    try:
        report = read(altered)
    except RefusedReportError:
        return
    assert report == read(GOOD)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_other_bytes_are_taken(data: bytes) -> None:
    assert why(data) == "broken"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(["device_id", "site", "seq", "releases", "schema", "assignment_seq"]), json_values)
def test_nothing_but_a_whole_report_is_taken_even_from_its_own_device(key: str, value: object) -> None:
    """A device can sign anything."""
    document = {name: kept for name, kept in json.loads(GOOD).items() if name != "signature"} | {key: value}
    try:
        read(DEVICE.signed(document))
    except RefusedReportError as refused:
        assert refused.why in ("broken", "foreign")
        return
    assert key in ("seq", "assignment_seq") or not value or value == json.loads(GOOD)[key]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "broken"),
        (b"[" * 100_000, "broken"),
        (GOOD[:-10], "broken"),
        (GOOD.replace(b'"boot-1"', b"1e999", 1), "broken"),
        (b'{"schema": "vi.update-report/2"}', "broken"),
        (GOOD.replace(b'"schema"', b'"schema": "vi.update-report/1", "schema"', 1), "broken"),
        (GOOD + b" " * MAX_BYTES, "oversized"),
        (Reporter("lab-1", "ulm").report(told(CHOSEN, "success")), "forged"),
        (GOOD.replace(b'"success"', b'"running"', 1), "forged"),
        (DEVICE.report(told(CHOSEN, "success"), device_id="ulm-a1"), "foreign"),
        (DEVICE.report(told(CHOSEN, "success"), site="oslo"), "foreign"),
        (DEVICE.report({**told(CHOSEN, "success"), "parts": -1}), "broken"),
        (DEVICE.report({**told(CHOSEN, "success"), "outcome": "well"}), "broken"),
        (DEVICE.report({**told(CHOSEN, "success"), "state": "W" * 33}), "broken"),
    ],
    ids=[
        "empty",
        "brackets",
        "cut",
        "endless number",
        "newer form",
        "a key twice",
        "too long",
        "another key",
        "altered",
        "another device",
        "another site",
        "negative parts",
        "unknown outcome",
        "long state",
    ],
)
def test_what_is_not_its_word_is_refused_by_kind(data: bytes, expected: str) -> None:
    assert why(data) == expected


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDesk:
    made = FleetDesk(tmp_path)
    assert made.start() == 0
    return made


def refused(fleet: FleetDesk) -> object:
    return fleet.status()["refused_now"]


def test_refused_reports_are_counted_and_open_no_gate(fleet: FleetDesk) -> None:
    entry = told(fleet.chosen[NEW], "success")
    files = {
        "forged": Reporter("lab-1", "ulm").report(entry),
        "foreign": fleet.reporters["lab-1"].report(entry, device_id="ulm-a1"),
        "oversized": b" " * (MAX_BYTES + 1),
        "broken": b"{",
    }
    for data in files.values():
        fleet.put("lab-1", data)
        assert fleet.run("advance") == 0
    assert fleet.status()["refusals"] == dict.fromkeys(files, 1)
    assert fleet.told() == ["lab-1"]
    assert refused(fleet) == {"lab-1": "broken"}
    fleet.say("lab-1", "success")
    assert refused(fleet) == {}


def test_an_old_report_is_refused_and_the_newer_one_stays_what_is_known(fleet: FleetDesk) -> None:
    device, entry = fleet.reporters["lab-1"], told(fleet.chosen[NEW], "success")
    old = device.report(entry)
    fleet.say("lab-1", "rolled_back")
    assert fleet.run("pause") == 0
    assert fleet.run("advance") == 1
    fleet.put("lab-1", old)
    assert refused(fleet) == {"lab-1": "replayed"}
    assert fleet.status()["failures"] == {"lab-1": "rolled back"}


def test_two_reports_of_one_number_are_one_too_many(fleet: FleetDesk) -> None:
    device = fleet.reporters["lab-1"]
    fleet.put("lab-1", device.report(told(fleet.chosen[NEW], "running", "WATCH")))
    assert fleet.run("advance") == 0
    device.number -= 1
    fleet.put("lab-1", device.report(told(fleet.chosen[NEW], "success")))
    assert fleet.run("advance") == 0
    assert (refused(fleet), fleet.told()) == ({"lab-1": "replayed"}, ["lab-1"])


def test_a_device_that_was_set_up_anew_counts_from_one_under_its_new_key(fleet: FleetDesk) -> None:
    for _ in range(3):
        fleet.say("lab-1", "running", "SHADOW")
    assert fleet.run("advance") == 0
    fleet.reporters["lab-1"] = Reporter("lab-1", "ulm")
    fleet.say("lab-1", "success")
    assert refused(fleet) == {"lab-1": "forged"}
    fleet.write_fleet(AT_ONCE)
    assert refused(fleet) == {}
    assert fleet.run("advance") == 0
    assert len(fleet.told()) == 5


def test_silence_is_failure_after_the_stated_time_and_not_before(fleet: FleetDesk) -> None:
    steering = fleet.steering()
    fleet.later(71.9)
    assert steering.advance("r1")[0].phase.value == "running"
    fleet.say("lab-1", "running", "WATCH")
    assert steering.advance("r1")[0].phase.value == "running"
    fleet.later(71.9)
    assert steering.advance("r1")[0].phase.value == "running", "it was heard of since"
    fleet.later(0.2)
    record, views = steering.advance("r1")
    assert record.phase.value == "halted"
    assert [seen.value for seen in views[0].devices.values()] == ["silent"]


def test_who_has_succeeded_may_be_silent(fleet: FleetDesk) -> None:
    fleet.say("lab-1", "success")
    steering = fleet.steering()
    steering.advance("r1")
    fleet.later(1000)
    assert [seen.value for seen in steering.look("r1")[1][0].devices.values()] == ["success"]


def test_reports_are_read_over_http_and_an_endless_one_ends(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(GOOD)

    def endless(exchange: Exchange) -> None:
        exchange.head(200, {})
        while not exchange.stopped.is_set():
            exchange.body(b" " * 65536)

    with UpdateServer(ServedFolder(tmp_path)) as server:
        server.answers["endless.json"] = endless
        found = fetch(server.url, ["good", "endless", "missing"])
        assert found.keys() == {"good", "endless"}
        assert found["good"] == GOOD
        assert len(found["endless"]) == MAX_BYTES + 1


def test_a_server_that_fails_makes_nobody_silent(tmp_path: Path) -> None:
    with UpdateServer(ServedFolder(tmp_path)) as server:
        server.answers["lab-1.json"] = lambda exchange: exchange.head(500, {"Content-Length": 0})
        with pytest.raises(StorageError):
            fetch(server.url, ["lab-1"])


@pytest.mark.parametrize("is_there", [False, True])
def test_reports_that_are_no_longer_there_make_nobody_silent(fleet: FleetDesk, is_there: bool) -> None:
    fleet.say("lab-1", "running", "SHADOW")
    assert fleet.run("advance") == 0
    fleet.reports.rename(fleet.reports.with_name("moved"))
    if is_there:
        fleet.reports.mkdir()
    fleet.later(1000)
    with pytest.raises(StorageError):
        fleet.steering().advance("r1")


_FROM_A_DEVICE = json.dumps(
    {
        "assignment_seq": 3,
        "at": "2026-11-27T01:01:02.755Z",
        "boot_id": "x",
        "device_id": "lab-1",
        "held_by": "",
        "problem": "",
        "public_key": "ed8b3a93ee066e5ea99febb9fd1fdf3006fc5835e9adf110198371fb56f700b4",
        "releases": [
            {
                "assignment_seq": 3,
                "by": "",
                "kind": "model",
                "name": "boards",
                "outcome": "success",
                "p99_ms": None,
                "parts": 0,
                "reason": "",
                "rollout": "r1",
                "seq": 2,
                "sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "state": "IDLE",
                "waits_for": "",
            }
        ],
        "rollout": "r1",
        "schema": "vi.update-report/1",
        "seq": 1,
        "site": "ulm",
        "signature": "598983dfe26568845d2b92c2d073e8d9b4eb9032264d524cbe5c26a7209f3a37"
        "02adbdd9885aaafd1205b8d17267f8f254e87fad9865252ce9b1a34b98e9300e",
    }
)
