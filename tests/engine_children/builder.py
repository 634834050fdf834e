"""A builder whose engine is the model itself; it keeps what it measured, as the real one does.

What was measured may be `poison`, at which it crashes, and so it does at a model of `dead end`.
"""

import argparse
import ctypes
import os
import threading
from pathlib import Path

from appliance.runtimes.engines.child import say

parser = argparse.ArgumentParser()
for name in ("--model", "--engine", "--timing"):
    parser.add_argument(name, type=Path)
parser.add_argument("--dla-core", type=int)
given, _ = parser.parse_known_args()
model = given.model.read_bytes()
if model == b"refused":
    say(result={"refused": "no kernel for NonMaxSuppression; export it again", "is_the_models_fault": True})
elif model == b"no DLA":
    say(result={"refused": "finds 0 DLA cores here; remove the key", "is_the_configurations_fault": True})
elif model == b"no device":
    say(result={"refused": "the device is gone; look at the cable", "is_the_models_fault": False})
elif model == b"says how":
    given.engine.write_text(f"idle {os.sched_getscheduler(0) == os.SCHED_IDLE}")
    say(result={"precision": "fp16"})
elif model == b"hangs":
    say(progress=0.1)
    threading.Event().wait()
else:
    before = given.timing.read_bytes() if given.timing.exists() else b""
    if before == b"poison" or model == b"dead end":
        ctypes.string_at(0)
    given.timing.write_bytes(before + b"m")
    given.engine.write_bytes(
        b"engine of " + model + (b"" if given.dla_core is None else b" on DLA %d" % given.dla_core)
    )
    say(progress=1.0)
    say(result={"precision": "fp16"})
