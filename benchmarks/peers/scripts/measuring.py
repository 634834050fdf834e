"""What the peers' scripts have in common: arguments, and a line of JSON for each picture. Standard library only."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LIMIT = 0.5
"""A score from which a picture counts as bad, the same for all."""


def arguments(words: str) -> argparse.Namespace:
    """Read a script's arguments."""
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--model", type=Path, required=True, help="the network in this peer's form")
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of JPEG files")
    return parser.parse_args()


def pictures(folder: Path) -> list[str]:
    """List the pictures, in order."""
    return sorted(str(path) for path in folder.glob("*.jpg"))


def tell(version: str, bests: Iterator[float]) -> None:
    """Print what runs, then for each picture the milliseconds since the result before, and its best score."""
    print(json.dumps({"version": version}))
    last_ns = time.monotonic_ns()
    for best in bests:
        now_ns = time.monotonic_ns()
        print(json.dumps({"ms": (now_ns - last_ns) / 1e6, "is_bad": bool(best >= LIMIT)}))
        last_ns = time.monotonic_ns()
    sys.stdout.flush()
