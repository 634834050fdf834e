"""A command that takes long and is interrupted, or asked to end, says so, and leaves nothing at work behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.agent_place import device_at_a_broker
from tests.certificates import needs_openssl
from tests.plant import RECIPE, write_station
from tests.planted import slow_everywhere
from tests.stations import needs_mosquitto, until
from tests.tiny_releases import NAME

ENDS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "asked to end (SIGTERM)")]
WORD = "before the work was done; call it again for that"
SLOW_ROUNDS = 400
PATIENT = RECIPE | {"deadline_ms": 600_000}


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A station whose bundle takes minutes to be proved; returns its configuration."""
    config = write_station(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(PATIENT))
    slow_everywhere(tmp_path / "tiny.bundle", SLOW_ROUNDS)
    return config


def start(*words: str, **environment: str) -> "subprocess.Popen[str]":
    command, environ = [sys.executable, "-m", "appliance", *words], os.environ | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def computed_s(process: int) -> float:
    """Processor time so far."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def computes(process: int) -> bool:
    return "onnxruntime" in Path(f"/proc/{process}/maps").read_text()


@pytest.mark.parametrize(("end", "code", "words"), ENDS)
@pytest.mark.parametrize("command", ["prove", "check"])
def test_a_proof_ends_at_once_with_a_word_and_a_code_of_its_own(
    station: Path, command: str, end: int, code: int, words: str
) -> None:
    process = start(command, "--config", str(station))
    assert process.stderr is not None
    while "is proved on this device now" not in (line := process.stderr.readline()):
        assert line, "it ended before it was at work"
    process.send_signal(end)
    told, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints.splitlines()[-1]) == (code, f"appliance: {words} {WORD}"), complaints
    assert "Traceback" not in complaints
    assert "certificate" not in told
    assert not list(station.parent.glob("certificates/*"))


@pytest.mark.parametrize(("end", "code", "words"), ENDS)
def test_a_comparison_ends_at_once_and_takes_its_engines_away(
    station: Path, tmp_path: Path, end: int, code: int, words: str
) -> None:
    engines = tmp_path / "temporary"
    engines.mkdir()
    process = start("bench", "--bundle", str(station.parent / "tiny.bundle"), TMPDIR=str(engines))
    until(lambda: list(engines.iterdir()), "it is about to work")
    began_s = computed_s(process.pid)
    until(lambda: computed_s(process.pid) > began_s + 0.5, "it is at work")
    process.send_signal(end)
    _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints.splitlines()[-1]) == (code, f"appliance: {words} {WORD}"), complaints
    assert "Traceback" not in complaints
    assert list(engines.iterdir()) == []


@needs_openssl
@needs_mosquitto
@pytest.mark.parametrize(("end", "code", "words"), ENDS)
def test_what_builds_in_a_child_process_ends_with_it(tmp_path: Path, end: int, code: int, words: str) -> None:
    with device_at_a_broker(tmp_path) as place:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(PATIENT))
        bundle = slow_everywhere(tmp_path / "slow.bundle", SLOW_ROUNDS)
        process = start(
            "agent", "adopt", str(bundle), "--name", NAME, "--by", "Ann", "--config", str(place.config)
        )  # fmt: skip
        (child,) = until(lambda: children(process.pid), "the child is there")
        until(lambda: computes(child), "the child is at work")
        os.kill(process.pid, end)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == code, complaints
        assert complaints.splitlines()[-1] == f"appliance: {words} {WORD}"
        assert not Path(f"/proc/{child}").exists()
        assert not place.current.exists()
