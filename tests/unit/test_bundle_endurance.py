"""Timed runs notice what is slow and what grows; another program may be in the way once."""

import mmap
import threading
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.comparison import agreement_ap
from appliance.bundle.endurance import Timing, time_runs
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Outputs, Tolerance
from appliance.bundle.proof import TIMED_RUNS, prove
from appliance.errors import BundleProofError, BundleSlowError, RuntimeFault
from appliance.events import Detection, Pixels
from tests.models import spot_picture, tiny_bundle, tiny_manifest, tiny_model, tiny_variant
from tests.planted import write

PICTURE = np.zeros((8, 8, 1), np.uint8)
LONG_S, BUDGET_MS = 0.25, 200.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle"))


def device(bundle: Bundle, before_run: Callable[[int], object]) -> Callable[[Pixels], tuple[Detection, ...]]:
    """Find what the trainer found, and do something before each run; the golden images are runs 0 to 2."""
    answers = {image.pixels().tobytes(): image.detections for image in bundle.golden}
    runs: list[int] = []

    def detect(pixels: Pixels) -> tuple[Detection, ...]:
        before_run(len(runs))
        runs.append(0)
        return answers[pixels.tobytes()]

    return detect


def long_in(*runs: int) -> Callable[[int], object]:
    return lambda run: threading.Event().wait(LONG_S) if run in runs else None


def test_two_long_runs_of_two_hundred_are_within_the_99th_percentile(bundle: Bundle) -> None:
    timing = prove(bundle, device(bundle, long_in(10, 20)), latency_budget_ms=BUDGET_MS).timing
    assert (timing.runs, timing.attempts) == (TIMED_RUNS, 1)
    assert timing.max_ms >= LONG_S * 1000 > timing.p99_ms


def test_what_is_in_the_way_once_costs_one_more_round_that_is_recorded(bundle: Bundle) -> None:
    timing = prove(bundle, device(bundle, long_in(10, 20, 30)), latency_budget_ms=BUDGET_MS).timing
    assert (timing.runs, timing.attempts) == (TIMED_RUNS, 2)
    assert timing.p99_ms < BUDGET_MS


def test_what_is_in_the_way_twice_is_refused_as_soon_as_that_is_sure(bundle: Bundle) -> None:
    asked: list[int] = []
    slow = long_in(10, 20, 30, 40, 50, 60)
    with pytest.raises(BundleSlowError, match=r"99th percentile of 30 runs, median .* may take 200\.0 ms"):
        prove(bundle, device(bundle, lambda run: (asked.append(run), slow(run))), latency_budget_ms=BUDGET_MS)
    assert asked[-1] == 60


def test_an_engine_that_takes_ever_more_memory_is_refused(bundle: Bundle) -> None:
    taken: list[mmap.mmap] = []

    def take(run: int) -> None:
        taken.append(mmap.mmap(-1, 65536))  # pages of its own: the heap may have room left by others
        taken[-1].write(bytes([1]) * 65536)

    leak = device(bundle, take)
    with pytest.raises(BundleProofError, match=r"the process grew by .* at most 2097152 are allowed"):
        prove(bundle, leak, latency_budget_ms=1000)


def test_memory_that_is_taken_in_the_beginning_only_is_none(bundle: Bundle) -> None:
    taken: list[bytes] = []
    greedy = device(bundle, lambda run: taken.append(bytes([1]) * 2**20) if run < 20 else None)
    growth = prove(bundle, greedy, latency_budget_ms=1000).timing.memory_growth_bytes
    assert growth is not None
    assert growth < 2**20


def test_all_copies_are_at_work_in_each_timed_run() -> None:
    together = threading.Barrier(2)
    names: set[str] = set()

    def copy(pixels: Pixels) -> None:
        names.add(threading.current_thread().name)
        together.wait(LONG_S * 100)  # ends only if another copy runs at the same time

    timing = time_runs(copy, repeat(PICTURE), runs=20, budget_ms=1e6, beside=[copy])
    assert (timing.runs, len(names)) == (20, 2)
    assert threading.current_thread().name in names


def test_a_copy_that_fails_ends_the_runs_of_the_others() -> None:
    runs: list[int] = []

    def fails(_: Pixels) -> None:
        raise RuntimeFault("the engine failed")

    def works(_: Pixels) -> None:
        runs.append(1)
        threading.Event().wait(0.001)

    with pytest.raises(RuntimeFault, match="the engine failed"):
        time_runs(works, repeat(PICTURE), runs=10**6, budget_ms=1e6, beside=[fails])
    with pytest.raises(RuntimeFault, match="the engine failed"):
        time_runs(fails, repeat(PICTURE), runs=10**6, budget_ms=1e6, beside=[works])
    assert len(runs) < 10**4


