"""A broker of one's own on the loopback, for the demo and the tests: mosquitto if it is there, amqtt otherwise."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal

from appliance.errors import ConfigError, DeviceError

Kind = Literal["mosquitto", "amqtt"]

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
_POLL = threading.Event()  # never set: its wait() is the pause between two looks

MOSQUITTO_CONF = """\
per_listener_settings false
max_queued_messages 100000
max_queued_bytes 0
max_inflight_messages 0
set_tcp_nodelay true
persistence false
sys_interval 10
log_type error
log_type warning
"""


def find_mosquitto() -> str | None:
    """Return the path of the mosquitto program, or None; Debian keeps it outside a user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a TCP port on the loopback that nobody uses right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class EmbeddedBroker:
    """A real broker that lives as long as the `with` block; kind and port say what was started."""

    def __init__(self, kind: Literal["auto", "mosquitto", "amqtt"] = "auto", extra_lines: Sequence[str] = ()) -> None:
        """Choose the broker; nothing runs yet.

        Args:
            kind: "auto" takes mosquitto and, where that is not installed, amqtt, which speaks MQTT 3.1.1 only.
            extra_lines: more lines for mosquitto.conf; they replace the listener if they bring one with {port} in it.

        Raises:
            ConfigError: the broker asked for is not installed.
        """
        program = find_mosquitto()
        if kind == "mosquitto" and program is None:
            raise ConfigError("mosquitto is not installed; install the package mosquitto or choose the broker amqtt")
        if kind != "mosquitto" and program is None and importlib.util.find_spec("amqtt") is None:
            raise ConfigError("no broker is installed; install the package mosquitto, or the Python package amqtt")
        self.kind: Kind = "mosquitto" if kind != "amqtt" and program else "amqtt"
        self.port = free_port()
        self._extra_lines = tuple(extra_lines)
        self._folder = tempfile.TemporaryDirectory(prefix="broker-")
        command = [str(program), "-c", str(self._conf())]
        if self.kind == "amqtt":
            command = [sys.executable, str(Path(__file__).with_name("amqtt_process.py")), str(self.port)]
        self._server = _Child(command, Path(self._folder.name) / "broker.log", self.port)

    @property
    def url(self) -> str:
        """Return where the broker listens."""
        return f"mqtt://{LOOPBACK}:{self.port}"

    def __enter__(self) -> "EmbeddedBroker":
        """Start the broker and wait until it takes connections.

        Raises:
            DeviceError: it did not start and nothing is left of it; what it printed is in the message.
        """
        with ExitStack() as undo:
            undo.push(self)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the broker and remove its folder."""
        self._server.kill()
        self._folder.cleanup()

    def kill(self) -> None:
        """End the broker at once, as a power cut would; nothing is said to its clients."""
        self._server.kill()

    def freeze(self) -> None:
        """Let the broker stand still with its connections open, as a hung host would; thaw() ends it."""
        self._server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._server.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same port, remembering nothing; ends it first if it runs.

        Raises:
            DeviceError: it did not start.
        """
        self._server.kill()
        self._start()

    def _start(self) -> None:
        self._server.start()
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not self._server.is_ready():
            problem = self._server.problem()
            if problem is None and time.monotonic() < give_up_s:
                _POLL.wait(0.01)
                continue
            raise DeviceError(
                f"the {self.kind} broker did not start on port {self.port}: {problem or 'no answer'}; "
                "see whether another program holds the port, then try again"
            )

    def _conf(self) -> Path:
        path = Path(self._folder.name) / "mosquitto.conf"
        extra = "\n".join(line.format(port=self.port) for line in self._extra_lines)
        listener = "" if "listener " in extra else f"listener {self.port} {LOOPBACK}\nallow_anonymous true\n"
        path.write_text(f"{MOSQUITTO_CONF}{listener}{extra}\n", encoding="utf-8")
        return path


class _Child:
    """The broker as a child process; what it prints is kept for the error message."""

    def __init__(self, command: list[str], output: Path, port: int) -> None:
        self._command = command
        self._output = output
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,  # its end tells amqtt_process.py that nobody needs it any more
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches the station first, which then says goodbye through the broker
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((LOOPBACK, self._port)) == 0

    def problem(self) -> str | None:
        if self._process is None or self._process.poll() is None:
            return None
        return f"it ended with {self._process.returncode}: {self._output.read_text(errors='replace')[-500:]}"
