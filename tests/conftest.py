"""Settings that every test shares, and what becomes of tests that cannot run here."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect; speed belongs in benchmarks
settings.load_profile("unhurried")

MISSING = ("is not installed", "cannot be mounted")
"""How a skip's reason says that the machine lacks what it could have; every other skip is rightly one."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where REQUIRE_PROGRAMS is set, count a test that lacks a program as failed: green must mean tested."""
    report = yield
    if report.skipped and os.environ.get("REQUIRE_PROGRAMS"):
        reason: Any = report.longrepr
        if any(words in reason[2] for words in MISSING):
            report.outcome = "failed"
            report.longrepr = f"{reason[2]}; install it, or run without REQUIRE_PROGRAMS to skip this test"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of pytest-xdist died, which itself says only that it did: -11 is a segmentation fault."""
    if error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.stderr.write(f"\nthe process {node.gateway.id} ended with {node.gateway._io.popen.wait(10)}\n")


@pytest.fixture(scope="session")
def deeppcb() -> Path:
    """The folder of the real data set, which the environment variable DEEPPCB names (docs/training.md gets it)."""
    folder = os.environ.get("DEEPPCB", "")
    if not folder or not (Path(folder) / "PCBData" / "trainval.txt").is_file():
        pytest.skip("DEEPPCB does not name a folder with the DeepPCB data set")
    return Path(folder)
