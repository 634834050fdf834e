"""List DeepPCB's templates without those that show what their tested picture does not, for `--good-list`.

`python -m benchmarks.trainer.sound_templates --data FOLDER --out FILE`: a template with a speck or a hair of its own is
no good part, and its tested picture, of the same board, tells: no net has a say in it. `trainer data check` shows these
differences; look at them, because copper that the tested picture lacks and nobody marked is taken for a piece too much
of the template. What the check does not look at is not looked at here: what lies in a box, at the border, or where the
two cannot be laid over each other.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ConfigError
from benchmarks.mistakes import tell_mistakes
from trainer.datasets import source
from trainer.datasets.pair_checks import compare_all, pairs_of
from trainer.datasets.reading import read_dataset
from trainer.progress import results


def main(argv: Sequence[str] | None = None) -> int:
    """Write the list, and tell which templates are not on it."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.sound_templates", description=__doc__)
    source.add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="the list")
    arguments = parser.parse_args(argv)
    pairs = pairs_of(read_dataset(source.source_of(arguments)).samples)
    if not pairs:
        raise ConfigError(f"{arguments.data}: no picture has another as its reference; name data in DeepPCB's layout")
    compared = list(zip([template for _, template, _ in pairs], compare_all(pairs), strict=True))
    flawed = {template for template, done in compared if any(its.is_of_reference for its in done.differences)}
    sound = sorted({template for template, _ in compared} - flawed)
    unknown = {template for template, done in compared if done.refused}
    arguments.out.write_text("".join(f"{path.resolve()}\n" for path in sound))
    for path in sorted(flawed):
        results.print(f"left out: {path}", soft_wrap=True)
    results.print(
        f"{arguments.out}: {len(sound)} templates, {len(unknown)} of which cannot be compared; {len(flawed)} left out",
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.sound_templates"))
