"""Pictures judged at once are judged as one after the other, and really at once where the runtime allows it."""

import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from appliance.events import Pixels
from appliance.ports import RawDetections
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import tiny_manifest, tiny_model
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset
from trainer.evaluate import BundleRunner, Runner, judge_samples
from trainer.metrics import Judged
from trainer.model import Net
from trainer.sizes import NetShape
from trainer.stress import sweep
from trainer.threads import usable_cores
from trainer.validate import MOST_PIXELS_AT_ONCE, judge

PATIENCE_S = 60.0


@pytest.fixture
def spots(tmp_path: Path) -> Dataset:
    """Twelve pictures, six of them with a spot, in two sizes."""
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 3}, "small.txt")
    write_tiny_deeppcb(tmp_path / "pcb", {"b": 3}, "large.txt", side_px=160)
    found = [read_dataset(tmp_path / "pcb" / name).samples for name in ("small.txt", "large.txt")]
    return Dataset(("spot",), tuple(sample for pair in zip(*found, strict=True) for sample in pair))


def assert_same(some: list[Judged], others: list[Judged]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.group == other.group
        for name in ("boxes", "scores", "labels", "true_boxes"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_pictures_of_any_size_are_judged_at_once_as_one_by_one(spots: Dataset) -> None:
    runner = BundleRunner(tiny_model(64, 64), tiny_manifest())
    (alone, _), (together, _) = (judge_samples(runner, spots, is_quiet=True, at_once=n) for n in (1, 5))
    assert len(alone) == len(spots.samples)
    assert any(len(each.scores) for each in alone)
    assert_same(alone, together)
    assert sweep(runner, spots, at_once=5) == sweep(runner, spots)


def test_a_net_in_training_judges_pictures_at_once_as_one_by_one(spots: Dataset) -> None:
    torch.manual_seed(3)
    net = Net(NetShape(1, 1, 16, 1, 16))
    threads: list[int] = []
    net.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        alone = [one for each in spots.samples for one in judge(net, replace(spots, samples=(each,)), usable_cores())]
        together = list(judge(net, spots, usable_cores()))  # so one thread for each
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert threads == [1] * 2 * len(spots.samples)
    assert_same(alone, together)


@pytest.mark.skipif(usable_cores() < 2, reason="with one core there is one at once")
def test_a_net_in_training_judges_as_many_pictures_at_once_as_there_are_cores(spots: Dataset) -> None:
    door, net = threading.Barrier(2, timeout=PATIENCE_S), Net(NetShape(1, 1, 16, 1, 16))

    def wait(*_: object) -> None:
        door.wait()

    net.register_forward_hook(wait)  # it answers only when two ask at once
    assert len(list(judge(net, spots))) == len(spots.samples)


def test_large_pictures_are_judged_one_by_one_with_all_cores(tmp_path: Path) -> None:
    two_are_too_large_px = 32 * (math.isqrt(MOST_PIXELS_AT_ONCE // 2) // 32 + 1)
    write_tiny_deeppcb(tmp_path, {"a": 1, "b": 1}, side_px=two_are_too_large_px)
    threads: list[int] = []
    net = Net(NetShape(1, 1, 16, 1, 16))
    net.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    assert len(list(judge(net, read_dataset(tmp_path)))) == 4
    assert threads == [usable_cores()] * 4


class _Meeting(OnnxRuntime):
    """Answers only when so many ask at once."""

    def __init__(self, guests: int) -> None:
        self.door = threading.Barrier(1)
        super().__init__(tiny_model(64, 64), tiny_manifest())
        self.door = threading.Barrier(guests, timeout=PATIENCE_S)

    def infer(self, images: Pixels) -> RawDetections:
        """Wait for the others, then run the model."""
        self.door.wait()
        return super().infer(images)


def test_so_many_pictures_are_really_judged_at_once(spots: Dataset) -> None:
    small = Dataset(spots.classes, spots.samples[::2])
    runner = Runner(_Meeting(3), tiny_manifest())
    judged, spent = judge_samples(runner, small, is_quiet=True, at_once=3)
    assert len(judged) == len(small.samples) == 6
    assert spent.pictures_per_s > 0


class _OneAtATime:
    """A runtime of the kind that one thread may use: breaks when another asks in between."""

    def __init__(self) -> None:
        self._runtime = OnnxRuntime(tiny_model(64, 64), tiny_manifest())
        self._is_asked = threading.Lock()

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model; another thread in between is a fault."""
        assert self._is_asked.acquire(blocking=False), "asked by two threads at once"
        try:
            return self._runtime.infer(images)
        finally:
            self._is_asked.release()

    def describe(self) -> str:
        """Return what runs."""
        return self._runtime.describe()

    def close(self) -> None:
        """Free what it holds."""
        self._runtime.close()


def test_a_runtime_for_one_thread_is_asked_in_turn(spots: Dataset) -> None:
    judged, _ = judge_samples(Runner(_OneAtATime(), tiny_manifest()), spots, is_quiet=True, at_once=6)
    assert sum(len(each.scores) > 0 for each in judged) >= 6
