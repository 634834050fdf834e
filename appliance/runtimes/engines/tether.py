"""Runs a module in this process, whose life is tied to that of the process that started it, however that ends.

It takes processor and disk only when nobody else wants them: a line may be running beside it.
"""

import runpy
import sys

from appliance.update.bounded_child import end_with, go_last


def main() -> None:
    """Tie this process to its parent, let others go first, then become the module.

    The command line is the parent's id, the module, and the module's own.
    """
    parent, module = int(sys.argv[1]), sys.argv[2]
    end_with(parent)
    go_last()
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
