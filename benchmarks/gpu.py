"""On a computer with an NVIDIA accelerator: what of the appliance runs there, how exactly, and how fast.

Every section is a process of its own, so that a refusal or a crash is a result like any other. The figures
go to benchmarks/results/gpu.json, and docs/gpu-results.md says what they mean. Exit code 1: its memory does not do what
the appliance wants of it, or there is no accelerator, and then nothing is written.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.geometry import to_model_input
from appliance.bundle.manifest import Precision
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.errors import ApplianceError, RuntimeFault
from appliance.events import Pixels
from appliance.runtimes.accelerator.binding import BINDINGS, installed_bindings, open_device
from appliance.runtimes.accelerator.driver import ask_driver
from appliance.runtimes.engines.build import Building
from appliance.runtimes.engines.child import run_child, say
from appliance.runtimes.engines.key import BuildOptions
from appliance.runtimes.tensorrt_library import load_engine, load_library
from benchmarks.device_memory import examine
from benchmarks.results import machine, write
from trainer.half import to_fp16
from trainer.quantise import observe, quantisable, to_int8

LIMIT_S = 240.0
RUNS = 2000
SCORE_FLOOR = 0.05
BATCH_RUNS = 500
PRECISIONS: tuple[Precision, ...] = ("f32", "fp16", "int8")


def pictures(bundle: Bundle) -> list[Pixels]:
    """Return the golden images as the model sees them; uint8, each of shape (height, width, channels)."""
    return [to_model_input(image.pixels(), bundle.manifest.geometry)[0] for image in bundle.golden]


def model_of(bundle: Bundle, precision: Precision) -> bytes:
    """Return the bundle's own file, or else what the trainer makes of its model; ranges as on the golden images."""
    if precision in bundle.holds():
        return bundle.model(precision)
    if precision == "fp16":
        return to_fp16(bundle.model_onnx)
    return to_int8(
        bundle.model_onnx,
        observe(bundle.model_onnx, pictures(bundle), "percentile"),
        quantisable(bundle.model_onnx),
    )


def driver(_: Bundle) -> dict[str, Any]:
    facts = ask_driver()
    return {"driver": facts.release, "devices": facts.devices, "bindings": installed_bindings()}


def library(_: Bundle) -> dict[str, Any]:
    found = load_library()
    return {"library": found.name, "version": found.version}


def build(bundle: Bundle, precision: Precision) -> dict[str, Any]:
    """Parse and build in this process; no accelerator is needed for it with TensorRT for RTX."""
    model = model_of(bundle, precision)
    started = time.monotonic()
    building = Building(load_library(), model)
    plan = building.plan(BuildOptions(for_this_device=False), may_tell=False)
    spent_s = round(time.monotonic() - started, 2)
    return {
        "model_bytes": len(model),
        "computes_with": building.precision(),
        "plan_bytes": len(plan),
        "spent_s": spent_s,
    }


def load(bundle: Bundle, for_this_device: bool) -> dict[str, Any]:
    """Does the library take an engine, on this accelerator, that was built for it or for none in particular?"""
    ask_driver()
    found = load_library()
    plan = Building(found, bundle.model_onnx).plan(BuildOptions(for_this_device=for_this_device), may_tell=False)
    loaded = load_engine(found, plan)
    context = loaded.engine.create_execution_context()
    return {"deserialised": True, "has_a_context": context is not None, "complaints": loaded.journal.errors[-3:]}


def run(
    bundle: Bundle, precision: Precision, binding: str | None = None, *, for_this_device: bool = True
) -> dict[str, Any]:
    """The runtime as the station uses it, from an empty folder of engines: exactness and latency."""
    from appliance.runtimes.onnx import OnnxRuntime
    from appliance.runtimes.tensorrt import TensorRtRuntime

    model = model_of(bundle, precision)
    seen = pictures(bundle)
    reference = OnnxRuntime(bundle.model_onnx, bundle.manifest, threads=4)
    same = OnnxRuntime(model, bundle.manifest, threads=4)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, wants_graph in (("graph", True), ("no_graph", False)):
            started = time.monotonic()
            runtime = TensorRtRuntime(
                model, bundle.manifest, engines=Path(folder), precision=precision, wants_graph=wants_graph,
                binding=binding, options=BuildOptions(for_this_device=for_this_device),
            )  # fmt: skip
            with closing(runtime):
                figures[name] = {
                    "describe": runtime.describe(),
                    "start_s": round(time.monotonic() - started, 2),
                    "one_picture": latency(runtime.infer, [each[None] for each in seen], RUNS),
                    "four_pictures": latency(runtime.infer, [np.stack([each] * 4) for each in seen], BATCH_RUNS),
                    "device_ms": round(runtime.device_ms(seen[0][None], 200), 4),
                    "from_onnx_runtime_with_the_same_file": difference(runtime.infer, same.infer, seen),
                    "from_onnx_runtime_in_f32": difference(runtime.infer, reference.infer, seen),
                }
                in_another_thread(runtime.infer, seen[0][None])
    figures["onnx_runtime"] = {
        "describe": reference.describe(),
        "one_picture": latency(reference.infer, [each[None] for each in seen], 100),
    }
    return figures


