"""`make bench`: the figures that README and docs name; all of them: `python -m benchmarks end_to_end memory ...`."""

import argparse
import importlib
import sys

BENCHMARKS = {
    "end_to_end": "from trigger to action beside the bare model, and 50 parts a second (3 minutes)",
    "simulator": "boards a second on one core (1 minute)",
    "memory": "resident memory from part 10,000 to part 100,000 (25 minutes)",
    "ledger": "inserts beside millions of rows and a purge (10 minutes, 14 GB of disk)",
    "start": "from the start of the process to the first verdict, with and without a certificate (2 minutes)",
    "changeover": "from the command to the first part of another product (1 minute)",
    "gpu": "what runs on an NVIDIA accelerator, how exactly and how fast (5 minutes; needs one)",
}
QUICK = ("end_to_end", "simulator")


def main() -> int:
    """Run the quick benchmarks, or those that are named."""
    listing = "; ".join(f"{name}: {words}" for name, words in BENCHMARKS.items())
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, epilog=listing)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help=f"default: {' '.join(QUICK)}")
    names = parser.parse_args().names or QUICK
    failed = 0
    for name in names:
        sys.stdout.write(f"\n== {name}: {BENCHMARKS[name]}\n")
        sys.stdout.flush()
        sys.argv = [name]
        failed |= importlib.import_module(f"benchmarks.{name}").main()
    return failed


if __name__ == "__main__":
    sys.exit(main())
