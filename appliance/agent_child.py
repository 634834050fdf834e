"""The child process that builds and proves a release: what runs out of time or memory here ends nothing else."""

import argparse
import ctypes
import math
import os
import resource
import signal
import sys
from pathlib import Path

from appliance.errors import ApplianceError, ConfigError, exit_code
from appliance.runtimes.engines.child import say

PR_SET_PDEATHSIG = 1
FIRST_TO_GO = 1000
"""oom_score_adj of what the kernel ends before anything else."""


def limit(memory_bytes: int, parent: int) -> None:
    """Bind this process: its data to so many bytes, its life to the agent's, and first in line where memory ends.

    RLIMIT_DATA counts what is written to and not the addresses that CUDA reserves, for which RLIMIT_AS would have to
    be so wide that it held nothing.

    Args:
        memory_bytes: of private data.
        parent: process id of the agent.

    Source:
        getrlimit(2), prctl(2), proc_pid_oom_score_adj(5).
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before
    Path("/proc/self/oom_score_adj").write_text(f"{FIRST_TO_GO}")


def main() -> int:
    """Build or prove what the command line names; the result goes to the agent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("build", "prove"))
    for name in ("--config", "--bundle", "--current"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    limit(given.memory_mb * 10**6, given.parent)
    try:
        done = {"build": build_here, "prove": prove_here}[given.task](given.config, given.bundle, given.current)
    except MemoryError:
        say(result={"refused": f"it needs more than {given.memory_mb} MB of memory", "code": 69})
    except ApplianceError as error:
        say(result={"refused": str(error), "code": exit_code(error)})
    else:
        say(result=done)
    return 0


def build_here(config: Path, bundle: Path, current: Path) -> dict[str, object]:
    """Load a release's model as the station would, which builds its engine where there is one.

    Args:
        config: the station's configuration.
        bundle: the release.
        current: not used.
    """
    from appliance.agent_line import Station
    from appliance.bundle.archive import read_bundle
    from appliance.engine import choose
    from appliance.runtime_pool import RuntimePool

    os.nice(19)  # an engine takes minutes of all cores; a proof's times must be those of the line
    settings, release = Station.read(config).config.runtime, read_bundle(bundle)
    runtime = RuntimePool().lend(settings, release, choose(settings, release))
    words = runtime.describe()
    runtime.close()
    return {"words": words}


def prove_here(config: Path, bundle: Path, current: Path) -> dict[str, object]:
    """Prove a release for every product that runs a slots' `current`; the certificates stay with the station's.

    Args:
        config: the station's configuration.
        bundle: the release.
        current: of the slots.

    Raises:
        ApplianceError: it may not judge here; see appliance.activation.activate.
    """
    from appliance.agent_line import Station
    from appliance.bundle.archive import read_bundle
    from appliance.device_state import read_device_state
    from appliance.products import activate_configured, load_bound_recipe
    from appliance.stages.infer import Inference

    station, release, device = Station.read(config), read_bundle(bundle), read_device_state()
    words, p99_ms, budget_ms = list[str](), 0.0, math.inf
    for files in station.files_of(current).values():
        recipe = load_bound_recipe(station.config, files, release)
        engine = activate_configured(station.config, release, recipe, device)
        tiles = Inference(recipe, release.manifest, engine.runtime).tiles
        engine.runtime.close()
        budget_ms = min(budget_ms, engine.budget_ms * tiles)
        words.append(f"certificate {engine.certificate.id[:12]} of recipe {engine.certificate.subject.recipe}")
        p99_ms = max(p99_ms, engine.certificate.result.latency_ms.p99)
    if not words:
        raise ConfigError(f"{config}: no product's `bundle` is {current}; name it there")
    return {"words": ", ".join(words), "p99_ms": p99_ms, "budget_ms": budget_ms}


if __name__ == "__main__":
    sys.exit(main())
