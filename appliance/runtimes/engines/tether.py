"""Runs a module in this process, whose life is tied to that of the process that started it, however that ends."""

import runpy
import sys

from appliance.update.bounded_child import end_with, go_last


def main() -> None:
    """Tie this process to its parent, then become the module.

    The command line: the parent's id, `last` (everybody else goes first) or `along`, the module, and the module's own.
    """
    parent, place, module = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    end_with(parent)
    if place == "last":
        go_last()
    del sys.argv[1:4]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
