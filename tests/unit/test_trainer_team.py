"""Several processes fit the net that one would fit, and none is left behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from appliance.errors import ConfigError, DeviceError
from tests.processes import PATIENCE_S, command, spawned, wait_for_moment
from tests.stations import until
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Sample
from trainer.datasets.split import Split, split_by_group
from trainer.decoded import decode_together
from trainer.learner import Learner
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.sizes import NetShape
from trainer.team import Team, gathered
from trainer.train import train

pytestmark = pytest.mark.long

LENGTH = {"epochs": 3, "batch": 8, "side_px": 64, "width": 8}


def _split(folder: Path) -> Split:
    return split_by_group(read_dataset(write_tiny_boards(folder, pictures=24, groups=4)), ("family0",))


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_parts_of_a_batch_are_together_the_batch_of_one_process(tmp_path: Path) -> None:
    train_half, plan = _split(tmp_path).train, Plan(epochs=1, batch=6, side_px=64)
    (whole, boxes, labels), *_ = Pictures(train_half, plan).batches(0)
    parts = [next(Pictures(train_half, plan, rank, 2).batches(0)) for rank in range(2)]
    for rank, (images, its_boxes, its_labels) in enumerate(parts):
        assert torch.equal(images, whole[rank::2])
        assert torch.equal(its_boxes, boxes[rank::2, : its_boxes.shape[1]])
        assert torch.equal(its_labels, labels[rank::2, : its_labels.shape[1]])


def _gradients(split: Split, plan: Plan, team: Team) -> dict[str, torch.Tensor]:
    """Return the gradients of the first step, in float32 and without the normalisation that depends on the part."""
    torch.manual_seed(0)
    learner = Learner(Checkpoint({}, NetShape(1, 2, plan.width), split.train.classes), team, is_bf16=False)
    learner.net.eval()
    learner.find_gradients(next(Pictures(split.train, plan, team.rank, team.size).batches(0)))
    return {name: weights.grad for name, weights in learner.net.named_parameters() if weights.grad is not None}


def test_two_processes_find_the_gradients_that_one_finds(tmp_path: Path) -> None:
    split, plan = _split(tmp_path), Plan(**LENGTH)
    one = _gradients(split, plan, Team())
    work = partial(_gradients, split, plan)
    with gathered(2, work) as team:
        two = work(team)
    assert len(one) > 20
    for name, gradient in one.items():
        assert (two[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-7, name


def _digest_where_only_the_first_has_the_files(samples: tuple[Sample, ...], team: Team) -> list[str]:
    if team.rank:
        samples = tuple(replace(sample, image=Path("nowhere.png")) for sample in samples)
    pixels = decode_together(samples, 1, team)
    return team.everyones(
        hashlib.sha256(b"".join(one.tobytes() + str(one.shape).encode() for one in pixels)).hexdigest()
    )


def test_the_pictures_are_decoded_once_and_read_by_all_processes_of_a_machine(tmp_path: Path) -> None:
    samples = _split(tmp_path).train.samples
    work = partial(_digest_where_only_the_first_has_the_files, samples)
    with gathered(2, work) as team:
        both = work(team)
    assert both == work(Team()) * 2


def _decode_damaged(samples: tuple[Sample, ...], team: Team) -> None:
    decode_together(samples, 1, team)


def test_a_picture_that_cannot_be_decoded_is_named_by_all_processes(tmp_path: Path) -> None:
    samples = _split(tmp_path).train.samples
    samples[3].image.write_bytes(b"damaged")
    work = partial(_decode_damaged, samples)
    with pytest.raises(ConfigError, match=f"{samples[3].image.name}: cannot be decoded"), gathered(2, work) as team:
        work(team)


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Not to the bit: each normalises by its own part of a step's crops."""
    (tmp_path / "data").mkdir()
    write_tiny_deeppcb(tmp_path / "data", {"a": 8, "b": 2}, side_px=96)
    losses = []
    for workers in ("1", "2"):
        words = ["train", "--data", str(tmp_path / "data"), "--holdout", "b", "--workers", workers, "--epochs", "40"]
        assert main([*words, "--batch", "4", "--crop", "64", "--out", str(tmp_path / workers)]) == 0
        losses.append(np.array(_losses(tmp_path / workers)))
        assert json.loads((tmp_path / workers / "figures.json").read_text())["ap_pooled"] > 0.9
    for one, two in zip(*(np.split(each, 4) for each in losses), strict=True):
        assert two.mean() == pytest.approx(one.mean(), rel=0.15)
    assert losses[0][-10:].mean() < losses[0][:10].mean() / 2


def test_two_processes_learn_the_same_again(tmp_path: Path) -> None:
    split = _split(tmp_path / "data")
    for name in ("two", "again"):
        train(split, Plan(**LENGTH, workers=2), tmp_path / name)
    assert _losses(tmp_path / "two") == _losses(tmp_path / "again")
    two, again = (load_checkpoint(tmp_path / name / "final.pt") for name in ("two", "again"))
    for name, weights in two.average.items():
        assert torch.equal(weights, again.average[name]), name


_RUN = """
import sys
from pathlib import Path
from tests.unit.test_trainer_team import LENGTH, _split
from trainer.plan import Plan
from trainer.train import train
if __name__ == "__main__":
    train(_split(Path(sys.argv[1])), Plan(**(LENGTH | {"epochs": 14, "detail": 16}), workers=2), Path(sys.argv[2]))
"""


