"""A recipe is released as a model is: packed, signed by two of whom one is of the quality role, read by a device."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.container import pack, unpack
from appliance.bundle.recipe_package import MANIFEST, RECIPE, write_recipe_package
from appliance.errors import BundleError, BundleTrustError, ConfigError
from tests.release_desk import Desk, ServedFolder, begun, said
from tests.update_device import Device
from tests.update_server import UpdateServer
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets
from trainer.release.publication import Change, publish
from trainer.release.recipes import recipe_release
from trainer.release.request import read_request
from trainer.release.shelf import Shelf

FIRST, SECOND = "recipes/board/board-1.recipe", "recipes/board/board-2.recipe"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return begun(tmp_path)


@pytest.fixture
def device(desk: Desk) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        yield desk.device(server)


@pytest.fixture
def same(desk: Desk) -> Callable[[], bool]:
    return lambda: not desk.standing().releases("recipe")


@pytest.mark.parametrize("words", [(), ("--kind", "recipe")])
def test_a_device_gets_a_recipe_and_people_read_it_beside(desk: Desk, device: Device, words: tuple[str, ...]) -> None:
    package = desk.recipe(version=7)
    assert desk.release(package, *words) == 0
    assert device.download(FIRST) == package.read_bytes()
    assert device.download("recipes/board/board-1.yaml") == (desk.folder / "board.yaml").read_bytes()
    assert device.repository.find(FIRST).releases["recipe/board"].seq == 1
    assert desk.verify() == 0


def test_a_quality_person_sees_name_and_version_before_signing(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    request = desk.folder / "board-7.json"
    assert desk.release(desk.recipe(version=7), "--request", str(request), keys=("ci", "online")) == 0
    with pytest.raises(BundleTrustError):
        device.repository.find(FIRST)
    capsys.readouterr()
    assert desk.sign("quirin", request) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"{FIRST} version 7," in shown
    assert "recipes/board/board-1.yaml" in shown
    assert desk.publish_signed([request]) == 0
    assert device.repository.find(FIRST).releases["recipe/board"].seq == 1


def test_no_recipe_is_released_without_the_quality_role(
    desk: Desk, same: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.recipe(), keys=("ci", "online")) == 78
    assert "1 more of Quentin, Quirin" in said(capsys)
    assert same()


def test_the_same_recipe_twice_is_one_release(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    package = desk.recipe()
    assert desk.release(package) == 0
    before = desk.standing().timestamp.signed_bytes
    assert desk.release(package) == 0
    assert f"{FIRST}: is released already" in capsys.readouterr().out
    assert desk.standing().timestamp.signed_bytes == before
    assert desk.release(package, "--seq", "2") == 0, "with a report that comes later"
    assert desk.verify() == 0


def test_a_version_that_was_there_is_refused_and_an_older_recipe_comes_back_as_a_new_one(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    old = desk.recipe(version=3)
    assert desk.release(old) == 0
    assert desk.release(desk.recipe(version=3, deadline_ms=600)) == 78
    assert f"{FIRST} is version 3, too, and says something else; write `version: 4` or more" in said(capsys)
    assert desk.release(desk.recipe(version=2)) == 78
    assert f"{FIRST} is version 3; write `version: 4`" in said(capsys)
    assert desk.release(desk.recipe(version=4, deadline_ms=600)) == 0
    assert desk.release(old, "--seq", "9") == 78
    assert f"{SECOND} is version 4" in said(capsys)
    again = desk.recipe(version=5)
    assert desk.release(again) == 0
    assert device.download("recipes/board/board-3.recipe") == again.read_bytes()
    assert desk.release(desk.recipe(version=1, name="can")) == 0, "each name has versions of its own"
    assert desk.verify() == 0


def damaged(desk: Desk) -> Path:
    path = desk.recipe()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def lacking(desk: Desk) -> Path:
    path = desk.recipe()
    files = unpack(path.read_bytes(), "x")
    del files[next(name for name in files if name not in (MANIFEST, RECIPE))]
    path.write_bytes(pack(files))
    return path


def called_otherwise(desk: Desk) -> Path:
    path = desk.folder / "other.recipe"
    path.write_bytes(write_recipe_package("other", 1, b"schema: vi.recipe/1\nname: board\nversion: 1\n", []))
    return path


def plain(desk: Desk) -> Path:
    desk.recipe()
    return desk.folder / "board.yaml"


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (damaged, 65, "board-1.recipe"),
        (lacking, 65, "do not have the same files"),
        (called_otherwise, 78, "the package says other version 1; pack the recipe again"),
        (plain, 65, "pack it again with `appliance pack-recipe`"),
        (lambda desk: desk.bundle(), 65, "boards.bundle"),
        (lambda desk: desk.folder / "gone.recipe", 78, "cannot be read"),
    ],
)
def test_what_is_no_recipe_is_refused_in_words(
    desk: Desk, same: Callable[[], bool], make: Callable[[Desk], Path], code: int, words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert desk.release(make(desk), "--kind", "recipe") == code
    assert words in said(capsys)
    assert same()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--name", "x"], "a recipe has its own name"),
        (["--kind", "model"], "board-1.recipe"),
        (["--track"], "MLflow's registry holds models, and this is a release of kind recipe"),
    ],
)
def test_what_does_not_go_with_a_recipe_is_refused(
    desk: Desk, same: Callable[[], bool], given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.recipe(), *given) in (65, 78)
    assert words in said(capsys)
    assert same()


def test_a_device_is_assigned_a_model_and_a_recipe_and_never_what_lies_beside(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = "models/boards/boards-1.bundle"
    assert desk.release(desk.bundle()) == desk.release(desk.recipe()) == 0
    assert desk.assign("--device", "line-1", "--release", "recipes/board/board-1.yaml") == 78
    assert f"nobody signed such a release; there are {FIRST}" in said(capsys)
    assert desk.assign("--device", "line-1", "--release", FIRST, "--release", bundle) == 0
    releases = json.loads(device.download("assign/ulm/line-1.json"))["releases"]
    assert [(each["kind"], each["name"], each["path"]) for each in releases] == [
        ("model", "boards", bundle), ("recipe", "board", FIRST),
    ]  # fmt: skip
    assert desk.verify() == 0


Targets = dict[str, Any]


def moved(desk: Desk, targets: Targets, old: str, new: str) -> None:
    """Let a release be another one, with its file."""
    target = targets[new] = targets.pop(old)
    place = Path(desk.address) / "targets" / old
    new_place, digest = Path(desk.address) / "targets" / new, target["hashes"]["sha256"]
    new_place.parent.mkdir(exist_ok=True)
    place.with_name(f"{digest}.{place.name}").rename(new_place.with_name(f"{digest}.{new_place.name}"))


def other_version(desk: Desk, targets: Targets) -> None:
    targets[FIRST]["custom"]["version"] = 9


def other_content(desk: Desk, targets: Targets) -> None:
    targets[FIRST]["custom"]["content"] = "0" * 64


def other_name(desk: Desk, targets: Targets) -> None:
    moved(desk, targets, FIRST, "recipes/can/can-1.recipe")


def other_number(desk: Desk, targets: Targets) -> None:
    targets[FIRST]["custom"]["seq"] = 4


def other_text(desk: Desk, targets: Targets) -> None:
    targets["recipes/board/board-1.yaml"]["hashes"]["sha256"] = "0" * 64


def no_text(desk: Desk, targets: Targets) -> None:
    del targets["recipes/board/board-1.yaml"]


def no_package(desk: Desk, targets: Targets) -> None:
    targets[FIRST]["hashes"]["sha256"] = "0" * 64


def request_for(desk: Desk, package: Path, change: Callable[[Desk, Targets], None], *words: str) -> Path:
    """A request that somebody altered before the others signed it."""
    request = desk.folder / "request.json"
    assert desk.release(package, *words, "--request", str(request), keys=("online",)) == 0
    document = json.loads(request.read_text())
    change(desk, document["metadata"]["signed"]["targets"])
    request.write_text(json.dumps(document))
    assert desk.sign("ci", request) == desk.sign("quentin", request) == 0
    return request


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_version, "is recipe board version 1, and signed as version 9"),
        (other_content, "is recipe board version 1, and signed as version 1"),
        (other_name, "can-1.recipe: is recipe board version 1, and signed as version 1"),
        (other_number, "is recipe board version 1, and signed as version 1"),
        (other_text, "what lies beside it to be read is not the recipe in it"),
        (no_text, "what lies beside it to be read is not the recipe in it"),
        (no_package, "is missing or damaged there"),
    ],
)
def test_a_recipe_that_is_not_what_people_were_shown_is_not_published(
    desk: Desk, same: Callable[[], bool], change: Callable[[Desk, Targets], None], words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    request = request_for(desk, desk.recipe(), change)
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert words in said(capsys)
    assert same()


def test_a_version_that_falls_is_not_published(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    def takes_a_lower_number(desk: Desk, targets: Targets) -> None:
        for ending in ("recipe", "yaml"):
            moved(desk, targets, f"recipes/board/board-6.{ending}", f"recipes/board/board-0.{ending}")
            targets[f"recipes/board/board-0.{ending}"]["custom"]["seq"] = 0

    assert desk.release(desk.recipe(version=3)) == 0
    request = request_for(desk, desk.recipe(version=4), takes_a_lower_number, "--seq", "6")
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert "version 3 comes after version 4 of board" in said(capsys)


@pytest.mark.parametrize("change", [other_version, other_text])
def test_a_recipe_that_was_published_by_thieves_is_told_by_verify(
    desk: Desk, change: Callable[[Desk, Targets], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has all the keys does not use our commands' checks."""
    request = read_request(request_for(desk, desk.recipe(), change))
    online = open_signer(str(desk.key("online")), Secrets((desk.folder / "passphrase",)))
    publish(Shelf(desk.address), desk.standing(), Change(roles={"recipes": request.as_metadata()}), [online])
    capsys.readouterr()
    assert desk.verify() == 65
    assert "board-1" in said(capsys)


