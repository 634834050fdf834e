"""The consumer's rules: one table for people, one property for everything else."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.events import Reason, Verdict, iso
from appliance.links.announcements import Voice
from appliance.links.consumer_rules import Expectation, ReceivedAction, Ruling, StationSeen, decide
from tests.stations import action

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=timezone.utc)
NOW_NS = 1_000_000_000_000
MS = 1_000_000
EXPECTATION = Expectation("T1", "P1", NOW_NS + 500 * MS)
STATION = StationSeen("device-07", "boot-1", "online")


def sent(**changes: Any) -> dict[str, Any]:
    """A valid ACCEPT, 300 ms from its end, with changes to its JSON."""
    fresh = Voice("device-07", "boot-1", lambda: NOW).action(action(seq=7, deadline_ns=NOW_NS + 300 * MS), NOW_NS)
    assert fresh is not None
    document: dict[str, Any] = json.loads(fresh.payload)
    return document | changes


def rule(
    document: object,
    *,
    retained: bool = False,
    expectation: Expectation = EXPECTATION,
    station: StationSeen = STATION,
    acted_on: frozenset[tuple[str, int]] = frozenset(),
    age_ms: float = 0,
    clock_ahead_ms: float = 0,
) -> Ruling:
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    received = ReceivedAction(payload, retained, NOW_NS)
    now = NOW + timedelta(milliseconds=age_ms + clock_ahead_ms)
    return decide(received, expectation, station, acted_on, NOW_NS + int(age_ms * MS), now)


def test_a_fresh_first_matching_accept_passes() -> None:
    ruling = rule(sent(), age_ms=299)
    assert (ruling.passes, ruling.settles, ruling.reason) == (True, True, "accepted")
    assert ruling.action is not None
    assert ruling.action.seq == 7


TABLE: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    # reason, changes to the message, changes around it, whether it settles the part
    ("retained", {}, {"retained": True}, False),
    ("another device", {"device_id": "device-08"}, {}, False),
    ("the station is unknown", {}, {"station": StationSeen("device-07")}, False),
    ("the station is offline", {}, {"station": replace(STATION, state="offline")}, False),
    ("the station is stopped", {}, {"station": replace(STATION, state="stopped")}, False),
    ("from before the station's restart", {"boot_id": "boot-0"}, {}, False),
    ("another trigger", {"trigger_id": "T2"}, {}, False),
    ("duplicate", {}, {"acted_on": frozenset({("device-07", 7)})}, False),
    ("another part", {"part_id": "P2"}, {}, True),
    ("contradictory", {"verdict": "REJECT"}, {}, True),
    ("contradictory", {"action": "divert"}, {}, True),
    ("contradictory", {"valid_for_ms": 100_000}, {}, True),
    ("contradictory", {"valid_for_ms": 10**30}, {}, True),
    ("contradictory", {"valid_for_ms": -(10**30)}, {}, True),
    ("contradictory", {"valid_until": "2027-01-01T00:00:00.000Z"}, {}, True),
    ("contradictory", {"valid_for_ms": 0, "valid_until": iso(NOW)}, {}, True),
    ("REJECT: defect", {"verdict": "REJECT", "action": "divert", "reason": "defect"}, {}, True),
    ("REVIEW: grey_band", {"verdict": "REVIEW", "action": "divert", "reason": "grey_band"}, {}, True),
    ("FAULT: camera", {"verdict": "FAULT", "action": "divert", "reason": "camera"}, {}, True),
    ("expired", {}, {"age_ms": 301}, True),
    ("expired", {}, {"age_ms": 60_000}, True),
    ("expired", {}, {"clock_ahead_ms": 400}, True),
    ("expired", {}, {"expectation": replace(EXPECTATION, until_ns=NOW_NS - 1)}, True),
    ("unreadable", {"schema": "vi.action/2"}, {}, False),
    ("unreadable", {"verdict": "OK"}, {}, False),
    ("unreadable", {"seq": "7"}, {}, False),
    ("unreadable", {"valid_until": "2026-99-99T00:00:00.000Z"}, {}, False),
]


@pytest.mark.parametrize(("reason", "message", "around", "settles"), TABLE)
def test_everything_else_diverts_the_part(
    reason: str, message: dict[str, Any], around: dict[str, Any], settles: bool
) -> None:
    ruling = rule(sent(**message), **around)
    assert (ruling.passes, ruling.reason, ruling.settles) == (False, reason, settles)


@pytest.mark.parametrize("key", sorted(set(sent()) - {"schema"}))
def test_an_accept_with_a_key_missing_is_unreadable(key: str) -> None:
    document = sent()
    del document[key]
    assert rule(document) == Ruling(False, False, "unreadable")


def test_a_wall_clock_set_back_does_not_make_an_old_accept_fresh() -> None:
    assert rule(sent(), age_ms=400, clock_ahead_ms=-3_600_000).reason == "expired"


def test_a_wall_clock_that_is_ahead_within_tolerance_may_be_forgiven() -> None:
    received = ReceivedAction(json.dumps(sent()).encode(), False, NOW_NS)
    ahead = NOW + timedelta(milliseconds=350)
    assert not decide(received, EXPECTATION, STATION, (), NOW_NS, ahead).passes
    assert decide(received, EXPECTATION, STATION, (), NOW_NS, ahead, clock_tolerance_ms=100).passes


IDENTIFYING = ("device_id", "boot_id", "trigger_id", "part_id", "action", "verdict", "valid_for_ms", "valid_until")
VALUES = st.one_of(st.text(max_size=20), st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False))


@given(st.sampled_from(IDENTIFYING), VALUES)
def test_a_message_that_differs_in_one_respect_from_a_valid_accept_is_a_reject(key: str, value: object) -> None:
    original = sent()
    changed = rule(original | {key: value})
    assert changed.passes is (original[key] == value and type(original[key]) is type(value))


@given(st.binary(max_size=300))
def test_garbage_never_passes_and_never_fails(payload: bytes) -> None:
    assert rule(payload) == Ruling(False, False, "unreadable")


@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner)))
def test_any_other_json_never_passes(document: object) -> None:
    assert not rule(document).passes


@given(
    st.sampled_from(Verdict), st.sampled_from(Reason), st.integers(-50, 700), st.booleans(),
    st.sampled_from(["P1", "P2"]), st.sampled_from(["boot-0", "boot-1"]), st.booleans(),
)  # fmt: skip
@example(Verdict.ACCEPT, Reason.COMPLETE, 299, False, "P1", "boot-1", False)
@example(Verdict.ACCEPT, Reason.COMPLETE, 300, False, "P1", "boot-1", False)  # valid_until is cut to milliseconds
def test_a_part_passes_exactly_if_every_rule_holds(
    verdict: Verdict, reason: Reason, age_ms: int, retained: bool, part_id: str, boot_id: str, seen: bool
) -> None:
    age_ms = max(0, age_ms)
    voice = Voice("device-07", boot_id, lambda: NOW)
    fresh = voice.action(
        action(verdict=verdict, reason=reason, part_id=part_id, seq=7, deadline_ns=NOW_NS + 300 * MS), NOW_NS
    )
    assert fresh is not None
    ruling = rule(
        fresh.payload, retained=retained, age_ms=age_ms, acted_on=frozenset({("device-07", 7)} if seen else set())
    )
    everything_holds = (
        verdict is Verdict.ACCEPT and age_ms < 300 and not retained and part_id == "P1" and boot_id == "boot-1"
        and not seen
    )  # fmt: skip
    assert ruling.passes is everything_holds
