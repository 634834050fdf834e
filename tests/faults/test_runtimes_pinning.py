"""Pinned threads: which cores they get, that real ones are there, and that nobody only believes that they are.

They have the computer to themselves, and their process: one that was forked from it afterwards, as torch's readers of
pictures are, would crash.
"""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pytest

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import make_runtime
from appliance.errors import ConfigError, RuntimeFault
from appliance.ports import Runtime
from appliance.runtime_pool import RuntimePool
from appliance.runtimes.cores import choose_cores
from appliance.runtimes.onnx import OnnxRuntime
from appliance.runtimes.pinning import check_pinned, pinned_at_work, threads_now
from tests.c_compiler import needs_cc
from tests.models import tiny_bundle, tiny_manifest, tiny_model

pytestmark = pytest.mark.faults

CORES = sorted(os.sched_getaffinity(0))
Result = TypeVar("Result")

needs_two_cores = pytest.mark.skipif(len(CORES) < 2, reason="one core leaves nothing to choose")


has_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed (extra openvino)"
)


def confined_to(core: int, task: Callable[[], Result]) -> Result:
    """Do it in a thread that may use one core only, as a service may that was given one."""

    def confined() -> Result:
        os.sched_setaffinity(0, {core})
        return task()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(confined).result()


@contextmanager
def another_thread() -> Iterator[None]:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def pinned_since(before: dict[int, frozenset[int]]) -> list[frozenset[int]]:
    return [may_use for number, may_use in threads_now().items() if number not in before and len(may_use) == 1]


@needs_two_cores
def test_a_pinned_thread_stays_on_a_core_and_the_one_that_asks_is_left_free() -> None:
    before, mine = threads_now(), os.sched_getaffinity(0)
    runtime = OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=2, pins_threads=True)
    assert pinned_since(before) == [frozenset(choose_cores(2, 0, CORES))]
    assert runtime.describe().endswith(" CPU f32 threads=2 pinned")
    runtime.infer(np.zeros((1, 64, 64, 1), np.uint8))
    assert os.sched_getaffinity(0) == mine
    runtime.close()
    assert pinned_since(before) == []


@needs_two_cores
def test_no_thread_is_pinned_unless_somebody_asks() -> None:
    before = threads_now()
    runtime = OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=2)
    with pytest.raises(RuntimeFault, match=f"no thread stays on core {CORES[1]} as asked for .*: cores {CORES[0]}, "):
        check_pinned([CORES[1]], before)
    runtime.close()


@needs_two_cores
def test_the_configuration_pins_and_the_second_copy_finds_no_core_on_a_small_computer(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    settings = RuntimeSection(threads=len(CORES), pins_threads=True)
    runtime = make_runtime(settings, bundle)
    assert runtime.describe().endswith(f"threads={len(CORES)} pinned")
    runtime.close()
    words = f"2 copies of {len(CORES)} threads need {2 * len(CORES)} cores of their own"
    with pytest.raises(ConfigError, match=rf"{words}, and this process may use {len(CORES)} .*fewer runtime\.threads"):
        RuntimePool().lend(settings, bundle, "f32", 1)


def test_a_process_with_fewer_cores_than_threads_is_told() -> None:
    words = rf"2 threads need 2 cores of their own, and this process may use 1 \({CORES[0]}\)"
    with pytest.raises(ConfigError, match=words):
        confined_to(CORES[0], lambda: OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=2, pins_threads=True))


def test_one_thread_has_nothing_to_pin() -> None:
    with pytest.raises(ConfigError, match=r"with one thread .*set runtime\.threads to 2 or more"):
        OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=1, pins_threads=True)


@needs_two_cores
def test_a_core_that_onnx_runtime_could_not_take_is_found_out() -> None:
    forbidden = CORES[-1] + 1
    options, before = onnxruntime.SessionOptions(), threads_now()
    options.intra_op_num_threads, options.log_severity_level = 2, 4
    options.add_session_config_entry("session.intra_op_thread_affinities", str(forbidden + 1))
    session = onnxruntime.InferenceSession(tiny_model(64, 64), options, providers=["CPUExecutionProvider"])
    with pytest.raises(RuntimeFault, match=rf"no thread stays on core {forbidden} as asked for .*pins_threads: false"):
        check_pinned([forbidden], before)
    del session


PINNED = """
import sys
from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.engine import make_runtime
settings = RuntimeSection(kind=sys.argv[1], threads=2, pins_threads=True)
make_runtime(settings, read_bundle(open(sys.argv[2], "rb").read()))
"""


@needs_two_cores
@needs_cc
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("onnx", "RuntimeFault: no thread stays on core"),
        pytest.param(
            "openvino",
            "RuntimeFault: of the 2 threads that should each stay on a core of",
            marks=has_openvino,
        ),
    ],
)
def test_where_the_system_lets_nobody_pin_the_runtime_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    library, root = tmp_path / "unpinnable.so", Path(__file__).parents[2]
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, root / "tests" / "unpinnable.c"], check=True)
    command = [sys.executable, "-c", PINNED, kind, str(tiny_bundle(tmp_path / "tiny.bundle"))]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert words in ended.stderr


