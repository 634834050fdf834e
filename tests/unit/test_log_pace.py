"""A log that one fault cannot flood."""

import logging

from appliance.log_pace import PERIOD_S, WRITTEN, LogPace


class Log:
    """A logger with a clock that a test sets, and what it wrote."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.written: list[str] = []
        self._pace = LogPace(lambda: self.now_s)

    def warn(self, message: str, *words: object) -> None:
        record = logging.LogRecord("appliance.station", logging.WARNING, "file", 1, message, words, None)
        if self._pace.filter(record):
            self.written.append(record.getMessage())


def test_a_message_that_comes_again_and_again_is_counted_and_told_later() -> None:
    log = Log()
    for number in range(WRITTEN + 7):
        log.warn("camera %d is away", number)
    assert log.written == [f"camera {number} is away" for number in range(WRITTEN)]
    log.now_s = PERIOD_S
    log.warn("camera %d is away", 99)
    assert log.written[WRITTEN:] == ["camera 99 is away (and 7 more like it that were not written)"]
    for number in range(WRITTEN):
        log.warn("camera %d is away", number)
    assert len(log.written) == 2 * WRITTEN


def test_one_message_does_not_keep_another_from_the_log() -> None:
    log = Log()
    for _ in range(1000):
        log.warn("the disk is slow")
    log.warn("the broker is away")
    assert log.written[-1] == "the broker is away"


def test_a_message_now_and_then_is_always_written_as_it_is() -> None:
    log = Log()
    for _ in range(100):
        log.warn("a record was purged")
        log.now_s += PERIOD_S / WRITTEN
    assert log.written == ["a record was purged"] * 100
