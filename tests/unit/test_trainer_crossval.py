"""Cross-validation: every part is judged once, copies stay together, and a kill costs one fold at most."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.processes import wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.crossval import sum_up
from trainer.datasets.folds import folds_of
from trainer.datasets.reading import read_dataset
from trainer.metrics import Judged

pytestmark = pytest.mark.long

DIALS = ["--epochs", "20", "--batch", "4", "--crop", "64", "--width", "8", "--workers", "1", "--folds", "3"]


def part(score: float, is_bad: bool, group: str) -> Judged:
    box, label = np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64)
    truth = (box, label) if is_bad else (box[:0], label[:0])
    return Judged(box, np.array([score], np.float32), label, *truth, group)


@settings(max_examples=10, deadline=None)
@given(groups=st.integers(3, 8), wanted=st.integers(2, 3), seed=st.integers(0, 99))
def test_each_picture_is_held_out_once_and_no_group_is_divided(
    tmp_path_factory: pytest.TempPathFactory, groups: int, wanted: int, seed: int
) -> None:
    dataset = read_dataset(write_tiny_boards(tmp_path_factory.mktemp("folds"), pictures=24, groups=groups, side_px=64))
    folds = folds_of(dataset, wanted, seed)
    held = [sample.image for fold in folds for sample in fold.validation.samples]
    assert sorted(held) == sorted(sample.image for sample in dataset.samples)
    for fold in folds:
        assert not set(fold.train.groups()) & set(fold.validation.groups())
        assert any(not sample.is_good for sample in fold.validation.samples)


def test_groups_that_hold_copies_of_each_other_are_held_out_together(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path, pictures=12, groups=6)
    content = json.loads(path.read_text())
    shutil.copy(tmp_path / "000.png", tmp_path / "005.png")  # family0 and family5
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] != 5]
    copied = [item for item in content["annotations"] if item["image_id"] == 0]
    content["annotations"] += [item | {"id": 900 + n, "image_id": 5} for n, item in enumerate(copied)]
    path.write_text(json.dumps(content))
    for seed in range(8):
        for fold in folds_of(read_dataset(path), 3, seed):
            assert len({"family0", "family5"} & set(fold.validation.groups())) in (0, 2)


def test_what_a_fold_is_judged_by_cannot_choose_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["crossval", "--data", str(tmp_path), "--out", str(tmp_path / "folds"), "--patience", "2"])
    assert "unrecognized arguments: --patience" in capsys.readouterr().err


@pytest.mark.parametrize(("wanted", "words"), [(1, "at least 2"), (4, "make 3 that can be told apart")])
def test_folds_that_cannot_be_are_refused(tmp_path: Path, wanted: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        folds_of(read_dataset(write_tiny_boards(tmp_path)), wanted)


def test_of_many_groups_without_a_defect_a_few_are_named(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path, pictures=40, groups=40)
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:2]  # of one picture
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"the groups family\d+(, family\d+){7} and 12 more have no defect"):
        folds_of(read_dataset(path), 2)


def test_of_many_groups_in_a_fold_a_few_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_boards(tmp_path / "data", pictures=30, groups=30)
    words = ["crossval", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "folds"), *DIALS]
    assert main([*words, "--weights", str(tmp_path / "nowhere.pt")]) == 78
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(r"fold 1 of 3: held out family\d+(, family\d+){7} and 2 more", told)


def test_a_fold_has_no_say_in_its_own_limit() -> None:
    easy = [part(0.9, True, "a"), part(0.1, False, "a")] * 10
    odd = [part(0.3, True, "b"), part(0.2, False, "b")] * 10
    found = sum_up([easy, odd])
    limits = [fold.limit for fold in found.folds]
    assert limits[0] is not None
    assert 0.2 < limits[0] <= 0.3  # that of the odd ones
    assert limits[1] is not None
    assert 0.1 < limits[1] <= 0.9
    assert found.pooled.escapes.of == 20
    assert found.pooled.escapes.count == sum(fold.escapes.count for fold in found.folds)
    assert found.pooled.limit is None
    assert found.pooled.groups == ("a", "b")


def test_a_killed_cross_validation_goes_on_and_its_folds_that_are_done_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data", pictures=18, groups=6)
    words = ["crossval", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "folds"), *DIALS]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", *words], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    try:
        wait_for_moment(process, (tmp_path / "folds" / "fold2" / "last.pt").is_file)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    logs = [tmp_path / "folds" / f"fold{number}" / "log.jsonl" for number in (1, 2, 3)]
    first = logs[0].read_text()
    assert not logs[2].exists(), "killed too late to show anything"
    assert main(words) == 78
    assert "--resume goes on with it" in capsys.readouterr().err
    assert main([*words, "--resume", "--json", str(tmp_path / "folds.json")]) == 0
    assert logs[0].read_text() == first
    figures = json.loads((tmp_path / "folds.json").read_text())
    assert [fold["pictures"] for fold in figures["folds"]] == [6, 6, 6]
    assert figures["pooled"]["pictures"] == 18
    assert figures["pooled"]["escapes"]["of"] + figures["pooled"]["overkill"]["of"] == 18
    assert sorted(figures["pooled"]["groups"]) == [f"family{n}" for n in range(6)]
    assert (
        figures["pooled"]["ap_bounds"]["low"]
        <= figures["pooled"]["ap_pooled"]
        <= figures["pooled"]["ap_bounds"]["high"]
    )
    assert figures["ap_deviation"] >= 0
    assert "AP@0.33 over the folds" in capsys.readouterr().out
