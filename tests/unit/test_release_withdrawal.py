"""A release that is withdrawn is taken by nobody any more, and its number and version are never given again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BundleTrustError
from tests.fleet import BACK, NEW, OLD, FleetDesk
from tests.release_desk import Desk, ServedFolder, begun, said
from tests.update_device import Device
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer

FIRST, SECOND = "models/boards/boards-1.bundle", "models/boards/boards-2.bundle"
SIGNERS = ("ci", "quentin", "online")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = begun(tmp_path)
    for revision in (1, 2):
        assert made.release(made.bundle(revision=revision)) == 0
    return made


@pytest.fixture
def device(desk: Desk) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        yield desk.device(server)


def withdraw(desk: Desk, path: str, *words: str, keys: tuple[str, ...] = SIGNERS) -> int:
    said = ["--by", "Anna", "--why", "it lets short circuits pass"]
    return trainer(["publish", "withdraw", path, *said, *desk.at(), *desk.keyed(*keys), *words])


def test_a_device_finds_neither_what_is_withdrawn_nor_what_lay_beside(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.repository.find(SECOND)
    assert withdraw(desk, SECOND) == 0
    for name in (SECOND, "models/boards/boards-2.card.md"):
        with pytest.raises(BundleTrustError):
            device.repository.find(name)
    assert device.download("models/boards/boards-1.card.md") == b"# tiny\n"
    assert desk.verify() == 0
    before = desk.standing().timestamp.signed_bytes
    capsys.readouterr()
    assert withdraw(desk, SECOND) == 0
    assert "is withdrawn already" in capsys.readouterr().out
    assert desk.standing().timestamp.signed_bytes == before
    assert desk.assign("--device", "line-1", "--release", SECOND) == 78
    assert "was withdrawn (it lets short circuits pass)" in said(capsys)


def test_its_number_is_never_given_again(desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert withdraw(desk, SECOND) == 0
    changed = desk.bundle(revision=3)
    assert desk.release(changed, "--seq", "2") == 78
    assert "the highest release of model boards is 2" in said(capsys)
    assert desk.release(changed) == 0
    assert device.download("models/boards/boards-3.bundle") == changed.read_bytes()


def test_the_version_of_a_withdrawn_recipe_is_never_given_again(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    package = desk.recipe(version=4)
    assert desk.release(package) == 0
    assert withdraw(desk, "recipes/board/board-1.recipe") == 0
    assert not desk.standing().releases("recipe")
    for again in (package, desk.recipe(version=4, deadline_ms=600)):
        assert desk.release(again) == 78
        assert "board-1.recipe is version 4, too, and was withdrawn; write `version: 5`" in said(capsys)
    assert desk.release(desk.recipe(version=5)) == 0
    assert list(desk.standing().releases("recipe")) == ["recipes/board/board-2.recipe", "recipes/board/board-2.yaml"]
    assert desk.verify() == 0


def test_who_signs_a_withdrawal_sees_what_and_why(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    request = desk.folder / "withdrawal.json"
    assert withdraw(desk, SECOND, keys=("ci", "online")) == 78
    assert "not withdrawn: models 3 needs 1 more of Quentin, Quirin" in said(capsys)
    assert withdraw(desk, SECOND, "--request", str(request), keys=("ci", "online")) == 0
    device.repository.find(SECOND)
    capsys.readouterr()
    assert desk.sign("quirin", request) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{SECOND} WITHDRAWN by Anna: it lets short circuits pass" in shown
    assert desk.publish_signed([request]) == 0
    with pytest.raises(BundleTrustError):
        device.repository.find(SECOND)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("models/boards/boards-9.bundle", f"nobody signed such a release; there are {FIRST}, {SECOND}"),
        ("models/boards/boards-1.card.md", "nobody signed such a release"),
        ("recipes/board/board-1.recipe", "none of this kind"),
        ("boards-1.bundle", "none of this kind"),
    ],
)
def test_what_was_never_released_is_not_withdrawn(
    desk: Desk, path: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert withdraw(desk, path) == 78
    assert words in said(capsys)
    assert desk.standing().version("models") == 2


def test_what_a_device_shall_run_is_not_withdrawn_under_its_feet(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    request = desk.folder / "withdrawal.json"
    assert withdraw(desk, SECOND, "--request", str(request), keys=("ci", "online")) == 0
    assert desk.sign("quentin", request) == 0
    assert desk.assign("--device", "line-1", "--release", SECOND) == 0
    for publish in (lambda: withdraw(desk, SECOND), lambda: desk.publish_signed([request])):
        assert publish() == 78
        assert f"{SECOND}: 1 device shall run it, such as line-1" in said(capsys)
    assert SECOND in desk.standing().releases("model")
    assert desk.assign("--device", "line-2", "--release", FIRST) == 0
    assert withdraw(desk, FIRST) == 78


def test_what_a_rollout_may_call_back_to_is_not_withdrawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = FleetDesk(tmp_path)
    assert fleet.start() == 0
    assert withdraw(fleet.desk, BACK) == 78
    assert f"{BACK}: r1 is running with it" in said(capsys)
    assert withdraw(fleet.desk, NEW) == withdraw(fleet.desk, OLD) == 78
    assert fleet.run("recall") == 0
    assert withdraw(fleet.desk, NEW) == 0, "everybody is called back from it"
    assert fleet.run("advance") == 1
    assert withdraw(fleet.desk, BACK) == 78


Signed = dict[str, Any]


def forgotten(signed: Signed) -> None:
    del signed["x-withdrawn"]


def lower(signed: Signed) -> None:
    signed["x-withdrawn"][SECOND]["seq"] = 1


def back(signed: Signed) -> None:
    signed["targets"][SECOND] = {**signed["targets"][FIRST], "custom": {"kind": "model", "seq": 2, "no_report": "lost"}}


def no_list(signed: Signed) -> None:
    signed["x-withdrawn"] = [SECOND]


@pytest.mark.parametrize("change", [forgotten, lower, back, no_list])
def test_nobody_is_tricked_into_forgetting_what_was_withdrawn(
    desk: Desk, change: Callable[[Signed], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert withdraw(desk, SECOND) == 0
    request = desk.folder / "request.json"
    assert desk.release(desk.bundle(revision=3), "--request", str(request), keys=("online",)) == 0
    document = json.loads(request.read_text())
    change(document["metadata"]["signed"])
    request.write_text(json.dumps(document))
    assert desk.sign("ci", request) == desk.sign("quentin", request) == 0
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert "leaves out or alters what was released before: models/boards/boards-2." in said(capsys)


def test_a_withdrawal_that_leaves_another_number_behind_is_not_published(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    request = desk.folder / "request.json"
    assert withdraw(desk, SECOND, "--request", str(request), keys=("online",)) == 0
    document = json.loads(request.read_text())
    lower(document["metadata"]["signed"])
    request.write_text(json.dumps(document))
    assert desk.sign("ci", request) == desk.sign("quentin", request) == 0
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert f"leaves out or alters what was released before: {SECOND}" in said(capsys)
