"""`python benchmarks/simulator.py`: boards per second of the simulated line on one core, optics included."""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import cv2

from appliance.simulator.line import SimulatedLine


def median_ms(line: SimulatedLine, parts: int) -> float:
    line.part(0)
    spent_ns = []
    for number in range(1, parts + 1):
        started_ns = time.monotonic_ns()
        line.part(number)
        spent_ns.append(time.monotonic_ns() - started_ns)
    return statistics.median(spent_ns) / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=150)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    lines = {
        "640x640 grey, one family": (SimulatedLine(1, 0.3), args.parts),
        "640x640 grey, 8 parts per family": (SimulatedLine(1, 0.3, parts_per_family=8), args.parts),
        "640x640 grey, every part a new family": (SimulatedLine(1, 0.3, parts_per_family=1), args.parts),
        "640x640 colour, one family": (SimulatedLine(1, 0.3, channels=3), args.parts),
        "2592x1944 grey, one family": (SimulatedLine(1, 0.3, 2592, 1944), max(5, args.parts // 10)),
    }
    figures = {}
    for name, (line, parts) in lines.items():
        spent_ms = median_ms(line, parts)
        figures[name] = {"median_ms": round(spent_ms, 2), "boards_per_s": round(1000 / spent_ms, 1)}
        print(f"{name:40s} median {spent_ms:7.2f} ms   {1000 / spent_ms:7.1f} boards/s")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
