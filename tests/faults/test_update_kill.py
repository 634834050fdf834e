"""The agent is killed at random moments over whole updates: a proven release can be started after each kill."""

import os
from pathlib import Path

import pytest

from appliance.update.slots import JudgingKindName
from tests.update_kills import kill_agents

KILLS = int(os.environ.get("FAULT_UPDATES", "40"))


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kinds", [("model",), ("recipe",), ("model", "recipe")], ids="+".join)
def test_a_kill_at_any_moment_leaves_a_proven_release_that_loads(
    tmp_path: Path, kinds: tuple[JudgingKindName, ...]
) -> None:
    tally = kill_agents(tmp_path, KILLS, seed=20261127, kinds=kinds)
    assert tally.broken == []
    assert tally.kills == KILLS
    assert tally.ended["success"] >= KILLS // 20
    assert len(tally.killed_in) >= 5, tally.killed_in
