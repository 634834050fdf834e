"""The same network and the same JPEG files through our line and through what a user would install instead.

Each runs in a process of its own, with an environment of its own, on all cores, one after the other, in several turns,
so that a slow moment of the computer meets all. A picture's time is that from the result before to its own, whatever
a contender does meanwhile. Exit code 1: ours did not run, or somebody judged other pictures bad than we do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.manifest import Precision
from appliance.config import MOST_INSTANCES
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.report import percentiles
from benchmarks.end_to_end import write_pictures
from benchmarks.peers.environments import PEERS, SCRIPTS, Peer, python_of
from benchmarks.peers.models import Answer, rewrap, tell_ultralytics
from benchmarks.results import machine, write

WARM_UP = 20
"""Pictures at a turn's begin that do not count."""

GOAL = 1.5
WAYS = ("same_model", "same_runtime", "fastest")
"""In which our line is set beside a peer; see `ratios`."""

LIMIT_S = 300.0

ROBOFLOW_PACKAGE = {
    "model_config.json": {"model_architecture": "yolov8", "task_type": "object-detection", "backend_type": "onnx"},
    "inference_config.json": {
        "network_input": {
            "training_input_size": {"height": 640, "width": 640},
            "dynamic_spatial_size_supported": False,
            "color_mode": "rgb",
            "resize_mode": "letterbox",
            "padding_value": 114,
            "input_channels": 3,
            "scaling_factor": 255,
        },
        "forward_pass": {"static_batch_size": 1},
        "post_processing": {
            "type": "nms",
            "fused": True,
            "nms_parameters": {
                "max_detections": 100, "confidence_threshold": 0.01, "iou_threshold": 0.5, "class_agnostic": 0,
            },
        },
    },
}  # fmt: skip


