"""One table of exit codes: in the documentation, and in every command's help."""

import re
from pathlib import Path

import pytest

import appliance.__main__
import calibration.__main__
import trainer.__main__
from appliance.errors import EXIT_CODES, EXIT_INTERRUPTED, EXIT_REFUSED
from appliance.health import EXIT_HUNG

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
USAGE = 2
EVERY_CODE = {0, EXIT_REFUSED, USAGE, EXIT_HUNG, EXIT_INTERRUPTED, *(code for _, code in EXIT_CODES)}


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
