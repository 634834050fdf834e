"""The unit file: what it promises about the process must be what the process does."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.errors import EXIT_CODES, BundleError, BundleSlowError, ConfigError
from appliance.health import CHECK_S, EXIT_HUNG, LONGEST_SILENCE_S
from appliance.processor import LATENCY_DEVICE

UNIT = Path(__file__).parents[2] / "systemd" / "inspection-appliance.service"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser


def test_systemd_waits_longer_than_the_process_that_watches_itself(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["Type"] == "notify"
    assert int(unit["Service"]["WatchdogSec"]) > max(LONGEST_SILENCE_S.values()) + CHECK_S


def test_the_process_is_started_again_for_ever(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_only_what_a_person_must_correct_is_not_started_again(unit: configparser.ConfigParser) -> None:
    prevented = {int(code) for code in unit["Service"]["RestartPreventExitStatus"].split()}
    assert prevented == {code for kind, code in EXIT_CODES if kind in (ConfigError, BundleError)}
    assert EXIT_HUNG not in prevented
    slow = next(code for kind, code in EXIT_CODES if issubclass(BundleSlowError, kind))
    assert slow not in prevented


def test_the_inspection_goes_before_other_work(unit: configparser.ConfigParser) -> None:
    assert int(unit["Service"]["Nice"]) < 0


def test_only_this_computer_is_reached_until_a_drop_in_says_more(unit: configparser.ConfigParser) -> None:
    assert unit["Service"]["IPAddressDeny"] == "any"
    assert unit["Service"]["IPAddressAllow"] == "localhost"
    assert "ip-addresses.conf" in UNIT.read_text(encoding="utf-8")


def test_the_stations_user_may_keep_the_processor_awake(unit: configparser.ConfigParser) -> None:
    rules = (UNIT.parent / "60-inspection-appliance.rules").read_text(encoding="utf-8")
    [rule] = [line for line in rules.splitlines() if not line.startswith("#")]
    assert f'KERNEL=="{LATENCY_DEVICE.name}"' in rule
    assert f'GROUP="{unit["Service"]["Group"]}", MODE="0660"' in rule


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this computer")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    text, replaced = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8"))
    assert replaced == 1
    copy.write_text(text, encoding="utf-8")
    ended = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if UNIT.name in line]) == (0, [])