@dataclass(slots=True)
class Contender:
    """One way to judge the pictures, and what was seen of it; why_not is empty where it ran.

    model: which of the bundle's models it runs; the peers all get model.onnx, in their form.
    """

    name: str
    runtime: str
    command: list[str]
    environment: dict[str, str]
    is_ours: bool = False
    model: Precision = "f32"
    version: str = ""
    why_not: str = ""
    spent_ms: list[float] = field(default_factory=list)
    bad: list[bool] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return what is written down."""
        if self.why_not:
            return {"runtime": self.runtime, "why_not": self.why_not}
        rate = round(1000 / statistics.fmean(self.spent_ms), 1)
        return {"runtime": self.runtime, "version": self.version, "parts_per_s": rate, "ms": percentiles(self.spent_ms)}


def ours(bundle: Path, pictures: Path) -> list[Contender]:
    """Return our line with each runtime, on as many cores as the peers take, which is all: a part on each."""
    cores = {"threads": 1, "instances": min(len(os.sched_getaffinity(0)), MOST_INSTANCES)}
    ways: dict[str, tuple[str, Precision]] = {
        "our line": ("onnx", "f32"),
        "our line, OpenVINO": ("openvino", "f32"),
        "our line, OpenVINO INT8": ("openvino", "int8"),
    }
    command = [sys.executable, "-m", "benchmarks.peers.ours", "--bundle", str(bundle), "--pictures", str(pictures)]
    runtimes = {"onnx": "onnxruntime", "openvino": "openvino"}
    return [
        Contender(
            name,
            runtimes[kind],
            [*command, "--runtime", json.dumps({"kind": kind, "precision": precision, **cores})],
            {**os.environ},
            is_ours=True,
            model=precision,
        )
        for name, (kind, precision) in ways.items()
    ]


def theirs(peer: Peer, python: Path, folder: Path) -> Contender:
    """Return a peer whose environment is ready."""
    command = [str(python), str(SCRIPTS / peer.script), "--model", str(folder / "models" / peer.form)]
    pictures = ["--pictures", str(folder / "pictures")]
    return Contender(peer.name, peer.runtime, [*command, *pictures], peer.variables(folder / "written"))


def write_models(bundle: Bundle, folder: Path) -> None:
    """Write the network in each form that a peer takes."""
    names = [each.name for each in bundle.manifest.classes]
    (folder / "roboflow").mkdir(parents=True)
    rows = rewrap(bundle.model_onnx, Answer.ROWS, 3).SerializeToString()
    (folder / "rows.onnx").write_bytes(rows)
    (folder / "score.onnx").write_bytes(rewrap(bundle.model_onnx, Answer.SCORE, 3).SerializeToString())
    own = bundle.manifest.geometry.channels
    told = rewrap(bundle.model_onnx, Answer.ROWS, own)
    tell_ultralytics(told, names, own)
    (folder / "ultralytics.onnx").write_bytes(told.SerializeToString())
    (folder / "roboflow" / "weights.onnx").write_bytes(rows)
    (folder / "roboflow" / "class_names.txt").write_text("\n".join(names), encoding="utf-8")
    for name, document in ROBOFLOW_PACKAGE.items():
        (folder / "roboflow" / name).write_text(json.dumps(document), encoding="utf-8")


def take_turn(contender: Contender, folder: Path) -> None:
    """Run a contender once over all pictures and note what it says, or why it does not run."""
    root = Path(__file__).resolve().parents[2]
    environment = contender.environment | ({"PYTHONPATH": str(root)} if contender.is_ours else {})
    ended = subprocess.run(
        contender.command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    results = [line for line in lines if "ms" in line]
    if ended.returncode or not results:
        contender.why_not = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1][:300]
        return
    contender.version = next(line["version"] for line in lines if "version" in line)
    contender.spent_ms += [line["ms"] for line in results[WARM_UP:]]
    contender.bad = [line["is_bad"] for line in results]


def ratios(contenders: list[Contender]) -> dict[str, dict[str, float]]:
    """Return how many times our parts per second are each peer's.

    same_model: the very same model with the same runtime. same_runtime: whichever of our models is the fastest with
    that runtime. fastest: whatever of ours is the fastest. What we do not run is left out.
    """
    rates = {each.name: each.figures()["parts_per_s"] for each in contenders if not each.why_not}
    mine = [each for each in contenders if each.is_ours and not each.why_not]
    found = {}
    for peer in contenders:
        if peer.is_ours or peer.why_not or not mine:
            continue
        alike = [each for each in mine if each.runtime == peer.runtime]
        ways = {
            "fastest": mine, "same_runtime": alike, "same_model": [each for each in alike if each.model == peer.model],
        }  # fmt: skip
        found[peer.name] = {
            way: round(max(rates[each.name] for each in ours_so) / rates[peer.name], 2)
            for way, ours_so in ways.items()
            if ours_so
        }
    return found


def compare(bundle: Path, peers: tuple[Peer, ...], keep: Path, turns: int, folder: Path) -> list[Contender]:
    """Let everybody judge the same pictures, in turns.

    Args:
        bundle: whose model it is.
        peers: who runs beside our line.
        keep: where their environments are, or are made.
        turns: how often everybody runs.
        folder: has `pictures`; gets the models and what the peers write.
    """
    write_models(read_bundle(bundle), folder / "models")
    (folder / "written").mkdir()
    contenders = ours(bundle, folder / "pictures")
    for peer in peers:
        tell(f"environment of {peer.name} ({peer.licence})")
        try:
            contenders.append(theirs(peer, python_of(peer, keep), folder))
        except subprocess.CalledProcessError as error:
            why = (error.stderr.strip().splitlines() or [str(error)])[-1][:300]
            contenders.append(Contender(peer.name, peer.runtime, [], {}, why_not=f"cannot be installed: {why}"))
    for _ in range(turns):
        for each in contenders:
            if not each.why_not:
                tell(f"running {each.name}")
                take_turn(each, folder)
    return contenders


def tell(words: str) -> None:
    """Say what goes on."""
    sys.stderr.write(f"{words}\n")


def main() -> int:
    """Measure, print a table, write benchmarks/results/peers.json."""
    parser = argparse.ArgumentParser(prog="benchmarks peers", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the peers' environments (7 GB) here")
    parser.add_argument("--turns", type=int, default=3, help="how often everybody runs (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        write_pictures(folder / "pictures", form="jpg")
        keep = (given.keep or folder / "environments").absolute()
        contenders = compare(given.bundle.absolute(), PEERS, keep, given.turns, folder)
    found = ratios(contenders)
    sys.stdout.write(
        f"{'':28} {'parts/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'same model':>10} {'runtime':>9} {'best':>9}\n"
    )
    for each in contenders:
        figures = each.figures()
        if each.why_not:
            sys.stdout.write(f"{each.name:28} does not run here: {each.why_not}\n")
            continue
        over = found.get(each.name, {})
        columns = "".join(f" {over[way]:8.2f}x" if way in over else " " * 10 for way in WAYS)
        ms = figures["ms"]
        sys.stdout.write(f"{each.name:28} {figures['parts_per_s']:8.1f} {ms['p50']:8.2f} {ms['p99']:8.2f}{columns}\n")
    judged = {each.name: each.bad for each in contenders if not each.why_not}
    is_same = len({tuple(bad) for bad in judged.values()}) == 1
    sys.stdout.write(f"all judge the same pictures bad: {'yes' if is_same else 'no'}; goal: {GOAL} times each peer\n")
    write("peers", {
        "machine": machine(), "turns": given.turns, "threads": len(os.sched_getaffinity(0)), "goal": GOAL,
        "ratios": found,
        "same_verdicts": is_same, "contenders": {each.name: each.figures() for each in contenders},
    })  # fmt: skip
    return 0 if is_same and not any(each.why_not for each in contenders if each.is_ours) else 1


if __name__ == "__main__":
    sys.exit(main())
