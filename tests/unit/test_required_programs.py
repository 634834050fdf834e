"""A run that must test everything is red where a program is missing, and only there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("way", ["@pytest.mark.skipif(True, reason={!r})\ndef test_it(): ...",
                                 "def test_it():\n    pytest.skip({!r})"])  # fmt: skip
@pytest.mark.parametrize(
    ("reason", "required", "code"),
    [
        ("mosquitto is not installed", "1", 1),
        ("a small file system cannot be mounted: denied", "1", 1),
        ("mosquitto is not installed", "", 0),
        ("the data set is not here", "1", 0),
    ],
)
def test_a_skip_for_a_missing_program_is_a_failure_where_programs_are_required(
    tmp_path: Path, way: str, reason: str, required: str, code: int
) -> None:
    file = tmp_path / "test_example.py"
    file.write_text("import pytest\n\n" + way.format(reason) + "\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", os.devnull, str(file)]
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"REQUIRE_PROGRAMS": required}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    if code:
        assert f"{reason}; install it" in ended.stdout
