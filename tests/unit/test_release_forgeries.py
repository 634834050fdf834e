"""Signing requests and states that were forged, which look to the publisher as if people had made them."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer

from tests.release_desk import Desk, begun
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets

FIRST = "models/boards/boards-1.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = begun(tmp_path)
    assert made.release(made.bundle()) == 0
    return made


def keys(desk: Desk, *names: str) -> list[Signer]:
    return [open_signer(str(desk.key(name)), Secrets((desk.folder / "passphrase",))) for name in names]


def altered(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A signing request as somebody alters it on its way."""
    request = json.loads(path.read_text())
    change(request)
    path.write_text(json.dumps(request))
    return path


def test_a_root_whose_request_hides_who_must_sign_is_not_published(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else no command would get behind a root that no device follows."""
    assert desk.new_key("thief", "person") == 0
    assert desk.change("rotate", "--old", desk.public("carla"), "--new", desk.public("thief"), folder="theft") == 0
    (root,) = [path for path in desk.requests("theft") if path.name.startswith("root")]
    files = [altered(root, lambda request: request.update(needs=[request["needs"][1]])), *desk.requests("theft")[1:]]
    for name in ("anna", "thief"):
        assert desk.sign(name, *files) == 0
    assert desk.publish_signed(files) == 65
    assert "root 2 is not signed by enough of root 1" in " ".join(capsys.readouterr().err.split())
    assert not (Path(desk.address) / "metadata" / "2.root.json").exists()
    assert desk.verify() == 0


def test_what_was_signed_once_and_never_published_is_not_published_over_what_stands(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a request says of the state for which it was made is not signed."""
    request = desk.folder / "boards-2.json"
    assert desk.release(desk.bundle(revision=2), "--request", str(request), keys=("ci",)) == 0
    assert desk.sign("quentin", request) == 0
    assert desk.release(desk.bundle("cans")) == 0
    altered(request, lambda content: content.update(base=desk.standing().version("models")))
    assert desk.publish_signed([request]) == 65
    assert "which stands; devices refuse it" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("way", ["altered", "left out"])
def test_nobody_is_tricked_into_signing_another_content_for_a_released_name(
    desk: Desk, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def trick(request: dict[str, Any]) -> None:
        targets = request["metadata"]["signed"]["targets"]
        targets[FIRST]["hashes"]["sha256"] = "0" * 64
        if way == "left out":
            del targets[FIRST]

    request = desk.folder / "boards-2.json"
    assert desk.release(desk.bundle(revision=2), "--request", str(request), keys=("online",)) == 0
    altered(request, trick)
    assert desk.sign("ci", request) == desk.sign("quentin", request) == 0
    assert desk.publish_signed([request]) == 65
    assert f"leaves out or alters what was released before: {FIRST}" in " ".join(capsys.readouterr().err.split())


def test_what_nobody_gave_anything_to_say_is_not_told_to_be_published(desk: Desk) -> None:
    request = desk.folder / "boards-2.json"
    assert desk.release(desk.bundle(revision=2), "--request", str(request), keys=("ci",)) == 0
    assert desk.sign("quentin", request) == 0
    altered(request, lambda content: content.update(role="cameras", base=0))
    assert desk.publish_signed([request]) == 65


def test_a_key_that_was_taken_away_does_not_come_back_as_a_killed_rotation(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thief of the old online key writes to the store; the next command with signatures must not believe him."""
    before = desk.standing()
    assert desk.new_key("online2", "online") == 0
    assert desk.change("revoke", "--old", desk.public("online"), "--new", desk.public("online2"), folder="away") == 0
    files = desk.requests("away")
    for name in ("anna", "ben"):
        assert desk.sign(name, *files) == 0
    assert desk.publish_signed(files, "online2") == 0
    stolen = deepcopy(before.timestamp)
    stolen.signed.version = 99
    stolen.sign(keys(desk, "online")[0])
    file = Path(desk.address) / "metadata" / "timestamp.json"
    file.chmod(0o644)
    file.write_bytes(stolen.to_bytes())
    assert desk.publish_signed(files, "online2") == 65
    assert "root 1 after 2" in " ".join(capsys.readouterr().err.split())
