"""What the defaults make of pictures that are no boards, by the commands that anybody would use.

`python -m benchmarks.trainer.tiles --runs FOLDER`: draws grey tiles of many sizes with five very unbalanced kinds of
defect, trains on them, exports, and judges the bundle on half as many that were drawn apart. FOLDER keeps tiles,
run, bundle and the whole evaluation; what is there goes on from where it ended. What stands behind `--` is added to
`trainer train`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.arguments import count
from appliance.errors import ConfigError
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS
from benchmarks.trainer.drawn_tiles import draw
from benchmarks.trainer.whole_way import measure, show
from trainer.files import write_json

PICTURES = 800


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, train, export and judge; print a table; write the figures down."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.tiles", description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="keeps tiles, run, bundle and evaluation")
    parser.add_argument("--pictures", type=count, default=PICTURES, help="to learn from; default %(default)s")
    parser.add_argument("--json", type=Path, default=RESULTS / "tiles.json", help="default %(default)s")
    parser.add_argument("train", nargs="*", help="behind --: more for `trainer train`, such as --epochs 50")
    arguments = parser.parse_args(argv)
    learned, unseen = drawn(arguments.runs, arguments.pictures)
    row = {"pictures": arguments.pictures}
    row |= measure(arguments.runs, "tiles", learned, arguments.train, ("--data", unseen))
    write_json(arguments.json, row)
    show({"tiles": row}, "on tiles that were drawn apart")
    return 0


def drawn(runs: Path, pictures: int = PICTURES) -> tuple[Path, Path]:
    """Draw the tiles, but for those that are there already.

    Args:
        runs: gets the two folders.
        pictures: to learn from.

    Returns:
        The folder of those to learn from, and that of half as many which are like no one of them.

    Raises:
        ConfigError: A folder holds tiles of another number.
    """
    learned, unseen = runs / "tiles", runs / "unseen"
    for folder, wanted, seed in ((learned, pictures, 0), (unseen, max(1, pictures // 2), 1)):
        there = folder / "annotations.json"
        if not there.exists():  # written when all tiles are there
            draw(folder, wanted, seed)
        elif (found := len(json.loads(there.read_text())["images"])) != wanted:
            raise ConfigError(f"{folder}: holds {found} tiles, not {wanted}; name another folder")
    return learned, unseen


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.tiles"))
