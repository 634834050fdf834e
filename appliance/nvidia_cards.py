"""NVIDIA's cards, asked through their driver's library (NVML): how they are set, and what holds them back.

The kernel tells neither in a file. The driver's library is opened as it is: no package of Python's has to be there, and
where there is no driver there is no library, and nothing is claimed.
"""

import ctypes
import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
BELOW_A_ROOT = "usr/lib/" + LIBRARY
"""Where it lies of a device whose files lie in a folder."""

ANSWERS_WITHIN_S = 10.0
"""The first question wakes a card that nobody uses, which takes seconds; a card that has failed may never answer."""

_NO_DRIVER, _NO_CARD = 9, 28
_TELLS_NO_SUCH_THING = (3, 13, 26)
"""Not supported by this card, by this library, or any more."""

_GRAPHICS, _MEMORY = 0, 2
_TEMPERATURE_OF_THE_CHIP = 0
_BY_HEAT = 1
_TEXT_BYTES = 96

_REASONS = {
    0x08: "the hardware slows its clock down",
    0x20: "its driver slows its clock down because of heat",
    0x40: "the hardware slows its clock down because of heat",
    0x80: "its power supply makes it slow down",
}
"""Bits of why a clock is lower than it could be. Not among them: nothing to do (1), clocks as they are set (2, 0x10,
0x100), and the power limit (4), which a busy card reaches by design and which the proof names."""


@dataclass(frozen=True, slots=True)
class Card:
    """One card; None where it does not tell.

    clocks: highest clocks in MHz, and those that are set for applications, in words.
    power_limit_mw: milliwatts.
    reasons: why it is slower than it could be now, in words.
    held_back_ms: milliseconds in which heat held it back, since the driver was loaded.
    temperature_c: of the chip.
    """

    name: str
    clocks: str | None = None
    power_limit_mw: int | None = None
    reasons: tuple[str, ...] = ()
    held_back_ms: int | None = None
    temperature_c: int | None = None


@dataclass(frozen=True, slots=True)
class Cards:
    """What the driver's library tells; driver is its version, unread in words what could not be asked."""

    driver: str | None = None
    cards: tuple[Card, ...] = ()
    unread: tuple[str, ...] = ()

    def clocks(self) -> str | None:
        """Return the clocks of all cards; equal ones are said once."""
        return self._of_each([card.clocks for card in self.cards])

    def power_limits(self) -> str | None:
        """Return the power limits of all cards; equal ones are said once."""
        limits = [card.power_limit_mw for card in self.cards]
        return self._of_each([None if limit is None else f"{limit / 1000:g} W" for limit in limits])

    def _of_each(self, told: list[str | None]) -> str | None:
        if len(set(told)) == 1:
            return told[0]
        return "; ".join(f"card {number}: {value}" for number, value in enumerate(told)) or None


