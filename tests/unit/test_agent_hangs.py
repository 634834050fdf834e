"""A worker that gets no further is ended with all that it started, and the next one goes on; no line notices."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import yaml

from appliance.agent_worker import Worker
from appliance.bundle.gate_settings import Gates
from appliance.clock import SystemClock
from appliance.health import EXIT_HUNG
from appliance.update.assignment import AssignedRelease
from appliance.update.journal import Journal
from appliance.update.lifecycle import Progress, State
from tests.agent_place import Place, device_at_a_broker, workers
from tests.certificates import needs_openssl
from tests.line import eventually
from tests.planted import slow_everywhere
from tests.shadows import state_of
from tests.stations import needs_mosquitto, until
from tests.tiny_releases import NAME

SILENCE_S = 8.0
QUICK = {"connect_s": 0.5, "window_s": 0.5, "refresh_s": 3}
PATIENCE_S = 90
MOST_STARTS = 6
"""Three are enough where a worker begins within SILENCE_S."""


def worker(code: str, silence_s: float) -> Worker:
    return Worker([sys.executable, "-c", code], silence_s)


def heard(worker: Worker) -> list[dict[str, object]]:
    return list(islice(worker.words(lambda: None), 100))


def is_gone(number: int) -> bool:
    try:
        return state_of(number) == "Z"
    except OSError:
        return True


def test_a_worker_that_says_nothing_more_is_killed_with_what_it_started() -> None:
    code = """
import json, subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
print(json.dumps({"child": child.pid}), flush=True)
threading.Event().wait()
"""
    hung = worker(code, silence_s=1.5)
    (word,) = heard(hung)
    child = int(str(word["child"]))
    assert hung.is_hung
    assert not is_gone(child)
    assert hung.end() == -9
    assert eventually(lambda: is_gone(child))
    hung.close()


def test_a_worker_that_gets_on_is_never_too_slow() -> None:
    code = """
import threading
for number in range(12):
    print('{"looks": true}', flush=True)
    threading.Event().wait(0.25)
"""
    slow = worker(code, silence_s=2.0)
    began = time.monotonic()
    assert heard(slow) == [{"looks": True}] * 12
    assert time.monotonic() - began > 2.0
    assert (slow.is_hung, slow.end()) == (False, 0)
    slow.close()


def test_noise_of_a_library_is_no_sign_of_getting_on() -> None:
    noisy = worker("import threading\nwhile True: print('warning', flush=True); threading.Event().wait(0.1)", 1.0)
    assert heard(noisy) == []
    assert (noisy.is_hung, noisy.end()) == (True, -9)
    noisy.close()


def test_time_in_which_nobody_could_listen_is_no_silence_of_the_worker() -> None:
    """As on a device that was frozen as a whole, and goes on."""
    code = """
import threading
for _ in range(2):
    print('{"looks": true}', flush=True)
    threading.Event().wait(2.8)
"""
    frozen = worker(code, silence_s=2.5)
    words = frozen.words(lambda: None)
    next(words)
    threading.Event().wait(3.2)
    assert next(words) == {"looks": True}
    assert not frozen.is_hung
    frozen.ask_to_end()
    assert frozen.end() == -15
    frozen.close()


def test_a_worker_that_does_not_end_when_it_is_told_to_is_killed() -> None:
    code = """
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    print('{"looks": true}', flush=True)
    threading.Event().wait(0.1)
