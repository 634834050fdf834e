"""A network camera in a process of its own, to be killed, frozen and started again; it sees nothing but good parts."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from appliance.simulator.broker import free_port
from tests.line import eventually
from tests.mjpeg_server import MjpegServer

SIDE_PX = 64
QUIET_GREYS = (40, 80)


class CameraProcess:
    """A camera on one port for its whole life."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def section(self) -> dict[str, object]:
        """What a configuration says about this camera; quick to try again, and patient with a busy machine."""
        return {
            "type": "opencv",
            "url": f"http://127.0.0.1:{self._port}/stream.mjpg",
            "width": SIDE_PX,
            "height": SIDE_PX,
            "channels": 1,
            "settle_ms": 60,
            "open_timeout_ms": 2000,
            "read_timeout_ms": 1500,
            "retry_first_ms": 20,
            "retry_longest_ms": 80,
        }

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [sys.executable, "-m", "tests.camera_process", str(self._port)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
        assert eventually(self._answers)

    def kill(self) -> None:
        """Cut its power."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it stand still with its connections open, as a pulled cable would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "CameraProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


if __name__ == "__main__":
    MjpegServer(SIDE_PX, SIDE_PX, port=int(sys.argv[1]), greys=QUIET_GREYS).start()
    signal.pause()