def test_a_slow_copy_is_not_hidden_by_a_fast_one(bundle: Bundle) -> None:
    fast, slow = device(bundle, long_in()), device(bundle, long_in(*range(3, TIMED_RUNS, 10)))
    with pytest.raises(BundleSlowError, match=r", 2 at once, .* inspect fewer at once \(runtime\.instances\)"):
        prove(bundle, fast, latency_budget_ms=BUDGET_MS, beside=[slow])


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_who_cancels_a_proof_ends_the_runs_of_all_copies(bundle: Bundle, copies: int) -> None:
    runs: list[int] = []

    def cancel(share: float) -> None:
        if 0.5 < share < 1:
            raise InterruptedError("nobody wants it any more")

    first, *beside = (device(bundle, runs.append) for _ in range(copies))
    with pytest.raises(InterruptedError, match="nobody wants it any more"):
        prove(bundle, first, latency_budget_ms=1000, beside=beside, on_progress=cancel)
    assert len(runs) < TIMED_RUNS


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_each_copy_runs_as_often_as_the_others(copies: int) -> None:
    counts = [0] * copies

    def count(which: int, _: Pixels) -> None:
        counts[which] += 1

    first, *beside = (partial(count, which) for which in range(copies))
    timing = time_runs(first, repeat(PICTURE), runs=20, budget_ms=1e6, beside=beside)
    assert len(set(counts)) == 1
    assert 20 <= sum(counts) == timing.runs < 20 + copies


def test_a_system_that_does_not_tell_its_memory_is_believed_to_be_flat(tmp_path: Path) -> None:
    timing = time_runs(len, repeat(PICTURE), runs=5, budget_ms=1000, memory=tmp_path / "none")
    assert timing.memory_growth_bytes is None
    assert timing.is_flat
    assert not Timing(5, 1, 1.0, 1.0, 1.0, 1.0, 3 * 2**20).is_flat


SCORES = st.lists(st.floats(0.0, 1.0), max_size=12)


def spots(scores: list[float]) -> tuple[Detection, ...]:
    return tuple(Detection("spot", score, (20.0 * at, 0.0, 20.0 * at + 10, 10.0)) for at, score in enumerate(scores))


@given(SCORES, st.floats(0.0, 1.0))
def test_a_model_agrees_with_itself_whatever_the_limit(scores: list[float], limit: float) -> None:
    assert agreement_ap([(spots(scores), spots(scores))], {"spot": limit}) == 1.0


@given(SCORES, SCORES, st.floats(0.0, 1.0))
def test_agreement_lies_between_nothing_and_all(expected: list[float], found: list[float], limit: float) -> None:
    assert 0.0 <= agreement_ap([(spots(expected), spots(found))], {"spot": limit}) <= 1.0


def test_agreement_falls_with_what_is_missing_or_found_besides() -> None:
    expected = spots([0.9, 0.8])
    besides = Detection("spot", 0.95, (500.0, 0.0, 510.0, 10.0))
    limits = {"spot": 0.5}
    assert agreement_ap([(expected, expected[:1])], limits) == 0.5
    assert agreement_ap([(expected, (besides, *expected))], limits) == pytest.approx(2 / 3)
    assert agreement_ap([(expected, (*expected, *spots([0.0, 0.0, 0.1])[2:]))], limits) == 1.0
    assert agreement_ap([(expected, ())], limits) == 0.0


def test_a_variant_that_agrees_too_little_is_refused_even_within_its_tolerance(tmp_path: Path) -> None:
    faint = tuple(Detection("spot", 0.3, (20.0 * at, 0.0, 20.0 * at + 10, 10.0)) for at in range(1, 3))
    sure = Detection("spot", 0.9, (0.0, 0.0, 10.0, 10.0))
    wide = tiny_variant(tolerance=Tolerance(min_iou=0.8, max_score_difference=0.3))
    manifest = tiny_manifest(
        outputs=Outputs(candidates=100, nms_iou=0.5, score_floor=0.05),
        classes=(tiny_manifest().classes[0].model_copy(update={"limit": 0.2}),),
    ).with_variants({"int8": wide})
    bad, good = spot_picture(64, 64, [(1, 1, 200)]), spot_picture(64, 64)
    golden = [GoldenImage.from_pixels(bad, (sure, *faint)), GoldenImage.from_pixels(good, ())]
    model = tiny_model(64, 64)
    bundle = read_bundle(write(tmp_path / "b.bundle", model, golden, manifest, {"int8": model}))
    with pytest.raises(BundleProofError, match=r"AP against model.onnx is 0\.3333 \(at least 0\.997\)"):
        prove(bundle, lambda pixels: (sure,) if pixels.max() == 200 else (), latency_budget_ms=1000, precision="int8")
