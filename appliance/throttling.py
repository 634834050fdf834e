"""Whether heat or current holds this device back: what the processor, the board and the kernel count and say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.device_files import DeviceFiles
from appliance.nvidia_cards import Card, Cards, read_cards

CPU = "sys/devices/system/cpu"
HOLDING_BACK = ("cpufreq-", "thermal-cpufreq-", "devfreq-", "Processor", "cpuidle-", "cpu-throttle", "gpu-throttle")
"""How coolers begin that take speed from processor or accelerator; a fan, or a dimmed screen, takes none."""

ALERT = "-alert"
"""How those of a Jetson end that say that its firmware holds back a part of it."""

PLAUSIBLE_C = (-55.0, 200.0)
"""A sensor whose part is switched off tells something else, such as -256."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """What holds the device back, or has.

    counts: what -> how often since the computer started; it grows while something holds back.
    coolers: name of a cooler that takes speed -> its step now; 0 takes none.
    temperatures_c: zone -> degrees Celsius.
    said: what NVIDIA's driver says that slows a card down now.
    unread: what was there and could not be understood, in words.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    coolers: Mapping[str, int] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_throttling(root: Path = Path("/")) -> Throttling:
    """Read the counters, coolers and temperatures of this device; all empty where it has none, as in a virtual machine.

    Args:
        root: the folder that stands for "/".

    Source:
        Linux drivers/thermal/intel/therm_throt.c (*_throttle_count), drivers/thermal/*_cooling.c (names of coolers),
        Documentation/driver-api/thermal/sysfs-api.rst; NVIDIA Jetson Linux Developer Guide, "Platform Power and
        Performance", over-current events (hwmon soctherm_oc: oc*_event_cnt, oc*_throt_en); appliance.nvidia_cards.
    """
    files, cards = DeviceFiles(root), read_cards(root)
    named = _named(cards)
    counts = _processor_counts(files) | _board_counts(files)
    counts |= {f"the heat of {name}, in ms": ms for name, card in named if (ms := card.held_back_ms) is not None}
    hot = {name: float(degrees) for name, card in named if (degrees := card.temperature_c) is not None}
    return Throttling(
        counts,
        _coolers(files),
        _temperatures(root) | hot,
        tuple(f"{name}: {reason}" for name, card in named for reason in card.reasons),
        (*files.unread, *cards.unread),
    )


def signs(before: Throttling, now: Throttling) -> list[str]:
    """Say in words what holds the device back now, or has since; nothing if it runs freely.

    Args:
        before: an earlier look at the same device.
        now: this look.
    """
    grown = {what: count - before.counts.get(what, count) for what, count in now.counts.items()}
    told = [f"{what} counts {more} more" for what, more in grown.items() if more > 0]
    told += [f"the cooler {name} is at step {step}" for name, step in now.coolers.items() if step > 0]
    told += now.said
    if told and now.temperatures_c:
        hottest = max(now.temperatures_c, key=lambda zone: now.temperatures_c[zone])
        told.append(f"the hottest zone is {hottest} with {now.temperatures_c[hottest]:g} C")
    return told


def held_back_by(root: Path = Path("/")) -> list[str]:
    """Say in words what holds the device back, as far as one look tells; counters tell nothing without another one.

    Args:
        root: the folder that stands for "/".
    """
    now = read_throttling(root)
    return signs(now, now)


def _named(cards: Cards) -> list[tuple[str, Card]]:
    """Pair each card with its name; several are told apart by number."""
    several = len(cards.cards) > 1
    return [(f"{card.name} (card {number})" if several else card.name, card) for number, card in enumerate(cards.cards)]


def _processor_counts(files: DeviceFiles) -> dict[str, int]:
    """Add up the cores; each core of a package repeats the package's own count."""
    cores, packages = [], []
    for core in files.names(CPU, "cpu[0-9]*"):
        cores.append(files.number(f"{core}/thermal_throttle/core_throttle_count"))
        packages.append(files.number(f"{core}/thermal_throttle/package_throttle_count"))
    told = {
        "the processor's heat in a core": [count for count in cores if count is not None],
        "the processor's heat as a whole": [max(known)] if (known := [c for c in packages if c is not None]) else [],
    }
    return {what: sum(counts) for what, counts in told.items() if counts}


def _board_counts(files: DeviceFiles) -> dict[str, int]:
    """Take the alarms of a Jetson's power supply that hold it back; one that is switched off only counts."""
    told = {}
    for path in files.names("sys/class/hwmon", "hwmon*"):
        for event in files.names(path, "oc*_event_cnt"):
            count = files.number(event)
            acts = files.number(event.replace("_event_cnt", "_throt_en"))
            if count is not None and acts != 0:
                told[f"the supply's alarm {event.rpartition('/')[2].partition('_')[0]}"] = count
    return told


def _coolers(files: DeviceFiles) -> dict[str, int]:
    told: dict[str, int] = {}
    for path in files.names("sys/class/thermal", "cooling_device*"):
        name = files.text(f"{path}/type") or ""
        if name.startswith(HOLDING_BACK) or name.endswith(ALERT):
            told[name] = max(told.get(name, 0), files.number(f"{path}/cur_state") or 0)
    return told


def _temperatures(root: Path) -> dict[str, float]:
    """Read with notes of its own, which nobody sees: a sensor of a part that is switched off cannot be read."""
    files = DeviceFiles(root)
    told = {}
    for path in files.names("sys/class/thermal", "thermal_zone*"):
        name, thousandths = files.text(f"{path}/type"), files.number(f"{path}/temp")
        if name and thousandths is not None and PLAUSIBLE_C[0] < thousandths / 1000 < PLAUSIBLE_C[1]:
            told[name] = thousandths / 1000
    return told
