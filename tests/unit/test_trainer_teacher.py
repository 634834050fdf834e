"""A small net learns a larger one's answers: refused in words, resumed, divided among processes, told in the bundle."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch

from appliance.bundle.archive import read_bundle
from tests.tiny_boards import CLASSES, write_tiny_boards
from trainer.__main__ import main
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import Split, split_by_group
from trainer.distil import LESSON_WEIGHT, distillation_loss
from trainer.learner import Learner, as_input
from trainer.loss import detection_loss
from trainer.model import Net
from trainer.observer import Observer
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.sizes import NetShape
from trainer.teacher import Teacher, find_teacher
from trainer.team import Team, gathered
from trainer.train import train

pytestmark = pytest.mark.long

HELD_OUT = ("family0",)
ALONE = Team()
SMALL = Plan(epochs=3, batch=4, side_px=64, width=8, seed=3)


def _train(root: Path, run: str, *options: str, holdout: str = "family0", data: str = "data") -> int:
    dials = ["--epochs", "12", "--batch", "4", "--crop", "64", "--workers", "1", "--holdout", holdout]
    return main(["train", "--data", str(root / data), "--out", str(root / run), *dials, *options])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boards, and a finished run of a wider net."""
    folder = tmp_path_factory.mktemp("teacher")
    write_tiny_boards(folder / "data", pictures=16, groups=4)
    assert _train(folder, "large", "--width", "16") == 0
    return folder


@pytest.fixture
def split(root: Path) -> Split:
    return split_by_group(read_dataset(root / "data"), HELD_OUT)


@pytest.fixture
def teacher(root: Path) -> Teacher:
    return find_teacher(root / "large", CLASSES, 1, HELD_OUT)


def _digest(run: Path) -> str:
    return f"{run.name} sha256:{hashlib.sha256((run / 'final.pt').read_bytes()).hexdigest()}"


def test_a_teacher_answers_as_its_averaged_weights_do_and_learns_nothing(root: Path, teacher: Teacher) -> None:
    state = load_checkpoint(root / "large" / "final.pt")
    assert str(teacher) == _digest(root / "large")
    net = teacher.net(torch.device("cpu"))
    assert not any(weights.requires_grad for weights in net.parameters())
    for name, weights in net.state_dict().items():
        assert torch.equal(weights, state.average[name]), name
    picture = torch.rand(1, 1, 64, 64)
    assert all(torch.equal(*pair) for pair in zip(net(picture), net(picture), strict=True))


