"""appliance agent run: small while there is nothing to do, and at work as soon as there is."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from appliance.certification.certificate import Certificate, read_certificate
from appliance.update.lock import held_if_free
from tests.agent_place import REPORT, Place, device_at_a_broker, workers
from tests.certificates import needs_openssl
from tests.stations import needs_mosquitto, until

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]
PATIENCE_S = 90
LATE_MIN = 60
"""So long between two questions that nothing here happens because it is time to ask."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with device_at_a_broker(tmp_path) as place:
        yield place


@contextmanager
def running(place: Place, *, poll_min: float = LATE_MIN) -> Iterator["subprocess.Popen[bytes]"]:
    place.config.write_text(yaml.safe_dump(place.keys | {"poll_min": poll_min}))
    process = place.start()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_there(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def certificates(place: Place) -> list[Certificate]:
    return [read_certificate(path.read_bytes(), path.name) for path in (place.folder / "certificates").iterdir()]


def comes_to_rest(place: Place, process: "subprocess.Popen[bytes]") -> None:
    until(lambda: place.server.put.get(REPORT), "the first report is sent", PATIENCE_S)
    until(lambda: not workers(process), "the worker has left", PATIENCE_S)


def test_an_agent_with_nothing_to_do_has_none_of_the_inspection_in_memory(place: Place) -> None:
    place.adopt()
    new = place.offer(2)
    with running(place) as process:
        until(lambda: b'"outcome": "success"' in place.server.put.get(REPORT, [b""])[-1], "success", PATIENCE_S)
        comes_to_rest(place, process)
        mapped = Path(f"/proc/{process.pid}/maps").read_text()
        assert place.in_force() == new
    (certificate,) = (each for each in certificates(place) if each.subject.bundle_digest == new)
    assert certificate.device.cores == len(os.sched_getaffinity(0)), "as the station sees them"
    assert "pydantic_core" in mapped
    assert [word for word in ("numpy", "cv2", "onnxruntime", "cryptography", "_yaml") if word in mapped] == []


def test_what_a_person_decides_wakes_it_before_it_is_time_to_ask(place: Place) -> None:
    old = place.adopt()
    assert place.agent("hold", "--by", "Ann") == 0
    new = place.offer(2)
    with running(place) as process:
        comes_to_rest(place, process)
        assert place.in_force() == old
        assert place.agent("release-hold", "--by", "Bob") == 0
        until(lambda: place.in_force() == new, "what was held is in force", PATIENCE_S)
        until(lambda: not workers(process), "the worker has left", PATIENCE_S)
        assert place.agent("rollback", "--by", "Ann") == 0
        assert place.in_force() == old


def test_it_asks_again_when_it_is_time_and_beside_it_a_person_may_ask(place: Place) -> None:
    place.adopt()
    with running(place, poll_min=0.05) as process:
        comes_to_rest(place, process)
        second = place.offer(2)
        until(lambda: place.in_force() == second, "the release is found", PATIENCE_S)
    with running(place) as process:
        until(lambda: workers(process), "it begins", PATIENCE_S)
        comes_to_rest(place, process)
        third = place.offer(3)
        assert place.agent("update") in (0, 74)  # the service may be quicker to find that there is something
        until(lambda: place.in_force() == third, "the next release is in force", PATIENCE_S)
        assert process.poll() is None


@pytest.mark.parametrize("who", ["worker", "agent"])
def test_neither_lives_on_without_the_other(place: Place, who: str) -> None:
    place.adopt()
    with running(place, poll_min=0.01) as process:
        worker = until(lambda: workers(process), "a worker begins", PATIENCE_S)[0]
        os.kill(worker if who == "worker" else process.pid, signal.SIGKILL)
        assert process.wait(PATIENCE_S) == (128 + signal.SIGKILL if who == "worker" else -signal.SIGKILL)
        until(lambda: not is_there(worker), "the worker ends, too", PATIENCE_S)
    place.offer(2)
    assert place.agent("update") == 0, "nothing is locked"


def test_what_only_a_worker_finds_ends_it_in_words(place: Place) -> None:
    place.adopt()
    key = place.folder / "agent" / "device.key"
    key.write_bytes(b"no key")
    key.chmod(0o600)
    with running(place) as process:
        _, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 74
    assert b"the device's key is damaged" in complaints
    assert b"Traceback" not in complaints


def test_one_worker_waits_while_another_agent_works(place: Place) -> None:
    place.adopt()
    second = place.offer(2)
    with held_if_free(place.folder / "agent" / ".agent.lock") as is_free, running(place) as process:
        assert is_free
        (worker,) = until(lambda: workers(process), "a worker begins", PATIENCE_S)
        assert place.agent("hold", "--by", "Ann") == 0
        assert place.agent("release-hold", "--by", "Ann") == 0
        until(lambda: b"connected" in os.read(process.stderr.fileno(), 10_000), "it is at the broker", PATIENCE_S)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5)
        assert workers(process) == [worker]
        assert place.in_force() != second
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
