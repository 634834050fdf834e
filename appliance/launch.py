"""Starts the program of the application's slot in force, or of one on trial; what systemd's ExecStart names.

    python3 -I launch.py --slots FOLDER --image FOLDER --starts FILE -- run --config config.yaml

It belongs to the device's image and no update replaces it, so it knows the standard library alone. A release that was
confirmed is started by exec: nothing of this is left. One on trial is started as a child, and each start is counted on
disk before it: it is watched by what it tells systemd (sd_notify), until it has been well for long enough, or is ended.
Whatever is damaged or missing, some program is started: another slot that was confirmed, or the image's own.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import TypeVar

SLOTS = ("a", "b")
SLOT, TRIAL, STARTS = "vi.app-slot/1", "vi.app-trial/1", "vi.app-starts/1"
BUILT, PROVED, CONFIRMED = "built", "proved", "confirmed"
STARTING, READY, HEALTHY, FAILED = "starting", "ready", "healthy", "failed"
MAX_BYTES = 65536
LOOK_S, PROBE_S, EXTEND_US = 0.1, 30.0, 120 * 10**6
EXIT_AGAIN, EXIT_NOTHING = 70, 78
NOT_CURED_BY_A_RESTART = (65, 78)
PR_SET_PDEATHSIG = 1
PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('appliance') is None)"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot's last file: without it, the folder is nothing; sha256: of the package that it was made from."""

    sha256: str
    name: str
    version: str
    seq: int
    state: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What the agent wants tried: which slot, and how often each unit may start it; id: of this trial."""

    id: str
    slot: str
    sha256: str
    tries: int


@dataclass(frozen=True, slots=True)
class Starts:
    """What one unit's launcher says of a trial; nobody else writes it. pid: of the program, in the boot boot_id."""

    trial: str
    tries_left: int
    phase: str = STARTING
    why: str = ""
    pid: int = 0
    boot_id: str = ""


Note = TypeVar("Note", Slot, Trial, Starts)


def read_note(path: Path, kind: type[Note], schema: str) -> Note | None:
    """Read one of these files; None if there is none.

    Raises:
        ValueError: it is damaged, or another program's.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_BYTES))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    expected = {each.name: each.type for each in fields(kind)} | {"schema": str}
    if not isinstance(data, dict) or {key: type(value) for key, value in data.items()} != expected:
        raise ValueError(f"{path} is damaged (not the keys of {schema})")
    if data.pop("schema") != schema:
        raise ValueError(f"{path} is not {schema}")
    return kind(**data)


def write_note(path: Path, note: Slot | Trial | Starts, schema: str) -> None:
    """Write one of these files whole, and to disk; where that refuses (OSError), it is as it was."""
    draft = path.with_name(f".{path.name}.part")
    with draft.open("wb") as file:
        file.write(json.dumps({"schema": schema, **asdict(note)}).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def slot_note(slots: Path, name: str) -> Path:
    """Return where a slot's last file lies."""
    return slots / name / "slot.json"


def current_slot(slots: Path) -> str:
    """Return the slot that `current` names; empty if it names none."""
    try:
        name = os.readlink(slots / "current")  # noqa: PTH115 - Path.readlink would take a/ for a
    except OSError:
        return ""
    return name if name in SLOTS else ""


