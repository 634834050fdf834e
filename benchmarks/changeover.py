"""How long a changeover takes while parts run: to the command's answer, and to the new product's first action.

The line is the real one: a mosquitto process, an `appliance run` process with two products of the shipped model, a
durable ledger, a consumer. The products have bundles of their own, so each has its engine in memory. Parts come at a
steady rate and do not wait for a changeover, so up to one interval of the second figure is the line's own. Exit code 1:
a part was lost, a FAULT, or judged by another product than the one in force when its trigger was taken; or the p99 of
the second figure is LARGEST_MS or more.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from appliance.bundle.archive import read_bundle, write_bundle
from appliance.command_messages import CommandReply
from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE, SHIPPED_BUNDLE, Scene, write_station
from appliance.links.awaited_parts import Outcome
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.report import percentiles
from appliance.simulator.broker import EmbeddedBroker
from benchmarks.results import machine, write

PRODUCTS = ("board-a", "board-b")
LARGEST_MS = 200.0
START_S = 120.0
WAIT_S = 60.0
DEADLINE_MS = 2000
PARTS_BETWEEN = 7
"""Parts from one changeover to the next."""


@dataclass
class Run:
    """What was sent and heard, with its moment on the monotonic clock."""

    triggers: list[str] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    replies: list[CommandReply] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    acted_ns: dict[str, int] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: int = 0


def write_line(folder: Path, port: int) -> Path:
    """Write the demo's station with two products, whose bundles differ in their revision only."""
    bundle = read_bundle(SHIPPED_BUNDLE)
    config = write_station(folder, SHIPPED_BUNDLE, bundle, Scene.simulated(7, 0.1), port=port, deadline_ms=DEADLINE_MS)
    other = folder / "other.bundle"
    contents = {each.name: getattr(bundle, each.name) for each in dataclasses.fields(bundle) if each.name != "digest"}
    manifest = contents.pop("manifest")
    write_bundle(other, manifest.model_copy(update={"revision": manifest.revision + 1}), **contents)
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    recipe, first = document.pop("recipe"), document.pop("bundle")
    document["products"] = {
        name: {"recipe": recipe, "bundle": file} for name, file in zip(PRODUCTS, (first, str(other)), strict=True)
    }
    config.write_text(yaml.safe_dump(document | {"product": PRODUCTS[0]}), encoding="utf-8")
    return config


