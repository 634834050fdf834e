"""What an update costs the line: the times of verdicts while one is fetched, built and proved, and while none is.

The line is the one of `benchmarks.shadow`: a mosquitto process, an `appliance run` process with the shipped model, a
durable ledger. Beside it a process with the agent's code fetches the next release over http, builds and proves it in
its child processes, and begins anew until its block is over. Blocks of parts with and without it take turns, so
that each block with it lies between two without. The ratio is of the 99th percentiles of all parts with and all parts
without it; the same ratio of every other block without it says how much of that is the computer's own unrest. Exit code
1: a part was lost or a FAULT, the ratio is over LARGEST_RATIO, or no update came to the end of its proof.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
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
DRAWS = 2000
WARM_UP_PARTS = 50


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
    """Run the line; returns the times of each block, what the updates did, and which broker carried it."""
    found, updates, repository = list[Times](), list[dict[str, Any]](), Repository()
    with tempfile.TemporaryDirectory() as name, EmbeddedBroker() as broker:
        folder, records = Path(name), Times().records
        config, models, target = set_up(folder, broker.port, repository)
        settings = MqttSettings.model_validate({"port": broker.port, "device_id": DEVICE_ID, **PLACE})
        consumer = LineConsumer(
            settings, CONSUMER, wants_all=True,
            on_record=lambda record: records.update({record.message.trigger_id: record}),
        )  # fmt: skip

        def run(way: str, count: int = parts) -> Times:
            times = Times(records=records)
            run_block(consumer, times, way, f"{len(found)}-{way}", count, rate_hz)
            found.append(times)
            return times

        with UpdateServer(repository.files) as server, station(folder, config):
            consumer.open()
            try:
                if not consumer.wait_until_online(START_S):
                    raise SystemExit(f"the station did not start: {(folder / 'station.log').read_text()[-1000:]}")
                run("without", WARM_UP_PARTS)
                run("without")
                for _ in range(blocks):
                    with updating(folder, server.url, target, config, models) as ended:
                        run("with")
                    updates += ended
                    run("without")
            finally:
                consumer.close()
        return found[1:], updates, broker.kind


def p99_ratio(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the ratio of the 99th percentiles of two kinds of blocks, each kind's parts taken together.

    Args:
        above: milliseconds of each part of each block.
        below: the same, of the other kind.

    Returns:
        "ratio", and "from" and "to" of its 95 % bounds, by drawing whole blocks again: parts of one block are alike.
    """
    random = np.random.default_rng(0)

    def drawn() -> float:
        p99 = [
            np.percentile(np.concatenate([blocks[each] for each in random.integers(len(blocks), size=len(blocks))]), 99)
            for blocks in (above, below)
        ]
        return float(p99[0] / p99[1])

    low, high = np.percentile([drawn() for _ in range(DRAWS)], (2.5, 97.5))
    whole = np.percentile(np.concatenate(above), 99) / np.percentile(np.concatenate(below), 99)
    return {"ratio": round(float(whole), 3), "from": round(float(low), 3), "to": round(float(high), 3)}


def main() -> int:
    """Measure, print the figures, write benchmarks/results/update_load.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12, help="with an update; of those without one is more")
    parser.add_argument("--parts", type=int, default=400, help="of one block")
    parser.add_argument("--rate", type=float, default=20.0)
    arguments = parser.parse_args()
    found, updates, broker = measure(arguments.blocks, arguments.parts, arguments.rate)
    times = {way: [each.verdict_ms[way] for each in found if each.verdict_ms[way]] for way in WAYS}
    pooled = {way: percentiles([one for block in blocks for one in block]) for way, blocks in times.items()}
    ratio, noise = p99_ratio(times["with"], times["without"]), p99_ratio(times["without"][::2], times["without"][1::2])
    lost, rounds = sum(each.lost for each in found), sum(each["rounds"] for each in updates)
    faults = sum(record.message.verdict == "FAULT" for record in found[0].records.values())
    for way, figures in pooled.items():
        told = f"p50 {figures['p50']:7.2f}  p99 {figures['p99']:7.2f} ms"
        sys.stdout.write(f"trigger to verdict, {way:7} an update: {told}\n")
    for name, each in (("with an update over without (goal 1.05)", ratio), ("every other block without one", noise)):
        sys.stdout.write(f"p99 {name}: {each['ratio']:.3f}, 95 % from {each['from']:.3f} to {each['to']:.3f}\n")
    sys.stdout.write(f"{rounds} updates were fetched, built and proved meanwhile; lost {lost}, FAULT {faults}\n")
    write("update_load", {
        "machine": machine(), "broker": broker, "rate_hz": arguments.rate, "blocks": arguments.blocks,
        "parts": arguments.parts, "verdict_ms": pooled, "p99_ratio": ratio, "p99_ratio_without": noise,
        "p99_ms": {way: [percentiles(block)["p99"] for block in blocks] for way, blocks in times.items()},
        "updates": updates, "lost": lost, "faults": faults,
    })  # fmt: skip
    return 0 if ratio["ratio"] <= LARGEST_RATIO and rounds and not lost and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
