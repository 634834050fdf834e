"""The child process that builds and proves a release: what runs out of time or memory here ends nothing else."""

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.bundle.recipe_package import SUFFIX as RECIPE_SUFFIX
from appliance.errors import ApplianceError, BundleProofError, ConfigError, exit_code
from appliance.runtimes.engines.child import say
from appliance.update.bounded_child import bind, go_last, read_last


def begin(given: argparse.Namespace) -> None:
    """Take this process's place, behind the line or beside it, and its limits, before anything is read."""
    (read_last if given.beside_the_line else go_last)()
    bind(given.memory_mb * 10**6, given.parent)


def main() -> int:
    """Build or prove what the command line names; the result goes to the agent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("build", "prove"))
    for name in ("--config", "--release", "--current"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--beside-the-line", action="store_true", help="at the line's priority, and not behind it")
    given = parser.parse_args()
    begin(given)
    try:
        done = {"build": build_here, "prove": prove_here}[given.task](given.config, given.release, given.current)
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
    from appliance.agent_station import Station
    from appliance.bundle.archive import read_bundle
    from appliance.engine import choose
    from appliance.runtime_pool import RuntimePool

    settings, release = Station.read(config).config.runtime, read_bundle(bundle)
    runtime = RuntimePool().lend(settings, release, choose(settings, release))
    words = runtime.describe()
    runtime.close()
    return {"words": words}


def prove_here(config: Path, release: Path, current: Path) -> dict[str, object]:
    """Prove a release for every product that runs a slots' `current`; the certificates stay with the station's.

    Args:
        config: the station's configuration.
        release: a bundle, or a recipe, as `current` is.
        current: of the slots.

    Raises:
        ApplianceError: it may not judge here; see appliance.activation.activate.
    """
    from appliance.agent_station import Station
    from appliance.bundle.archive import read_bundle
    from appliance.device_state import read_device_state
    from appliance.products import activate_configured, load_bound_recipe
    from appliance.recipe import load_recipe
    from appliance.stages.infer import Inference

    station, device = Station.read(config), read_device_state()
    with _release_at_fault(current.suffix == RECIPE_SUFFIX):
        released = load_recipe(release) if current.suffix == RECIPE_SUFFIX else None
    words, p99_ms, budget_ms = list[str](), 0.0, math.inf
    for files in station.files_of(current).values():
        bundle = read_bundle(files.bundle if released else release)
        with _release_at_fault(released is not None):
            recipe = load_bound_recipe(station.config, files, bundle, released)
        engine = activate_configured(station.config, bundle, recipe, device)
        tiles = Inference(recipe, bundle.manifest, engine.runtime).tiles
        engine.runtime.close()
        budget_ms = min(budget_ms, engine.budget_ms * tiles)
        words.append(f"certificate {engine.certificate.id[:12]} of recipe {engine.certificate.subject.recipe}")
        p99_ms = max(p99_ms, engine.certificate.result.latency_ms.p99)
    if not words:
        raise ConfigError(f"{config}: no product's `{current.suffix[1:]}` is {current}; name it there")
    return {"words": ", ".join(words), "p99_ms": p99_ms, "budget_ms": budget_ms}


@contextmanager
def _release_at_fault(is_recipe: bool) -> Iterator[None]:
    """A mistake in a recipe that is released is the release's: no file of this device would mend it."""
    try:
        yield
    except ConfigError as error:
        if is_recipe:
            raise BundleProofError(str(error)) from error
        raise


if __name__ == "__main__":
    sys.exit(main())
