"""A trial in which an engine of `deadly` kills its process and one of `strange` is refused, as its last word says.

At others the device or somebody else is at fault: it is `busy`, the process is `killed` or `ended`, it is `broken`.
"""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

from appliance.runtimes.engines.child import say

plan = Path(sys.argv[-1]).read_bytes()
if plan.endswith(b"deadly"):
    ctypes.string_at(0)
elif plan.endswith(b"killed"):
    os.kill(os.getpid(), signal.SIGKILL)
elif plan.endswith(b"ended"):
    os.kill(os.getpid(), signal.SIGTERM)
elif plan.endswith(b"broken"):
    raise MemoryError("this device is at its end")
elif plan.endswith(b"waits"):
    threading.Event().wait()
elif plan.endswith(b"strange"):
    say(result={"refused": "the engine is of another version; build it again", "is_the_engines_fault": True})
elif plan.endswith(b"busy"):
    say(result={"refused": "CUDA could not allocate 64 bytes", "is_the_engines_fault": False})
elif plan.endswith(b"says how many"):
    most = sys.argv[sys.argv.index("--max-batch") + 1]
    say(result={"refused": f"up to {most} pictures", "is_the_engines_fault": False})
elif plan.endswith(b"says how"):
    say(result={"refused": f"idle {os.sched_getscheduler(0) == os.SCHED_IDLE}", "is_the_engines_fault": False})
else:
    say(result={"ports": {}})
