"""A run that must test everything is red where a program is missing, and only there."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAYS = {"marked": "@pytest.mark.skipif(True, reason={reason!r})\ndef test_{name}(): ...",
        "called": "def test_{name}():\n    pytest.skip({reason!r})"}  # fmt: skip
REASONS = {"program": "mosquitto is not installed", "mount": "a small file system cannot be mounted: denied",
           "data": "the data set is not here"}  # fmt: skip
RED = {"marked": "error", "called": "failure"}
"""As what a failed test is counted: one that is marked ends before its own lines begin."""

Outcomes = dict[tuple[str, str], tuple[str, str]]
"""By REQUIRE_PROGRAMS and a test's name, what became of it, and why; of the run (`exit`), its code and its output."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """One run of each kind, of tests that are skipped in each way for each reason."""
    folder = tmp_path_factory.mktemp("required")
    file = folder / "test_example.py"
    tests = [text.format(name=f"{why}_{way}", reason=reason) for way, text in WAYS.items()
             for why, reason in REASONS.items()]  # fmt: skip
    file.write_text("\n\n\n".join(["import pytest", *tests]) + "\n")
    found: Outcomes = {}
    for required in ("1", ""):
        told = folder / f"required-{required}.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", os.devnull, str(file)]
        ended = subprocess.run(
            [*command, f"--junitxml={told}"], cwd=ROOT, env=os.environ | {"REQUIRE_PROGRAMS": required},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.exists(), ended.stdout + ended.stderr
        for case in ElementTree.parse(told).iter("testcase"):
            ((what, why),) = ((each.tag, each.get("message", "") + (each.text or "")) for each in case)
            found[required, case.attrib["name"]] = what, why
        found[required, "exit"] = str(ended.returncode), ended.stdout + ended.stderr
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("why", "required", "is_red"),
    [
        ("program", "1", True),
        ("mount", "1", True),
        ("program", "", False),
        ("data", "1", False),
    ],
)
def test_a_skip_for_a_missing_program_is_a_failure_where_programs_are_required(
    outcomes: Outcomes, way: str, why: str, required: str, is_red: bool
) -> None:
    became, words = outcomes[required, f"test_{why}_{way}"]
    assert became == (RED[way] if is_red else "skipped"), words
    if is_red:
        assert f"{REASONS[why]}; install it" in words


@pytest.mark.parametrize(("required", "code"), [("1", "1"), ("", "0")])
def test_the_run_is_red_where_one_of_its_tests_failed_so(outcomes: Outcomes, required: str, code: str) -> None:
    ended, words = outcomes[required, "exit"]
    assert ended == code, words
