"""An agent that is killed at random moments over whole updates: of a model, of a recipe, of both of one product.

After each kill the device must have a model and a recipe that were proved here together and load, of each kind the one
before or the new one; it ends with 1 if that did not hold once.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.update.slots import JudgingKindName
from benchmarks.results import machine, write
from tests.update_kills import kill_agents

SERIES: tuple[tuple[JudgingKindName, ...], ...] = (("model",), ("recipe",), ("model", "recipe"))


def measure(kinds: Sequence[JudgingKindName], kills: int, seed: int) -> dict[str, Any]:
    """Kill an agent so often over updates of these kinds; returns what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        tally = kill_agents(Path(folder), kills, seed, kinds)
    print(
        f"{' and '.join(kinds)}: {tally.kills} kills in {len(tally.killed_in)} states, {len(tally.broken)} broken "
        f"invariants; updates ended: {', '.join(f'{n} {outcome}' for outcome, n in tally.ended.most_common())}"
    )
    for words in tally.broken:
        print(words)
    return {
        "kinds": list(kinds),
        "kills": tally.kills,
        "broken": tally.broken,
        "ended": dict(tally.ended.most_common()),
        "killed_in": dict(tally.killed_in.most_common()),
    }


def main() -> int:
    """Run the three series."""
    parser = argparse.ArgumentParser(prog="updates_kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="in each series (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    series = [measure(kinds, given.kills, given.seed) for kinds in SERIES]
    written = write("updates_kill", {"machine": machine(), "seed": given.seed, "series": series})
    print(written)
    return int(any(each["broken"] for each in series))


if __name__ == "__main__":
    sys.exit(main())
