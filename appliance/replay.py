"""appliance replay: recorded pictures through the very line that inspects parts, with a report."""

import argparse
import json
import tempfile
import threading
from collections import deque
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from appliance.arguments import count, group_names, new_file, whole
from appliance.bundle.archive import read_bundle
from appliance.demo.screen import latency_table
from appliance.demo.station import SHIPPED_BUNDLE, Scene, write_station
from appliance.errors import ConfigError
from appliance.events import Inspection, Record
from appliance.health import end_process_when_a_thread_crashes
from appliance.ports import TriggerRequest
from appliance.report import Outcome, Report
from appliance.wiring import build

IN_FLIGHT = 2
VERDICT_TIMEOUT_S = 120.0
SOURCE_HELP = (
    "recorded pictures: a folder, a COCO file (.json) or a list file of DeepPCB's (.txt); truth is read if it is there"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", type=Path, metavar="DIR", help=SOURCE_HELP)
    only = "only pictures of these groups; or @FILE with one a line"
    parser.add_argument("--groups", type=group_names, default=(), metavar="A,B", help=only)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="the model (default: the shipped one)")
    parser.add_argument(
        "--recipe", type=Path, help="with one view (default: whole pictures, the bundle's limits, any light)"
    )
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the report here")
    parser.add_argument(
        "--max-escapes", type=whole, metavar="N", help="exit with 1 if more defective parts are accepted"
    )
    parser.add_argument("--max-overkill", type=whole, metavar="N", help="exit with 1 if more good parts are held back")
    parser.add_argument(
        "--max-faults",
        type=whole,
        default=0,
        metavar="N",
        help="exit with 1 if more parts are not inspected (default 0)",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="only the first N pictures")


def execute(arguments: argparse.Namespace) -> int:
    """Replay a folder; 0, or 1 if a part went without a verdict or a limit was broken."""
    scene = Scene.recorded(arguments.source, arguments.groups, arguments.limit)
    if not scene.truths and (arguments.max_escapes is not None or arguments.max_overkill is not None):
        raise ConfigError(f"{arguments.source} has no truth to count escapes and overkill by; add annotations.json")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="appliance-replay-") as folder:
        config = _write_config(Path(folder), scene, arguments)
        end_process_when_a_thread_crashes()
        _inspect_all(config, scene.pictures, scene.truths or {}, report)
    _print(Console(), report)
    if arguments.json:
        arguments.json.write(json.dumps(report.document(), indent=2) + "\n")
    return _exit_code(report, arguments)


def _write_config(folder: Path, scene: Scene, arguments: argparse.Namespace) -> Path:
    return write_station(
        folder,
        arguments.bundle,
        read_bundle(arguments.bundle),
        scene,
        port=None,
        recipe=arguments.recipe,
        deadline_ms=int(VERDICT_TIMEOUT_S * 1000),
    )


def _inspect_all(config: Path, count: int, truths: dict[str, bool], report: Report) -> None:
    free = threading.Semaphore(IN_FLIGHT)
    done: deque[tuple[Inspection, int]] = deque()

    def note(inspection: Inspection, record: Record, record_us: int) -> None:
        done.append((inspection, record_us))
        free.release()

    with build(config, on_record=note) as appliance:
        for number in track(range(count), "replay", console=Console(stderr=True), transient=True):
            free.acquire(timeout=VERDICT_TIMEOUT_S)
            appliance.station.on_trigger(TriggerRequest(f"replay-{number:07d}", f"picture-{number:07d}"))
            report.triggers += 1
            _take(done, truths, report)
    _take(done, truths, report)


def _take(done: deque[tuple[Inspection, int]], truths: dict[str, bool], report: Report) -> None:
    while done:
        inspection, record_us = done.popleft()
        frame = inspection.views[0].frame if inspection.views else None
        stage_ms = {stage: spent_us / 1000 for stage, spent_us in inspection.stage_us.items()}
        report.add(
            Outcome(
                inspection.decision.verdict,
                inspection.decision.reason.value,
                truths.get(frame.source) if frame else None,
                {**stage_ms, "record": record_us / 1000},
                inspection.latency_us / 1000,
            )
        )


def _print(console: Console, report: Report) -> None:
    confusion = report.confusion()
    counts = Table("", *report.verdicts(), title="Verdicts", title_justify="left")
    for truth, row in (confusion or {"all": report.verdicts()}).items():
        counts.add_row(truth, *map(str, row.values()))
    console.print(counts)
    console.print(latency_table(report.document()))
    quality = report.quality()
    if quality:
        console.print(
            f"escapes {quality['escapes']} of {quality['defective']}, "
            f"overkill {quality['overkill']} of {quality['good']}"
        )


def _exit_code(report: Report, arguments: argparse.Namespace) -> int:
    quality = report.quality() or {"escapes": 0, "overkill": 0}
    is_broken = (
        report.parts != report.triggers
        or report.verdicts()["FAULT"] > arguments.max_faults
        or (arguments.max_escapes is not None and (quality["escapes"] or 0) > arguments.max_escapes)
        or (arguments.max_overkill is not None and (quality["overkill"] or 0) > arguments.max_overkill)
    )
    return 1 if is_broken else 0
