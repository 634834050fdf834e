"""A small plant of real processes: mosquitto, `appliance run`, and a line that repeats what is not answered."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import yaml

from appliance.bundle.whole_file import write_whole
from appliance.events import Challenge
from appliance.links.awaited_parts import Outcome
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.simulator.broker import EmbeddedBroker
from tests.models import spot_picture, tiny_bundle

PLACE = {"enterprise": "acme", "site": "north", "area": "smt", "line": "line-1", "station": "aoi-1"}
DEVICE_ID = "aoi-1"
CONSUMER = "quality"
START_S = 40.0
RECIPE = {
    "schema": "vi.recipe/1",
    "name": "spots",
    "version": 1,
    "deadline_ms": 5000,
    "answer_reserve_ms": 100,
    "views": [
        {
            "name": "top",
            "width_px": 64,
            "height_px": 64,
            "channels": 1,
            "image_limits": {
                "brightness_min": 1.0,
                "brightness_max": 254.0,
                "sharpness_min": 0.0,
                "clipped_low_max_ratio": 1.0,
                "clipped_high_max_ratio": 1.0,
            },
        }
    ],
}


def write_station(folder: Path) -> Path:
    """Write a station without a broker that sees one good picture; its bundle is yet to come. Returns config.yaml."""
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "0.png"), spot_picture(64, 64))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    config = {
        "schema": "vi.config/1",
        "device": {"device_id": "d", "enterprise": "e", "site": "s", "area": "a", "line": "l", "station": "t"},
        "bundle": "tiny.bundle",
        "recipe": "recipe.yaml",
        "ledger": {"path": "ledger.db"},
        "images": {"directory": "images", "min_free_mb": 0},
        "cameras": {"top": {"type": "folder", "directory": "pictures"}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


class Plant:
    """Everything that stands around one station; every second recorded picture shows a spot."""

    def __init__(
        self,
        folder: Path,
        *,
        broker: str = "mosquitto",
        camera: dict[str, Any] | None = None,
        recipe: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        clock_tolerance_ms: int = 0,
        products: Callable[[Path], dict[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.broker = EmbeddedBroker(broker)  # type: ignore[arg-type]
        self.process: subprocess.Popen[bytes] | None = None
        self.records: list[ReceivedRecord] = []
        self.recorded: set[str] = set()
        self.outcomes: dict[str, Outcome] = {}
        self.announced_ns: dict[str, int] = {}
        self._changed = threading.Condition()
        tiny_bundle(folder / "tiny.bundle")
        pictures = folder / "pictures"
        pictures.mkdir()
        cv2.imwrite(str(pictures / "good.png"), spot_picture(64, 64))
        cv2.imwrite(str(pictures / "spot.png"), spot_picture(64, 64, [(1, 1, 200)]))
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | (recipe or {})))
        self.config = {
            "schema": "vi.config/1",
            "device": {"device_id": DEVICE_ID, **PLACE},
            "bundle": "tiny.bundle",
            "recipe": "recipe.yaml",
            "ledger": {"path": "ledger.db"},
            "images": {"directory": "images", "accept_one_in": 0, "quota_mb": 10, "min_free_mb": 0},
            "cameras": {"top": camera or {"type": "folder", "directory": "pictures"}},
            "mqtt": {"host": "127.0.0.1", "port": self.broker.port, "consumers": [CONSUMER]},
            "runtime": {"kind": "onnx", "threads": 1},
            "queue_size": 50,
            "max_capture_delay_ms": 4000,
        }
        if products is not None:
            several = products(folder)
            self.config = {key: self.config[key] for key in self.config if key not in ("bundle", "recipe")} | several
        self.consumer = LineConsumer(
            self.settings(), CONSUMER, on_record=self._take, wants_all=True, clock_tolerance_ms=clock_tolerance_ms
        )

    def settings(self) -> MqttSettings:
        return MqttSettings.model_validate(
            {"port": self.broker.port, "device_id": DEVICE_ID, "consumers": [CONSUMER], **PLACE}
        )

    def __enter__(self) -> "Plant":
        self.broker.__enter__()
        self.start()
        self.consumer.open()
        assert self.consumer.wait_until_online(START_S), self.log()
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
        self.stop()
        self.broker.__exit__(None, None, None)

    def start(self) -> None:
        """Start the station's process."""
        write_whole(self.folder / "config.yaml", yaml.safe_dump(self.config).encode())  # an agent reads it at any time
        with (self.folder / "appliance.log").open("ab") as log:
            command = [sys.executable, "-m", "appliance", "run", "--config", str(self.folder / "config.yaml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)

    def kill(self) -> None:
        """End the station's process as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Take the processor away from the station's process, as a hung host would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask the station to stop; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def log(self) -> str:
        return (self.folder / "appliance.log").read_text()[-3000:]

    def announce(
        self,
        part_id: str,
        deadline_ms: int = 900,
        repeat_every_ms: int | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        """Announce a part; its outcome comes into `outcomes`, the monotonic time of it is in `announced_ns`."""
        self.announced_ns.setdefault(f"t-{part_id}", time.monotonic_ns())
        future = self.consumer.announce(part_id, deadline_ms, f"t-{part_id}", repeat_every_ms, challenge)
        future.add_done_callback(lambda done: self._note(done.result()))

    def _note(self, outcome: Outcome) -> None:
        with self._changed:
            self.outcomes[outcome.part_id] = outcome
            self._changed.notify_all()

    def _take(self, record: ReceivedRecord) -> None:
        with self._changed:
            self.records.append(record)
            self.recorded.add(record.message.part_id)
            self._changed.notify_all()

    def wait_for_records(self, count: int, timeout_s: float = 30.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.records) >= count, timeout_s), (
                f"{len(self.records)} records of {count}; {self.log()}"
            )

    def wait_for_outcomes(self, count: int, timeout_s: float = 30.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, timeout_s), self.log()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the ledger, as a quality engineer would: read only."""
        connection = sqlite3.connect(f"file:{self.folder / 'ledger.db'}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
