"""What an update costs the line: the times of verdicts while one is fetched, built and proved, and while none is.

The line is the one of `benchmarks.shadow`: a mosquitto process, an `appliance run` process with the shipped model, a
durable ledger. Beside it a process with the agent's code fetches the next release over http, builds and proves it in
its child processes, and begins anew until its block is over. Blocks of parts with and without it take turns; the ratio
of the 99th percentiles is of two neighbours, and the median of those counts. Exit code 1: a part was lost or a FAULT,
the median is over LARGEST_RATIO, or no update came to the end of its proof.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from appliance.bundle.archive import read_bundle
from appliance.config import load_config
from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE
from appliance.links.consumer import LineConsumer
from appliance.links.settings import MqttSettings
from appliance.report import percentiles
from appliance.simulator.broker import EmbeddedBroker
from benchmarks.changeover import START_S, station
from benchmarks.results import machine, write
from benchmarks.shadow import WAYS, Times, run_block, write_line
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_server import UpdateServer

LARGEST_RATIO = 1.05
END_S = 60.0


def set_up(folder: Path, port: int, repository: Repository) -> tuple[Path, Path, str]:
    """Write the station whose release is in the agent's slots, and publish the next one; config, slots, its name."""
    config, files = write_line(folder, port)
    older, newer = files.values()
    name = read_bundle(older).manifest.name
    models = folder / "models"
    (models / name).mkdir(parents=True)
    (models / name / "a.bundle").write_bytes(older.read_bytes())
    (models / name / "current.bundle").symlink_to("a.bundle")
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    mine = {"bundle": str(models / name / "current.bundle"), "releases": str(models)}
    config.write_text(yaml.safe_dump(document | mine), encoding="utf-8")
    digest = read_bundle(newer).digest
    for certificate in load_config(config)[0].certificates.iterdir():
        if digest in certificate.read_text(encoding="utf-8"):
            certificate.unlink()  # it is to be proved again and again
    target = f"models/{name}/{name}-2.bundle"
    repository.delegate("models", ["models/*/*"], terminating=True)
    repository.add_target(target, newer.read_bytes(), role="models", custom={"kind": "model", "seq": 2})
    repository.publish("models", *ALL_BUT_ROOT)
    (folder / "agent").mkdir()
    (folder / "agent" / "root.json").write_bytes(repository.root_bytes())
    return config, models, target


@contextmanager
def updating(folder: Path, url: str, target: str, config: Path, models: Path) -> Iterator[list[dict[str, Any]]]:
    """Have updates under way; afterwards the list has what came of them."""
    found: list[dict[str, Any]] = []
    command = [sys.executable, "-m", "benchmarks.updating_agent", str(folder / "agent"), url, target]
    agent = subprocess.Popen(
        [*command, str(config), str(models)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    agent.stdout.readline()
    try:
        yield found
    finally:
        said, _ = agent.communicate(timeout=END_S)
    found.append(json.loads(said))


def measure(blocks: int, parts: int, rate_hz: float) -> tuple[list[Times], list[dict[str, Any]], str]:
    """Run the line; returns the times of each pair of blocks, what the updates did, and which broker carried it."""
    pairs, updates, repository = list[Times](), list[dict[str, Any]](), Repository()
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        folder, records = Path(name), Times().records
        config, models, target = set_up(folder, broker.port, repository)
        settings = MqttSettings.model_validate({"port": broker.port, "device_id": DEVICE_ID, **PLACE})
        consumer = LineConsumer(
            settings, CONSUMER, wants_all=True,
            on_record=lambda record: records.update({record.message.trigger_id: record}),
        )  # fmt: skip
        with UpdateServer(repository.files) as server, station(folder, config):
            consumer.open()
            try:
                if not consumer.wait_until_online(START_S):
                    raise SystemExit(f"the station did not start: {(folder / 'station.log').read_text()[-1000:]}")
                run_block(consumer, Times(records=records), "without", "first", 50, rate_hz)
                for block in range(blocks):
                    times = Times(records=records)
                    run_block(consumer, times, "without", f"{block}-without", parts, rate_hz)
                    with updating(folder, server.url, target, config, models) as found:
                        run_block(consumer, times, "with", f"{block}-with", parts, rate_hz)
                    updates += found
                    pairs.append(times)
            finally:
                consumer.close()
        return pairs, updates, broker.kind


def main() -> int:
    """Measure, print the figures, write benchmarks/results/update_load.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10, help="with and without an update each")
    parser.add_argument("--parts", type=int, default=400, help="of one block")
    parser.add_argument("--rate", type=float, default=20.0)
    arguments = parser.parse_args()
    pairs, updates, broker = measure(arguments.blocks, arguments.parts, arguments.rate)
    figures = {way: [percentiles(each.verdict_ms[way]) for each in pairs] for way in WAYS}
    medians = {
        way: {key: round(statistics.median(each[key] for each in found), 3) for key in ("p50", "p99")}
        for way, found in figures.items()
    }
    ratios = [beside["p99"] / alone["p99"] for alone, beside in zip(figures["without"], figures["with"], strict=True)]
    ratio, lost = statistics.median(ratios), sum(each.lost for each in pairs)
    faults = sum(record.message.verdict == "FAULT" for record in pairs[0].records.values())
    rounds = sum(each["rounds"] for each in updates)
    for way, found in medians.items():
        told = f"p50 {found['p50']:7.2f}  p99 {found['p99']:7.2f} ms"
        sys.stdout.write(f"trigger to verdict, {way:7} an update: {told}\n")
    sys.stdout.write(f"p99 with an update over without: {ratio:.3f} (goal {LARGEST_RATIO}), of pairs ")
    sys.stdout.write(", ".join(f"{each:.2f}" for each in ratios) + "\n")
    sys.stdout.write(f"{rounds} updates were fetched, built and proved meanwhile; lost {lost}, FAULT {faults}\n")
    write("update_load", {
        "machine": machine(), "broker": broker, "rate_hz": arguments.rate, "blocks": arguments.blocks,
        "parts": arguments.parts, "verdict_ms": medians, "p99_ratio": round(ratio, 3),
        "p99_ratios": [round(each, 3) for each in ratios], "updates": updates, "lost": lost, "faults": faults,
    })  # fmt: skip
    return 0 if ratio <= LARGEST_RATIO and rounds and not lost and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
