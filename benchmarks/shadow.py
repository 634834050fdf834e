"""What a shadow costs the line: the times of verdicts with a candidate beside it and without one, in one run.

The line is the real one: a mosquitto process, an `appliance run` process with the shipped model, a durable ledger, a
consumer. The candidate is the same model under the next revision, so that both do the same work. Blocks of
parts with and without it take turns, because a computer is not the same from minute to minute. At the end the candidate
is put in force and taken back, first from memory, as an update on trial would be, and then from the disk. Exit code 1:
a part was lost or a FAULT, or the 99th percentile from the trigger to the action grew by more than LARGEST_RATIO.
"""

import argparse
import dataclasses
import hashlib
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import yaml

from appliance.bundle.archive import read_bundle, write_bundle
from appliance.config import load_config
from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE, SHIPPED_BUNDLE, Scene, write_station
from appliance.links.awaited_parts import Outcome
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.products import activate_configured, load_bound_recipe
from appliance.report import percentiles
from appliance.simulator.broker import EmbeddedBroker
from benchmarks.changeover import START_S, WAIT_S, station
from benchmarks.end_to_end import write_pictures
from benchmarks.results import machine, write

LARGEST_RATIO = 1.05
DEADLINE_MS = 2000
COMMAND_S = 300.0
WAYS = ("without", "with")


@dataclasses.dataclass
class Times:
    """Milliseconds of each part without and with a shadow: trigger to action, and trigger to verdict."""

    action_ms: dict[str, list[float]] = dataclasses.field(default_factory=lambda: {way: [] for way in WAYS})
    verdict_ms: dict[str, list[float]] = dataclasses.field(default_factory=lambda: {way: [] for way in WAYS})
    records: dict[str, ReceivedRecord] = dataclasses.field(default_factory=dict)
    shadows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    releases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    lost: int = 0


def write_line(folder: Path, port: int) -> tuple[Path, dict[int, Path]]:
    """Write the station and two proven releases; returns config.yaml and revision -> file."""
    pictures = folder / "pictures"
    pictures.mkdir()
    write_pictures(pictures, 100)
    bundle = read_bundle(SHIPPED_BUNDLE)
    config = write_station(folder, SHIPPED_BUNDLE, bundle, Scene.recorded(pictures), port=port, deadline_ms=DEADLINE_MS)
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump(document | {"releases": "releases"}), encoding="utf-8")
    releases = folder / "releases"
    releases.mkdir()
    contents = {each.name: getattr(bundle, each.name) for each in dataclasses.fields(bundle) if each.name != "digest"}
    manifest = contents.pop("manifest")
    files = {revision: releases / f"{revision}.bundle" for revision in (manifest.revision, manifest.revision + 1)}
    loaded, _ = load_config(config)
    for revision, path in files.items():
        release = write_bundle(path, manifest.model_copy(update={"revision": revision}), **contents)
        recipe = load_bound_recipe(loaded, loaded.product_files()[""], release)
        activate_configured(loaded, release, recipe).close()
    return config, files


def run_block(consumer: LineConsumer, times: Times, way: str, name: str, parts: int, rate_hz: float) -> None:
    """Announce parts at a steady rate and note when their actions came."""
    clock, begun_ns = threading.Event(), time.monotonic_ns()
    acted: dict[str, float] = {}
    futures: list[Future[Outcome]] = []
    for number in range(parts):
        if (left_s := (begun_ns + number / rate_hz * 1e9 - time.monotonic_ns()) / 1e9) > 0:
            clock.wait(left_s)
        trigger_id, sent_ns = f"t-{name}-{number:05d}", time.monotonic_ns()
        futures.append(consumer.announce(f"part-{name}-{number:05d}", DEADLINE_MS, trigger_id))
        futures[-1].add_done_callback(
            lambda _, key=trigger_id, at=sent_ns: acted.setdefault(key, (time.monotonic_ns() - at) / 1e6)
        )
    times.lost += sum(each.result(WAIT_S).action is None for each in futures)
    times.action_ms[way] += acted.values()
    until = time.monotonic() + WAIT_S
    while any(key not in times.records for key in acted):
        if time.monotonic() > until:
            raise SystemExit("records did not come")
        clock.wait(0.05)
    times.verdict_ms[way] += [times.records[key].message.latency_ms for key in acted]


