"""A station tells nobody but its plant that it runs: what libraries report to their makers is off."""

import os
import subprocess
import sys
from pathlib import Path

from tests.models import tiny_bundle


def test_no_library_notes_down_what_it_would_report_to_its_makers(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "XDG_CACHE_HOME"}}
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    command = [sys.executable, "-m", "appliance", "bench", "--bundle", str(bundle), "--rounds", "1"]
    ended = subprocess.run(command, env=environment | {"HOME": str(home)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not list(home.rglob("*"))  # such as an identifier of this computer, and events that wait for a network
