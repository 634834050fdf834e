"""An agent that is killed at random moments over whole updates.

    python -m benchmarks.updates_kill --kills 1000 --kinds model recipe

After each kill the device must have a model and a recipe that were proved here together and load, of each kind the one
before or the new one; it ends with 1 if that did not hold once. Nothing is written: the figures are for whoever asks.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.tiny_releases import RELEASED
from tests.update_kills import kill_agents


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kinds", nargs="+", choices=sorted(RELEASED), default=["model"], help="what is updated at once"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_agents(Path(folder), given.kills, given.seed, given.kinds)
    print(f"{tally.kills} kills, {len(tally.broken)} broken invariants")
    print("updates ended: " + ", ".join(f"{count} {outcome}" for outcome, count in tally.ended.most_common()))
    print("killed in: " + ", ".join(f"{count} {state}" for state, count in tally.killed_in.most_common()))
    for words in tally.broken:
        print(words)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
