from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.command_messages import CommandReply, reply
from appliance.events import Verdict
from appliance.links.announcements import StationState, Voice
from appliance.messages import ActionMessage, HeartbeatMessage, StatusMessage
from tests.stations import action

NOW = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
VOICE = Voice("device-07", "boot-1", lambda: NOW)
MS = 1_000_000


@pytest.mark.parametrize(
    ("left_ns", "valid_for_ms", "expiry_s"),
    [(MS, 1, 1), (999 * MS, 999, 1), (1000 * MS, 1000, 1), (1001 * MS, 1001, 2), (2500 * MS + 999_999, 2500, 3)],
)
def test_an_action_lives_as_long_as_its_deadline_and_the_broker_rounds_up(
    left_ns: int, valid_for_ms: int, expiry_s: int
) -> None:
    fresh = VOICE.action(action(deadline_ns=10**12 + left_ns), 10**12)
    assert fresh is not None
    assert ActionMessage.model_validate_json(fresh.payload).valid_for_ms == valid_for_ms
    assert fresh.expiry_s == expiry_s


@given(st.integers(-(10**12), MS - 1))
def test_an_action_with_less_than_a_millisecond_left_is_not_even_written(left_ns: int) -> None:
    assert VOICE.action(action(deadline_ns=10**12 + left_ns), 10**12) is None


@given(st.sampled_from(Verdict), st.integers(MS, 10**13))
def test_pass_means_accept_and_nothing_else_and_the_times_agree(verdict: Verdict, left_ns: int) -> None:
    fresh = VOICE.action(action(verdict=verdict, deadline_ns=left_ns), 0)
    assert fresh is not None
    message = ActionMessage.model_validate_json(fresh.payload, strict=True)
    assert (message.action == "pass") is (verdict is Verdict.ACCEPT)
    sent, until = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (message.sent_at, message.valid_until))
    assert (until - sent).total_seconds() * 1000 == pytest.approx(message.valid_for_ms, abs=1e-3)


def test_status_and_heartbeat_say_who_speaks_and_how_the_station_is() -> None:
    status = StatusMessage.model_validate_json(VOICE.status("offline", "the connection was lost"))
    assert (status.boot_id, status.state, status.at) == ("boot-1", "offline", "2026-12-31T23:59:59.999Z")
    beat = HeartbeatMessage.model_validate_json(VOICE.heartbeat(StationState(41, 7, "stopped", "x")))
    assert (beat.last_seq, beat.outbox_depth, beat.state) == (41, 7, "stopped")


@pytest.mark.parametrize(
    ("answer", "ok", "error", "result"),
    [
        ({"ok": True, "records": 3}, True, None, {"records": 3}),
        ({"ok": False, "error": "no"}, False, "no", {}),
        ({}, False, None, {}),
    ],
)
def test_a_reply_keeps_its_result_apart(
    answer: dict[str, object], ok: bool, error: str | None, result: dict[str, object]
) -> None:
    said = CommandReply.model_validate_json(reply("dev", "replay", answer, "c"))
    assert (said.ok, said.error, said.result, said.correlation) == (ok, error, result, "c")
