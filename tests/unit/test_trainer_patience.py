"""Early stopping: when a run ends, with which weights, and that a kill changes neither."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from appliance.errors import ConfigError
from tests.processes import wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.augment import Augment
from trainer.checkpoint import load_checkpoint
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import Split, split_by_group
from trainer.observer import Observer
from trainer.plan import Plan
from trainer.strengths import Strengths
from trainer.train import train
from trainer.validate import validate

pytestmark = pytest.mark.long

IMPATIENT = Plan(epochs=40, batch=4, side_px=64, width=8, threads=1, validate_every=1, seed=3, patience=2)


def boards(folder: Path) -> Split:
    return split_by_group(read_dataset(write_tiny_boards(folder)), ("family0",))


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def best_at(aps: list[float], patience: int) -> tuple[int, int]:
    """Return the epochs of the best judgement and of the last one that patience allows, counted from 1."""
    best = 0
    for at in range(len(aps)):
        if aps[at] > aps[best]:
            best = at
        if at - best >= patience:
            return best + 1, at + 1
    return best + 1, len(aps)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patience")
    train(boards(root / "data"), IMPATIENT, root / "run")
    return root


def test_a_run_without_progress_ends_early_with_its_best_weights(ended: Path) -> None:
    aps = [entry["ap_pooled"] for entry in log(ended / "run")]
    best, last = best_at(aps, 2)
    assert len(aps) == last < 40
    final = load_checkpoint(ended / "run" / "final.pt")
    assert final.epoch == best < last
    assert json.loads((ended / "run" / "figures.json").read_text())["ap_pooled"] == pytest.approx(aps[best - 1])


def test_what_has_ended_early_is_not_trained_on_by_resume(ended: Path) -> None:
    lines = len(log(ended / "run"))
    figures = train(boards(ended / "data"), IMPATIENT, ended / "run", resume=True)
    assert figures is not None
    assert len(log(ended / "run")) == lines


_KILLED = """
import sys
from pathlib import Path
from tests.unit.test_trainer_patience import IMPATIENT, boards
from trainer.train import train
train(boards(Path(sys.argv[1])), IMPATIENT, Path(sys.argv[2]))
"""


def test_a_killed_run_loses_its_patience_where_an_undisturbed_one_does(ended: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(ended / "data"), str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    try:
        wait_for_moment(process, (tmp_path / "run" / "last.pt").is_file)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "final.pt").exists(), "killed too late to show anything"
    train(boards(ended / "data"), IMPATIENT, tmp_path / "run", resume=True)
    first, second = (load_checkpoint(root / "run" / "final.pt") for root in (ended, tmp_path))
    assert (first.epoch, first.best_ap) == (second.epoch, second.best_ap)
    assert all(torch.equal(weights, second.average[name]) for name, weights in first.average.items())


def test_two_processes_lose_patience_together(ended: Path, tmp_path: Path) -> None:
    figures = train(boards(ended / "data"), replace(IMPATIENT, workers=2), tmp_path / "run")
    aps = [entry["ap_pooled"] for entry in log(tmp_path / "run")]
    assert len(aps) == best_at(aps, 2)[1]
    assert figures is not None
    assert figures.ap_pooled == pytest.approx(max(aps))


class Memory(Observer):
    """Remembers what it sees."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begins(self, state: object) -> None:
        self.seen.append("begins")

    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        self.seen.append(entry["epoch"])

    def ends(self, figures: object, net: object, held_out: object) -> None:
        assert validate(net, held_out) == figures  # type: ignore[arg-type]
        self.seen.append("ends")


def test_an_observer_sees_the_beginning_each_epoch_and_the_end(ended: Path, tmp_path: Path) -> None:
    memory = Memory()
    train(boards(ended / "data"), replace(IMPATIENT, patience=None, epochs=2), tmp_path / "run", observer=memory)
    assert memory.seen == ["begins", 1, 2, "ends"]


def test_a_crop_without_variation_keeps_its_light_and_a_varied_one_does_not() -> None:
    picture = np.full((96, 96, 1), 120, np.uint8)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    seen = {}
    for variation in (0.0, 2.0):
        augment = Augment(96, Strengths().times(variation))
        seen[variation] = {int(augment(picture, *nothing, np.random.default_rng(n))[0].mean()) for n in range(12)}
    assert seen[0.0] == {120}
    assert len(seen[2.0]) > 2


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(epochs=1, patience=0), "--patience 0"),
        (Plan(epochs=1, variation=9.0), "--variation 9.0: must be 0 to 3.0"),
        (Plan(epochs=1, variation=float("nan")), "--variation nan"),
        (Plan(epochs=1, rate=0.0), "--rate 0.0"),
        (Plan(epochs=1, good_share=1.0), "--good-share 1.0"),
    ],
)
def test_a_dial_out_of_range_is_refused_by_its_option(plan: Plan, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan.check()
