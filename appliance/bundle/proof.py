"""The golden proof: this device, with this engine, gets the trainer's detections from this bundle, and in time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from appliance.bundle.archive import Bundle
from appliance.bundle.comparison import Comparison, Detect, compare_all
from appliance.bundle.endurance import LARGEST_GROWTH_BYTES, Timing, time_runs
from appliance.bundle.limits import Limits, refuse_undecided
from appliance.bundle.manifest import Precision
from appliance.errors import BundleProofError, BundleSlowError
from appliance.events import Pixels

TIMED_RUNS = 200
"""Least number of inferences that are timed: the 99th percentile then has two runs above it."""

MOST_ATTEMPTS = 2
"""Rounds of timed runs: another program may be in the way once, but not twice."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the proof measured."""

    bundle_digest: str
    comparison: Comparison
    timing: Timing


def prove(
    bundle: Bundle,
    detect: Detect,
    *,
    latency_budget_ms: float,
    precision: Precision = "f32",
    limits: Limits | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    beside: Sequence[Detect] = (),
) -> Proof:
    """Compare the golden images, then run them over and over: in time, and without taking ever more memory.

    Args:
        bundle: the release to prove.
        detect: the very function that the line will use, with the engine that it will use.
        latency_budget_ms: longest acceptable 99th percentile of one `detect`, with the other copies at work.
        precision: of the bundle's model that `detect` runs; the manifest says how near each must come.
        limits: of the recipe; None takes the manifest's.
        on_progress: told the share that is done, 0..1, which is not timed; a second round begins at less again.
        beside: the other copies of the engine that the line uses at the same time; each is compared and timed.

    Returns:
        The measurements, for the record.

    Raises:
        BundleProofError: see `compare` and `refuse_undecided`; or the memory grows.
        BundleSlowError: it takes too long.
        RuntimeFault: the engine failed.
    """
    refuse_undecided(bundle, limits)
    comparison = compare_all(bundle, (detect, *beside), precision=precision, limits=limits)
    name = f"bundle {bundle.manifest.name} revision {bundle.manifest.revision}"
    copies = 1 + len(beside)
    runs = -(-max(TIMED_RUNS, len(bundle.golden)) // copies) * copies
    # decoded before: a copy that decodes leaves the others more of the processor than a part on the line does
    decoded = [image.pixels() for image in bundle.golden]
    for attempt in range(1, MOST_ATTEMPTS + 1):
        pictures = _shown(decoded, runs, on_progress)
        timing = time_runs(detect, pictures, runs=runs, budget_ms=latency_budget_ms, attempt=attempt, beside=beside)
        is_fast = timing.p99_ms <= latency_budget_ms
        if is_fast and timing.is_flat:
            on_progress(1.0)
            return Proof(bundle.digest, comparison, timing)
    if not is_fast:
        together = f" {copies} at once," if beside else ""
        fewer = " inspect fewer at once (runtime.instances)," if beside else ""
        raise BundleSlowError(
            f"{name} takes {timing.p99_ms:.1f} ms a picture here (99th percentile of {timing.runs} runs,{together} "
            f"median {timing.p50_ms:.1f} ms) and may take {latency_budget_ms:.1f} ms. The running bundle stays; "
            f"use a smaller model,{fewer} or take work off this device"
        )
    raise BundleProofError(
        f"{name}: the process grew by {timing.memory_growth_bytes} bytes while it looked at the same pictures again "
        f"and again, at most {LARGEST_GROWTH_BYTES} are allowed. The running bundle stays; check the runtime's version"
    )


def _shown(decoded: Sequence[Pixels], runs: int, on_progress: Callable[[float], None]) -> Iterator[Pixels]:
    """Yield the pictures of one round; telling is not timed."""
    looked_at = len(decoded)  # once each, to compare
    for done, pixels in enumerate(islice(cycle(decoded), runs)):
        on_progress((looked_at + done) / (looked_at + runs))
        yield pixels
