"""appliance bench: which runtime is the fastest here, side by side, each proved on the bundle's golden images first."""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track
from rich.table import Table

from appliance.arguments import count, new_file
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.at_once import at_once
from appliance.bundle.comparison import compare_all
from appliance.bundle.geometry import to_model_input
from appliance.bundle.limits import golden_lacks, refuse_undecided
from appliance.certification.certificate import Computed
from appliance.config import MAX_THREADS, MOST_INSTANCES, RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import default_threads, instances, make_runtime, model_of, usable_cores
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


AT_REST = 0.5
"""Load average of the last minute up to which nothing else to speak of is running."""


@dataclass(slots=True)
class Candidate:
    """One way to run the model; refusal says why it may not judge here, or is empty.

    threads: of the processor, for one inference; with tensorrt one, which waits for the accelerator.
    pins_threads: each stays on one core; with one thread there is nothing to win by that.
    copies: of the model, at work at the same time.
    worst_score_difference: to the trainer's scores, on the golden images.
    """

    kind: Literal["onnx", "openvino", "tensorrt"]
    threads: int
    precision: Computed
    pins_threads: bool = False
    copies: int = 1
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
        if self.pins_threads:
            section["pins_threads"] = True
        if self.copies > 1:
            section["instances"] = self.copies
        return RuntimeSection.model_validate(section)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="the model (default: the shipped one)")
    parser.add_argument("--rounds", type=count, default=10, help=f"of {RUNS_IN_A_ROW} runs each (default %(default)s)")
    parser.add_argument(
        "--copies",
        type=int,
        choices=range(1, MOST_INSTANCES + 1),
        default=1,
        metavar="N",
        help=f"of the model at work at once, as with runtime.instances: 1..{MOST_INSTANCES} (default %(default)s)",
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the figures here")


def execute(arguments: argparse.Namespace) -> int:
    """Measure, print a table and what to configure; 1 if no runtime may judge with this bundle here.

    Raises:
        BundleError: it cannot be read, or no proof on it would show anything: see `refuse_undecided`.
    """
    bundle = read_bundle(arguments.bundle)
    refuse_undecided(bundle)
    out = Console(soft_wrap=True, highlight=False)
    copies: int = arguments.copies
    candidates = list(_candidates(bundle, copies))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with Wakefulness(0) as processor, tempfile.TemporaryDirectory() as engines:
        _measure(bundle, candidates, arguments.rounds, Path(engines))
        seen = processor.seen
    best = propose(candidates)
    out.print(_table(candidates, copies))
    for each in candidates:
        if each.refusal:
            pinned = " pinned" if each.pins_threads else ""
            way = f"{each.kind} {each.precision} with {each.threads}{pinned} thread(s)"
            out.print(f"not {way}: {each.refusal}", markup=False)
    out.print(f"{_at_work(copies)}, {at_rest(load)}; the processor {seen}")
    if few := golden_lacks(bundle):
        out.print(f"proved on golden images that tell little: {few}", markup=False)
    if best is None:
        out.print("no runtime may judge with this bundle here")
    else:
        room = ", leaving a core to the rest of the station" if copies == 1 else ""
        out.print(f"propose{room}{_other_copies(best)}:\n\n{in_yaml(best)}", markup=False)
    if arguments.json:
        rows = [asdict(each) for each in candidates]
        document = {"copies": copies, "candidates": rows, "proposed": asdict(best) if best else None}
        arguments.json.write(json.dumps(document, indent=2) + "\n")
    return 0 if best else 1


def propose(candidates: list[Candidate]) -> Candidate | None:
    """Return the fastest that may judge and leaves a core free; of nearly equal ones the one that asks for less.

    Several copies may take all cores, as they do on a station that is not told otherwise.
    """
    best: Candidate | None = None
    for each in sorted(candidates, key=lambda each: (each.threads, each.precision != "f32", each.pins_threads)):
        if each.times_ms is None or each.threads > (default_threads() if each.copies == 1 else MAX_THREADS):
            continue
        if best is None or best.times_ms is None or each.times_ms["p50"] < WORTH_A_THREAD * best.times_ms["p50"]:
            best = each
    return best


def _other_copies(best: Candidate) -> str:
    """Say so if a station with this configuration has another number of copies at work than was measured."""
    there = instances(best.settings)
    if there == best.copies:
        return ""
    return (
        f" (with this, {there} parts are inspected at once: measure --copies {there}, or add instances: {best.copies})"
    )


def in_yaml(candidate: Candidate) -> str:
    """Return the candidate as it stands in a configuration."""
    keys = candidate.settings.model_dump(exclude_unset=True)
    words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in keys.items()}
    return "runtime:\n" + "".join(f"  {name}: {value}\n" for name, value in words.items())


def _candidates(bundle: Bundle, copies: int) -> Iterator[Candidate]:
    if not why_not_here():
        for precision in bundle.holds():
            yield Candidate("tensorrt", 1, precision, copies=copies)
    by_openvino: tuple[Computed, ...] = ("f32", "bf16", "int8") if "int8" in bundle.variants else ("f32", "bf16")
    for threads, pins_threads in ways(min(default_threads() + 1, MAX_THREADS), usable_cores(), copies):
        for precision in bundle.holds():
            yield Candidate("onnx", threads, precision, pins_threads, copies)
        for computed in by_openvino:
            yield Candidate("openvino", threads, computed, pins_threads, copies)


