"""Is there an accelerator at all? Asked of the driver itself, before any library that would crash without one."""

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import RuntimeFault

LIBRARY = "libcuda.so.1"
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_BOARD_FILE = Path("/etc/nv_tegra_release")
_NO_DEVICE = 100
_REMEDY = "install the accelerator's driver (a Jetson has it from JetPack), or configure runtime.kind: onnx"


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What the driver says of itself: release as in DeviceIdentity.driver, and how many accelerators it sees."""

    release: str
    devices: int


def ask_driver() -> DriverFacts:
    """Start the driver of NVIDIA's accelerators.

    TensorRT's lean runtime, for one, ends the process with a segmentation fault where there is no driver, so this comes
    first wherever an accelerator is used.

    Returns:
        Its release, and at least one device.

    Raises:
        RuntimeFault: no driver is installed, it does not start, or it sees no accelerator.

    Source:
        CUDA Driver API: cuInit, cuDriverGetVersion, cuDeviceGetCount, cuGetErrorName.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise RuntimeFault(f"this computer has no NVIDIA driver ({error}); {_REMEDY}") from error
    if code := library.cuInit(0):
        found = "finds no accelerator" if code == _NO_DEVICE else f"does not start: {_name_of(library, code)}"
        raise RuntimeFault(f"the NVIDIA driver {found}; see `nvidia-smi` and the system's log, then {_REMEDY}")
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    for ask, into in ((library.cuDriverGetVersion, version), (library.cuDeviceGetCount, count)):
        if code := ask(ctypes.byref(into)):
            raise RuntimeFault(f"the NVIDIA driver does not answer: {_name_of(library, code)}; {_REMEDY}")
    if count.value < 1:
        raise RuntimeFault(f"the NVIDIA driver finds no accelerator; {_REMEDY}")
    cuda = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return DriverFacts(", ".join([*release_of(_BOARD_FILE, _DRIVER_FILE), cuda]), count.value)


def _name_of(library: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(name))
    return name.value.decode() if name.value else f"error {code}"


def release_of(board: Path, driver: Path) -> list[str]:
    """Return the release of the board's software or else of the driver, as the file that they keep says.

    Args:
        board: of L4T, the software of a Jetson.
        driver: of the driver.

    Returns:
        One, or none where there is neither file or it has another form.
    """
    if board.exists():
        found = re.match(
            r"# (R\d+) \(release\), REVISION: ([\d.]+)", board.read_text(encoding="utf-8", errors="replace")
        )
        return [f"L4T {found[1]}.{found[2]}"] if found else []
    if driver.exists():
        found = re.search(
            r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s",
            driver.read_text(encoding="utf-8", errors="replace"),
            re.MULTILINE,
        )
        return [f"driver {found[1]}"] if found else []
    return []