class _Refused(Exception):
    """The library did not start; the code is its own."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class _Violation(ctypes.Structure):
    """nvmlViolationTime_t, in nanoseconds."""

    _fields_ = (("reference_ns", ctypes.c_ulonglong), ("held_back_ns", ctypes.c_ulonglong))


_silent: dict[str, threading.Thread] = {}
"""Library -> who still waits for its answer; nobody asks beside that one."""


def read_cards(root: Path = Path("/"), answers_within_s: float = ANSWERS_WITHIN_S) -> Cards:
    """Ask the driver about its cards; empty where there is none, and of a Jetson, which tells in files what it has.

    Asked in a thread of its own: a card that has failed may keep whoever asks for ever.

    Args:
        root: the folder that stands for "/".
        answers_within_s: how long an answer is waited for.

    Source:
        NVML API Reference Guide: nvmlDeviceGetMaxClockInfo, nvmlDeviceGetApplicationsClock,
        nvmlDeviceGetPowerManagementLimit, nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetViolationStatus.
    """
    if (root / "etc/nv_tegra_release").exists():
        return Cards()
    path = LIBRARY if root == Path("/") else str(root / BELOW_A_ROOT)
    answers: list[Cards] = []
    asking = _silent.pop(path, None)
    if asking is None or not asking.is_alive():
        asking = threading.Thread(target=lambda: answers.append(_ask(path)), name="nvml", daemon=True)
        asking.start()
        asking.join(answers_within_s)
    if answers:
        return answers[0]
    _silent[path] = asking
    return Cards(unread=("NVIDIA's driver does not answer; see the system's log",))


def _ask(path: str) -> Cards:
    try:
        library = _started(path)
    except OSError as error:
        is_absent = f"{path}: cannot open shared object file: No such file" in str(error)
        return Cards() if is_absent else Cards(unread=(f"NVIDIA's library cannot be loaded: {error}",))
    except _Refused as error:
        is_absent = error.code in (_NO_DRIVER, _NO_CARD)
        return Cards() if is_absent else Cards(unread=(f"NVIDIA's driver cannot be asked: {error}",))
    ask = _Questions(library)
    cards = tuple(_card(ask, number) for number in range(ask.number("nvmlDeviceGetCount_v2") or 0))
    return Cards(ask.text("nvmlSystemGetDriverVersion"), cards, tuple(ask.unread))


@functools.cache
def _started(path: str) -> ctypes.CDLL:
    """Open the library for as long as this process lives, so that a card that nobody uses is woken up once."""
    library = ctypes.CDLL(path)
    if (code := library.nvmlInitWithFlags(0)) != 0:
        raise _Refused(code, _words(library, code))
    return library


def _words(library: ctypes.CDLL, code: int) -> str:
    library.nvmlErrorString.restype = ctypes.c_char_p
    return str(library.nvmlErrorString(code).decode("utf-8", "replace"))


class _Questions:
    """Asks a library that has started; what has no answer is None, and noted unless the card has no such thing."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.unread: list[str] = []

    def text(self, function: str, *about: Any) -> str | None:
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        is_told = self.fill(function, *about, buffer, ctypes.c_uint(_TEXT_BYTES))
        return buffer.value.decode("utf-8", "replace") if is_told else None

    def number(self, function: str, *about: Any, kind: type[Any] = ctypes.c_uint) -> int | None:
        into = kind()
        return int(into.value) if self.fill(function, *about, ctypes.byref(into)) else None

    def fill(self, function: str, *arguments: Any) -> bool:
        if (asked := getattr(self._library, function, None)) is None:  # the library of an older or newer driver
            return False
        code = asked(*arguments)
        if code not in (0, *_TELLS_NO_SUCH_THING):
            self.unread.append(f"NVIDIA's driver does not answer {function}: {_words(self._library, code)}")
        return bool(code == 0)


def _card(ask: _Questions, number: int) -> Card:
    card = ctypes.c_void_p()
    if not ask.fill("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(card)):
        return Card(f"card {number}")
    violation = _Violation()
    is_counted = ask.fill("nvmlDeviceGetViolationStatus", card, _BY_HEAT, ctypes.byref(violation))
    return Card(
        ask.text("nvmlDeviceGetName", card) or f"card {number}",
        _clocks(ask, card),
        ask.number("nvmlDeviceGetPowerManagementLimit", card),
        _reasons(ask, card),
        violation.held_back_ns // 10**6 if is_counted else None,
        ask.number("nvmlDeviceGetTemperature", card, _TEMPERATURE_OF_THE_CHIP),
    )


def _clocks(ask: _Questions, card: ctypes.c_void_p) -> str | None:
    told = []
    for function, words in (("nvmlDeviceGetMaxClockInfo", "at most"), ("nvmlDeviceGetApplicationsClock", "set to")):
        graphics, memory = (ask.number(function, card, domain) for domain in (_GRAPHICS, _MEMORY))
        if (graphics, memory) != (None, None):
            told.append(f"{words} {graphics} MHz, memory {memory} MHz")
    return ", ".join(told) or None


def _reasons(ask: _Questions, card: ctypes.c_void_p) -> tuple[str, ...]:
    """Ask by the name that the function has since driver 535, then by the one before; both tell the same bits."""
    bits = ask.number("nvmlDeviceGetCurrentClocksEventReasons", card, kind=ctypes.c_ulonglong)
    if bits is None:
        bits = ask.number("nvmlDeviceGetCurrentClocksThrottleReasons", card, kind=ctypes.c_ulonglong)
    return tuple(words for bit, words in _REASONS.items() if (bits or 0) & bit)
