"""Resident memory of a station between its ten-thousandth and its hundred-thousandth part.

The station runs in this process on recorded pictures, as fast as it can, with its ledger, its outbox and its link; the
broker and a consumer that acknowledges every record are processes of their own. Exit code 1: it grew by 1 % or more.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
from pathlib import Path

from appliance.bundle.archive import read_bundle
from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE, SHIPPED_BUNDLE, Scene, write_station
from appliance.events import Inspection, Record
from appliance.links.consumer import LineConsumer
from appliance.links.settings import MqttSettings
from appliance.ports import TriggerRequest
from appliance.simulator.broker import EmbeddedBroker
from appliance.wiring import build, settle
from benchmarks.end_to_end import write_pictures
from benchmarks.results import machine, write

IN_FLIGHT = 2
LARGEST_GROWTH = 0.01


def resident_kib() -> int:
    """Return this process's resident memory in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def take_records(port: int) -> None:
    """Be the plant: take every record and acknowledge it, until killed."""
    settings = MqttSettings.model_validate({"port": port, "device_id": DEVICE_ID, "consumers": [CONSUMER], **PLACE})
    LineConsumer(settings, CONSUMER, on_record=lambda record: None, wants_all=True).open()
    threading.Event().wait()


def main() -> int:
    """Measure, print, write benchmarks/results/memory.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--settle", type=int, default=10_000, help="parts before the first reading")
    parser.add_argument("--parts", type=int, default=100_000)
    arguments = parser.parse_args()
    free = threading.Semaphore(IN_FLIGHT)
    readings: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
        plant = multiprocessing.get_context("spawn").Process(target=take_records, args=(broker.port,), daemon=True)
        plant.start()
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        write_pictures(pictures)
        scene, bundle = Scene.recorded(pictures), read_bundle(arguments.bundle)
        config = write_station(
            Path(folder) / "station", arguments.bundle, bundle, scene, port=broker.port, deadline_ms=60_000
        )

        def note(inspection: Inspection, record: Record, record_us: int) -> None:
            free.release()

        with build(config, on_record=note) as appliance:
            settle()  # as `appliance run` does
            for number in range(1, arguments.parts + 1):
                free.acquire()
                appliance.station.on_trigger(TriggerRequest(f"t-{number}", f"part-{number}"))
                if number % max(1, arguments.settle // 2) == 0:
                    readings[number] = resident_kib()
                    sys.stdout.write(f"{number} parts: {readings[number] / 1024:.1f} MiB\n")
                    sys.stdout.flush()
            owed = appliance.ledger.depth()
        plant.kill()
    first, last = readings[arguments.settle], readings[max(readings)]
    growth = (last - first) / first
    sys.stdout.write(
        f"growth from part {arguments.settle} to part {max(readings)}: {growth:.2%}, {owed} records owed\n"
    )
    figures = {"resident_kib": readings, "growth_ratio": round(growth, 5), "records_owed": owed}
    write("memory", {"machine": machine(), **figures})
    return 0 if growth < LARGEST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
