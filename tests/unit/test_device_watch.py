"""A device that changes while parts are inspected: who is told, and whether parts are still taken."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.device_state import read_device_state
from appliance.device_watch import FREE_LOOKS, REMINDER_LOOKS, DeviceWatch
from appliance.errors import StorageError
from appliance.latency_watch import LatencyWatch
from appliance.live_latency import LatencyTerms
from tests.device_root import CALM, COOL_GPU, GPU_CLOCK, HOT_GPU, JETSON, POLICY, write
from tests.line import Line, eventually

SLOWER_MODE = {"var/lib/nvpmodel/status": "pmode:0000\n"}
LOWER_CLOCK = {f"{GPU_CLOCK}/max_freq": "306000000"}
AS_PROVED = {name: JETSON[name] for name in SLOWER_MODE | LOWER_CLOCK}
CHANGED = "the power mode was MAXN_SUPER (2) and is 15W (0) now"
RUNS = 20
LID = LatencyTerms("lid", "c1", 10.0)


@dataclass
class Watched:
    """A device in a folder, its watch, and whatever the watch told the station."""

    root: Path
    alarms: list[tuple[str, str]] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write(self.root, JETSON | CALM)
        self.proved_on = read_device_state(self.root)
        self.latency = LatencyWatch(RUNS)
        self.watch = DeviceWatch(
            lambda: self.proved_on,
            self.latency,
            alarm=lambda name, text: self.alarms.append((name, text)),
            hold=self.holds.append,
            root=self.root,
        )

    def becomes(self, files: dict[str, str]) -> None:
        write(self.root, files)
        self.watch.look()

    def runs(self, *times_ms: float) -> None:
        for spent_ms in times_ms:
            self.latency.add(LID, spent_ms)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "root")


def test_a_device_that_stays_as_it_is_costs_nobody_a_word(watched: Watched) -> None:
    for _ in range(3):
        watched.runs(99.0)
        watched.watch.look()
    assert (watched.alarms, watched.holds) == ([], [])
    assert watched.watch.status()["changed"] == []
    assert watched.latency.collected == 0


def test_a_changed_power_mode_is_told_once_and_the_next_parts_are_measured(watched: Watched) -> None:
    watched.becomes(SLOWER_MODE)
    watched.watch.look()
    assert [name for name, _ in watched.alarms] == ["device_changed"]
    assert CHANGED in watched.alarms[0][1]
    watched.runs(3.0)
    status = watched.watch.status()
    assert (status["changed"], status["latency_parts"], status["latency_parts_needed"]) == ([CHANGED], 1, RUNS)
    assert watched.holds == []


def test_parts_that_stay_fast_prove_the_latency_again(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.becomes(SLOWER_MODE)
    watched.runs(*[3.0] * (RUNS - 1))
    watched.watch.look()
    assert watched.watch.status()["latency"] is None
    watched.runs(9.0)
    with caplog.at_level(logging.INFO):
        watched.watch.look()
    said = "the changed device is fast enough: 99 in 100 of 20 parts of lid took at most 9 ms in the model, 10 ms are"
    assert said in caplog.text
    status = watched.watch.status()
    assert (status["changed"], status["latency_parts_needed"]) == ([CHANGED], 0)
    assert status["latency"] == {
        "product": "lid", "certificate": "c1", "runs": RUNS, "p50_ms": 3.0, "p99_ms": 9.0, "budget_ms": 10.0
    }  # fmt: skip
    assert watched.holds == []
    watched.becomes(AS_PROVED)
    assert watched.watch.status()["latency"] is None


def test_a_device_that_got_too_slow_takes_no_more_parts_until_it_is_set_back(watched: Watched) -> None:
    watched.becomes(SLOWER_MODE)
    watched.runs(*[3.0] * (RUNS - 1), 60.0)
    watched.watch.look()
    watched.watch.look()
    assert [name for name, _ in watched.alarms] == ["device_changed", "device_slow"]
    assert len(watched.holds) == 1
    assert CHANGED in watched.holds[0]
    assert "10 ms are allowed" in watched.holds[0]
    assert watched.watch.status()["latency"]["p99_ms"] == 60.0
    watched.becomes(AS_PROVED)
    assert watched.holds[1:] == [""]
    assert (watched.watch.status()["changed"], watched.watch.status()["latency"]) == ([], None)


@pytest.mark.parametrize("budget_ms", [2.0, LID.budget_ms])
def test_another_product_is_judged_for_itself_on_a_changed_device(watched: Watched, budget_ms: float) -> None:
    watched.becomes(SLOWER_MODE)
    watched.runs(*[3.0] * RUNS)
    watched.watch.look()
    box = LatencyTerms("box", "c2", budget_ms)
    watched.latency.add(box, 3.0)  # after a changeover
    assert watched.watch.status()["latency_parts_needed"] == RUNS
    watched.runs(3.0)  # and back: that one is judged
    assert watched.watch.status()["latency_parts_needed"] == 0
    for _ in range(RUNS):
        watched.latency.add(box, budget_ms + 1)
    watched.watch.look()
    assert (
        f"parts of box took at most {budget_ms + 1:g} ms in the model, {budget_ms:g} ms are allowed" in watched.holds[0]
    )
    watched.becomes(AS_PROVED)
    assert watched.holds[1:] == [""]
    watched.latency.add(LatencyTerms("tray", "c3", 7.0), 3.0)
    assert watched.watch.status()["latency_parts_needed"] == 0


def test_what_judges_now_counts_by_the_device_of_its_own_certificate(watched: Watched) -> None:
    before = watched.proved_on
    watched.becomes(SLOWER_MODE)
    watched.proved_on = read_device_state(watched.root)  # of the product that is in force after a changeover
    watched.watch.look()
    assert (watched.watch.status()["changed"], watched.watch.status()["latency_parts_needed"]) == ([], 0)
    watched.proved_on = before
    watched.watch.look()
    assert watched.watch.status()["changed"] == [CHANGED]
    assert [name for name, _ in watched.alarms] == ["device_changed", "device_changed"]


def test_what_the_device_tells_now_and_nobody_understands_is_told(watched: Watched) -> None:
    watched.becomes({"var/lib/nvpmodel/status": "pmode:0009"})
    assert watched.watch.status()["unread"] == ["/etc/nvpmodel.conf names no power mode 9"]


def test_a_second_change_begins_the_measurement_anew(watched: Watched) -> None:
    watched.becomes(SLOWER_MODE)
    watched.runs(*[3.0] * (RUNS - 1))
    watched.becomes(LOWER_CLOCK)
    assert watched.latency.collected == 0
    assert "17000000.gpu 306000000..306000000 Hz now" in watched.alarms[-1][1]


def test_heat_is_told_at_once_and_while_it_lasts_again(watched: Watched) -> None:
    watched.watch.look()
    watched.becomes(HOT_GPU)
    assert [name for name, _ in watched.alarms] == ["throttled"]
    assert "the cooler gpu-throttle-alert is at step 1" in watched.alarms[0][1]
    assert "97.468 C" in watched.watch.status()["throttled"][-1]
    for _ in range(REMINDER_LOOKS - 1):
        watched.watch.look()
    assert len(watched.alarms) == 1
    watched.watch.look()
    assert [name for name, _ in watched.alarms] == ["throttled", "throttled"]


def test_heat_is_over_after_a_minute_without_it(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.becomes(HOT_GPU)
    with caplog.at_level(logging.INFO):
        watched.becomes(COOL_GPU)
        for _ in range(FREE_LOOKS - 2):
            watched.watch.look()
        assert watched.watch.status()["throttled"]
        watched.watch.look()
    assert watched.watch.status()["throttled"] == []
    assert "nothing holds the device back any more" in caplog.text


def test_a_clock_that_heat_lowers_is_no_other_device_while_the_heat_lasts(watched: Watched) -> None:
    lower = {f"{GPU_CLOCK}/max_freq": "612000000", f"{POLICY.format(0)}/scaling_max_freq": "1113600"}
    watched.becomes(HOT_GPU | lower)
    assert [name for name, _ in watched.alarms] == ["throttled"]
    watched.becomes(COOL_GPU)
    for _ in range(FREE_LOOKS):
        watched.watch.look()
    assert [name for name, _ in watched.alarms] == ["throttled", "device_changed"]
    assert "612000000 Hz now" in watched.alarms[-1][1]


def test_heat_gives_no_parts_back_to_a_station_that_a_lower_clock_made_too_slow(watched: Watched) -> None:
    watched.becomes(LOWER_CLOCK)
    watched.runs(*[60.0] * RUNS)
    watched.watch.look()
    assert len(watched.holds) == 1
    watched.becomes(HOT_GPU)
    watched.becomes(COOL_GPU)
    for _ in range(FREE_LOOKS):
        watched.watch.look()
    assert len(watched.holds) == 1
    assert "306000000 Hz now" in watched.watch.status()["changed"][0]
    watched.becomes(AS_PROVED)
    assert watched.holds[1:] == [""]


def test_heat_does_not_begin_the_measurement_of_a_changed_device_anew(watched: Watched) -> None:
    watched.becomes(SLOWER_MODE | LOWER_CLOCK)
    watched.runs(*[3.0] * (RUNS - 1))
    watched.becomes(HOT_GPU)
    assert watched.latency.collected == RUNS - 1
    watched.becomes(COOL_GPU)
    for _ in range(FREE_LOOKS):
        watched.watch.look()
    assert watched.latency.collected == RUNS - 1
    assert [name for name, _ in watched.alarms] == ["device_changed", "throttled"]


def test_a_station_on_a_device_that_got_too_slow_refuses_parts_and_gives_the_open_ones_their_verdict(
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "root", JETSON)
    proved_on, latency = read_device_state(root), LatencyWatch(RUNS)
    with Line(tmp_path) as line:
        watch = DeviceWatch(
            lambda: proved_on, latency, alarm=lambda *_: None, hold=line.station.hold, root=root, every_s=0.01
        )
        watch.start()
        line.inspection.gate.clear()
        line.trigger("open")
        write(root, SLOWER_MODE)
        assert eventually(lambda: watch.status()["changed"] != [])
        for _ in range(RUNS):
            latency.add(LatencyTerms("lid", "c1", 0.5), 1.0)
        assert eventually(lambda: line.station.stopped_because != "")
        assert CHANGED in line.station.on_command("status", {})["stopped_because"]
        with pytest.raises(StorageError, match="the device is too slow since it changed"):
            line.trigger("next")
        line.inspection.gate.set()
        line.wait_for(1)
        write(root, AS_PROVED)
        assert eventually(lambda: line.station.stopped_because == "")
        line.trigger("later")
        line.wait_for(2)
        watch.stop()


def test_what_judges_after_another_that_was_too_slow_is_given_parts_and_measured(watched: Watched) -> None:
    watched.becomes(SLOWER_MODE)
    watched.runs(*[60.0] * RUNS)
    watched.watch.look()
    assert len(watched.holds) == 1
    watched.latency.turn()
    watched.watch.look()
    watched.watch.look()
    assert watched.holds[1:] == [""]
    assert (watched.latency.wanted, watched.latency.collected) == (RUNS, 0)
    watched.runs(*[60.0] * RUNS)
    watched.watch.look()
    assert len(watched.holds) == 3
    assert "10 ms are allowed" in watched.holds[2]