def ways(most_threads: int, cores: int, copies: int) -> Iterator[tuple[int, bool]]:
    """Yield the numbers of threads that are tried, and whether they are pinned.

    Several copies are tried with no more threads than there are cores, but with one thread at least. Pinned are
    several threads that have a core each.

    Args:
        most_threads: of one copy.
        cores: that this process may use.
        copies: of the model, at work at once.
    """
    for threads in thread_counts(most_threads):
        if copies == 1 or threads == 1 or threads * copies <= cores:
            yield threads, False
        if threads > 1 and threads * copies <= cores:
            yield threads, True


def thread_counts(cores: int) -> list[int]:
    """Return the numbers of threads that are tried: powers of two, all cores, and all but one."""
    powers = {2**power for power in range(cores.bit_length())}
    return sorted(powers | {max(1, cores - 1), cores})


def _measure(bundle: Bundle, candidates: list[Candidate], rounds: int, engines: Path) -> None:
    """Prove each, then let them take turns, so that a slow moment of this computer meets all of them."""
    console = Console(file=sys.stderr)
    geometry = bundle.manifest.geometry
    pictures = [to_model_input(image.pixels(), geometry)[0] for image in bundle.golden]
    running: list[tuple[Candidate, list[Runtime], list[float]]] = []
    with ExitStack() as undo:
        for each in track(candidates, "proving", console=console, transient=True):
            if (runtimes := _proved(bundle, each, engines, undo)) is not None:
                running.append((each, runtimes, []))
        for number in track(range(rounds), "measuring", console=console, transient=True):
            for _, runtimes, spent_ms in running:
                spent_ms.extend(times_ms(runtimes, pictures[number % len(pictures)][None]))
        for each, _, spent_ms in running:
            each.times_ms = percentiles(spent_ms)


def _with_engines(settings: RuntimeSection, engines: Path) -> RuntimeSection:
    return settings.model_copy(update={"engines": engines}) if settings.kind == "tensorrt" else settings


def _proved(bundle: Bundle, candidate: Candidate, engines: Path, undo: ExitStack) -> list[Runtime] | None:
    settings = _with_engines(candidate.settings, engines)
    with ExitStack() as unless_proved:
        try:
            runtimes = []
            for copy in range(candidate.copies):
                runtimes.append(make_runtime(settings, bundle, copy=copy))
                unless_proved.callback(runtimes[-1].close)
            candidate.engine = runtimes[0].describe()
            detects = [Detector(each, bundle.manifest).detect for each in runtimes]
            found = compare_all(bundle, detects, precision=model_of(candidate.precision))
        except ApplianceError as error:
            candidate.refusal = str(error)
            return None
        undo.enter_context(unless_proved.pop_all())
    candidate.worst_score_difference = found.worst_score_difference
    return runtimes


def times_ms(runtimes: list[Runtime], batch: Pixels) -> list[float]:
    """Time inferences of all copies, which are at work at the same time.

    Args:
        runtimes: the copies.
        batch: what each looks at, uint8, shape (N, height, width, channels) of the model.

    Returns:
        Milliseconds of each, RUNS_IN_A_ROW per copy.
    """
    threading.Event().wait(PAUSE_S)
    return [ms for spent_ms in at_once([partial(_run, each, batch) for each in runtimes]) for ms in spent_ms]


def _run(runtime: Runtime, batch: Pixels) -> list[float]:
    runtime.infer(batch)  # the caches are another engine's
    spent_ms = []
    for _ in range(RUNS_IN_A_ROW):
        started_ns = time.monotonic_ns()
        runtime.infer(batch)
        spent_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    return spent_ms


def _at_work(copies: int) -> str:
    return "one picture at a time" if copies == 1 else f"{copies} copies of the model at work at once"


def at_rest(load: float | None) -> str:
    """Say whether anything else was running.

    Args:
        load: average number of threads at work in the minute before; None where the system does not tell.
    """
    if load is None:
        return "what else was running is not told here"
    told = f"(load average {load:.1f} before)"
    if round(load, 1) <= AT_REST:
        return f"nothing else running {told}"
    return f"beside other work {told}: measure again when this computer rests"


def _table(candidates: list[Candidate], copies: int) -> Table:
    table = Table("runtime", title="one picture" + f", {_at_work(copies)}" * (copies > 1), title_justify="left")
    for name in ("p50 ms", "p99 ms", "pictures/s", "score off by"):
        table.add_column(name, justify="right")
    for each in candidates:
        if each.times_ms is not None:
            p50, p99 = each.times_ms["p50"], each.times_ms["p99"]
            row = (f"{p50:.2f}", f"{p99:.2f}", f"{copies * 1000 / p50:.0f}", f"{each.worst_score_difference:.1e}")
            table.add_row(each.engine, *row)
    return table
