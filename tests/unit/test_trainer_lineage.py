"""What a bundle says about its training is what happened: groups, data, source and time."""

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch

from appliance.bundle.archive import read_bundle
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.checkpoint import load_checkpoint
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.split import split_by_group
from trainer.lineage import source_commit

pytestmark = pytest.mark.long

EPOCHS = 30


def _train(root: Path, *options: str, epochs: int = EPOCHS, holdout: str = "family0") -> int:
    dials = ["--epochs", str(epochs), "--batch", "4", "--crop", "96", "--workers", "1", "--holdout", holdout]
    return main(["train", "--data", str(root / "data"), "--out", str(root / "run"), *dials, *options])


def _export(root: Path, *options: str) -> int:
    names = ["--out", str(root / "part.bundle"), "--name", "tiny", "--revision", "1"]
    plain = ["--precisions", "f32", "--no-stress", "--few-golden", "a test"]
    return main(["export", str(root / "run"), *names, *options, *plain])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lineage")
    write_tiny_boards(root / "data", pictures=16, groups=4)
    assert _train(root) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be spoiled."""
    shutil.copytree(trained, tmp_path / "copy")
    content = json.loads((tmp_path / "copy" / "run" / "source.json").read_text())
    (tmp_path / "copy" / "run" / "source.json").write_text(json.dumps(content | {"data": str(tmp_path / "copy/data")}))
    return tmp_path / "copy"


def _change_label(path: Path) -> None:
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    path.write_text(json.dumps(content))


def test_a_refused_training_leaves_the_run_as_it_was(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in (root / "run").iterdir()}
    assert _train(root, holdout="family1") == 78
    assert "holds a run already" in capsys.readouterr().err
    assert _train(root, "--resume", holdout="family1") == 78
    assert "held out family0, and now it would be family1" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (root / "run").iterdir()} == before


def test_a_run_is_resumed_for_its_own_length_if_no_other_is_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = str(root / "run"), str(root / "data")
    named = ["--batch", "4", "--crop", "96", "--workers", "1", "--holdout", "family0"]
    assert main(["train", "--data", data, "--out", run, *named, "--resume"]) == 0
    assert f"it learns for {EPOCHS} epochs of" in " ".join(capsys.readouterr().err.split())


def test_a_run_is_not_resumed_with_other_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _change_label(root / "data" / "annotations.json")
    assert _train(root, "--resume") == 78
    assert "other pictures or labels" in capsys.readouterr().err


def test_a_bundle_is_not_made_with_other_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _change_label(root / "data" / "annotations.json")
    assert _export(root) == 78
    assert "other pictures or labels" in capsys.readouterr().err
    assert not (root / "part.bundle").exists()


def test_figures_come_from_the_groups_that_training_left_out_whatever_stands_beside(root: Path) -> None:
    source = root / "run" / "source.json"
    source.write_text(json.dumps({"data": str(root / "data"), "holdout": ["family1"]}))
    assert _export(root) == 0
    bundle = read_bundle(root / "part.bundle")
    assert "figures below are\n  from the groups family0 " in bundle.model_card
    split = split_by_group(read_dataset(root / "data" / "annotations.json"), ("family0",))
    assert bundle.manifest.lineage.dataset_digest == dataset_digest(split.whole())


def test_the_data_may_move(root: Path) -> None:
    (root / "data").rename(root / "moved")
    assert _export(root) == 78
    assert _export(root, "--data", str(root / "moved")) == 0


def test_the_lineage_is_that_of_the_training_and_not_of_the_export(root: Path) -> None:
    file = root / "run" / "final.pt"
    content = torch.load(file, weights_only=True)
    assert content["source_commit"] == source_commit()
    trained_at = datetime.fromisoformat(content["trained_at"])
    assert timedelta(0) <= datetime.now(timezone.utc) - trained_at < timedelta(minutes=10)
    plan = content["plan"] | {"weights": "early.safetensors sha256:00"}
    torch.save(content | {"source_commit": "f00", "trained_at": "2020-02-02T02:02:02+00:00", "plan": plan}, file)
    assert _export(root) == 0
    bundle = read_bundle(root / "part.bundle")
    lineage = bundle.manifest.lineage
    assert lineage.backbone == "early.safetensors sha256:00"
    assert "trained on from early.safetensors sha256:00" in bundle.model_card
    assert (lineage.source_commit, lineage.trained_at) == ("f00", "2020-02-02T02:02:02+00:00")


def test_a_run_that_has_not_ended_is_exported_with_a_warning(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _export(root) == 0
    assert "has not ended" not in capsys.readouterr().err
    (root / "run" / "final.pt").unlink()
    assert _export(root) == 0
    assert f"has not ended; these are its weights after epoch {EPOCHS}, and" in capsys.readouterr().err


def test_a_checkpoint_of_before_takes_its_groups_from_beside_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root / "run" / "final.pt"
    content = torch.load(file, weights_only=True)
    for name in ("holdout", "dataset_digest", "source_commit", "trained_at"):
        del content[name]
    torch.save(content, file)
    source = root / "run" / "source.json"
    source.write_text(json.dumps({"data": str(root / "data"), "holdout": ["family0"]}))
    assert load_checkpoint(file).holdout == ("family0",)
    assert _export(root) == 0
    assert read_bundle(root / "part.bundle").manifest.lineage.source_commit == "unknown"
    source.write_text(json.dumps({"data": str(root / "data")}))
    assert _export(root) == 78
    assert "is no checkpoint of this trainer ('holdout')" in capsys.readouterr().err


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        person = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        command = ["git", *person, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_the_commit_is_that_of_the_trainers_own_files(tmp_path: Path, git: Callable[..., str]) -> None:
    package = tmp_path / "trainer"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert source_commit(package) == "unknown"
    (tmp_path / "product.txt").write_text("")
    git("init", "-q")
    git("add", "product.txt")
    git("commit", "-q", "-m", "somebody's product")
    assert source_commit(package) == "unknown", "an installed trainer is not part of the project around it"
    git("add", "trainer")
    git("commit", "-q", "-m", "the trainer")
    assert source_commit(package) == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed = 1\n")
    assert source_commit(package) == git("rev-parse", "HEAD") + "+changes"