"""
    stubborn = Worker([sys.executable, "-c", code], silence_s=60.0, end_s=0.5)
    words = stubborn.words(lambda: None)
    next(words)
    stubborn.ask_to_end()
    assert list(words)
    assert (stubborn.is_hung, stubborn.end()) == (True, -9)
    stubborn.close()


def begun(place: Place, old: str) -> Journal:
    """A journal in which a release is verified for the second time, from a file that gives no byte and no end."""
    digest = "f" * 64
    path = place.folder / "agent" / "files" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    release = AssignedRelease(
        kind="model", name=NAME, path=f"models/{NAME}/{NAME}-2.bundle", sha256=digest, length=9, seq=2
    )
    journal = Journal(place.folder / "agent" / "journal.db", SystemClock())
    gates = Gates(shadow_parts=4, canary_parts=4, watch_parts=4, watch_h=0)
    journal.begin(release, gates, Progress(State.VERIFY, tries=1), previous=old, is_due=True)
    return journal


def has_ended(process: "subprocess.Popen[bytes]", journal: Journal) -> bool:
    return process.poll() is not None or not journal.open_updates()


@needs_openssl
@needs_mosquitto
@pytest.mark.long
def test_an_agent_that_hangs_over_a_release_is_started_anew_and_ends_it_after_the_third_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with device_at_a_broker(tmp_path) as place:
        old = place.adopt()
        place.config.write_text(yaml.safe_dump(place.keys | {"silence_s": SILENCE_S, "limits": QUICK, "poll_min": 60}))
        with closing(begun(place, old)) as journal:
            tries = set[int]()
            for _ in range(MOST_STARTS):
                process = place.start()
                until(partial(has_ended, process, journal), "it hangs, or the update ends", PATIENCE_S)
                if not journal.open_updates():
                    break
                said = process.communicate()[1]
                assert process.returncode == EXIT_HUNG
                assert b"it got no further for 8 s" in said
                assert b"Traceback" not in said
                tries.add(journal.latest()[0].progress.tries)
                assert place.in_force() == old
                capsys.readouterr()
                assert place.agent("status") == 0
                assert "it got no further for 8 s; look at the disk" in capsys.readouterr().out
            (update,) = journal.latest()
            assert (tries, update.progress.outcome) == ({1, 2}, "quarantined")
            assert "the agent ended within VERIFY: it got no further for 8 s" in update.reason
            until(lambda: journal.noted("hung") is None, "this agent came to its end", PATIENCE_S)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        assert place.in_force() == old
        assert set(place.station.asked) <= {"update-event"}, "the line heard of it, and was asked for nothing"


@needs_openssl
@needs_mosquitto
@pytest.mark.long
def test_an_agent_that_hangs_before_it_has_looked_at_anything_is_ended_too(tmp_path: Path) -> None:
    with device_at_a_broker(tmp_path) as place:
        place.adopt()
        place.config.write_text(yaml.safe_dump(place.keys | {"silence_s": SILENCE_S, "limits": QUICK}))
        root = place.folder / "root.json"
        root.unlink()
        os.mkfifo(root)
        process = place.start()
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == EXIT_HUNG
    assert b"it got no further for 8 s" in said


@needs_openssl
@needs_mosquitto
@pytest.mark.long
def test_a_child_process_that_takes_its_time_within_its_own_limit_is_no_hang(tmp_path: Path) -> None:
    with device_at_a_broker(tmp_path) as place:
        place.adopt()
        slow_everywhere(place.fleet.folder / "tiny-2.bundle", rounds=2000)
        place.offer(2)
        place.config.write_text(yaml.safe_dump(place.keys | {"silence_s": SILENCE_S, "limits": QUICK}))
        process = place.start()
        with closing(Journal(place.folder / "agent" / "journal.db", SystemClock())) as journal:
            until(lambda: [each.progress.state for each in journal.latest()] == [State.PROVE], "the proof", PATIENCE_S)
            (first,) = workers(process)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(SILENCE_S + 3)
            assert workers(process) == [first]
            assert journal.latest()[0].progress.state is State.PROVE, "it was slow enough to show something"
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


@needs_openssl
@needs_mosquitto
@pytest.mark.long
@pytest.mark.parametrize("name", ["floor/floor.json.lock", "agent/.metadata.lock"])
def test_an_agent_that_waits_for_another_process_is_no_hang(tmp_path: Path, name: str) -> None:
    with device_at_a_broker(tmp_path) as place:
        place.adopt()
        second = place.offer(2)
        place.config.write_text(
            yaml.safe_dump(place.keys | {"silence_s": SILENCE_S, "limits": QUICK | {"refresh_s": 5}})
        )
        with (place.folder / name).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = place.start()
            until(lambda: workers(process), "its worker", PATIENCE_S)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2 * SILENCE_S)
        until(lambda: place.in_force() == second, "the release is in force", PATIENCE_S)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
