"""The unit files: what they promise about the processes must be what the processes do."""

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
AGENT = UNIT.with_name("inspection-agent.service")
HARDENED = ("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectKernelTunables",
            "ProtectKernelModules", "ProtectControlGroups", "RestrictSUIDSGID", "LockPersonality",
            "CapabilityBoundingSet", "RestrictAddressFamilies", "IPAddressDeny", "IPAddressAllow")  # fmt: skip


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path, encoding="utf-8")
    return parser


@pytest.fixture
def unit() -> configparser.ConfigParser:
    return read(UNIT)


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


def test_the_agent_has_no_more_rights_than_the_station(unit: configparser.ConfigParser) -> None:
    agent = read(AGENT)["Service"]
    assert {key: agent[key] for key in HARDENED} == {key: unit["Service"][key] for key in HARDENED}
    assert "Nice" not in agent, "the inspection goes first, and a proof is as fast as the station's own"
    assert "ip-addresses.conf" in AGENT.read_text(encoding="utf-8")


def test_the_agent_outlives_its_children_and_is_started_again(unit: configparser.ConfigParser) -> None:
    agent = read(AGENT)
    assert (agent["Service"]["Restart"], agent["Service"]["OOMPolicy"]) == ("always", "continue")
    assert agent["Unit"]["StartLimitIntervalSec"] == "0"
    assert "Requires" not in agent["Unit"], "neither needs the other to run"
    wrong = next(code for kind, code in EXIT_CODES if kind is ConfigError)
    assert agent["Service"]["RestartPreventExitStatus"] == str(wrong)
    assert agent["Service"]["User"] == unit["Service"]["User"]


def test_the_agent_may_write_where_its_example_keeps_things() -> None:
    example = (
        (UNIT.parents[1] / "docs" / "updates.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    )
    folders = read(AGENT)["Service"]["StateDirectory"].split()
    for key in ("state", "floor"):
        path = re.search(rf"(?m)^{key}: /var/lib/([^/\n]+)", example)
        assert path is not None
        assert path[1] in folders


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this computer")
@pytest.mark.parametrize("path", [UNIT, AGENT], ids=lambda path: path.name)
def test_systemd_understands_every_line(tmp_path: Path, path: Path) -> None:
    copy = tmp_path / path.name
    text, replaced = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(encoding="utf-8"))
    assert replaced == 1
    copy.write_text(text, encoding="utf-8")
    ended = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if path.name in line]) == (0, [])
