"""Releases of a tiny appliance: real wheels, real virtual environments, a program that behaves as it is told."""

import ensurepip
import platform
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance import launch
from appliance.bundle.app_package import AppManifest, describe_wheel, write_app
from appliance.launch import CONFIRMED, SLOT, Slot

HERE = Path(__file__).resolve().parents[1]
LAUNCHER = HERE / "appliance" / "launch.py"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

PROGRAM = """
import os, signal, socket, sys
VERSION, BEHAVIOUR = {version!r}, {behaviour!r}

def tell(state):
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), "\\0" + address[1:] if address.startswith("@") else address)

def run(out):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with open(out, "a") as file:
        file.write(VERSION + " " + str(os.getpid()) + "\\n")
    if BEHAVIOUR in ("crashes", "refuses"):
        sys.exit({{"crashes": 1, "refuses": 78}}[BEHAVIOUR])
    if BEHAVIOUR == "is never ready":
        sys.exit(signal.sigwait([signal.SIGTERM]) and 0)
    if BEHAVIOUR == "takes long to start":
        tell("EXTEND_TIMEOUT_USEC=30000000")
        if signal.sigtimedwait([signal.SIGTERM], 0.8):
            sys.exit(0)
    tell("READY=1")
    if BEHAVIOUR == "hangs":
        sys.exit(signal.sigwait([signal.SIGTERM]) and 0)
    while not signal.sigtimedwait([signal.SIGTERM], 0.05):
        tell("WATCHDOG=1")
    tell("STOPPING=1")

arguments = sys.argv[1:]
if arguments == ["--version"]:
    print("inspection-appliance", VERSION)
elif arguments[0] == "check":
    words = open(arguments[arguments.index("--config") + 1]).read()
    if "refuse " + VERSION in words:
        sys.exit("configuration: this key is unknown to " + VERSION)
elif arguments[0] == "run":
    run(arguments[1])
"""


def program(version: str, behaviour: str = "is well") -> str:
    """The source of a program that is a version and behaves in a way."""
    return PROGRAM.format(version=version, behaviour=behaviour)


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str], needs: str = "") -> Path:
    """Write a wheel that any pip installs."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for each, content in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(each, content)
    return path


def pip_wheel() -> Path:
    """The wheel of pip that the interpreter brings for its own `ensurepip`."""
    folders = [Path(ensurepip.__file__).parent / "_bundled"]
    if folder := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        folders.insert(0, Path(folder))
    found = [path for folder in folders for path in folder.glob("pip-*.whl")]
    if not found:
        pytest.skip("this Python brings no wheel of pip: install python3-venv")
    return found[0]


@dataclass(frozen=True)
class Wheels:
    """A folder of wheels that make a release."""

    folder: Path

    @staticmethod
    def write(folder: Path, version: str, behaviour: str = "is well", *, lacks: str = "") -> "Wheels":
        folder.mkdir(parents=True)
        (folder / pip_wheel().name).write_bytes(pip_wheel().read_bytes())
        files = {"appliance/__init__.py": "", "appliance/__main__.py": program(version, behaviour)}
        write_wheel(folder, "inspection_appliance", version, files, needs="tiny-lib==1.0")
        if lacks != "tiny_lib":
            write_wheel(folder, "tiny_lib", "1.0", {"tiny_lib.py": "ANSWER = 42\n"})
        return Wheels(folder)

    @property
    def files(self) -> dict[str, Path]:
        return {path.name: path for path in sorted(self.folder.glob("*.whl"))}

    def manifest(self, version: str, seq: int = 2) -> AppManifest:
        return AppManifest(
            name="appliance", version=version, seq=seq, python=PYTHON, architecture=platform.machine(),
            installed_bytes=10**6, wheels=tuple(describe_wheel(path) for path in self.files.values()),
        )  # fmt: skip

    def pack(self, path: Path, version: str, seq: int = 2) -> Path:
        write_app(path, self.manifest(version, seq), self.files)
        return path


def make_environment(folder: Path, version: str, behaviour: str = "is well") -> Path:
    """A virtual environment with the tiny program, as `venv` makes one, but for the scripts that activate it."""
    interpreter = Path(sys.base_prefix) / "bin" / f"python{PYTHON}"
    place = folder / "lib" / f"python{PYTHON}" / "site-packages" / "appliance"
    place.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(interpreter)
    (folder / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
    (place / "__init__.py").write_text("")
    (place / "__main__.py").write_text(program(version, behaviour))
    return folder


def make_slot(slots: Path, name: str, version: str, behaviour: str = "is well", *, state: str = CONFIRMED,
              seq: int = 1) -> str:  # fmt: skip
    """A slot as the agent leaves it, without building it; returns the digest of the package it says it is from."""
    make_environment(slots / name, version, behaviour)
    sha256 = version.replace(".", "").rjust(64, "0")
    launch.write_note(launch.slot_note(slots, name), Slot(sha256, "appliance", version, seq, state), SLOT)
    return sha256
