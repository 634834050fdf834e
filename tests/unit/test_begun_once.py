"""A desk that is copied for a test is what it would be if it had been begun there, and nobody else's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import release_desk, stick_desk
from tests.release_desk import begun


def kinds(folder: Path) -> dict[str, int]:
    """Names and permissions of all that lies in a folder; a record of a ceremony is named after its second."""
    return {str(path.relative_to(folder)).partition("record-")[0]: path.stat().st_mode for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("begin", "copy"),
    [(release_desk.begin, release_desk.begun), (stick_desk.begin, stick_desk.begun)],
    ids=["desk", "stick-desk"],
)
def test_a_copied_desk_has_the_files_of_a_begun_one_and_names_only_its_own_folder(
    tmp_path: Path, begin: Callable[[Path], object], copy: Callable[[Path], object]
) -> None:
    begun_here, copied, another = tmp_path / "begun-here", tmp_path / "copied", tmp_path / "another"
    begun_here.mkdir()
    begin(begun_here)
    for folder in (copied, another):
        copy(folder)
    assert kinds(copied) == kinds(begun_here)
    for path in (path for path in begun_here.rglob("*") if path.is_file() and "record-" not in path.name):
        name = path.relative_to(begun_here)
        of_copy, of_another = ((folder / name).read_bytes() for folder in (copied, another))
        assert of_copy.count(bytes(copied)) == path.read_bytes().count(bytes(begun_here)), name
        assert of_copy.replace(bytes(copied), bytes(another)) == of_another, name
    memory = json.loads((copied / "root.json.seen.json").read_text())
    assert list(memory["seen"]) == [str(copied / "updates")]


def test_what_is_published_at_one_copied_desk_is_at_no_other(tmp_path: Path) -> None:
    first = begun(tmp_path / "first")
    assert first.release(first.bundle()) == 0
    for second in (begun(tmp_path / "second"), begun(tmp_path / "third")):
        assert not second.standing().releases("model")
        assert second.verify() == 0
    assert first.standing().releases("model")
