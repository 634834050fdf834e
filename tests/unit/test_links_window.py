"""Bookkeeping of records in the client's hands, pace of alarms, errands in their own thread."""

import threading
from datetime import datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.links.alarms import INTERVAL_NS, Alarm, AlarmPace, Alarms
from appliance.links.errands import MOST_COMMANDS, Errands
from appliance.links.record_window import FIRST_PAUSE_NS, LONGEST_PAUSE_NS, RecordToken, RecordWindow
from tests.stations import WAIT_S, until


def send(window: RecordWindow, seq: int, is_replay: bool = False) -> RecordToken:
    token = RecordToken(seq, is_replay)
    window.sent(token)
    return token


def test_no_more_than_twenty_records_wait_for_the_brokers_answer() -> None:
    window = RecordWindow()
    tokens: list[object] = []
    while window.may_send():
        tokens.append(send(window, len(tokens) + 1))
    assert len(tokens) == 20
    window.taken(tokens[7])
    assert window.may_send()


@given(st.permutations(range(10)))
def test_the_acknowledged_number_never_jumps_over_a_record_without_an_answer(order: list[int]) -> None:
    window = RecordWindow()
    tokens = [send(window, seq) for seq in range(5, 15)]
    answered: set[int] = set()
    reached = 4
    for position in order:
        upto = window.taken(tokens[position])
        answered.add(position + 5)
        complete = next(seq for seq in range(4, 16) if seq + 1 not in answered)
        assert upto is None or upto == complete
        reached = max(reached, upto or 0)
        assert reached == complete
    assert reached == 14


def test_a_replayed_record_ahead_of_its_turn_acknowledges_nothing_in_between() -> None:
    window = RecordWindow()
    first, replayed, second = send(window, 5), send(window, 100), send(window, 6)
    assert window.taken(first) == 5
    assert window.taken(replayed) is None
    assert window.taken(second) == 6


def test_a_lower_record_that_is_sent_later_holds_back_what_is_above_it() -> None:
    window = RecordWindow()
    above, below = send(window, 50), send(window, 48)
    assert window.taken(above) is None
    between = send(window, 49)
    assert window.taken(below) == 48
    assert window.taken(between) == 50


def test_what_was_acknowledged_counts_again_once_the_way_from_a_lower_record_is_taken() -> None:
    window = RecordWindow()
    assert window.taken(send(window, 50)) == 50
    below, between = send(window, 48), send(window, 49)
    assert window.taken(between) is None
    assert window.taken(below) == 50


def test_nothing_is_remembered_of_records_whose_consumers_acknowledge_them() -> None:
    window = RecordWindow(counts_upto=False)
    assert window.taken(send(window, 1)) is None
    before = repr(window)
    for seq in range(1001, 1100):  # where the station has jumped ahead, the gap is never filled
        assert window.taken(send(window, seq)) is None
    assert repr(window) == before


def test_a_gap_is_never_acknowledged_over() -> None:
    window = RecordWindow()
    assert window.taken(send(window, 1)) == 1
    assert window.taken(send(window, 3)) is None
    assert window.taken(send(window, 3)) is None
    assert window.taken(send(window, 2)) == 3


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_whatever_is_sent_nothing_is_acknowledged_above_a_record_without_an_answer(
    sends: list[tuple[int, bool]], chance: Random
) -> None:
    window, open_tokens = RecordWindow(size=1000), list[RecordToken]()
    sent: set[int] = set()
    answered: set[int] = set()
    for seq, is_replay in sends:
        open_tokens.append(send(window, seq, is_replay))
        if not is_replay:
            sent.add(seq)
        while open_tokens and chance.random() < 0.5:
            token = open_tokens.pop(chance.randrange(len(open_tokens)))
            upto = window.taken(token)
            if not token.is_replay:
                answered.add(token.seq)
            if upto is not None:
                assert set(range(min(sent), upto + 1)) <= answered


def test_after_a_refusal_nothing_is_sent_until_the_pause_is_over_and_all_is_answered() -> None:
    window = RecordWindow()
    refused, other = send(window, 1), send(window, 2)
    window.refused(refused, 0)
    assert not window.may_send()
    assert not window.may_resume(FIRST_PAUSE_NS)  # record 2 is still out
    assert window.taken(other) is None  # record 1 is missing before it
    assert not window.may_resume(FIRST_PAUSE_NS - 1)
    assert window.may_resume(FIRST_PAUSE_NS)
    assert not window.may_send()  # the station has not started over yet
    window.restart()
    assert window.may_send()
    assert window.taken(send(window, 1)) == 1


def test_the_pause_doubles_with_each_refusal_up_to_a_limit_and_is_short_again_after_success() -> None:
    window, now_ns, expected_ns = RecordWindow(), 0, FIRST_PAUSE_NS
    for _ in range(8):
        window.refused(send(window, 1), now_ns)
        assert not window.may_resume(now_ns + expected_ns - 1)
        assert window.may_resume(now_ns + expected_ns)
        window.restart()
        now_ns, expected_ns = now_ns + expected_ns, min(2 * expected_ns, LONGEST_PAUSE_NS)
    window.taken(send(window, 1))
    window.refused(send(window, 2), 0)
    assert window.may_resume(FIRST_PAUSE_NS)


def test_a_foreign_token_is_a_bug() -> None:
    with pytest.raises(RuntimeError):
        RecordWindow().taken("action")
    with pytest.raises(RuntimeError):
        RecordWindow().refused(object(), 0)


NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


