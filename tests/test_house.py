"""The house rules that no linter knows: sizes, names, and what must not be left in the code."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted(path for folder in ("appliance", "trainer", "calibration") for path in (ROOT / folder).rglob("*.py"))
EVERYTHING = sorted([*PRODUCT, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MEANINGLESS = {"base", "common", "core", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}
LEFT_BEHIND = re.compile(r"NotImplementedError|\bTODO\b|\bFIXME\b|\bXXX\b|unittest\.mock|MagicMock|monkeypatch")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", EVERYTHING, ids=name)
def test_a_file_has_at_most_400_lines(path: Path) -> None:
    assert lines(path) <= 400


def test_the_median_file_has_at_most_120_lines() -> None:
    assert statistics.median(lines(path) for path in PRODUCT) <= 120


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_function_has_at_most_60_lines(path: Path) -> None:
    long = [f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1}" for node in functions(path)
            if (node.end_lineno or 0) - node.lineno + 1 > 60]  # fmt: skip
    assert not long


@pytest.mark.parametrize("path", PRODUCT, ids=name)
def test_a_module_is_named_after_what_it_is(path: Path) -> None:
    assert not MEANINGLESS & set(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path != Path(__file__).resolve()], ids=name)
def test_nothing_is_a_stub_or_patched(path: Path) -> None:
    found = [f"{number}: {line.strip()}" for number, line in enumerate(path.read_text().splitlines(), 1)
             if LEFT_BEHIND.search(line)]  # fmt: skip
    assert not found


def test_whatever_needs_the_computer_to_itself_lies_in_faults() -> None:
    marked = {path for path in EVERYTHING if re.search(r"mark\.faults\b", path.read_text(encoding="utf-8"))}
    assert [name(path) for path in sorted(marked) if path.parent != ROOT / "tests" / "faults"] == []


def test_test_lines_are_about_equal_to_source_lines() -> None:
    source = sum(lines(path) for path in PRODUCT)
    tests = sum(lines(path) for path in (ROOT / "tests").rglob("*.py"))
    assert 0.5 <= tests / source <= 1.5


MACHINE_PATH = re.compile(r"/work/|/root/|/home/[a-z]|/opt/pypi|(?<!-)\bshared[\"'/]")
DATA_IS_NAMED_IN = ROOT / ".ci" / "run"
"""The one place that knows where a machine that decides about changes keeps the real pictures."""


def test_the_project_speaks_of_itself_alone() -> None:
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                            check=False)  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("this is not a clone, so nobody can say which files belong to the project")
    texts = [ROOT / item for item in listed.stdout.split() if not item.endswith((".png", ".bundle", ".safetensors"))]
    kinds = {path.suffix or path.name for path in texts}
    assert kinds >= {"Makefile", ".gitignore", ".conf", ".service", ".svg", ".yaml"}
    allowed = (Path(__file__).resolve(), DATA_IS_NAMED_IN)
    assert not [name(path) for path in texts if path.exists() and path not in allowed
                and MACHINE_PATH.search(path.read_text(encoding="utf-8"))]  # fmt: skip
