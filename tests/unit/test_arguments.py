"""A result's file is tried before the work, and nothing is left behind or lost by that."""

import argparse
import subprocess
from pathlib import Path

import pytest

from appliance.arguments import count, new_file, whole
from appliance.errors import StorageError
from tests.small_disk import small_disk


def test_the_trial_leaves_no_file_and_the_result_is_written(tmp_path: Path) -> None:
    file = new_file(str(tmp_path / "report.json"))
    assert not list(tmp_path.iterdir())
    file.write("{}")
    assert (tmp_path / "report.json").read_text() == "{}"


def test_an_earlier_result_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("earlier")
    file = new_file(str(path))
    assert path.read_text() == "earlier"
    file.write("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["", "file/report.json", "no/report.json", "x" * 300, "dangling"])
def test_what_cannot_be_created_is_refused_in_words(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("no/report.json")
    with pytest.raises(argparse.ArgumentTypeError, match=r"cannot be written \(.*\); name a file"):
        new_file(f"{tmp_path}/{name}")


def test_a_folder_that_goes_away_meanwhile_is_said_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = new_file(str(folder / "report.json"))
    folder.rmdir()
    with pytest.raises(StorageError, match=r"report\.json cannot be written: No such file.*; check space"):
        file.write("{}")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "abc", "\u00b2"])
def test_what_is_no_whole_number_is_refused_in_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write a whole number above 0"):
        count(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number, 0 or more"):
        whole(text)


def test_a_folder_that_takes_no_new_file_is_found_out_before_the_work(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 16) as disk:
        (disk / "report.json").write_text("earlier")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(argparse.ArgumentTypeError, match=r"cannot be written \(Read-only file system\)"):
            new_file(str(disk / "report.json"))


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("earlier")
    (tmp_path / "link.json").symlink_to("real.json")
    new_file(str(tmp_path / "link.json")).write("new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"
