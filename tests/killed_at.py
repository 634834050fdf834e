"""A command of this process's own program that dies at its n-th step on disk, as by a power cut between two of them."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

KILLED, DONE, REFUSED = 9, 0, 1
STEPS = {"os.rename": 1, "os.link": 1}
"""How a file becomes visible, and which argument says where; every one of a publisher's does by one of them."""
GOING = {"os.remove": 0}
"""How a file goes."""


def killed_at(step: int, folder: Path, work: Callable[[], int], steps: Mapping[str, int] = STEPS) -> bool:
    """Run work in a child that ends just before its step-th step in a folder; returns whether it died."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in steps and str(arguments[steps[event]]).startswith(str(folder)):
                seen += 1
                if seen == step:
                    os._exit(KILLED)

        sys.addaudithook(count)
        try:
            code = work()
        finally:
            os._exit(DONE if sys.exc_info()[0] is None and code == 0 else REFUSED)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (KILLED, DONE), "the command was refused, not killed"
    return ended == KILLED
