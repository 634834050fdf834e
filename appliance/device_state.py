"""What this device is and how it is set: everything that a proof depends on and that may change behind its back."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.device_files import DeviceFiles
from appliance.nvidia_cards import read_cards
from appliance.processor import name_of

CPU = "sys/devices/system/cpu"
GPU_CLOCK_NAMES = re.compile(r"gpu|ga10b|gv11b|gp10b|gm20b")
"""Of a Jetson's graphics processor among the devices whose clock the kernel scales; Thor has several (gpu-gpc-0)."""

MEMORY_TOLERANCE = 0.02
"""The kernel keeps a little more or less for itself from one start to the next."""

WORDS = {
    "board": "board",
    "processor": "processor",
    "cores": "number of usable cores",
    "processor_clock": "processor's clock",
    "memory_mb": "memory in MiB",
    "kernel": "kernel",
    "l4t": "board's software",
    "gpu": "accelerator",
    "gpu_driver": "NVIDIA driver",
    "gpu_clock": "accelerator's clock",
    "gpu_power": "accelerator's power limit",
    "power_mode": "power mode",
}
"""Field -> what a person calls it."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device as it is now; None where it has no such thing, or does not tell.

    board: model of a single-board computer, such as "NVIDIA Jetson Orin Nano Developer Kit".
    cores: that are switched on and that this process may use.
    processor_clock: governor, lowest and highest kHz, and whether the processor may go above its nominal clock.
    memory_mb: MiB that the kernel has to give away.
    l4t: release of a Jetson's software, such as "36.4.3".
    gpu: NVIDIA cards by name; a Jetson's is told by its board.
    gpu_clock: lowest and highest Hz of a Jetson's graphics processor, by device; of cards the highest MHz and those
        that are set for applications.
    gpu_power: power limit of NVIDIA cards, in watts.
    power_mode: of a Jetson, name and number, such as "MAXN (0)".
    unread: what was there and could not be understood, in words; it is told, and is no difference by itself.
    """

    board: str | None = None
    processor: str | None = None
    cores: int | None = None
    processor_clock: str | None = None
    memory_mb: int | None = None
    kernel: str | None = None
    l4t: str | None = None
    gpu: str | None = None
    gpu_driver: str | None = None
    gpu_clock: str | None = None
    gpu_power: str | None = None
    power_mode: str | None = None
    unread: tuple[str, ...] = ()


def read_device_state(root: Path = Path("/")) -> DeviceState:
    """Read what the device tells about itself; takes a millisecond or two, but longer where NVIDIA's cards are asked.

    Args:
        root: the folder that stands for "/".

    Source:
        Linux Documentation/admin-guide/pm/cpufreq.rst, Documentation/ABI/testing/sysfs-class-devfreq and
        proc(5); NVIDIA driver README, "The /proc File System Interface"; NVIDIA Jetson Linux Developer Guide, "Platform
        Power and Performance" (nvpmodel: /var/lib/nvpmodel/status, /etc/nvpmodel.conf).
    """
    files, cards = DeviceFiles(root), read_cards(root)
    told = files.text("proc/cpuinfo")
    return DeviceState(
        board=files.text("proc/device-tree/model"),
        processor=name_of(told) if told else None,
        cores=_cores(files),
        processor_clock=_processor_clock(files),
        memory_mb=_memory_mb(files),
        kernel=files.text("proc/sys/kernel/osrelease"),
        l4t=_l4t(files),
        gpu=_cards(files) or ", ".join(card.name for card in cards.cards) or None,
        gpu_driver=_driver(files) or cards.driver,
        gpu_clock=_gpu_clock(files) or cards.clocks(),
        gpu_power=cards.power_limits(),
        power_mode=_power_mode(files),
        unread=(*files.unread, *cards.unread),
    )


def describe(state: DeviceState) -> str:
    """Return what a device tells in one line, for a person; what could not be understood is named too."""
    told = [f"{WORDS[name]} {value}" for name in WORDS if (value := getattr(state, name)) is not None]
    return "; ".join([*told, *state.unread]) or "tells nothing about itself"


def differences(before: DeviceState, now: DeviceState) -> list[str]:
    """Say in words what is another than it was; nothing if a proof from before still holds.

    Args:
        before: the device as it was proved on.
        now: the device as it is.
    """
    changed = [name for name in WORDS if not _is_same(name, getattr(before, name), getattr(now, name))]
    return [_sentence(WORDS[name], getattr(before, name), getattr(now, name)) for name in changed]