@contextlib.contextmanager
def held(folder: Path, how: int, looks: int = 1) -> Iterator[int]:
    """Hold a slot (else OSError): shared while a program of it runs, which inherits it, exclusive while it is made."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for left in reversed(range(looks)):
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                threading.Event().wait(LOOK_S)
        yield descriptor
    finally:
        os.close(descriptor)


def why_it_cannot_run(folder: Path) -> str:
    """Say why the program in a virtual environment cannot be started; empty if it can."""
    command = [str(folder / "bin" / "python"), "-I", "-c", PROBE]
    try:
        tried = subprocess.run(command, timeout=PROBE_S, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if tried.returncode == 0 else f"its interpreter finds no program ({tried.returncode})"


class Launcher:
    """One start of one unit's program."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Take over the command line."""
        self._given, self._slots = given, Path(given.slots)
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    def start(self) -> int:
        """Start what is due; returns, with an exit code, only after a trial or if there is nothing at all."""
        trial = self._trial()
        if trial is not None:
            with contextlib.ExitStack() as stack:
                descriptor = self._take(stack, trial.slot, trial.sha256)
                if descriptor is not None and (starts := self._counted(trial)) is not None:
                    return self._try_out(trial, starts, descriptor)
        for name in self._in_order():
            with contextlib.ExitStack() as stack:
                descriptor = self._take(stack, name)
                if descriptor is not None:
                    os.set_inheritable(descriptor, True)
                    self._become(self._slots / name)
        self._become(Path(self._given.image))
        say(f"{self._given.image} cannot be started either: install the appliance there")
        return EXIT_NOTHING

    def _trial(self) -> Trial | None:
        try:
            trial = read_note(self._slots / "trial.json", Trial, TRIAL)
        except (OSError, ValueError) as error:
            say(f"{error}: nothing is tried; the agent begins it anew")
            return None
        if trial is None or trial.slot == current_slot(self._slots):
            return None  # the second: it was confirmed, and power went before the file was removed
        return trial

    def _in_order(self) -> list[str]:
        """Slots in which to look for a program: the one in force, then those that once were."""
        current = current_slot(self._slots)
        if not current and os.path.lexists(self._slots / "current"):
            say(f"{self._slots / 'current'} is no link to a or b: looking for another program")
        once = []
        for name in SLOTS:
            with contextlib.suppress(OSError, ValueError):
                slot = read_note(slot_note(self._slots, name), Slot, SLOT)
                if name != current and slot is not None and slot.state == CONFIRMED:
                    once.append((slot.seq, name))
        return ([current] if current else []) + [name for _, name in sorted(once, reverse=True)]

    def _take(self, stack: contextlib.ExitStack, name: str, sha256: str = "") -> int | None:
        """Hold a slot if it has a program that runs; says so if it has not."""
        folder = self._slots / name
        try:
            if name not in SLOTS:
                raise ValueError(f"{name!r} is no slot")
            descriptor = stack.enter_context(held(folder, fcntl.LOCK_SH, looks=20))
            slot = read_note(slot_note(self._slots, name), Slot, SLOT)
        except (OSError, ValueError) as error:
            say(f"slot {name} is not started: {error}")
            return None
        if slot is None or slot.state not in (PROVED, CONFIRMED) or sha256 not in ("", slot.sha256):
            why = "it was never finished, or holds another release"
        else:
            why = why_it_cannot_run(folder)
        if why:
            say(f"slot {name} is not started: {folder}: {why}")
        return None if why else descriptor

    def _counted(self, trial: Trial) -> Starts | None:
        """Count this start of a trial on disk; None: it must not be started any more."""
        path = Path(self._given.starts)
        try:
            starts = read_note(path, Starts, STARTS)
            if starts is None or starts.trial != trial.id:
                starts = Starts(trial.id, trial.tries)
            if starts.tries_left <= 0:
                say(f"slot {trial.slot} is not tried again: {starts.why or 'no start of it was confirmed'}")
                return None
            starts = Starts(trial.id, starts.tries_left - 1, pid=os.getpid(), boot_id=boot_id())
            write_note(path, starts, STARTS)
        except (OSError, ValueError) as error:
            say(f"slot {trial.slot} is not tried, as its starts cannot be counted: {error}")
            return None
        return starts

    def _become(self, folder: Path) -> None:
        sys.stderr.flush()
        try:
            os.execv(folder / "bin" / "python", self._command(folder))
        except OSError as error:
            say(f"{folder} cannot be started: {error}")

    def _command(self, folder: Path) -> list[str]:
        return [str(folder / "bin" / "python"), "-I", "-m", "appliance", *self._given.arguments]

    def _try_out(self, trial: Trial, starts: Starts, descriptor: int) -> int:
        """Run a release on trial, and write down what comes of it; systemd hears of its end by the exit code."""
        say(f"slot {trial.slot} is tried; {starts.tries_left} more starts after this one")
        with ear() as listener:
            environment = {key: value for key, value in os.environ.items() if key != "WATCHDOG_PID"}
            environment["NOTIFY_SOCKET"] = listener.getsockname().decode().replace("\0", "@")
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._pass_on)
            self._child = subprocess.Popen(self._command(self._slots / trial.slot), env=environment,
                                           pass_fds=(descriptor,), preexec_fn=end_with_parent)  # fmt: skip  # noqa: PLW1509 - no threads here
            watch = Watch(self._given, replace(starts, pid=self._child.pid))
            why = self._watch(listener, self._child, watch)
            self._child.kill()
            code = self._child.wait()
        if self._is_stopping:
            return code if code >= 0 else 128 - code
        watch.note(FAILED, why, tries_left=0 if code in NOT_CURED_BY_A_RESTART else starts.tries_left)
        say(f"slot {trial.slot}, on trial: {why}")
        return EXIT_AGAIN

    def _watch(self, listener: socket.socket, child: "subprocess.Popen[bytes]", watch: "Watch") -> str:
        """Return why the trial ends."""
        tell_systemd(f"EXTEND_TIMEOUT_USEC={EXTEND_US}".encode())
        if self._is_stopping:  # asked before there was a child
            child.terminate()
        while child.poll() is None:
            said = hear(listener, child.pid)
            if said:
                tell_systemd(said)
            why = watch.look(said, time.monotonic())
            if why and not self._is_stopping:
                return why
        return f"the program ended with {child.returncode}"

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


