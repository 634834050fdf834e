"""The child process that builds and proves a release: what runs out of time or memory here ends nothing else."""

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.bundle.recipe_package import SUFFIX as RECIPE_SUFFIX
from appliance.errors import EXIT_TERMINATED, ApplianceError, BundleProofError, ConfigError, exit_code, of_the_device
from appliance.runtimes.engines.child import Cancelled, say
from appliance.stop_wish import StopWish
from appliance.update.bounded_child import bind, go_last, read_last

if TYPE_CHECKING:
    from appliance.runtime_pool import RuntimePool

STEP = 0.01


def nobody() -> bool:
    """Return that nobody wants the work to end."""
    return False


@dataclass(slots=True)
class Teller:
    """Tells the agent how far the work is, and breaks it off where the agent wants it to end.

    is_cancelled: asked each time. first, parts: this is the part of the whole after so many of so many.
    """

    is_cancelled: Callable[[], bool] = nobody
    first: int = 0
    parts: int = 1
    _told: float = -1.0

    def __call__(self, share: float) -> None:
        """Take the share of this part that is done, 0..1, as often as one likes; less than before is another work.

        Raises:
            Cancelled: the agent wants it to end.
        """
        if self.is_cancelled():
            raise Cancelled("the agent has no more use for it")
        whole = (self.first + share) / self.parts
        if abs(whole - self._told) >= STEP or (whole != self._told and share >= 1.0):
            self._told = whole
            say(progress=round(whole, 4))

    def pool(self) -> "RuntimePool":
        """Return what lends models, and tells here of engines that it builds."""
        from appliance.engine import make_runtime
        from appliance.runtime_pool import RuntimePool

        return RuntimePool(partial(make_runtime, on_progress=self, is_cancelled=self.is_cancelled))


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
    stopped = StopWish()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    begin(given)
    try:
        task = {"build": build_here, "prove": prove_here}[given.task]
        done = task(given.config, given.release, given.current, stopped.is_set)
    except Cancelled:
        return EXIT_TERMINATED
    except MemoryError:
        say(
            result={
                "refused": f"it needs more than {given.memory_mb} MB of memory; raise `work.memory_mb` in agent.yaml",
                "code": 69,
            }
        )
    except ApplianceError as error:
        say(result={"refused": str(error), "code": exit_code(error)})
    else:
        say(result=done)
    return 0


def build_here(
    config: Path, bundle: Path, current: Path, is_cancelled: Callable[[], bool] = nobody
) -> dict[str, object]:
    """Load a release's model as the station would, which builds its engine where there is one.

    Args:
        config: the station's configuration.
        bundle: the release.
        current: not used.
        is_cancelled: asked often; true ends it.

    Raises:
        Cancelled: is_cancelled said so.
    """
    from appliance.agent_station import Station
    from appliance.bundle.archive import read_bundle
    from appliance.engine import choose

    settings, release = Station.read(config).config.runtime, read_bundle(bundle)
    runtime = Teller(is_cancelled).pool().lend(settings, release, choose(settings, release))
    words = runtime.describe()
    runtime.close()
    return {"words": words}


def prove_here(
    config: Path, release: Path, current: Path, is_cancelled: Callable[[], bool] = nobody
) -> dict[str, object]:
    """Prove a release for every product that runs a slots' `current`; the certificates stay with the station's.

    Args:
        config: the station's configuration.
        release: a bundle, or a recipe, as `current` is.
        current: of the slots.
        is_cancelled: asked often; true ends it.

    Raises:
        Cancelled: is_cancelled said so.
        ApplianceError: it may not judge here; see appliance.activation.activate.
    """
    from appliance.agent_station import Station
    from appliance.bundle.archive import read_bundle
    from appliance.products import activate_configured, load_bound_recipe
    from appliance.recipe import load_recipe
    from appliance.stages.infer import Inference

    station = Station.read(config)
    is_recipe = current.suffix == RECIPE_SUFFIX
    with _release_at_fault(is_recipe):
        recipe_file = load_recipe(release) if is_recipe else None
        bundle = None if is_recipe else read_bundle(release)
    words, p99_ms, budget_ms = list[str](), 0.0, math.inf
    products = list(station.files_of(current).values())
    for number, files in enumerate(products):
        with of_the_device():
            judging, loaded = bundle or read_bundle(files.bundle), recipe_file or load_recipe(files.recipe)
        with _release_at_fault(is_recipe):
            recipe = load_bound_recipe(station.config, files, judging, loaded)
        tell = Teller(is_cancelled, number, len(products))
        engine = activate_configured(station.config, judging, recipe, pool=tell.pool(), on_progress=tell)
        tiles = Inference(recipe, judging.manifest, engine.runtime).tiles
        engine.close()
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
