"""`python -m benchmarks peers`: our line beside what a user would install instead."""

from benchmarks.peers.comparison import main

__all__ = ["main"]
