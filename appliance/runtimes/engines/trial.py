"""The child process that tries an engine: what crashes here does not crash the station."""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np

from appliance.errors import ApplianceError, EngineFault
from appliance.runtimes.accelerator.binding import open_device
from appliance.runtimes.contract import OUTPUTS
from appliance.runtimes.engines.child import say
from appliance.runtimes.engines.session import INPUT, EngineSession
from appliance.runtimes.tensorrt_library import load_engine, load_library


def main() -> int:
    """Load the engine that the command line names and ask it as the line may; the result goes to the parent process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--max-batch", type=int, required=True)
    parser.add_argument("--dla-core", type=int)
    given = parser.parse_args()
    try:
        device = open_device()
        loaded = load_engine(load_library(), given.engine.read_bytes(), given.dla_core)
        if sorted(loaded.ports) != sorted((INPUT, *OUTPUTS)):
            raise EngineFault(f"the engine has inputs and outputs {list(loaded.ports)}; export the bundle again")
        with closing(EngineSession(loaded, device, given.max_batch)) as session:
            for count in range(1, given.max_batch + 1):
                session.ask(np.zeros((count, *(size or 1 for size in loaded.ports[INPUT].shape[1:])), np.uint8))
    except ApplianceError as error:
        say(result={"refused": str(error), "is_the_engines_fault": isinstance(error, EngineFault)})
        return 0
    ports = json.loads(json.dumps({name: asdict(port) for name, port in loaded.ports.items()}))
    say(result={"ports": ports, "why_no_graph": session.why_no_graph})
    return 0


if __name__ == "__main__":
    sys.exit(main())
