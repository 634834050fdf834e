"""Resident memory of a station between its ten-thousandth and its hundred-thousandth part.

The station runs in this process on recorded pictures, as fast as it can, with its ledger and its outbox; a consumer's
acknowledgement stands in for the network, so that the outbox drains as it does in a plant.
"""

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path

from appliance.bundle.archive import read_bundle
from appliance.demo.station import SHIPPED_BUNDLE, Scene, write_station
from appliance.events import Inspection, Record
from appliance.ports import TriggerRequest
from appliance.wiring import build
from benchmarks.end_to_end import write_pictures
from benchmarks.results import machine, write

IN_FLIGHT = 2
ACKNOWLEDGE_EVERY = 50


def resident_kib() -> int:
    """Return this process's resident memory in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main() -> int:
    """Measure, print, write benchmarks/results/memory.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--settle", type=int, default=10_000, help="parts before the first reading")
    parser.add_argument("--parts", type=int, default=100_000)
    arguments = parser.parse_args()
    free = threading.Semaphore(IN_FLIGHT)
    readings: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        write_pictures(pictures)
        scene, bundle = Scene.recorded(pictures), read_bundle(arguments.bundle)
        config = write_station(Path(folder) / "station", arguments.bundle, bundle, scene, port=None, deadline_ms=60_000)

        def note(inspection: Inspection, record: Record, record_us: int) -> None:
            if record.seq % ACKNOWLEDGE_EVERY == 0:
                appliance.ledger.acknowledge("broker", record.seq)
            free.release()

        with build(config, on_record=note) as appliance:
            for number in range(1, arguments.parts + 1):
                free.acquire()
                appliance.station.on_trigger(TriggerRequest(f"t-{number}", f"part-{number}"))
                if number % max(1, arguments.settle // 2) == 0:
                    readings[number] = resident_kib()
                    sys.stdout.write(f"{number} parts: {readings[number] / 1024:.1f} MiB\n")
                    sys.stdout.flush()
    first, last = readings[arguments.settle], readings[max(readings)]
    growth = (last - first) / first
    sys.stdout.write(f"growth from part {arguments.settle} to part {max(readings)}: {growth:.2%}\n")
    write("memory", {"machine": machine(), "resident_kib": readings, "growth_ratio": round(growth, 5)})
    sys.stdout.write(json.dumps({"growth_ratio": growth}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
