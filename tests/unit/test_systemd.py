"""The unit files: what they promise about the processes must be what the processes do."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance import launch
from appliance.agent_worker import END_S
from appliance.errors import EXIT_CODES, BundleError, BundleSlowError, ConfigError
from appliance.health import AGENT_SILENCE_S, CHECK_S, EXIT_HUNG, LONGEST_SILENCE_S
from appliance.processor import LATENCY_DEVICE
from appliance.runtimes.engines.child import GRACE_S
from appliance.update.settings import SILENCE_S

UNITS = Path(__file__).parents[2] / "systemd"
UNIT = UNITS / "inspection-appliance.service"
AGENT = UNITS / "inspection-agent.service"
HARDENED = ("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectKernelTunables",
            "ProtectKernelModules", "ProtectControlGroups", "RestrictSUIDSGID", "LockPersonality",
            "CapabilityBoundingSet", "RestrictAddressFamilies", "IPAddressDeny", "IPAddressAllow")  # fmt: skip


def option_of(unit: Path) -> Path:
    return unit.with_name(f"{unit.name}.d") / "app-slots.conf"


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
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


def test_a_candidate_that_the_kernel_ends_for_its_memory_does_not_stop_the_station(
    unit: configparser.ConfigParser,
) -> None:
    assert unit["Service"]["OOMPolicy"] == "continue"


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


def test_an_agent_that_hangs_is_ended_from_its_start_on_and_one_that_is_slow_is_not() -> None:
    """Its own watch, then systemd's: one ends a worker that gets no further, one who hears it, one the process."""
    agent = read(AGENT)["Service"]
    assert (agent["Type"], agent["TimeoutStartSec"]) == ("notify", "30min")
    assert SILENCE_S < 30 * 60, "a worker that hangs before its first word is ended as such"
    assert int(agent["WatchdogSec"]) > 2 * CHECK_S
    assert max(AGENT_SILENCE_S.values()) < SILENCE_S
    assert int(agent["TimeoutStopSec"]) > END_S + GRACE_S, "what was asked to end is ended before systemd kills all"


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


@pytest.mark.parametrize("path", [UNIT, AGENT])
def test_the_launcher_starts_the_same_command_and_is_faster_than_systemds_watchdog(path: Path) -> None:
    unit = read(path)
    words = shlex.split(read(option_of(path))["Service"]["ExecStart"])
    at = next(index for index, word in enumerate(words) if word.endswith("/launch.py"))
    given = launch.parser().parse_args(words[at + 1 :])
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert (given.arguments, f"{given.image}/bin/appliance") == (arguments, program)
    assert given.silence_s < int(unit["Service"]["WatchdogSec"])
    assert Path(given.starts).parent == Path("/var/lib") / unit["Service"]["StateDirectory"].split()[0]
    assert f": {given.starts}\n" in (UNITS.parent / "docs" / "updates.md").read_text(encoding="utf-8")
    assert launch.EXIT_AGAIN not in {int(code) for code in unit["Service"]["RestartPreventExitStatus"].split()}
    assert read(UNITS / "inspection-apps-restart.path")["Path"]["PathChanged"] == f"{given.slots}/restart"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this computer")
@pytest.mark.parametrize(
    "name", sorted(path.name for path in UNITS.glob("*.*") if path.suffix in (".service", ".path"))
)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    for path in UNITS.glob("*.*"):
        if path.is_file():
            text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(encoding="utf-8"))
            (tmp_path / path.name).write_text(text, encoding="utf-8")
    assert "ExecStart=/bin/true" in (tmp_path / name.replace(".path", ".service")).read_text(encoding="utf-8")
    ended = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, check=False)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if name in line]) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this computer")
@pytest.mark.parametrize("unit_path", [UNIT, AGENT])
def test_systemd_understands_the_launcher_as_an_option(unit_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit_path.name
    option_of(copy).parent.mkdir()
    for path, to in ((unit_path, copy), (option_of(unit_path), option_of(copy))):
        text = re.sub(r"(?m)^ExecStart=/\S+", "ExecStart=/bin/true", path.read_text(encoding="utf-8"))
        to.write_text(text, encoding="utf-8")
    ended = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (ended.returncode, [line for line in ended.stderr.splitlines() if "app-slots" in line]) == (0, [])
