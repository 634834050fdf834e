"""A whole station whose device changes under it: the plant hears of it, and live parts prove the latency again."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from appliance.latency_watch import LIVE_RUNS
from appliance.links.topics import Topics
from appliance.ports import TriggerRequest
from appliance.simulator.broker import EmbeddedBroker
from appliance.wiring import build
from tests.device_root import CALM, HOT_GPU, JETSON, write
from tests.models import tiny_bundle
from tests.plant import write_station
from tests.stations import Line, mqtt_settings, until

UNHURRIED = {"max_capture_delay_ms": 60_000}
"""A part whose picture comes late on a busy computer would not be shown to the model, nor counted."""
PLACE = ("enterprise", "site", "area", "line", "station", "device_id")


def test_the_plant_hears_of_heat_and_of_a_new_power_mode_and_live_parts_prove_the_latency_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path / "root", JETSON | CALM)
    tiny_bundle(tmp_path / "tiny.bundle")
    config = write_station(tmp_path)
    with EmbeddedBroker("amqtt") as broker:
        settings = mqtt_settings(broker.port)
        place = {name: getattr(settings, name) for name in PLACE}
        changes = {"device": place, "mqtt": {"port": broker.port}, "runtime": {"threads": 1}, **UNHURRIED}
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | changes))
        line = Line(broker.port, Topics.of(settings), is_mqtt5=False)
        with build(config, device_root=root) as appliance, caplog.at_level(logging.INFO):
            until(lambda: line.documents(line.topics.alarm), "the link is up: that of MQTT 3.1.1 is its first alarm")
            write(root, HOT_GPU)
            appliance.device_watch.look()
            write(root, {"var/lib/nvpmodel/status": "pmode:0000"})
            appliance.device_watch.look()
            alarms = until(
                lambda: (
                    found
                    if {"throttled", "device_changed"}
                    <= set(found := {each["name"]: each["text"] for each in line.documents(line.topics.alarm)})
                    else None
                ),
                "the alarms about the heat and the mode",
            )
            for number in range(LIVE_RUNS):
                appliance.station.on_trigger(TriggerRequest(f"t-{number}", f"part-{number}"))
                until(lambda seq=number + 1: appliance.ledger.last_seq() == seq, "the verdict")
            appliance.device_watch.look()
            status = appliance.station.on_command("status", {})["device"]
        line.close()
    assert "the cooler gpu-throttle-alert is at step 1" in alarms["throttled"]
    assert "the power mode was MAXN_SUPER (2) and is 15W (0) now" in alarms["device_changed"]
    assert (status["latency"]["product"], status["latency"]["runs"]) == ("spots", LIVE_RUNS)
    assert status["latency"]["p99_ms"] <= status["latency"]["budget_ms"]
    assert (len(status["changed"]), status["latency_parts_needed"]) == (1, 0)
    assert "the changed device is fast enough" in caplog.text


class WhenTold(logging.Handler):
    """Does something once the log tells of something."""

    def __init__(self, words: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._words = words
        self._acts = [act]

    def emit(self, record: logging.LogRecord) -> None:
        if self._words in record.getMessage() and self._acts:
            self._acts.pop()()


def test_a_device_that_changes_while_the_station_starts_is_compared_with_what_the_certificate_names(
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "root", JETSON | CALM)
    tiny_bundle(tmp_path / "tiny.bundle")
    config = write_station(tmp_path)
    start, slower = logging.getLogger("appliance.products"), {"var/lib/nvpmodel/status": "pmode:0000"}
    changes = WhenTold("golden images speak for the proof", lambda: write(root, slower))  # the bundle is read
    start.addHandler(changes)
    try:
        appliance = build(config, device_root=root)
    finally:
        start.removeHandler(changes)
    with appliance:
        appliance.device_watch.look()
        assert appliance.certificate.device.power_mode == "15W (0)"
        assert appliance.device_watch.status()["changed"] == []
        write(root, {"var/lib/nvpmodel/status": "pmode:0002"})
        appliance.device_watch.look()
        assert appliance.device_watch.status()["changed"] == ["the power mode was 15W (0) and is MAXN_SUPER (2) now"]
