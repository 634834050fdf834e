"""Things that are done at the same time: all have ended when one is told of, whatever became of them."""

import threading

import pytest

from appliance.bundle.at_once import at_once


def test_a_single_thing_is_done_in_the_callers_thread() -> None:
    assert at_once([threading.current_thread]) == [threading.current_thread()]


def test_all_are_done_at_once_and_answered_in_order() -> None:
    together = threading.Barrier(3)
    arrived = at_once([lambda: together.wait(30)] * 3)  # ends only if all three wait at the same time
    assert sorted(arrived) == [0, 1, 2]
    assert at_once([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


@pytest.mark.parametrize("broken", [0, 1])
def test_a_failure_is_told_when_the_others_have_ended(broken: int) -> None:
    failed, ended = threading.Event(), []

    def fails() -> None:
        failed.set()
        raise LookupError("nothing there")

    def goes_on() -> None:
        assert failed.wait(30)
        ended.append("here")

    tasks = [goes_on, goes_on]
    tasks.insert(broken, fails)
    with pytest.raises(LookupError, match="nothing there"):
        at_once(tasks)
    assert ended == ["here", "here"]