@pytest.fixture
def running(tmp_path: Path) -> "subprocess.Popen[str]":
    """A training by two processes that has taken its first epoch."""
    write_tiny_boards(tmp_path / "data", pictures=24, groups=4)
    script = tmp_path / "run_two.py"
    script.write_text(_RUN)
    command = [sys.executable, str(script), str(tmp_path / "data"), str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for_moment(process, (tmp_path / "killed" / "last.pt").is_file)
    return process


def _other(process: "subprocess.Popen[str]") -> int:
    (pid,) = spawned(process.pid)
    return pid


def test_when_the_first_process_is_killed_the_other_ends_and_the_run_goes_on_later(
    running: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    other = _other(running)
    running.send_signal(signal.SIGKILL)
    running.wait()
    until(lambda: "spawn_main" not in command(other), "the other process is gone", PATIENCE_S)
    at = load_checkpoint(tmp_path / "killed" / "last.pt").epoch
    assert at < 14, "killed too late to show anything"
    words = ["--epochs", "14", "--batch", "8", "--crop", "64", "--width", "8", "--resume"]
    (tmp_path / "killed").rename(tmp_path / "killed0")  # the other machine has no such folder
    ended = _torchrun(tmp_path, 2, "killed$RANK", *words)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "killed0").rename(tmp_path / "killed")
    train(_split(tmp_path / "same"), Plan(**(LENGTH | {"epochs": 14, "detail": 16}), workers=2), tmp_path / "whole")
    resumed, whole = (load_checkpoint(tmp_path / name / "final.pt") for name in ("killed", "whole"))
    for name, weights in whole.average.items():
        assert torch.equal(weights, resumed.average[name]), name


def test_when_another_process_is_killed_the_first_says_so(running: "subprocess.Popen[str]") -> None:
    os.kill(_other(running), signal.SIGKILL)
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "DeviceError: a process of the training ended before its time (process 1: exit code -9)" in said


class _DiesAtOnce:
    """Work that ends the process as soon as it is unpacked there."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (3,)


def _fail(error: Exception, team: Team) -> None:
    if not team.is_first:
        raise error
    team.mean(1.0)


@pytest.mark.parametrize(
    ("follow", "kind", "words"),
    [
        (_DiesAtOnce(), DeviceError, r"process 1 ended while starting \(exit code 3\)"),
        (partial(_fail, ConfigError("005.png: damaged")), ConfigError, r"^005\.png: damaged$"),
        (partial(_fail, RuntimeError("no memory left")), DeviceError, r"process 1: no memory left"),
        (partial(_fail, SystemExit(4)), DeviceError, r"process 1: exit code 4"),
    ],
)
def test_why_another_process_ended_is_said_by_the_first_and_soon(
    follow: Callable[[Team], object], kind: type[Exception], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    with pytest.raises(kind, match=words), gathered(2, follow) as team:
        follow(team)
    assert time.monotonic() - began < 60
    assert "Traceback" not in capfd.readouterr().err


def _fail_in(rank: int, team: Team) -> None:
    if team.rank == rank:
        raise ConfigError(f"only process {rank} sees this")


def _prepare(rank: int, team: Team) -> None:
    team.together(partial(_fail_in, rank, team))


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_process_cannot_prepare_all_refuse_in_its_words(rank: int) -> None:
    with pytest.raises(ConfigError, match=f"only process {rank}"), gathered(2, partial(_prepare, rank)) as team:
        _prepare(rank, team)


_ELSEWHERE = """
import os, sys
from trainer.__main__ import main
sys.exit(main([os.path.expandvars(word) for word in sys.argv[1:]]))
"""


def _torchrun(root: Path, size: int, run: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Train by torchrun; $RANK in a run's name is each process's own."""
    (root / "elsewhere.py").write_text(_ELSEWHERE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    words = ["train", "--data", str(root / "data"), "--out", str(root / run), "--holdout", "family0", *options]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [*launch, str(root / "elsewhere.py"), *words], capture_output=True, text=True, timeout=110, check=False,
        env=environment,
    )  # fmt: skip


def test_torchrun_brings_the_processes_and_only_the_first_speaks_and_writes(tmp_path: Path) -> None:
    write_tiny_boards(tmp_path / "data", pictures=24, groups=4)
    ended = _torchrun(tmp_path, 2, "run$RANK", "--epochs", "2", "--batch", "8", "--crop", "64")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("what was read") == 1
    assert ended.stdout.count("next: trainer export") == 1
    state = load_checkpoint(tmp_path / "run0" / "final.pt")
    assert (state.epoch, state.plan["workers"]) == (2, 2)
    assert np.isfinite(_losses(tmp_path / "run0")).all()
    assert not (tmp_path / "run1").exists()


def test_more_processes_than_crops_are_refused_in_words(tmp_path: Path) -> None:
    write_tiny_boards(tmp_path / "data", pictures=24, groups=4)
    ended = _torchrun(tmp_path, 3, "run", "--epochs", "2", "--batch", "2", "--crop", "64")
    assert ended.returncode != 0
    assert "trainer: 3 processes cannot divide the 2 crops of a step" in ended.stderr
    assert not (tmp_path / "run" / "last.pt").exists()


def test_more_workers_than_crops_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers 9"):
        train(_split(tmp_path), Plan(**LENGTH, workers=9), tmp_path / "run")


def test_a_run_by_default_uses_the_cores_and_ends_whole(tmp_path: Path) -> None:
    data = write_tiny_boards(tmp_path / "data", pictures=24, groups=4)
    words = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--holdout", "family0", "--epochs", "1"]
    assert main([*words, "--batch", "4", "--crop", "64"]) == 0
    cores = len(os.sched_getaffinity(0))
    assert load_checkpoint(tmp_path / "run" / "final.pt").plan["workers"] == min(4, cores)