def ask(consumer: LineConsumer, command: str, **arguments: Any) -> dict[str, Any]:
    """Send a command and wait for its result."""
    reply = consumer.command(command, {"by": "benchmark", **arguments}).result(COMMAND_S)
    if not reply.ok:
        raise SystemExit(f"{command} was refused: {reply.error}")
    return reply.result


def measure(blocks: int, parts: int, rate_hz: float) -> tuple[Times, str]:
    """Run the line; returns what was seen and which broker carried it."""
    times = Times()
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        folder = Path(name)
        config, files = write_line(folder, broker.port)
        settings = MqttSettings.model_validate({"port": broker.port, "device_id": DEVICE_ID, **PLACE})
        consumer = LineConsumer(
            settings, CONSUMER, wants_all=True,
            on_record=lambda record: times.records.update({record.message.trigger_id: record}),
        )  # fmt: skip
        with station(folder, config):
            consumer.open()
            try:
                if not consumer.wait_until_online(START_S):
                    raise SystemExit(f"the station did not start: {(folder / 'station.log').read_text()[-1000:]}")
                _drive(consumer, times, files, blocks, parts, rate_hz)
            finally:
                consumer.close()
        return times, broker.kind


def _drive(
    consumer: LineConsumer, times: Times, files: dict[int, Path], blocks: int, parts: int, rate_hz: float
) -> None:
    product = ask(consumer, "status")["product"]
    older, newer = ({"product": product, "bundle": str(path), "sha256": _digest(path)} for path in files.values())
    warm_up = Times(records=times.records)
    run_block(consumer, warm_up, "without", "first", 50, rate_hz)
    for block in range(blocks):
        run_block(consumer, times, "without", f"{block}-without", parts, rate_hz)
        ask(consumer, "shadow", **newer)
        run_block(consumer, times, "with", f"{block}-with", parts, rate_hz)
        times.shadows.append(ask(consumer, "shadow", product=product, stop=True))
    for wanted in (newer | {"keeps_former": True}, older | {"rollback": True}, newer, older | {"rollback": True}):
        times.releases.append(ask(consumer, "release", **wanted))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Measure, print the figures, write benchmarks/results/shadow.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10, help="with and without a shadow each")
    parser.add_argument("--parts", type=int, default=300, help="of one block")
    parser.add_argument("--rate", type=float, default=20.0)
    arguments = parser.parse_args()
    times, broker = measure(arguments.blocks, arguments.parts, arguments.rate)
    action = {way: percentiles(spent) for way, spent in times.action_ms.items()}
    verdict = {way: percentiles(spent) for way, spent in times.verdict_ms.items()}
    ratio = action["with"]["p99"] / action["without"]["p99"]
    faults = sum(record.message.verdict == "FAULT" for record in times.records.values())
    for what, figures in (("trigger to action", action), ("trigger to verdict", verdict)):
        for way in WAYS:
            row = figures[way]
            sys.stdout.write(f"{what:18} {way:8} p50 {row['p50']:7.2f}  p99 {row['p99']:7.2f}  max {row['max']:7.2f}\n")
    counts = ("judged", "skipped", "differing")
    judged, skipped, differing = (sum(each[key] for each in times.shadows) for key in counts)
    sys.stdout.write(f"p99 with a shadow over without: {ratio:.3f} (goal {LARGEST_RATIO})\n")
    sys.stdout.write(f"the shadow judged {judged}, skipped {skipped}, differed on {differing}; ")
    sys.stdout.write(f"lost {times.lost}, FAULT {faults}\n")
    for each in times.releases:
        sys.stdout.write(f"release in force after {each['took_ms']:.0f} ms, changed in {each['switch_ms']:.1f} ms\n")
    write("shadow", {
        "machine": machine(), "broker": broker, "rate_hz": arguments.rate, "parts": len(times.records),
        "action_ms": action, "verdict_ms": verdict, "p99_ratio": round(ratio, 3),
        "judged": judged, "skipped": skipped, "differing": differing, "lost": times.lost, "faults": faults,
        "releases": [{key: each[key] for key in ("took_ms", "switch_ms")} for each in times.releases],
    })  # fmt: skip
    return 0 if ratio <= LARGEST_RATIO and not times.lost and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
