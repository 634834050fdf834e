"""A trial in which an engine of `deadly` kills its process, and one of `strange` is refused."""

import ctypes
import sys
from pathlib import Path

from appliance.runtimes.engines.child import say

plan = Path(sys.argv[-1]).read_bytes()
if plan.endswith(b"deadly"):
    ctypes.string_at(0)
say(
    result={"refused": "the engine is of another version; build it again"}
    if plan.endswith(b"strange")
    else {"ports": {}}
)
