"""The processor between two parts: it is asked to stay awake, because falling asleep costs each part milliseconds."""

import struct
from pathlib import Path
from types import TracebackType

LATENCY_DEVICE = Path("/dev/cpu_dma_latency")
CPU_INFO = Path("/proc/cpuinfo")
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}


def multiplies_int8(cpu_info: Path = CPU_INFO) -> bool:
    """Tell whether the processor multiplies 8-bit numbers in hardware (VNNI, AMX), so that an INT8 model is faster.

    Args:
        cpu_info: where the kernel tells the processor's abilities; where there is no such file the answer is no.
    """
    return not _INT8_FLAGS.isdisjoint(flags(cpu_info))


def flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """Return the names of what the first core can do, as the kernel writes them; empty where it does not tell.

    Args:
        cpu_info: where the kernel tells the processor's abilities.
    """
    if not cpu_info.exists():
        return frozenset()
    return frozenset((_value(cpu_info.read_text(errors="replace"), "flags", "Features") or "").split())


def name(cpu_info: Path = CPU_INFO) -> str | None:
    """Return what the processor is called, None where the kernel does not tell; see name_of.

    Args:
        cpu_info: where the kernel tells it.
    """
    return name_of(cpu_info.read_text(errors="replace")) if cpu_info.exists() else None


def name_of(cpu_info: str) -> str | None:
    """Find the processor's name in the kernel's words.

    Processors of ARM have none there: what they tell is who designed the core, and its number.

    Args:
        cpu_info: text of /proc/cpuinfo.

    Source:
        Linux arch/x86/kernel/cpu/proc.c and arch/arm64/kernel/cpuinfo.c.
    """
    if named := _value(cpu_info, "model name"):
        return named
    designer, part = _value(cpu_info, "CPU implementer"), _value(cpu_info, "CPU part")
    return f"implementer {designer}, part {part}" if designer and part else None


def _value(cpu_info: str, *keys: str) -> str | None:
    """Return what stands behind the first line of these keys."""
    for line in cpu_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return None


class Wakefulness:
    """A request to the kernel for short wake-up times; it lasts until it is closed, or until the process ends.

    seen: what is the case, in words.
    remedy: what a person should do about it; empty if nothing.

    Source:
        https://docs.kernel.org/power/pm_qos_interface.html, "From user space".
    """

    def __init__(self, wake_up_us: int | None, device: Path = LATENCY_DEVICE) -> None:
        """Ask the kernel; without its consent the station works all the same, only slower.

        Args:
            wake_up_us: microseconds that the processor may take to wake up, 0 for "never asleep"; None asks nothing.
            device: where to ask.
        """
        self._request = None
        self.seen = "may sleep between parts"
        self.remedy = ""
        if wake_up_us is None:
            self.seen += ", as configured"
            return
        try:
            self._request = device.open("r+b", buffering=0)
            self._request.write(struct.pack("=i", wake_up_us))
            self.seen = f"wakes up within {wake_up_us} us" if wake_up_us else "stays awake between parts"
        except FileNotFoundError:
            self.seen += f": this computer has no {device}"
        except OSError as error:
            self.close()
            self.seen += f", which makes answers slower: {device} cannot be written ({error.strerror})"
            self.remedy = (
                "let the station's user write it (systemd/60-inspection-appliance.rules), "
                "or agree with processor.wake_up_us: null"
            )

    def close(self) -> None:
        """Let the processor sleep again; harmless when done before."""
        if self._request is not None:
            self._request.close()
            self._request = None

    def __enter__(self) -> "Wakefulness":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
