"""python-tuf's own tests of its client, with this client in the place of theirs and their simulator behind a socket."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.python_tuf import unpack, why_no_sources

pytestmark = [pytest.mark.gate, pytest.mark.skipif(bool(why_no_sources()), reason=why_no_sources())]
PROGRAM = Path(__file__).with_name("python_tuf_program.py")
ROOT = PROGRAM.parents[2]

MODULES = {
    "top_level_update": 38, "delegation_graphs": 7, "consistent_snapshot": 3, "fetch_target": 5, "key_rotations": 2,
}  # fmt: skip
"""Their test_updater_*.py -> how many tests it has, many with several cases; two files more are about Python calls."""

UNLIKE = {
    "test_max_root_rotations": "sets 3; ours cannot be set: test_no_more_roots_than_agreed_are_taken_in_one_refresh",
    "test_max_metadata_lengths": "the same: test_what_the_network_does_is_a_delivery_error_for_each_file",
    "test_graph_traversal (case='max number of delegations')":
        "sets 4, ours is 32: test_the_search_ends_after_as_many_roles_as_agreed",
    "test_not_loading_targets_twice": "ours refreshes, and so reads, before each look-up",
    "test_download_targets (case='consistent_snaphot enabled without prefixed targets')":
        "a way of serving files that the specification does not have",
}  # fmt: skip
"""Where this client is meant to be another than theirs -> why."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("python-tuf"))


@pytest.mark.parametrize("name", MODULES)
def test_this_client_does_what_python_tufs_own_tests_expect(sources: Path, name: str) -> None:
    command = [sys.executable, str(PROGRAM), str(sources), f"test_updater_{name}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert said["run"] == MODULES[name]
    surprises = {test: why for test, why in said["unlike"].items() if not test.endswith(tuple(UNLIKE))}
    assert surprises == {}
    assert len(said["unlike"]) == sum(is_in(sources, name, test) for test in UNLIKE)


def is_in(sources: Path, name: str, test: str) -> bool:
    """Whether one of UNLIKE is a test of this file of theirs."""
    text = (sources / "tests" / f"test_updater_{name}.py").read_text(encoding="utf-8")
    return f"def {test.partition(' ')[0]}(" in text
