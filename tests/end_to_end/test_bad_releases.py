"""Signed, sound as files, and bad: each is stopped by a gate; see benchmarks/bad_models.py for what the table says."""

from pathlib import Path

import pytest

from appliance.simulator.broker import find_mosquitto
from tests.bad_releases import FLAWS
from tests.trial_line import TrialLine

GATES = {
    "shadow_parts": 40, "canary_parts": 40, "watch_parts": 100, "watch_h": 0, "alpha": 0.2, "beta": 0.05,
    "most_escapes": 0.3, "most_overkill": 0.1, "most_disagreement": 0.2, "most_imbalance": 0.1, "most_faults": 0.05,
    "most_missed": 0.1, "most_late": 0.1,
}  # fmt: skip
"""So loose that a good release is through after some hundred parts; what is bad here is plainly so."""

QUICK = ("blind, golden images kept", "blind")

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")


def test_no_bad_release_is_a_success(tmp_path: Path) -> None:
    with TrialLine(tmp_path, GATES) as line:
        for name in QUICK:
            trial = line.try_out(name, 60.0)
            assert (trial.caught_at, trial.outcome) in {(each, "quarantined") for each in FLAWS[name].caught_at}, trial
            assert line.in_force() == line.good, f"{name}: what was good is in force again, on disk and at the line"
