"""Who may release recipes: from the ceremony on, or added later to a repository that is older than the kind."""

import re
from pathlib import Path

import pytest

from tests.release_desk import Desk, ServedFolder, said
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer
from trainer.release.keys import read_public
from trainer.release.roles import delegated_roles

FIRST = "recipes/board/board-1.recipe"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path, str(tmp_path / "updates"))
    made.make_keys()
    return made


@pytest.fixture
def older(tmp_path: Path) -> Desk:
    """A repository whose list of keys was signed before there were recipes."""
    made = Desk(tmp_path, str(tmp_path / "updates"))
    made.begin(has_recipes=False)
    return made


def publish(desk: Desk, files: list[Path]) -> None:
    for name in ("anna", "ben"):
        assert desk.sign(name, *files) == 0
    assert desk.publish_signed(files) == 0


def signers(desk: Desk, role: str) -> set[str]:
    return set(delegated_roles(desk.standing().targets.signed)[role].keyids)


def keyids(desk: Desk, *names: str) -> set[str]:
    return {read_public(Path(desk.public(name))).keyid for name in names}


def test_who_releases_models_releases_recipes_unless_the_ceremony_says_who(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trainer(desk.ceremony_words()) == 0
    publish(desk, desk.requests("ceremony"))
    assert signers(desk, "recipes") == signers(desk, "models") == keyids(desk, "ci", "quentin", "quirin")
    role = delegated_roles(desk.standing().targets.signed)["recipes"]
    assert (role.threshold, role.terminating, role.paths) == (2, True, ["recipes/*/*"])
    capsys.readouterr()
    assert trainer(["keys", "list", *desk.at()]) == 0
    assert "recipes" in capsys.readouterr().out


def test_a_ceremony_may_name_others_for_recipes(desk: Desk) -> None:
    assert trainer(desk.ceremony_words(recipes="anna,quirin")) == 0
    publish(desk, desk.requests("ceremony"))
    assert signers(desk, "recipes") == keyids(desk, "anna", "quirin")
    assert desk.release(desk.recipe(), keys=("anna", "quirin", "online")) == 0


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ("ci,anna", "recipes: the keys .* could release a recipe without it"),
        ("ci,anna,quentin", "could release a recipe without it"),
        ("quentin", "recipes: 2 of 1 keys must sign"),
        ("quentin,online", "is of part online, and recipes takes quality, person, ci"),
    ],
)
def test_keys_for_recipes_that_break_a_rule_are_refused(
    desk: Desk, recipes: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trainer(desk.ceremony_words(recipes=recipes)) == 65
    assert re.search(words, said(capsys))
    assert not (desk.folder / "ceremony").exists()


def test_a_repository_that_is_older_than_recipes_says_what_adds_them(
    older: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert older.release(older.bundle()) == 0
    assert older.release(older.recipe()) == 78
    assert "nobody may release recipes there yet; `trainer keys delegate recipes`" in said(capsys)
    with UpdateServer(ServedFolder(Path(older.address))) as server:
        device = older.device(server)
        device.repository.find("models/boards/boards-1.bundle")
        assert older.change("delegate", "recipes", folder="recipes") == 0
        (targets,) = older.requests("recipes")
        assert older.sign("anna", targets) == 0
        assert older.publish_signed([targets]) == 78
        assert older.sign("carla", targets) == 0
        assert older.publish_signed([targets]) == 0
        package = older.recipe()
        assert older.release(package) == 0
        assert device.download(FIRST) == package.read_bytes()
    assert signers(older, "recipes") == signers(older, "models")
    assert older.verify() == 0
    assert older.change("delegate", "recipes", folder="again") == 78
    assert "the role recipes is there; `trainer keys rotate` changes its keys" in said(capsys)


def test_a_role_that_is_added_has_the_keys_that_were_named(older: Desk) -> None:
    named = ",".join(older.public(name) for name in ("anna", "quentin"))
    assert older.change("delegate", "recipes", "--keys", named, folder="recipes") == 0
    publish(older, older.requests("recipes"))
    assert signers(older, "recipes") == keyids(older, "anna", "quentin")


def test_a_role_whose_keys_break_a_rule_is_not_added(older: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    named = ",".join(older.public(name) for name in ("anna", "ci"))
    assert older.change("delegate", "recipes", "--keys", named, folder="recipes") == 65
    assert "could release a recipe without it" in said(capsys)
    assert not (older.folder / "recipes").exists()


def test_a_key_that_goes_leaves_models_and_recipes_to_be_signed_anew(desk: Desk) -> None:
    assert trainer(desk.ceremony_words()) == 0
    publish(desk, desk.requests("ceremony"))
    assert desk.release(desk.bundle()) == desk.release(desk.recipe()) == 0
    assert desk.new_key("ci2", "ci") == 0
    assert desk.change("revoke", "--old", desk.public("ci"), "--new", desk.public("ci2"), folder="away") == 0
    files = desk.requests("away")
    assert [path.name for path in files] == ["models-2.json", "recipes-2.json", "targets-2.json"]
    for name in ("ci2", "quentin"):
        assert desk.sign(name, *files[:2]) == 0
    for name in ("anna", "ben"):
        assert desk.sign(name, files[2]) == 0
    assert desk.publish_signed(files) == 0
    assert signers(desk, "recipes") == keyids(desk, "ci2", "quentin", "quirin")
    assert desk.change("renew", "recipes", folder="renewal") == 0
    assert [path.name for path in desk.requests("renewal")] == ["recipes-3.json"]
    assert desk.release(desk.recipe(version=2), keys=("ci2", "quirin", "online")) == 0
    assert desk.verify() == 0