def test_a_thread_from_before_does_not_count() -> None:
    def look() -> None:
        with another_thread():  # it inherits the one core
            check_pinned([CORES[0]], before)
            with pytest.raises(RuntimeFault, match=f"no thread stays on core {CORES[0]} .*none started"):
                check_pinned([CORES[0]], threads_now())

    before = threads_now().keys() | {threading.get_native_id()}
    confined_to(CORES[0], look)


@pytest.mark.parametrize(
    ("threads", "copy", "cores"),
    [(2, 0, (1,)), (4, 0, (1, 2, 3)), (2, 1, (3,)), (3, 0, (1, 2)), (3, 1, (4, 5)), (2, 3, (7,))],
)
def test_no_two_copies_share_a_core_and_each_leaves_one_free(threads: int, copy: int, cores: tuple[int, ...]) -> None:
    assert choose_cores(threads, copy, range(8)) == cores


def test_a_hyper_thread_of_a_core_that_is_taken_comes_last(tmp_path: Path) -> None:
    for core in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{core // 2 * 2}-{core // 2 * 2 + 1}\n")
    assert choose_cores(4, 0, range(8), tmp_path) == (2, 4, 6)
    assert choose_cores(4, 1, range(8), tmp_path) == (3, 5, 7)
    assert choose_cores(2, 0, [1, 3], tmp_path) == (3,), "its sibling may not be used, so it has the core for itself"


def openvino_in_copies(number: int, **settings: Any) -> list[Runtime]:
    bundle = read_bundle(SHIPPED_BUNDLE)
    section = RuntimeSection(kind="openvino", precision="f32", **settings)
    return [make_runtime(section, bundle, copy=copy) for copy in range(number)]


def cores_at_work(runtime: Runtime, threads: int) -> frozenset[int]:
    geometry = read_bundle(SHIPPED_BUNDLE).manifest.geometry
    picture = np.zeros((1, geometry.height, geometry.width, geometry.channels), np.uint8)
    return pinned_at_work(lambda: runtime.infer(picture), threads)


@needs_two_cores
@has_openvino
def test_two_copies_of_openvino_share_no_core_and_the_thread_that_asks_is_free_again() -> None:
    mine = os.sched_getaffinity(0)
    first, second = (cores_at_work(each, 1) for each in openvino_in_copies(2, threads=1, pins_threads=True))
    assert (len(first), len(second)) == (1, 1)
    assert not first & second
    assert os.sched_getaffinity(0) == mine


@needs_two_cores
@has_openvino
def test_a_core_that_a_copy_of_openvino_had_is_another_ones_when_it_is_gone() -> None:
    (runtime,) = openvino_in_copies(1, threads=len(CORES), pins_threads=True)
    runtime.close()
    (again,) = openvino_in_copies(1, threads=len(CORES), pins_threads=True)
    assert again.describe().endswith(f"threads={len(CORES)} pinned")


@needs_two_cores
@has_openvino
def test_each_thread_of_openvino_is_seen_on_a_core_of_its_own() -> None:
    (runtime,) = openvino_in_copies(1, threads=2, pins_threads=True)
    assert len(cores_at_work(runtime, 2)) == 2


@contextmanager
def never_resting(runtime: Runtime) -> Iterator[None]:
    """A line whose parts follow each other without a pause."""
    geometry = read_bundle(SHIPPED_BUNDLE).manifest.geometry
    picture = np.zeros((1, geometry.height, geometry.width, geometry.channels), np.uint8)
    begun, ended = threading.Event(), threading.Event()

    def inspect() -> None:
        while not ended.is_set():
            runtime.infer(picture)
            begun.set()

    line = threading.Thread(target=inspect)
    line.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        ended.set()
        line.join()


@needs_two_cores
@has_openvino
def test_a_release_is_loaded_while_the_line_never_rests() -> None:
    (runtime,) = openvino_in_copies(1, threads=2, pins_threads=True)
    with never_resting(runtime):
        for _ in range(4):
            (release,) = openvino_in_copies(1, threads=2, pins_threads=True)
            release.close()


@needs_two_cores
@has_openvino
def test_the_lines_pinned_threads_are_no_proof_of_another_models() -> None:
    (pinned,), (free,) = openvino_in_copies(1, threads=1, pins_threads=True), openvino_in_copies(1, threads=1)
    words = r"of the 1 threads that should .*, the one that asks was not seen there"
    with never_resting(pinned), pytest.raises(RuntimeFault, match=words):
        cores_at_work(free, 1)


@needs_two_cores
@has_openvino
def test_a_second_copy_of_openvino_that_finds_no_cores_is_refused() -> None:
    words = f"2 copies of {len(CORES)} threads need {2 * len(CORES)} cores of their own"
    with pytest.raises(ConfigError, match=words):
        openvino_in_copies(2, threads=len(CORES), pins_threads=True)


@needs_two_cores
@has_openvino
def test_threads_of_openvino_that_nobody_pins_are_found_out() -> None:
    (runtime,) = openvino_in_copies(1, threads=1)
    with pytest.raises(RuntimeFault, match=r"of the 1 threads that should .*, the one that asks was not seen there"):
        cores_at_work(runtime, 1)