TEXT = st.dictionaries(
    st.sampled_from(["name", "version", "views", "a"]),
    st.recursive(
        st.integers() | st.text(max_size=3) | st.none(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["file", "sha256", "b"]), inner),
        max_leaves=5,
    ),
).map(lambda data: json.dumps(data).encode())


@given(recipe=TEXT | st.binary(max_size=60), is_named=st.booleans())
def test_any_recipe_in_a_package_is_read_or_refused_in_words(recipe: bytes, is_named: bool) -> None:
    text = b'"name": board\n"version": 1\n"a": ' + recipe if is_named else recipe
    try:
        release = recipe_release(write_recipe_package("board", 1, text, [b"one"]), "board-1.recipe", {})
    except (ConfigError, BundleError) as error:
        assert "board-1.recipe" in str(error)
    else:
        assert (release.marks["version"], release.beside) == (1, {".yaml": text})


def test_a_recipe_is_known_again_under_a_new_version_wherever_its_pictures_lay(desk: Desk) -> None:
    def content(path: Path) -> object:
        return recipe_release(path.read_bytes(), "x", {}).marks["content"]

    first = desk.recipe(version=1)
    elsewhere = Desk(desk.folder / "elsewhere", desk.address)
    elsewhere.folder.mkdir()
    assert content(elsewhere.recipe(version=5)) == content(first)
    assert content(desk.recipe(version=2, deadline_ms=501)) != content(first)
