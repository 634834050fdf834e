"""A child process of the agent's workshop that does what its bundle's text says; for what ends a child."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from appliance.runtimes.engines.child import say
from appliance.update.bounded_child import bind

parser = argparse.ArgumentParser()
parser.add_argument("task")
for name in ("--config", "--bundle", "--current"):
    parser.add_argument(name, type=Path)
for name in ("--memory-mb", "--parent"):
    parser.add_argument(name, type=int)
given = parser.parse_args()
bind(given.memory_mb * 10**6, given.parent)
what = given.bundle.read_text()
if what == "eats":
    try:
        eaten = bytearray(10 * given.memory_mb * 10**6)
    except MemoryError:
        say(result={"refused": "it needs more memory", "code": 69})
        sys.exit(0)
elif what == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "hangs":
    given.bundle.with_name("child.pid").write_text(str(os.getpid()))
    threading.Event().wait()
say(result={"words": what, "p99_ms": 1.0, "budget_ms": 9.0})
