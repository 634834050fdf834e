"""What an update does rests while the line inspects: the flag, who sees it, and that nobody rests for good."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from appliance.agent_rest import WorkerRest
from appliance.inspection_flag import InspectionFlag, SeenFlag, flag_of
from appliance.ports import TriggerRequest
from appliance.wiring import build
from tests.agent_place import REPORT, device_at_a_broker, workers
from tests.certificates import needs_openssl
from tests.line import eventually
from tests.releases import with_releases
from tests.shadows import shadow_station, show, state_of
from tests.slow_model import slow_bundle, slow_picture
from tests.small_disk import fill, small_disk
from tests.stations import needs_mosquitto, until

COUNTS = "import sys, time\nfor number in range(10**9):\n print(number, flush=True); time.sleep(0.001)"


@contextmanager
def working(flag: Path, *, is_needed: bool = True) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that counts, and rests."""
    with subprocess.Popen([sys.executable, "-c", COUNTS], stdout=subprocess.PIPE, start_new_session=True) as process:
        rest = WorkerRest(process.pid, SeenFlag(flag), lambda: is_needed)
        try:
            yield process
        finally:
            process.kill()
            rest.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    path = flag_of(tmp_path / "ledger.db")
    yield path
    path.unlink(missing_ok=True)


def test_a_process_rests_while_the_flag_is_up_and_goes_on_when_it_is_down(place: Path) -> None:
    with closing(InspectionFlag(place)) as flag, working(place) as process:
        for _ in range(3):
            flag.put(True)
            assert eventually(lambda: state_of(process.pid) == "T")
            flag.put(False)
            assert eventually(lambda: state_of(process.pid) != "T")


def test_a_line_that_always_inspects_does_not_stop_it_for_good(place: Path) -> None:
    with closing(InspectionFlag(place)) as flag, working(place) as process:
        flag.put(True)
        assert eventually(lambda: state_of(process.pid) == "T")
        assert process.stdout is not None
        counted = [int(process.stdout.readline()) for _ in range(500)]
        assert counted == list(range(500))
        assert eventually(lambda: state_of(process.pid) == "T")


def test_it_works_on_when_nobody_watches_any_more(place: Path) -> None:
    with (
        closing(InspectionFlag(place)) as flag,
        subprocess.Popen([sys.executable, "-c", COUNTS], stdout=subprocess.DEVNULL, start_new_session=True) as process,
    ):
        flag.put(True)
        rest = WorkerRest(process.pid, SeenFlag(place), lambda: True)
        assert eventually(lambda: state_of(process.pid) == "T")
        rest.close()
        assert state_of(process.pid) != "T"
        process.kill()


def test_it_finds_the_flag_of_a_station_that_starts_later(place: Path) -> None:
    with working(place) as process, closing(InspectionFlag(place)) as flag:
        flag.put(True)
        assert eventually(lambda: state_of(process.pid) == "T")


@pytest.mark.parametrize("what", ["link", "pipe", "another user's"])
def test_a_file_that_somebody_else_laid_there_is_no_flag(place: Path, tmp_path: Path, what: str) -> None:
    bait = tmp_path / "bait"
    bait.write_bytes(b"\1 precious")
    if what == "link":
        place.symlink_to(bait)
    elif what == "pipe":
        os.mkfifo(place)
    elif os.geteuid() == 0:
        place.write_bytes(b"\1")
        os.chown(place, 12345, 12345)
    else:
        pytest.skip("only root can make a file that is another user's")
    with closing(InspectionFlag(place)) as flag:
        flag.put(True)
        assert not SeenFlag(place).look_up()
    assert bait.read_bytes() == b"\1 precious"
    assert place.is_symlink() or place.is_fifo() or place.read_bytes() == b"\1"


def test_a_station_shows_that_it_inspects_and_takes_the_flag_with_it(tmp_path: Path) -> None:
    config = shadow_station(tmp_path)
    slow_bundle(config.parent / "tiny.bundle", lasts_s=1.0, revision=5)
    with_releases(config)
    show(config, slow_picture())
    place = flag_of(tmp_path / "ledger.db")
    with build(config) as appliance:
        seen = SeenFlag(place)
        assert seen.look_up()
        assert not seen.is_up
        appliance.station.on_trigger(TriggerRequest("t-1", "p-1"))
        assert eventually(lambda: seen.is_up)
        assert appliance.ledger.find("t-1") is None
        assert eventually(lambda: appliance.ledger.find("t-1") is not None)
        assert eventually(lambda: not seen.is_up)
    assert not place.exists()


@needs_openssl
@needs_mosquitto
@pytest.mark.long
def test_the_agents_worker_rests_and_an_update_comes_to_its_end_all_the_same(tmp_path: Path) -> None:
    with device_at_a_broker(tmp_path) as place, closing(InspectionFlag(flag_of(tmp_path / "ledger.db"))) as flag:
        place.adopt()
        new = place.offer(2)
        flag.put(True)
        agent = place.start()
        assert until(lambda: [state_of(number) for number in workers(agent)] == ["T"], "the worker rests", 60)
        until(lambda: b'"outcome": "success"' in place.server.put.get(REPORT, [b""])[-1], "success", 180)
        assert place.in_force() == new
        agent.kill()
        agent.communicate()


def test_a_station_whose_shared_memory_is_full_starts_without_a_flag(tmp_path: Path) -> None:
    with small_disk(tmp_path / "memory", 1 << 16) as memory:
        fill(memory)
        with closing(InspectionFlag(memory / "flag")) as flag:
            flag.put(True)
            assert not SeenFlag(memory / "flag").is_up
