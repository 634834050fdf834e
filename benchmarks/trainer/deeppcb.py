"""The figures to reach on DeepPCB, by the commands that anybody would use: train, export, evaluate.

`python -m benchmarks.trainer.deeppcb --data DeepPCB/PCBData --holdout A,B --runs FOLDER`: trains a net on the other
board groups in each way, exports it with all its models, judges the bundle on the groups that were held out, and keeps
runs, bundles and whole evaluations in FOLDER. A run that is there goes on from where it ended, so a kill costs little.
`--holdout` more than once: each of these holdouts in turn, a row each, so that every group can be judged once by a
model that has not seen it. What stands behind `--` is added to `trainer train`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.arguments import names
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS
from benchmarks.trainer import whole_way
from trainer.files import write_json

WAYS = {
    "compared": (),
    "single": ("--reference", "no"),
    "single_nano": ("--reference", "no", "--size", "nano"),
}
"""What each way adds to `trainer train`: beside the template; from the picture alone; so with the smallest net."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train, export and judge in each way; print a table; write the figures down."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.deeppcb", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--holdout", type=names, required=True, action="append", metavar="A,B", help="board groups to judge on"
    )
    parser.add_argument("--runs", type=Path, required=True, help="keeps runs, bundles and evaluations")
    parser.add_argument("--ways", type=_ways, default=tuple(WAYS), metavar="A,B", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--json", type=Path, default=RESULTS / "deeppcb.json", help="default %(default)s")
    parser.add_argument("train", nargs="*", help="behind --: more for `trainer train`, such as --workers 1")
    arguments = parser.parse_args(argv)
    rows = json.loads(arguments.json.read_text())["ways"] if arguments.json.exists() else {}
    for way in arguments.ways:
        for holdout in arguments.holdout:
            row = f"{way} without {','.join(holdout)}"
            rows[row] = measure(arguments.runs / row.replace(" ", "-"), WAYS[way], holdout, arguments)
            write_json(arguments.json, {"ways": rows})
    whole_way.show(rows, "on board groups that were held out")
    return 0


def _ways(text: str) -> tuple[str, ...]:
    asked = names(text)
    if unknown := set(asked) - set(WAYS):
        raise argparse.ArgumentTypeError(f"no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    return asked


def measure(folder: Path, way: Sequence[str], holdout: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the bundle of one way and holdout, and return its figures."""
    judge = ("--data", arguments.data, "--groups", ",".join(holdout))
    found = whole_way.measure(folder, "deeppcb", arguments.data, (*way, *arguments.train), judge, holdout)
    return {"held_out": sorted(holdout)} | found


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.deeppcb"))
