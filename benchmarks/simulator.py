"""Boards per second of the simulated line on one core, optics included. Exit code 1: grey ones below 60 a second."""

import argparse
import statistics
import sys
import time

import cv2

from appliance.simulator.line import SimulatedLine
from benchmarks.results import machine, write

GREY = "640x640 grey, "
LEAST_GREY_PER_S = 60.0


def median_ms(line: SimulatedLine, parts: int) -> float:
    """Return the median time of a board in milliseconds."""
    line.part(0)
    spent_ns = []
    for number in range(1, parts + 1):
        started_ns = time.monotonic_ns()
        line.part(number)
        spent_ns.append(time.monotonic_ns() - started_ns)
    return statistics.median(spent_ns) / 1e6


def main() -> int:
    """Measure, print, write benchmarks/results/simulator.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=150)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    lines = {
        f"{GREY}one family": (SimulatedLine(1, 0.3), args.parts),
        f"{GREY}8 parts per family": (SimulatedLine(1, 0.3, parts_per_family=8), args.parts),
        f"{GREY}every part a new family": (SimulatedLine(1, 0.3, parts_per_family=1), args.parts),
        "640x640 colour, one family": (SimulatedLine(1, 0.3, channels=3), args.parts),
        "2592x1944 grey, one family": (SimulatedLine(1, 0.3, 2592, 1944), max(5, args.parts // 10)),
    }
    figures = {}
    for name, (line, parts) in lines.items():
        spent_ms = median_ms(line, parts)
        figures[name] = {"median_ms": round(spent_ms, 2), "boards_per_s": round(1000 / spent_ms, 1)}
        sys.stdout.write(f"{name:40s} median {spent_ms:7.2f} ms   {1000 / spent_ms:7.1f} boards/s\n")
    write("simulator", {"machine": machine(), "lines": figures})
    slowest = min(figure["boards_per_s"] for name, figure in figures.items() if name.startswith(GREY))
    return 0 if slowest >= LEAST_GREY_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
