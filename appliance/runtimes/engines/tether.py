"""Runs a module in this process, whose life is tied to that of the process that started it, however that ends."""

import runpy
import sys

from appliance.update.bounded_child import end_with


def main() -> None:
    """Tie this process to its parent, then become the module; the command line is its parent's id, the module, more."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    end_with(parent)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
