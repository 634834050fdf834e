"""`make bench`: the figures that README and docs name; all of them: `python -m benchmarks end_to_end memory ...`.

Arguments after names are the benchmark's own, and then one is named: `python -m benchmarks memory --parts 20000`.
"""

import argparse
import importlib
import sys

BENCHMARKS = {
    "end_to_end": "from trigger to action beside the bare model, and 50 parts a second (3 minutes)",
    "throughput": "60 parts a second with ONNX Runtime and 100 with OpenVINO, beside the bare runtime (3 minutes)",
    "simulator": "boards a second on one core (1 minute)",
    "memory": "resident memory from part 10,000 to part 100,000 (25 minutes)",
    "ledger": "inserts beside millions of rows and a purge (10 minutes, 14 GB of disk)",
    "alignment": "how exactly references lie over real parts (1 minute; needs --data, pairs such as DeepPCB's)",
    "start": "from the start of the process to the first verdict, with and without a certificate (2 minutes)",
    "changeover": "from the command to the first part of another product (1 minute)",
    "challenger": "parts that a device needs to pass a good model and to fail a bad one (10 minutes)",
    "bad_models": "which gate stops which bad model, at a real line with a real agent (an hour)",
    "updates": "what a refresh, the check of 20 MB and the memory of the agent cost (1 minute)",
    "updates_kill": "1,000 kills of an agent over updates of a model, of a recipe and of both (an hour)",
    "shadow": "verdicts with a candidate beside the line and without one, and how long a release takes (6 minutes)",
    "rollout": "a release reaches 1,000 simulated devices by the real client, or is held (10 minutes)",
    "update_load": "verdicts while an update is fetched, built and proved, and while none is (10 minutes)",
    "peers": "our line beside what a user would install instead (30 minutes, 7 GB of packages)",
    "gpu": "what runs on an NVIDIA accelerator, how exactly and how fast (5 minutes; needs one)",
}
QUICK = ("end_to_end", "simulator")


def main() -> int:
    """Run the quick benchmarks, or those that are named."""
    listing = "; ".join(f"{name}: {words}" for name, words in BENCHMARKS.items())
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, epilog=listing)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help=f"default: {' '.join(QUICK)}")
    given, own = parser.parse_known_args()
    names = given.names or QUICK
    if own and len(names) != 1:
        parser.error(f"{' '.join(own)}: arguments are of one benchmark; name it alone")
    failed = 0
    for name in names:
        sys.stdout.write(f"\n== {name}: {BENCHMARKS[name]}\n")
        sys.stdout.flush()
        sys.argv = [name, *own]
        failed |= importlib.import_module(f"benchmarks.{name}").main()
    return failed


if __name__ == "__main__":
    sys.exit(main())
