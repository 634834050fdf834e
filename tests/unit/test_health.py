"""The watchdog: a stage that is silent too long is found, systemd is told that all is well while it is."""

import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from appliance.health import EXIT_CONFIG, EXIT_HUNG, LONGEST_SILENCE_S, StageWatchdog

HANG = """
import threading
from appliance.health import StageWatchdog
from tests.line import SystemClock
class Fast(SystemClock):
    def monotonic_ns(self): return super().monotonic_ns() * 1000
watchdog = StageWatchdog(Fast())
watchdog.beat("inspect")
watchdog.start()
threading.Event().wait(60)
"""
CRASH = """
import threading
from appliance.health import end_process_when_a_thread_crashes
end_process_when_a_thread_crashes()
threading.Thread(target=lambda: 1 / 0, name="inspect").start()
threading.Event().wait(60)
"""


class HandClock:
    """A clock that a test moves."""

    now_s = 100.0

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)

    def utc(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=timezone.utc)

    def is_synchronised(self) -> bool | None:
        return None


@pytest.mark.parametrize("stage", LONGEST_SILENCE_S)
def test_a_stage_is_silent_only_after_its_own_row(stage: str) -> None:
    clock = HandClock()
    watchdog = StageWatchdog(clock)
    watchdog.beat(f"{stage}:top")
    clock.now_s += LONGEST_SILENCE_S[stage] - 0.01
    assert watchdog.silent_stage() is None
    clock.now_s += 0.02
    assert watchdog.silent_stage() == f"{stage}:top"
    watchdog.beat(f"{stage}:top")
    assert watchdog.silent_stage() is None


@pytest.mark.parametrize(("program", "words"), [(HANG, "silent"), (CRASH, "crashed")])
def test_a_hang_or_a_crash_ends_the_process_so_that_it_is_started_again(program: str, words: str) -> None:
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == EXIT_HUNG
    assert words in ended.stderr


def test_systemd_hears_ready_alive_and_stopping(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(10)
        program = (
            "from appliance.health import StageWatchdog\nfrom tests.line import SystemClock\nimport threading\n"
            "w = StageWatchdog(SystemClock())\nw.start()\nthreading.Event().wait(1.2)\nw.stop()\n"
        )
        root = Path(__file__).resolve().parents[2]
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env={"NOTIFY_SOCKET": str(address), "PATH": ""},
            check=True,
            timeout=60,
        )
        heard: list[str] = []
        while not heard or heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(100).decode())
    assert heard[:2] == ["READY=1", "WATCHDOG=1"]


def test_a_persons_mistake_that_shows_in_a_thread_ends_the_process_for_good_and_in_words() -> None:
    program = CRASH.replace("threading.Thread(", "from appliance.errors import ConfigError\n"
                            "def mistake(): raise ConfigError('the camera section is wrong; correct it')\n"
                            "threading.Thread(").replace("lambda: 1 / 0", "mistake")  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_CONFIG
    assert "the camera section is wrong" in ended.stderr
    assert "Traceback" not in ended.stderr
