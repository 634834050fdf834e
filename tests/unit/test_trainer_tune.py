"""A search: on which pictures it is done, that it gives up what is worse, and that it goes on after a kill."""

import hashlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from optuna import create_study
from optuna.distributions import CategoricalDistribution

from appliance.errors import ConfigError
from tests.processes import wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main, parser
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import Split, split_by_group
from trainer.model import Net
from trainer.plan import Plan
from trainer.sizes import NetShape
from trainer.tune import Search, search

pytestmark = pytest.mark.long

DIALS = ["--epochs", "3", "--batch", "4", "--width", "8", "--workers", "1", "--holdout", "family0"]


def tune(root: Path, *more: str) -> list[str]:
    return ["tune", "--data", str(root / "data"), "--out", str(root / "search"), *DIALS, *more]


def damage(data: Path, group: str) -> None:
    """Leave of each picture of a group only what says how large it is."""
    for image in json.loads((data / "annotations.json").read_text())["images"]:
        if image["group"] == group:
            picture = data / image["file_name"]
            picture.write_bytes(picture.read_bytes()[:40])


def inside(folder: Path) -> Split:
    whole = read_dataset(write_tiny_boards(folder, pictures=20, groups=5))
    return split_by_group(split_by_group(whole, ("family0",)).train, ("family1",))


def test_a_search_never_looks_at_what_is_held_out_and_names_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data", pictures=20, groups=5)
    damage(tmp_path / "data", "family0")  # whoever opens one of these pictures fails
    assert main(tune(tmp_path, "--trials", "2", "--json", str(tmp_path / "tune.json"))) == 0
    said = capsys.readouterr().out
    (words,) = [line.removeprefix("next: ") for line in said.splitlines() if line.startswith("next: ")]
    program, *rest = shlex.split(words)
    training = parser().parse_args(rest)
    found = json.loads((tmp_path / "tune.json").read_text())
    assert program == "trainer"
    assert training.holdout == ("family0",)
    assert (training.width, training.workers) == (8, 1)
    assert training.rate == pytest.approx(found["best"]["rate"], rel=1e-3)
    assert training.crop == found["best"]["side_px"]
    assert found["trials"][0]["dials"]["rate"] == Plan().rate  # the usual dials are tried first
    assert len(found["trials"]) == 2
    assert not list((tmp_path / "search").rglob("*.pt"))


def test_what_is_worse_than_others_at_the_same_point_is_given_up(tmp_path: Path) -> None:
    split = inside(tmp_path / "data")
    asked = Plan(epochs=8, batch=4, side_px=64, width=8, seed=1)
    study = search(Search(split, asked, 0, 64, 4, "auto", {"a": 1}), None, tmp_path / "search", 10, None)
    states = [trial.state.name for trial in study.trials]
    given_up = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert states[:4] == ["COMPLETE"] * 4
    assert given_up
    assert min(len(trial.intermediate_values) for trial in given_up) < 8, "each was given up at its end only"
    best = study.best_trial
    assert best.value == max(trial.value for trial in study.trials if trial.state.name == "COMPLETE")


def test_time_ends_a_search_and_says_so_and_the_trial_that_it_ended_is_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data", pictures=20, groups=5)
    words = tune(tmp_path, "--crop", "64")
    told = ["--json", str(tmp_path / "tune.json")]
    assert main([*words, "--trials", "50", "--minutes", "0.001", *told]) == 1
    assert [trial["state"] for trial in json.loads((tmp_path / "tune.json").read_text())["trials"]] == ["FAIL"]
    assert "no trial came to its end" in capsys.readouterr().err
    assert main([*words, "--trials", "1", *told]) == 0
    cut, again = json.loads((tmp_path / "tune.json").read_text())["trials"]
    assert (cut["state"], again["state"], again["dials"]) == ("FAIL", "COMPLETE", cut["dials"])


def test_a_killed_search_goes_on_and_repeats_the_trial_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data", pictures=20, groups=5)
    words = tune(tmp_path, "--trials", "3", "--crop", "64")
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    try:
        wait_for_moment(process, (tmp_path / "search" / "trial0001" / "last.pt").is_file)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main([*words, "--json", str(tmp_path / "tune.json")]) == 0
    trials = json.loads((tmp_path / "tune.json").read_text())["trials"]
    assert [trial["state"] for trial in trials].count("FAIL") == 1
    assert [trial["state"] for trial in trials].count("COMPLETE") == 3
    killed = next(trial for trial in trials if trial["state"] == "FAIL")
    assert killed["dials"] == trials[killed["number"] + 1]["dials"]
    capsys.readouterr()
    assert main([*words, "--seed", "5"]) == 78
    assert "--seed 0 (now 5)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("picture_px", "sides"), [(96, [192, 256, 320]), (400, [192, 256, 320, 384]), (700, [192, 256, 320, 384, 480])]
)
def test_no_crops_are_tried_that_no_picture_fills_but_the_usual_ones(
    tmp_path: Path, picture_px: int, sides: list[int]
) -> None:
    whole = read_dataset(write_tiny_boards(tmp_path, pictures=20, groups=5, side_px=picture_px))
    wanted = Search(split_by_group(whole, ("family1",)), Plan(epochs=1), 0, None, 4, "auto", {})
    found = wanted.space()["side_px"]
    assert isinstance(found, CategoricalDistribution)
    assert list(found.choices) == sides
    assert set(wanted.usual()) == set(wanted.space())
    assert wanted.usual()["side_px"] in sides


def test_a_search_among_other_crops_is_not_gone_on_with(tmp_path: Path) -> None:
    split = inside(tmp_path / "data")
    (tmp_path / "search").mkdir()
    study = create_study(storage=f"sqlite:///{tmp_path}/search/study.db", study_name="tune", direction="maximize")
    study.tell(study.ask({"side_px": CategoricalDistribution([192, 256, 320, 384, 480])}), 0.5)
    wanted = Search(split, Plan(epochs=1, batch=4, width=8), 0, None, 4, "auto", {})
    says = r"is a search among crops of 192, 256, 320, 384, 480 pixels, .* among 192, 256, 320: name another --out"
    with pytest.raises(ConfigError, match=says):
        search(wanted, None, tmp_path / "search", 2, None)


def test_a_file_that_is_no_search_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_boards(tmp_path / "data", pictures=20, groups=5)
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "study.db").write_text("no database at all")
    assert main(tune(tmp_path, "--trials", "1", "--crop", "64")) == 78
    assert "study.db: is no search" in capsys.readouterr().err
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "search" / "study.db").execute("select 1 from sqlite_master")


def test_the_training_repeats_weights_and_cache_and_a_search_goes_on_with_the_same_weights_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data", pictures=20, groups=5)
    weights = tmp_path / "start.pt"

    def words(seed: int) -> list[str]:
        torch.manual_seed(seed)
        torch.save(Net(NetShape(1, 2, 8)).state_dict(), weights)
        digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
        more = ["--weights", str(weights), "--weights-digest", digest, "--cache", str(tmp_path / "cache")]
        return tune(tmp_path, "--trials", "1", "--crop", "64", *more)

    first = words(1)
    assert main(first) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: trainer ")]
    training = parser().parse_args(shlex.split(line)[2:])
    asked = parser().parse_args(first)
    for name in ("weights", "weights_digest", "cache"):
        assert getattr(training, name) == getattr(asked, name), name
    assert main(words(2)) == 78
    assert f"is a search with --weights start.pt {asked.weights_digest} (now start.pt sha256:" in " ".join(
        capsys.readouterr().err.split()
    )
