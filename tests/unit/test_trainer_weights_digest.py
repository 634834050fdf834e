"""Two runs of one seed end with the same weights, and say so in one line that anybody can compare."""

import json
from pathlib import Path

import pytest

from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main


def _digest(root: Path, run: str, seed: int, capsys: pytest.CaptureFixture[str]) -> str:
    dials = ["--epochs", "1", "--batch", "4", "--crop", "64", "--width", "8", "--workers", "1", "--weights", "none"]
    told = root / f"{run}.json"
    words = ["train", "--data", str(root / "data"), "--out", str(root / run), "--json", str(told), *dials]
    assert main([*words, "--seed", str(seed), "--holdout", "family0"]) == 0
    digest = str(json.loads(told.read_text())["averaged_weights_sha256"])
    assert f"averaged weights, SHA-256 {digest}\n" in capsys.readouterr().out
    return digest


def test_two_runs_of_one_seed_have_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_boards(tmp_path / "data")
    first = _digest(tmp_path, "first", 3, capsys)
    assert _digest(tmp_path, "again", 3, capsys) == first
    assert _digest(tmp_path, "other", 4, capsys) != first
