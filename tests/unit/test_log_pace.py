"""A log that one fault cannot flood."""

import logging
import threading

from appliance.log_pace import LAST, PERIOD_S, WRITTEN, LogPace


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
    told = [f"camera {number} is away" for number in range(WRITTEN)]
    assert log.written == [*told[:-1], f"{told[-1]} {LAST}"]
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
        log.warn("%s%s", "the lamp is off", "")
    log.warn("the broker is away")
    log.warn("%s%s", "the camera is away", "")
    assert log.written[-2:] == ["the broker is away", "the camera is away"]
    assert len(log.written) == 2 * WRITTEN + 2


def test_threads_that_log_at_once_lose_no_count() -> None:
    log = Log()
    threads = [threading.Thread(target=lambda: [log.warn("busy") for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.now_s = PERIOD_S
    log.warn("busy")
    assert log.written[-1] == f"busy (and {8 * 500 - WRITTEN} more like it that were not written)"


def test_a_message_now_and_then_is_always_written_as_it_is() -> None:
    log = Log()
    for _ in range(100):
        log.warn("a record was purged")
        log.now_s += 1.2 * PERIOD_S / WRITTEN
    assert log.written == ["a record was purged"] * 100