def alarm(text: str, name: str = "malformed", second: int = 0) -> Alarm:
    return Alarm(name, text, NOON + timedelta(seconds=second), second)


def told(alarms: list[Alarm]) -> list[tuple[str, str, int, datetime]]:
    return [(each.name, each.text, each.count, each.at) for each in alarms]


def test_the_first_alarm_is_said_at_once_and_the_rest_as_one_with_their_number() -> None:
    pace = AlarmPace()
    assert pace.ask(alarm("a"), 0)
    assert not any(pace.ask(alarm(text, second=second), 1) for second, text in enumerate("bcd"))
    assert pace.ask(alarm("x", name="other"), 1)
    assert pace.flush(INTERVAL_NS - 1) == []
    assert told(pace.flush(INTERVAL_NS)) == [("malformed", "d", 3, NOON + timedelta(seconds=2))]
    assert pace.flush(INTERVAL_NS * 3) == []
    assert pace.ask(alarm("e"), INTERVAL_NS * 3)


def test_an_alarm_that_is_taken_back_waits_with_those_that_came_after_it() -> None:
    pace, first = AlarmPace(), alarm("a")
    assert pace.ask(first, 0)
    assert not pace.ask(alarm("b", second=1), 1)
    pace.keep(first)
    assert not pace.ask(alarm("c", second=2), INTERVAL_NS)
    assert told(pace.flush(INTERVAL_NS)) == [("malformed", "c", 3, NOON + timedelta(seconds=2))]


@given(st.lists(st.tuples(st.integers(0, INTERVAL_NS), st.booleans()), max_size=50))
def test_no_alarm_is_forgotten(steps: list[tuple[int, bool]]) -> None:
    pace, now_ns, said = AlarmPace(), 0, 0
    for pause_ns, is_taken in steps:
        now_ns += pause_ns
        newest = alarm("text")
        due = ([newest] if pace.ask(newest, now_ns) else []) + pace.flush(now_ns)
        for each in due:
            if is_taken:
                said += each.count
            else:
                pace.keep(each)
    said += sum(each.count for each in pace.flush(now_ns + INTERVAL_NS))
    assert said == len(steps)


def test_an_alarm_is_kept_once_where_the_connection_goes_while_it_is_sent() -> None:
    sent: list[Alarm] = []

    def goes_meanwhile(each: Alarm) -> bool:
        if not sent:
            alarms.keep_unanswered()
        sent.append(each)
        return len(sent) > 1

    alarms = Alarms(goes_meanwhile, lambda: NOON)
    assert not alarms.say("heat", "hot")

    def again() -> bool:
        alarms.say_what_is_due()
        return len(sent) > 1

    until(again, "its second is over")
    assert told(sent) == [("heat", "hot", 1, NOON)] * 2


def test_of_several_that_are_kept_the_newest_is_told_in_whatever_order_they_come_back() -> None:
    sent: list[Alarm] = []
    alarms = Alarms(lambda each: bool(sent.append(each)) or True, lambda: NOON)
    for number in range(5):
        assert alarms.say(f"kind{number % 2}", f"text {number}") is (number < 2)
    first, second = list(sent)
    assert alarms.answered(second, is_unheard=True) == 1
    assert alarms.answered(first, is_unheard=True) == 1

    def again() -> bool:
        alarms.say_what_is_due()
        return len(sent) == 4

    until(again, "both kinds are said again")
    assert sorted((each.text, each.count) for each in sent[2:]) == [("text 3", 2), ("text 4", 3)]
    news = [alarms.answered(each, is_unheard=True) for each in sent[2:]]
    assert sorted(news) == [1, 2]


def test_the_log_has_every_alarm_though_nobody_can_be_told(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(lambda each: False, lambda: NOON)
    for name, text in [("heat", "too hot"), ("heat", "hotter"), ("mode", "15 W"), ("heat", "hotter still")]:
        alarms.say(name, text)
    assert caplog.messages == ["too hot", "15 W"]
    alarms.close()
    assert caplog.messages == ["too hot", "15 W", "hotter still (2 times)"]


def test_only_the_last_acknowledgement_of_a_consumer_is_passed_on() -> None:
    gate, passed = threading.Event(), []

    def acknowledge(consumer: str, upto: int) -> None:
        passed.append((consumer, upto))
        gate.wait(WAIT_S)

    errands = Errands(acknowledge, "errands")
    errands.start()
    errands.acknowledge("mes", 1)
    until(lambda: passed, "the first one is at work")
    for upto in (2, 9, 7):
        errands.acknowledge("mes", upto)
    gate.set()
    errands.stop()
    assert passed == [("mes", 1), ("mes", 9)]


def test_too_many_commands_are_refused_and_one_that_fails_does_not_end_the_thread() -> None:
    gate, done = threading.Event(), []
    errands = Errands(lambda consumer, upto: None, "errands")
    errands.start()
    assert errands.command(lambda: done.append(gate.wait(WAIT_S)))
    assert errands.command(lambda: done.append(1 // 0 == 0))
    accepted = sum(errands.command(lambda: done.append(True)) for _ in range(20))
    assert accepted <= MOST_COMMANDS
    assert not errands.command(lambda: done.append(True))
    gate.set()
    until(lambda: len(done) == accepted + 1, "everything that was accepted")
    errands.stop()


def test_a_replay_that_is_sent_first_does_not_count_as_the_brokers_place_in_the_sequence() -> None:
    window = RecordWindow()
    replay, first, second = send(window, 5, is_replay=True), send(window, 101), send(window, 102)
    assert window.taken(replay) is None
    assert window.taken(first) == 101
    assert window.taken(second) == 102
