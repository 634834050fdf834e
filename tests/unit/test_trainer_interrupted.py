"""Ctrl-C ends a command of the trainer with one line, whatever it is at, and leaves nothing at work behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import command, spawned, wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.team import Team, gathered

pytestmark = pytest.mark.long


def _interrupt(moment: "Callable[[subprocess.Popen[str]], object]", *words: str) -> list[int]:
    """Start a command, press Ctrl-C at a moment, and look at how it ends; return what worked for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_moment(process, lambda: moment(process))
    others = spawned(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "trainer: interrupted" in said
    assert "Traceback" not in said
    assert not any("spawn_main" in command(other) for other in others)
    return others


def _has_others(process: "subprocess.Popen[str]") -> bool:
    return bool(spawned(process.pid))


@pytest.mark.parametrize("moment", ["starting", "training"])
def test_training_by_two_processes(tmp_path: Path, moment: str) -> None:
    data = write_tiny_boards(tmp_path / "data", pictures=24, groups=4)
    words = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--workers", "2", "--epochs", "900"]
    words += ["--holdout", "family0", "--batch", "8", "--crop", "64", "--width", "8"]
    moments = {"starting": _has_others, "training": lambda _: (tmp_path / "run" / "last.pt").is_file()}
    assert len(_interrupt(moments[moment], *words)) == 1


def test_pretraining_while_the_processes_that_make_pictures_start(tmp_path: Path) -> None:
    words = ["pretrain", "--out", str(tmp_path / "a.safetensors"), "--workers", "2", "--batch", "4"]
    assert _interrupt(_has_others, *words)


def test_a_command_whose_libraries_are_being_loaded(tmp_path: Path) -> None:
    _interrupt(
        lambda process: "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text(),
        "pretrain", "--out", str(tmp_path / "a.safetensors"),
    )  # fmt: skip


class _Interrupts:
    """Work whose handing over is interrupted by Ctrl-C."""

    def __init__(self) -> None:
        self.handed_over = 0

    def __call__(self, team: Team) -> None:
        """Do nothing."""

    def __reduce__(self) -> tuple[type[list[int]], tuple[()]]:
        self.handed_over += 1
        os.kill(os.getpid(), signal.SIGINT)
        return list, ()


def test_an_interruption_waits_until_all_processes_are_started() -> None:
    work, is_over = _Interrupts(), threading.Event()
    threading.Thread(target=is_over.wait).start()  # as libraries do; it hears what the first thread does not
    try:
        with pytest.raises(KeyboardInterrupt), gathered(3, work):
            pytest.fail("nobody heard it")
    finally:
        is_over.set()
    assert work.handed_over == 2
    assert not multiprocessing.active_children()