def test_a_student_is_told_of_in_run_bundle_and_model_card(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = tmp_path / "small", tmp_path / "small.bundle"
    assert _train(root, str(run), "--width", "16", "--epochs", "40", "--teacher", str(root / "large")) == 0
    name = _digest(root / "large")
    assert f"learns the answers of {name}, too" in " ".join(capsys.readouterr().err.split())
    assert load_checkpoint(run / "final.pt").plan["teacher"] == name
    few = ["--no-stress", "--few-golden", "a test"]
    assert main(["export", str(run), "--out", str(bundle), "--precisions", "f32", *few]) == 0
    written = read_bundle(bundle)
    assert written.manifest.lineage.teacher == name
    assert f"with the answers of {name} beside the labels" in written.model_card


def test_a_run_goes_on_with_its_own_teacher_only(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for copy in (own, other):
        shutil.copytree(root / "large", copy)
    content = torch.load(other / "final.pt", weights_only=True)
    torch.save(content | {"trained_at": "2020-02-02T02:02:02+00:00"}, other / "final.pt")
    run = str(tmp_path / "small")
    assert _train(root, run, "--width", "8", "--teacher", str(own)) == 0
    assert _train(root, run, "--width", "8", "--teacher", str(own), "--resume") == 0
    capsys.readouterr()
    for options, words in (
        (["--teacher", str(other)], f"was made with --teacher {_digest(own)} (now {_digest(other)})"),
        ([], f"was made with --teacher {_digest(own)} (now not given)"),
    ):
        assert _train(root, run, "--width", "8", *options, "--resume") == 78
        assert words in " ".join(capsys.readouterr().err.split())


def _rename(data: Path, folder: Path) -> None:
    shutil.copytree(data, folder)
    content = json.loads((folder / "annotations.json").read_text())
    content["categories"][1]["name"] = "stain"
    (folder / "annotations.json").write_text(json.dumps(content))


def test_who_cannot_teach_is_refused_in_words(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(words: str, run: Path, *options: str, holdout: str = "family0", data: str = "data") -> None:
        student = str(tmp_path / "student")
        assert _train(root, student, "--teacher", str(run), *options, holdout=holdout, data=data) == 78
        assert words in " ".join(capsys.readouterr().err.split())
        assert not Path(student).exists()

    large, spoiled = root / "large", tmp_path / "spoiled"
    refused("absent: holds no finished run (no final.pt)", tmp_path / "absent")
    _rename(root / "data", tmp_path / "renamed")
    refused("knows the classes scratch, dent, and the data has scratch, stain", large, data=str(tmp_path / "renamed"))
    refused("sees grey, and this run would see RGB", large, "--channels", "3")
    refused("did not hold out family1, which this run is judged on", large, holdout="family1")
    shutil.copytree(large, spoiled)
    content = torch.load(large / "final.pt", weights_only=True)
    bias = content["average"]["box_head.bias"]
    torch.save(content | {"average": content["average"] | {"box_head.bias": bias * torch.nan}}, spoiled / "final.pt")
    refused("holds a number that is none", spoiled)
    torch.save(content | {"average": {"box_head.bias": bias}}, spoiled / "final.pt")
    refused("was trained by another version of the trainer", spoiled)
    (spoiled / "final.pt").write_bytes(b"junk")
    refused("is no checkpoint of this trainer", spoiled)
    (spoiled / "final.pt").unlink()
    refused("let it train to its end", spoiled)


def test_weights_of_a_run_that_learned_what_is_judged_on_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return " ".join(capsys.readouterr().err.split())

    weights, run = ["--width", "16", "--weights", str(root / "large" / "final.pt")], str(tmp_path / "run")
    words = "that run did not hold out family1, which is judged on here"
    assert _train(root, run, *weights, holdout="family1") == 78
    assert f"{words}; the figures would flatter: repeat its --holdout and --seed" in said()
    dials = ["--data", str(root / "data"), "--epochs", "1", "--batch", "4", "--crop", "64", "--workers", "1", *weights]
    assert main(["tune", "--out", run, "--trials", "1", "--holdout", "family0", *dials]) == 78
    assert "that run did not hold out 011.png, 015.png, family1, which" in said()
    assert main(["crossval", "--out", run, "--folds", "2", *dials]) == 78
    assert "did not hold out 003.png, 007.png, 011.png and 3 more, which" in said()
    assert not Path(run).exists()
    assert _train(root, run, *weights, "--epochs", "1", "--allow-leakage", holdout="family1") == 0
    assert f"beware: --weights final.pt: {words}" in said()
    assert _train(root, str(tmp_path / "again"), *weights, "--epochs", "1") == 0
    told = said()
    assert "beware: final.pt" not in told
    assert "nothing is known" not in told


def test_a_run_of_other_pictures_is_said_where_it_teaches_or_is_begun_with(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "other", pictures=20, groups=4)
    options = ["--width", "16", "--epochs", "1", "--teacher", str(root / "large")]
    options += ["--weights", str(root / "large" / "final.pt")]
    assert _train(root, str(tmp_path / "same"), *options) == 0
    assert "was made with other pictures" not in capsys.readouterr().err
    assert _train(root, str(tmp_path / "run"), *options, data=str(tmp_path / "other")) == 0
    said = " ".join(capsys.readouterr().err.split())
    for name in ("large", "final.pt"):
        digest = _digest(root / "large").removeprefix("large ")
        assert f"beware: {name} {digest} was made with other pictures, labels or held-out groups" in said


class _Killed(Exception):
    """What ends a run after its second epoch."""


class _Killer(Observer):
    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        if entry["epoch"] == 2:
            raise _Killed


def test_a_student_that_was_stopped_and_resumed_ends_with_the_same_weights(
    split: Split, teacher: Teacher, tmp_path: Path
) -> None:
    train(split, SMALL, tmp_path / "whole", teacher=teacher)
    with pytest.raises(_Killed):
        train(split, SMALL, tmp_path / "stopped", observer=_Killer(), teacher=teacher)
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").epoch == 2
    train(split, SMALL, tmp_path / "stopped", resume=True, teacher=teacher)
    whole, resumed = (load_checkpoint(tmp_path / name / "final.pt").average for name in ("whole", "stopped"))
    for name, weights in whole.items():
        assert torch.equal(weights, resumed[name]), name
    train(split, SMALL, tmp_path / "alone")
    alone = load_checkpoint(tmp_path / "alone" / "final.pt").average
    assert not torch.equal(alone["class_head.weight"], whole["class_head.weight"])


@pytest.fixture
def alarmed() -> Teacher:
    """A teacher that sees the first class everywhere, with score 0.7."""
    net = Net(NetShape(1, 2, 16))
    torch.nn.init.zeros_(net.class_head.weight)
    net.class_head.load_state_dict(net.class_head.state_dict() | {"bias": torch.tensor([0.85, -5.0])})
    return Teacher("alarmed", "0" * 64, net.shape, net.state_dict())


def _first_step(
    split: Split, teacher: Teacher | None, plan: Plan = SMALL, team: Team = ALONE
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients of a step, in float32 and without the normalisation that depends on the part."""
    torch.manual_seed(0)
    learner = Learner(Checkpoint({}, NetShape(1, 2, 8), CLASSES), team, is_bf16=False, teacher=teacher)
    learner.net.eval()
    loss = learner.find_gradients(next(Pictures(split.train, plan, team.rank, team.size).batches(0)))
    return loss, {name: weights.grad for name, weights in learner.net.named_parameters() if weights.grad is not None}


def test_a_step_learns_from_the_labels_and_from_the_teachers_answer_to_the_same_crops(
    split: Split, alarmed: Teacher
) -> None:
    images, boxes, labels = next(Pictures(split.train, SMALL).batches(0))
    torch.manual_seed(0)
    answer = Net(NetShape(1, 2, 8)).eval()(as_input(images))
    losses = detection_loss(*answer, boxes, labels)
    lesson = distillation_loss(*answer, *alarmed.net(torch.device("cpu"))(as_input(images)), owned=losses.owned)
    alone, taught = (_first_step(split, teacher) for teacher in (None, alarmed))
    assert alone[0] == pytest.approx(float(losses.total.detach()), rel=1e-5)
    assert taught[0] == pytest.approx(float((losses.total + LESSON_WEIGHT * lesson.total).detach()), rel=1e-5)
    pull = taught[1]["class_head.bias"] - alone[1]["class_head.bias"]
    assert pull[0] < -1e-3, "a step must raise the score of the class that the teacher sees"


def test_two_processes_are_taught_as_one_is(split: Split, alarmed: Teacher) -> None:
    work = partial(_first_step, split, alarmed, Plan(epochs=3, batch=8, side_px=64, width=8))
    _, one = work(ALONE)
    with gathered(2, work) as team:
        _, two = work(team)
    assert len(one) > 20
    for name, gradient in one.items():
        assert (two[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-7, name
