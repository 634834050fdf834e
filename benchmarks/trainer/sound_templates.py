"""List DeepPCB's templates that show nothing but what their tested picture shows, too, for `--good-list`.

`python -m benchmarks.trainer.sound_templates --data FOLDER --out FILE`: a template with a speck or a hair of its own is
no good part, and its tested picture, of the same board, tells: no net has a say in it (`trainer data check` lists such
differences).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ConfigError
from benchmarks.mistakes import tell_mistakes
from trainer.datasets import source
from trainer.datasets.examination import examine
from trainer.datasets.pair_checks import pairs
from trainer.progress import results


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list, and tell which templates are not on it."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.sound_templates", description=__doc__)
    source.add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="the list")
    arguments = parser.parse_args(argv)
    examined = examine(source.source_of(arguments).annotations())
    found = list(pairs(examined))
    if not found:
        raise ConfigError(f"{arguments.data}: no picture has another as its reference; name data in DeepPCB's layout")
    flawed = {template for _, template, held in found if any(its.is_of_reference for its in held.differences)}
    sound = sorted({template for _, template, _ in found} - flawed)
    arguments.out.write_text("".join(f"{path.resolve()}\n" for path in sound))
    for path in sorted(flawed):
        results.print(f"left out: {path}", soft_wrap=True)
    results.print(f"{arguments.out}: {len(sound)} templates; {len(flawed)} left out", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.sound_templates"))
