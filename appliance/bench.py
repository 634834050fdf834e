"""appliance bench: which runtime is the fastest here, side by side, each proved on the bundle's golden images first."""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track
from rich.table import Table

from appliance.arguments import count, new_file
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.comparison import compare
from appliance.bundle.geometry import to_model_input
from appliance.certification.certificate import Computed
from appliance.config import MAX_THREADS, RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import default_threads, make_runtime, model_of
from appliance.errors import ApplianceError
from appliance.events import Pixels
from appliance.optics.detector import Detector
from appliance.ports import Runtime
from appliance.processor import Wakefulness
from appliance.report import percentiles
from appliance.runtimes.tensorrt import why_not_here

RUNS_IN_A_ROW = 20
PAUSE_S = 0.1
"""Between two engines: the threads of the one before still wait awake for a while."""

WORTH_A_THREAD = 0.97
"""More threads are proposed only if they take less than this ratio of the time."""


@dataclass(slots=True)
class Candidate:
    """One way to run the model; refusal says why it may not judge here, or is empty.

    threads: of the processor, for one inference; with tensorrt one, which waits for the accelerator.
    worst_score_difference: to the trainer's scores, on the golden images.
    """

    kind: Literal["onnx", "openvino", "tensorrt"]
    threads: int
    precision: Computed
    engine: str = ""
    refusal: str = ""
    worst_score_difference: float = 0.0
    times_ms: dict[str, float] | None = None

    @property
    def settings(self) -> RuntimeSection:
        """The configuration's runtime section."""
        section: dict[str, Any] = {"kind": self.kind}
        if self.kind != "tensorrt":
            section["threads"] = self.threads
        if (self.kind, self.precision) != ("onnx", "f32"):
            section["precision"] = self.precision
        return RuntimeSection.model_validate(section)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="the model (default: the shipped one)")
    parser.add_argument("--rounds", type=count, default=10, help=f"of {RUNS_IN_A_ROW} runs each (default %(default)s)")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the figures here")


def execute(arguments: argparse.Namespace) -> int:
    """Measure, print a table and what to configure; 1 if no runtime may judge with this bundle here."""
    bundle = read_bundle(arguments.bundle)
    out = Console(soft_wrap=True, highlight=False)
    candidates = list(_candidates(bundle))
    with Wakefulness(0) as processor, tempfile.TemporaryDirectory() as engines:
        _measure(bundle, candidates, arguments.rounds, Path(engines))
        seen = processor.seen
    best = propose(candidates)
    out.print(_table(candidates))
    for each in candidates:
        if each.refusal:
            out.print(f"not {each.kind} {each.precision} with {each.threads} thread(s): {each.refusal}", markup=False)
    out.print(f"one picture at a time, nothing else running; the processor {seen}")
    if best is None:
        out.print("no runtime may judge with this bundle here")
    else:
        out.print(f"propose, leaving a core to the rest of the station:\n\n{in_yaml(best)}", markup=False)
    if arguments.json:
        document = {"candidates": [asdict(each) for each in candidates], "proposed": asdict(best) if best else None}
        arguments.json.write(json.dumps(document, indent=2) + "\n")
    return 0 if best else 1


def propose(candidates: list[Candidate]) -> Candidate | None:
    """Return the fastest that may judge and leaves a core free; of nearly equal ones the one with fewer threads."""
    best: Candidate | None = None
    for each in sorted(candidates, key=lambda each: (each.threads, each.precision != "f32")):
        if each.times_ms is None or each.threads > default_threads():
            continue
        if best is None or best.times_ms is None or each.times_ms["p50"] < WORTH_A_THREAD * best.times_ms["p50"]:
            best = each
    return best


def in_yaml(candidate: Candidate) -> str:
    """Return the candidate as it stands in a configuration."""
    keys = candidate.settings.model_dump(exclude_unset=True)
    return "runtime:\n" + "".join(f"  {name}: {value}\n" for name, value in keys.items())


def _candidates(bundle: Bundle) -> Iterator[Candidate]:
    if not why_not_here():
        for precision in bundle.holds():
            yield Candidate("tensorrt", 1, precision)
    for threads in thread_counts(min(default_threads() + 1, MAX_THREADS)):
        for precision in bundle.holds():
            yield Candidate("onnx", threads, precision)
        yield Candidate("openvino", threads, "f32")
        yield Candidate("openvino", threads, "bf16")
        if "int8" in bundle.variants:
            yield Candidate("openvino", threads, "int8")


def thread_counts(cores: int) -> list[int]:
    """Return the numbers of threads that are tried: powers of two, all cores, and all but one."""
    powers = {2**power for power in range(cores.bit_length())}
    return sorted(powers | {max(1, cores - 1), cores})


def _measure(bundle: Bundle, candidates: list[Candidate], rounds: int, engines: Path) -> None:
    """Prove each, then let them take turns, so that a slow moment of this computer meets all of them."""
    console = Console(file=sys.stderr)
    geometry = bundle.manifest.geometry
    pictures = [to_model_input(image.pixels(), geometry)[0] for image in bundle.golden]
    running: list[tuple[Candidate, Runtime, list[float]]] = []
    try:
        for each in track(candidates, "proving", console=console, transient=True):
            if (runtime := _proved(bundle, each, engines)) is not None:
                running.append((each, runtime, []))
        for number in track(range(rounds), "measuring", console=console, transient=True):
            for _, runtime, spent_ms in running:
                spent_ms.extend(_times_ms(runtime, pictures[number % len(pictures)][None]))
        for each, _, spent_ms in running:
            each.times_ms = percentiles(spent_ms)
    finally:
        for _, runtime, _ in running:
            runtime.close()


def _with_engines(settings: RuntimeSection, engines: Path) -> RuntimeSection:
    return settings.model_copy(update={"engines": engines}) if settings.kind == "tensorrt" else settings


def _proved(bundle: Bundle, candidate: Candidate, engines: Path) -> Runtime | None:
    try:
        runtime = make_runtime(_with_engines(candidate.settings, engines), bundle)
    except ApplianceError as error:
        candidate.refusal = str(error)
        return None
    candidate.engine = runtime.describe()
    try:
        detect = Detector(runtime, bundle.manifest).detect
        found = compare(bundle, detect, precision=model_of(candidate.precision))
    except ApplianceError as error:
        runtime.close()
        candidate.refusal = str(error)
        return None
    candidate.worst_score_difference = found.worst_score_difference
    return runtime


def _times_ms(runtime: Runtime, batch: Pixels) -> list[float]:
    threading.Event().wait(PAUSE_S)
    runtime.infer(batch)  # the caches are another engine's
    spent_ms = []
    for _ in range(RUNS_IN_A_ROW):
        started_ns = time.monotonic_ns()
        runtime.infer(batch)
        spent_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    return spent_ms


def _table(candidates: list[Candidate]) -> Table:
    table = Table("runtime", title="one picture", title_justify="left")
    for name in ("p50 ms", "p99 ms", "pictures/s", "score off by"):
        table.add_column(name, justify="right")
    for each in candidates:
        if each.times_ms is not None:
            p50, p99 = each.times_ms["p50"], each.times_ms["p99"]
            row = (f"{p50:.2f}", f"{p99:.2f}", f"{1000 / p50:.0f}", f"{each.worst_score_difference:.1e}")
            table.add_row(each.engine, *row)
    return table
