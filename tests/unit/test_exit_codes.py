"""One table of exit codes, in the documentation and in every command's help; what ends a command is told in words."""

import errno
import re
from pathlib import Path
from types import ModuleType

import pytest

import appliance.__main__
import calibration.__main__
import trainer.__main__
from appliance.errors import EXIT_CODES, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TERMINATED, end
from appliance.health import EXIT_HUNG

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
USAGE = 2
NO_NAME = "x" * 300
"""Longer than a file's name may be."""
EVERY_CODE = {0, EXIT_REFUSED, USAGE, EXIT_HUNG, EXIT_INTERRUPTED, EXIT_TERMINATED, *(code for _, code in EXIT_CODES)}


def test_the_table_has_every_code() -> None:
    section = OPERATING.read_text(encoding="utf-8").split("## Exit codes")[1].split("\n## ")[0]
    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", section)} == EVERY_CODE


@pytest.mark.parametrize("program", [appliance.__main__, trainer.__main__, calibration.__main__])
def test_no_help_names_another_code(program: object) -> None:
    epilog = program.EPILOG  # type: ignore[attr-defined]
    named = {int(code) for code in re.findall(r"(?:^exit codes: |; )(\d+)", epilog)}
    assert {0, USAGE, EXIT_INTERRUPTED} <= named <= EVERY_CODE


def test_the_appliances_help_names_all() -> None:
    assert {int(code) for code in re.findall(r"\b\d+\b", appliance.__main__.EPILOG)} == EVERY_CODE


@pytest.mark.parametrize(
    ("program", "name", "words"),
    [
        (appliance.__main__, "appliance", ["demo", "--directory", NO_NAME, "--parts", "1"]),
        (trainer.__main__, "trainer", ["train", "--data", NO_NAME, "--out", "runs", "--epochs", "1"]),
        (trainer.__main__, "trainer", ["train", "--data", "data", "--out", NO_NAME, "--epochs", "1"]),
        (calibration.__main__, "calibrate", ["baseline", NO_NAME]),
    ],
)
def test_a_path_that_the_system_refuses_is_told_in_words(
    program: ModuleType, name: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(words) == 74
    assert re.match(rf"{name}: .*{NO_NAME}.*; \w+", capsys.readouterr().err)


def test_an_error_that_names_a_path_says_what_to_do_about_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as raised:
        (tmp_path / "file" / "below").stat()
    assert end("trainer", raised.value) == 74
    told = f"trainer: {tmp_path}/file/below: Not a directory; check the path and this user's rights\n"
    assert capsys.readouterr().err == told


def test_an_error_that_names_no_path_stays_a_defect_with_its_traceback() -> None:
    defect = OSError(errno.EBADF, "Bad file descriptor")
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        end("trainer", defect)
    assert raised.value is defect