class Watch:
    """Judges one start of a release on trial by what it tells systemd; each phase is on disk when it begins."""

    def __init__(self, given: argparse.Namespace, starts: Starts) -> None:
        """Begin with a start that is counted already."""
        self._given, self._starts, self._path = given, starts, Path(given.starts)
        self._ready_by = time.monotonic() + given.ready_s
        self._ready_at = self._heard_at = 0.0
        self.note(STARTING)

    def look(self, said: bytes, now: float) -> str:
        """Judge lines of sd_notify(3), or silence; returns why it must be ended, empty if it may go on."""
        for line in said.decode("utf-8", "replace").splitlines():
            key, _, value = line.partition("=")
            if key in ("READY", "WATCHDOG", "STOPPING"):
                self._heard_at = now
            if key == "READY" and not self._ready_at:
                self._ready_at = now
                self.note(READY)
            if key == "EXTEND_TIMEOUT_USEC" and value.isdecimal():
                self._ready_by = max(self._ready_by, now + int(value) / 1e6)
        if not self._ready_at:
            return f"not ready after {self._given.ready_s:g} s" if now > self._ready_by else ""
        if now - self._heard_at > self._given.silence_s:
            return f"silent for more than {self._given.silence_s:g} s"
        if self._starts.phase == READY and now - self._ready_at >= self._given.healthy_s:
            self.note(HEALTHY)
        return ""

    def note(self, phase: str, why: str = "", tries_left: int | None = None) -> None:
        """Write a phase down; a disk that refuses is said, and ends nothing."""
        left = self._starts.tries_left if tries_left is None else tries_left
        self._starts = replace(self._starts, phase=phase, why=why, tries_left=left)
        try:
            write_note(self._path, self._starts, STARTS)
        except OSError as error:
            say(f"{self._path} cannot be written: {error}; the agent does not hear that the trial is {phase}")


@contextlib.contextmanager
def ear() -> Iterator[socket.socket]:
    """Open a socket of our own for what a child tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(f"\0inspection-launch-{os.getpid()}-{secrets.token_hex(8)}")
        listener.settimeout(LOOK_S)
        yield listener


def hear(listener: socket.socket, pid: int) -> bytes:
    """Return what this process says within LOOK_S; of others, and in silence, nothing."""
    try:
        said, more, _, _ = listener.recvmsg(4096, socket.CMSG_SPACE(12))
    except TimeoutError:
        return b""
    is_its = any(kind == socket.SCM_CREDENTIALS and int.from_bytes(data[:4], sys.byteorder) == pid
                 for _, kind, data in more)  # fmt: skip
    return said if is_its else b""


def tell_systemd(said: bytes) -> None:
    """Pass on to systemd, for which this process is the unit's; it may be gone."""
    if address := os.environ.get("NOTIFY_SOCKET", ""):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(said, "\0" + address[1:] if address.startswith("@") else address)


def end_with_parent() -> None:
    """Bind a child's life to the launcher's, before it becomes the program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def boot_id() -> str:
    """Return which boot this is; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def say(words: str) -> None:
    """Tell the journal, as an error (sd-daemon(3))."""
    sys.stderr.write(f"<3>launch: {words}\n")
    sys.stderr.flush()


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(prog="launch", description=__doc__.splitlines()[0])
    top.add_argument("--slots", required=True, metavar="FOLDER", help="of the application's slots, the agent's")
    top.add_argument("--image", required=True, metavar="FOLDER", help="the image's own virtual environment")
    top.add_argument("--starts", required=True, metavar="FILE", help="where this unit counts its starts of a trial")
    top.add_argument("--ready-s", type=float, default=120, help="until READY=1; EXTEND_TIMEOUT_USEC gives more")
    top.add_argument("--healthy-s", type=float, default=600, help="from READY=1 on without a silence")
    top.add_argument("--silence-s", type=float, default=12, help="without WATCHDOG=1: less than the unit's WatchdogSec")
    top.add_argument("arguments", nargs="+", metavar="ARGUMENT", help="of the program, behind --")
    return top


if __name__ == "__main__":
    sys.exit(Launcher(parser().parse_args()).start())
