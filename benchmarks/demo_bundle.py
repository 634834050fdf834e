"""Rebuild the demo bundle from simulated boards, and refuse it unless it is good enough (`make demo-bundle`).

Boards are simulated, a net is trained and exported, and the bundle is judged on 4,000 boards of fresh layouts, no two
alike: at least 98 % of the defective ones found, at most 1 % of the good ones rejected. Fewer boards would say
little: among 500 good ones five may be rejected, and chance alone makes that two or eight. About half an hour on two
idle cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from appliance.__main__ import main as appliance
from trainer.__main__ import main as trainer

BUNDLE = Path(__file__).parent.parent / "appliance" / "bundles" / "demo.bundle"
LARGEST_BYTES = 10_000_000
"""32 golden images of 640 x 640 grey pixels with a camera's noise take 6 MB, the three models 3 MB."""

REVISION = 3
"""Of the bundle that ships; raise it before each rebuild, since two releases never share a number."""


TRAINED_SEED = 1
"""Of the boards that the model is trained on."""


def simulation(folder: Path, parts: int, seed: int) -> list[str]:
    """Return the command that makes boards, no two of one layout."""
    return ["simulate", str(folder), "--parts", str(parts), "--seed", str(seed), "--parts-per-family", "1"]


def main() -> int:
    """Run the recipe; each step that is done already is left alone."""
    parser = argparse.ArgumentParser(prog="benchmarks.demo_bundle", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="boards and run (default %(default)s)")
    parser.add_argument("--parts", type=int, default=10_000, help="boards to train on (default %(default)s)")
    parser.add_argument("--output", type=Path, default=BUNDLE, help="the bundle (default %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, default=20, help="exactly repeatable (default %(default)s)")
    length.add_argument("--budget-minutes", type=float, help="end after this long instead")
    arguments = parser.parse_args()
    boards, fresh, run = (arguments.folder / name for name in ("boards", "fresh", "run"))
    length_of_run = ["--epochs", str(arguments.epochs)]
    if arguments.budget_minutes is not None:
        length_of_run = ["--budget-minutes", str(arguments.budget_minutes)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    steps = []
    if not (boards / "annotations.json").is_file():
        steps.append((appliance, simulation(boards, arguments.parts, TRAINED_SEED)))
    if not (fresh / "annotations.json").is_file():
        steps.append((appliance, simulation(fresh, 4000, TRAINED_SEED + 1)))
    if not (run / "final.pt").is_file():
        data_and_net = ["--data", str(boards), "--out", str(run), "--size", "nano"]
        steps.append((trainer, ["train", *data_and_net, *length_of_run, "--resume"]))
    named = ["--name", "demo-boards", "--revision", str(REVISION), "--released-by", "the project's recipe"]
    steps.append((trainer, ["export", str(run), "--out", str(arguments.output), "--threads", "2", *named]))
    limits = ["--max-escapes", "2", "--max-overkill", "1", "--json", str(arguments.folder / "fresh.json")]
    steps.append(
        (trainer, ["evaluate", "--bundle", str(arguments.output), "--data", str(fresh), "--threads", "2", *limits])
    )
    for command, words in steps:
        code = command(words)
        if code:
            return code
    if arguments.output.stat().st_size > LARGEST_BYTES:
        sys.stderr.write(f"{arguments.output} has more than {LARGEST_BYTES} bytes; use fewer golden images\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