@contextmanager
def station(folder: Path, config: Path) -> Iterator[None]:
    """Run the station's process."""
    with (folder / "station.log").open("wb") as log:
        command = [sys.executable, "-m", "appliance", "run", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(WAIT_S)


def drive(consumer: LineConsumer, run: Run, changes: int, rate_hz: float) -> None:
    """Announce parts at a steady rate; a changeover falls half an interval after every so many of them."""
    clock, begun_ns, futures = threading.Event(), time.monotonic_ns(), list[Future[Outcome]]()
    answers = list[Future[CommandReply]]()
    for number in range(changes * PARTS_BETWEEN + PARTS_BETWEEN):
        _wait_until(clock, begun_ns + int(number / rate_hz * 1e9))
        trigger_id = f"t-{number:06d}"
        run.triggers.append(trigger_id)
        futures.append(consumer.announce(f"part-{number:06d}", DEADLINE_MS, trigger_id))
        futures[-1].add_done_callback(lambda _, key=trigger_id: run.acted_ns.setdefault(key, time.monotonic_ns()))
        if number % PARTS_BETWEEN == PARTS_BETWEEN - 1 and len(answers) < changes:
            spread = (len(answers) % 10 + 0.5) / 10  # of the interval, so that all moments between two parts are seen
            _wait_until(clock, begun_ns + int((number + spread) / rate_hz * 1e9))
            product = PRODUCTS[(len(answers) + 1) % 2]
            run.asked.append((product, time.monotonic_ns()))
            answers.append(consumer.command("changeover", {"product": product, "by": "benchmark"}))
            answers[-1].add_done_callback(
                lambda _, asked_ns=run.asked[-1][1]: run.answer_ms.append((time.monotonic_ns() - asked_ns) / 1e6)
            )
    run.replies = [each.result(WAIT_S) for each in answers]
    run.lost = sum(each.result(WAIT_S).action is None for each in futures)


def _wait_until(clock: threading.Event, at_ns: int) -> None:
    left_s = (at_ns - time.monotonic_ns()) / 1e9
    if left_s > 0:
        clock.wait(left_s)


def judged_wrongly(run: Run) -> list[str]:
    """Return the triggers whose record names another product than the one in force when they were taken."""
    changed_after = {str(reply.result["last_trigger_id"]): str(reply.result["product"]) for reply in run.replies}
    wrong, in_force = [], PRODUCTS[0]
    for trigger_id in run.triggers:
        versions = run.records[trigger_id]["versions"]
        is_right = versions["product"] == in_force
        is_right &= (versions["bundle_digest"] == run.records[run.triggers[0]]["versions"]["bundle_digest"]) == (
            in_force == PRODUCTS[0]
        )
        wrong += [] if is_right else [trigger_id]
        in_force = changed_after.get(trigger_id, in_force)
    return wrong


def first_action_ms(run: Run) -> list[float]:
    """Return of each changeover the milliseconds from the command to the first action by the new product."""
    found = []
    for (product, asked_ns), reply in zip(run.asked, run.replies, strict=True):
        begin = run.triggers.index(str(reply.result["last_trigger_id"])) + 1
        acted = [
            run.acted_ns[each]
            for each in run.triggers[begin : begin + PARTS_BETWEEN]
            if run.records[each]["versions"]["product"] == product
        ]
        if not acted:
            raise SystemExit(f"the changeover to {product} was overtaken by the next one; lower --rate")
        found.append((min(acted) - asked_ns) / 1e6)
    return found


def measure(changes: int, rate_hz: float) -> tuple[Run, str]:
    """Run the line; returns what was seen and which broker carried it."""
    run, complete = Run(), threading.Event()
    wanted = changes * PARTS_BETWEEN + PARTS_BETWEEN

    def note(record: ReceivedRecord) -> None:
        run.records[record.message.trigger_id] = json.loads(record.message.model_dump_json())
        if len(run.records) == wanted:
            complete.set()

    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        folder = Path(name)
        config = write_line(folder, broker.port)
        settings = MqttSettings.model_validate(
            {"port": broker.port, "device_id": DEVICE_ID, "consumers": [CONSUMER], **PLACE}
        )
        consumer = LineConsumer(settings, CONSUMER, on_record=note, wants_all=True)
        with station(folder, config):
            consumer.open()
            try:
                if not consumer.wait_until_online(START_S):
                    raise SystemExit(f"the station did not start: {(folder / 'station.log').read_text()[-1000:]}")
                drive(consumer, run, changes, rate_hz)
                if not complete.wait(WAIT_S):
                    raise SystemExit(f"{len(run.records)} records of {wanted} came")
            finally:
                consumer.close()
        return run, broker.kind


def main() -> int:
    """Measure, print the figures, write benchmarks/results/changeover.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0)
    arguments = parser.parse_args()
    run, broker = measure(arguments.changes, arguments.rate)
    took_ms = percentiles([float(reply.result["took_ms"]) for reply in run.replies])
    document = {
        "machine": machine(), "broker": broker, "changes": len(run.replies), "parts": len(run.triggers),
        "rate_hz": arguments.rate,
        "answer_ms": percentiles(run.answer_ms), "in_station_ms": took_ms,
        "first_action_ms": percentiles(first_action_ms(run)),
        "lost": run.lost, "wrong_product": len(judged_wrongly(run)),
        "faults": sum(record["verdict"] == "FAULT" for record in run.records.values()),
    }  # fmt: skip
    for name in ("answer_ms", "in_station_ms", "first_action_ms"):
        figures = document[name]
        sys.stdout.write(f"{name:18} p50 {figures['p50']:7.2f}  p99 {figures['p99']:7.2f}  max {figures['max']:7.2f}\n")
    seen = f"lost {run.lost}, FAULT {document['faults']}, by the wrong product {document['wrong_product']}"
    sys.stdout.write(f"{len(run.replies)} changeovers, {len(run.triggers)} parts at {arguments.rate:g}/s: {seen}\n")
    write("changeover", document)
    is_kept = not (run.lost or document["faults"] or document["wrong_product"])
    return 0 if is_kept and document["first_action_ms"]["p99"] < LARGEST_MS else 1


if __name__ == "__main__":
    sys.exit(main())