def held_back(now: DeviceState, free: DeviceState) -> DeviceState:
    """Return a device with the clock limits that it had while nothing held it back.

    The kernel shows a limit that a cooler sets like one that a person sets; it goes when the heat goes.

    Args:
        now: the device while heat or a weak supply holds it back.
        free: the same device before.
    """
    return replace(now, processor_clock=free.processor_clock, gpu_clock=free.gpu_clock)


def _is_same(name: str, before: str | int | None, now: str | int | None) -> bool:
    if name == "memory_mb" and isinstance(before, int) and isinstance(now, int):
        return abs(before - now) <= MEMORY_TOLERANCE * max(before, now)
    return before == now


def _sentence(word: str, before: str | int | None, now: str | int | None) -> str:
    if before is None:
        return f"the {word} was not told before and is {now} now"
    return f"the {word} was {before} and is {'not told' if now is None else now} now"


def parse_cores(text: str) -> set[int] | None:
    """Read a list of processor numbers as the kernel writes it, such as "0-3,6"; None if it is none."""
    if not re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text, re.ASCII):
        return None
    ranges = [(part.split("-")[0], part.split("-")[-1]) for part in text.split(",")]
    return {number for first, last in ranges for number in range(int(first), int(last) + 1)}


def _cores(files: DeviceFiles) -> int | None:
    switched_on = files.find(f"{CPU}/online", r"\A([\d,-]+)\Z")
    allowed = files.find("proc/self/status", r"^Cpus_allowed_list:[ \t]*([\d,-]+)$")
    sets = [cores for found in (switched_on, allowed) if found and (cores := parse_cores(found[1])) is not None]
    return len(set.intersection(*sets)) if sets else None


def _processor_clock(files: DeviceFiles) -> str | None:
    """Sum up the policies; cores of one kind have one in common, and equal ones are said once."""
    told: dict[str, list[str]] = {}
    for policy in files.names(f"{CPU}/cpufreq", "policy*"):
        governor = files.text(f"{policy}/scaling_governor")
        lowest, highest = (files.number(f"{policy}/scaling_{end}_freq") for end in ("min", "max"))
        told.setdefault(f"{governor} {lowest}..{highest} kHz", []).append(policy.rpartition("/")[2])
    clocks = list(told) if len(told) == 1 else [f"{', '.join(names)}: {clock}" for clock, names in told.items()]
    boost, no_turbo = files.number(f"{CPU}/cpufreq/boost"), files.number(f"{CPU}/intel_pstate/no_turbo")
    if boost is not None or no_turbo is not None:
        clocks.append("boost on" if boost or no_turbo == 0 else "boost off")
    return "; ".join(clocks) or None


def _memory_mb(files: DeviceFiles) -> int | None:
    found = files.find("proc/meminfo", r"^MemTotal:\s+(\d{1,15}) kB$")
    return int(found[1]) // 1024 if found else None


def _l4t(files: DeviceFiles) -> str | None:
    found = files.find("etc/nv_tegra_release", r"\A# R(\d+) \(release\), REVISION: (\d[\d.]*)")
    return f"{found[1]}.{found[2]}" if found else None


def _cards(files: DeviceFiles) -> str | None:
    names = [
        found[1].strip()
        for card in files.names("proc/driver/nvidia/gpus", "*")
        if (found := files.find(f"{card}/information", r"^Model:[ \t]*(\S.*)$"))
    ]
    return ", ".join(names) or None


def _driver(files: DeviceFiles) -> str | None:
    if version := files.text("sys/module/nvidia/version"):
        return version
    found = files.find("proc/driver/nvidia/version", r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)(?:\s|$)")
    return found[1] if found else None


def _gpu_clock(files: DeviceFiles) -> str | None:
    clocks = []
    for device in files.names("sys/class/devfreq", "*"):
        name = device.rpartition("/")[2]
        if GPU_CLOCK_NAMES.search(name):
            lowest, highest = (files.number(f"{device}/{end}_freq") for end in ("min", "max"))
            clocks.append(f"{name} {lowest}..{highest} Hz")
    return "; ".join(clocks) or None


def _power_mode(files: DeviceFiles) -> str | None:
    """Look the number up among the modes that this board has; a comment in that file may name others."""
    status = files.find("var/lib/nvpmodel/status", r"\Apmode:(\d{1,9})(?:\s|$)")
    if status is None:
        return None
    number = int(status[1])
    modes = files.text("etc/nvpmodel.conf") or ""
    named = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", modes, re.MULTILINE | re.ASCII)
    name = next((name for each, name in named if int(each) == number), None)
    if name is None:
        files.unread.append(f"/etc/nvpmodel.conf names no power mode {number}")
    return f"{name or 'unnamed'} ({number})"
