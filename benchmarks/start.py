"""From the start of `appliance run` to the first verdict at a subscriber, without a certificate and with one.

The station is the demo's: the shipped model, a simulated camera, a broker on this machine, a ledger on its disk. The
line is there before, and announces a part as soon as the station says that it is online. A cold start has no
certificate, so that the station proves the model first; a warm one finds that of the start before. Exit code 1: with
one of the runtimes the median of the warm starts is longer than GOAL_S, or a part was not inspected.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE, SHIPPED_BUNDLE, Scene, write_station
from appliance.links.consumer import LineConsumer
from appliance.links.settings import MqttSettings
from appliance.report import percentiles
from appliance.simulator.broker import EmbeddedBroker
from benchmarks.results import machine, write

GOAL_S = 3.0
RUNTIMES: tuple[Literal["onnx", "openvino"], ...] = ("onnx", "openvino")
LONGEST_START_S = 120.0
DEADLINE_MS = 5000


def first_verdict_s(config: Path, port: int) -> tuple[float, float]:
    """Start a station, announce a part, stop it; return seconds until it was online, and until the verdict.

    Raises:
        SystemExit: it did not start, or the part was not inspected.
    """
    settings = MqttSettings.model_validate({"port": port, "device_id": DEVICE_ID, "consumers": [CONSUMER], **PLACE})
    line = LineConsumer(settings, CONSUMER)
    line.open()
    log = config.with_name("appliance.log").open("ab")
    started_ns = time.monotonic_ns()
    command = [sys.executable, "-m", "appliance", "run", "--config", str(config)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        if not line.wait_until_online(LONGEST_START_S):
            raise SystemExit(f"the station did not come up in {LONGEST_START_S:.0f} s; see {log.name}")
        online_ns = time.monotonic_ns()
        outcome = line.announce(f"part-{started_ns}", DEADLINE_MS).result()
        ended_ns = time.monotonic_ns()
        if outcome.action is None or outcome.action.verdict == "FAULT":
            raise SystemExit(f"the first part was not inspected: {outcome.reason}; see {log.name}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        line.close()
        log.close()
    return (online_ns - started_ns) / 1e9, (ended_ns - started_ns) / 1e9


def starts(config: Path, port: int, count: int, *, is_cold: bool) -> dict[str, Any]:
    """Start the station so many times; return the seconds to the first verdict, and until it was online."""
    online_s, verdict_s = [], []
    for _ in range(count):
        if is_cold:
            shutil.rmtree(config.with_name("certificates"), ignore_errors=True)
        online, verdict = first_verdict_s(config, port)
        online_s.append(online)
        verdict_s.append(verdict)
    return {"starts": count, "online_s": percentiles(online_s), "first_verdict_s": percentiles(verdict_s)}


def main() -> int:
    """Measure, print, write benchmarks/results/start.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--cold", type=int, default=3, help="starts without a certificate (default %(default)s)")
    parser.add_argument("--warm", type=int, default=10, help="starts with one (default %(default)s)")
    arguments = parser.parse_args()
    bundle = read_bundle(arguments.bundle)
    found: dict[str, dict[str, Any]] = {}
    for kind in RUNTIMES:
        with tempfile.TemporaryDirectory() as folder, EmbeddedBroker("auto") as broker:
            config = write_station(
                Path(folder) / "station", arguments.bundle, bundle, Scene.simulated(1, 0.0), port=broker.port,
                runtime=RuntimeSection(kind=kind),
            )  # fmt: skip
            for name, count, is_cold in (("cold", arguments.cold, True), ("warm", arguments.warm, False)):
                found[f"{kind} {name}"] = its = starts(config, broker.port, count, is_cold=is_cold)
                figures = its["first_verdict_s"]
                sys.stdout.write(
                    f"{kind} {name}: first verdict after p50 {figures['p50']:.2f} s, max {figures['max']:.2f} s, of "
                    f"which online after {its['online_s']['p50']:.2f} s; {count} starts\n"
                )
            used = broker.kind
    write("start", {"machine": machine(), "broker": used, "golden_images": len(bundle.golden), **found})
    return int(any(found[f"{kind} warm"]["first_verdict_s"]["p50"] >= GOAL_S for kind in RUNTIMES))


if __name__ == "__main__":
    sys.exit(main())
