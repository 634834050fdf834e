"""Our line on a folder of JPEG files, as fast as it can: camera, correction, model, decision, and the record on disk.

It prints what the peers' scripts print. It does more than they do: light and focus of each picture are measured, the
recipe decides, and the verdict is committed to the ledger before the next line is printed.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE, Scene, write_station
from appliance.engine import instances
from appliance.events import Inspection, Record
from appliance.ports import TriggerRequest
from appliance.processor import Wakefulness
from appliance.wiring import build, settle
from benchmarks.peers.scripts.measuring import LIMIT

LONGEST_MS = 60_000


def main() -> int:
    """Inspect each picture once; a line of JSON for each: whether it is bad, and a time from a result to the next one.

    One may be judged before the one before it, so the time in a picture's line need not be its own.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--runtime", type=json.loads, required=True, help="the runtime section, as JSON")
    given = parser.parse_args()
    bundle, scene = read_bundle(given.bundle), Scene.recorded(given.pictures)
    runtime = RuntimeSection.model_validate(given.runtime)
    free = threading.Semaphore(instances(runtime) + 1)
    ended_ns: list[int] = []
    is_bad: dict[str, bool] = {}

    def note(inspection: Inspection, record: Record, record_us: int) -> None:
        scores = [found.score for view in inspection.views for found in view.detections]
        is_bad[inspection.trigger.trigger_id] = max(scores, default=0.0) >= LIMIT
        ended_ns.append(time.monotonic_ns())
        free.release()

    with tempfile.TemporaryDirectory() as folder:
        config = write_station(
            Path(folder), given.bundle, bundle, scene, port=None, deadline_ms=LONGEST_MS, runtime=runtime
        )
        with build(config, on_record=note) as appliance, Wakefulness(0):
            settle()
            sys.stdout.write(json.dumps({"version": appliance.versions.runtime}) + "\n")
            started_ns = time.monotonic_ns()
            for number in range(scene.pictures):
                free.acquire()
                appliance.station.on_trigger(TriggerRequest(f"t-{number}", f"part-{number}"))
    moments_ns = [started_ns, *sorted(ended_ns)]
    for number, (before_ns, after_ns) in enumerate(pairwise(moments_ns)):
        sys.stdout.write(json.dumps({"ms": (after_ns - before_ns) / 1e6, "is_bad": is_bad[f"t-{number}"]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