def latency(infer: Callable[[Pixels], Any], batches: list[Pixels], runs: int) -> dict[str, float]:
    """Time one asking after the other, in milliseconds, copies from and to this computer's memory included."""
    spent = []
    for number in range(runs):
        batch = batches[number % len(batches)]
        started_ns = time.perf_counter_ns()
        infer(batch)
        spent.append((time.perf_counter_ns() - started_ns) / 1e6)
    p50, p99, worst = np.percentile(spent, (50, 99, 100)).round(4).tolist()
    return {"p50_ms": p50, "p99_ms": p99, "worst_ms": worst, "runs": runs}


def difference(infer: Callable[[Pixels], Any], wanted: Callable[[Pixels], Any], seen: list[Pixels]) -> dict[str, Any]:
    """Compare on the golden images: each candidate above SCORE_FLOOR with the likest of the other runtime."""
    scores, boxes, labels = [0.0], [0.0], 0
    for each in seen:
        ours, theirs = infer(each[None]), wanted(each[None])
        for row in np.flatnonzero(theirs.scores[0] >= SCORE_FLOOR):
            apart = np.abs(ours.boxes[0] - theirs.boxes[0, row]).max(axis=1)  # px
            apart += 100 * np.abs(ours.scores[0] - theirs.scores[0, row])  # boxes in one place have their own scores
            apart += 1000 * (ours.labels[0] != theirs.labels[0, row])
            likest = int(apart.argmin())
            labels += int(ours.labels[0, likest] != theirs.labels[0, row])
            boxes.append(float(np.abs(ours.boxes[0, likest] - theirs.boxes[0, row]).max()))
            scores.append(float(abs(ours.scores[0, likest] - theirs.scores[0, row])))
    return {
        "images": len(seen),
        "candidates_compared": len(boxes) - 1,
        "worst_score_difference": max(scores),
        "worst_box_difference_px": max(boxes),
        "labels_that_differ": labels,
    }


def in_another_thread(infer: Callable[[Pixels], Any], batch: Pixels) -> None:
    """The station makes the runtime in one thread and asks it in another."""
    failed: list[str] = []

    def ask() -> None:
        try:
            infer(batch)
        except ApplianceError as error:
            failed.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if failed:
        raise RuntimeFault(f"in another thread: {failed[0]}")


def memory(binding: str) -> Callable[[Bundle], dict[str, Any]]:
    return lambda _: examine(open_device(binding))


SECTIONS: dict[str, Callable[[Bundle], dict[str, Any]]] = {
    "driver": driver,
    **{f"memory {binding}": memory(binding) for binding in BINDINGS},
    "library": library,
    **{f"build {name}": (lambda bundle, name=name: build(bundle, name)) for name in PRECISIONS},
    "load an engine for no device in particular": lambda bundle: load(bundle, False),
    "load an engine for this device": lambda bundle: load(bundle, True),
    **{f"run {name}": (lambda bundle, name=name: run(bundle, name)) for name in PRECISIONS},
    "run f32 built for no device in particular": lambda bundle: run(bundle, "f32", for_this_device=False),
    "run f32 with pycuda": lambda bundle: run(bundle, "f32", "pycuda"),
}
NEEDED = ("driver", f"memory {BINDINGS[0]}")


def main() -> int:
    """Run all sections, print them, write benchmarks/results/gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--section", choices=SECTIONS, help="this one only, as lines for the parent process")
    parser.add_argument("--json", type=Path, help="write the results here, too")
    arguments = parser.parse_args()
    if arguments.section:
        try:
            say(result=SECTIONS[arguments.section](read_bundle(arguments.bundle)))
        except ApplianceError as error:
            say(result={"refused": f"{type(error).__name__}: {error}"})
        return 0
    results: dict[str, Any] = {"machine": machine()}
    for name in SECTIONS:
        started = time.monotonic()
        try:
            given = ["--section", name, "--bundle", str(arguments.bundle)]
            results[name] = run_child("benchmarks.gpu", given, limit_s=LIMIT_S)
        except RuntimeFault as error:
            results[name] = {"died": str(error)}
        results[name]["section_s"] = round(time.monotonic() - started, 1)
        sys.stdout.write(json.dumps({name: results[name]}) + "\n")
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if "refused" not in results["driver"]:
        write("gpu", results)
    return int(any("refused" in results[name] or "died" in results[name] for name in NEEDED))


if __name__ == "__main__":
    sys.exit(main())
