"""NVIDIA's cards, by a library in place of the driver's: a proof by them is one of our reading, not of any card."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appliance.device_state import DeviceState, differences, read_device_state
from appliance.device_watch import DeviceWatch
from appliance.latency_watch import LatencyWatch
from appliance.nvidia_cards import BELOW_A_ROOT, Card, Cards, read_cards
from appliance.throttling import read_throttling, signs
from tests.c_compiler import needs_cc
from tests.device_root import JETSON, PANEL_PC, write
from tests.nvidia_card import A2000, TELLS, install_driver, tell

ROOT = Path(__file__).parents[2]
ASKED = "from appliance.nvidia_cards import read_cards; print(read_cards().power_limits())"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, PANEL_PC)
    install_driver(tmp_path)
    tell(tmp_path, A2000)
    return tmp_path


@needs_cc
def test_a_card_tells_its_clocks_its_power_limit_and_what_holds_it_back(root: Path) -> None:
    clocks = {"0.set.0": "1200", "0.set.2": "5001", "0.reasons": "0x69"}
    tell(root, A2000 | clocks)
    reasons = ("the hardware slows its clock down", "its driver slows its clock down because of heat",
               "the hardware slows its clock down because of heat")  # fmt: skip
    words = "at most 2100 MHz, memory 6001 MHz, set to 1200 MHz, memory 5001 MHz"
    assert read_cards(root) == Cards("550.54.15", (Card("NVIDIA RTX A2000", words, 70_000, reasons, 4200, 54),))


@needs_cc
def test_what_a_card_does_not_tell_is_claimed_by_nobody(root: Path) -> None:
    tell(root, {"driver": "550.54.15", "cards": "1"})
    assert read_cards(root) == Cards("550.54.15", (Card("card 0"),))
    assert (read_device_state(root).gpu_clock, read_device_state(root).gpu_power) == (None, None)


@needs_cc
def test_a_library_of_before_535_tells_by_the_older_name(tmp_path: Path) -> None:
    install_driver(tmp_path, "-DBEFORE_535")
    tell(tmp_path, A2000 | {"0.reasons": "0x80"})
    assert read_cards(tmp_path).cards[0].reasons == ("its power supply makes it slow down",)


@pytest.mark.parametrize("bits", ["0x0", "0x1", "0x2", "0x4", "0x10", "0x100"])
@needs_cc
def test_rest_set_clocks_and_the_power_limit_hold_nobody_back(root: Path, bits: str) -> None:
    calm = read_throttling(root)
    tell(root, A2000 | {"0.reasons": bits})
    assert signs(calm, read_throttling(root)) == []


@needs_cc
def test_heat_is_told_while_it_slows_a_card_down_and_when_it_did_between_two_looks(root: Path) -> None:
    calm = read_throttling(root)
    assert signs(calm, calm) == []
    tell(root, A2000 | {"0.reasons": "0x40", "0.temperature.0": "93"})
    now = signs(calm, read_throttling(root))
    assert now == [
        "NVIDIA RTX A2000: the hardware slows its clock down because of heat",
        "the hottest zone is NVIDIA RTX A2000 with 93 C",
    ]
    tell(root, A2000 | {"0.violation.1": "4700000000"})
    assert signs(calm, read_throttling(root))[0] == "the heat of NVIDIA RTX A2000, in ms counts 500 more"


@needs_cc
def test_a_card_that_was_never_held_back_counts_from_nothing(root: Path) -> None:
    tell(root, A2000 | {"0.violation.1": "0"})
    calm = read_throttling(root)
    tell(root, A2000 | {"0.violation.1": "7000000"})
    assert "counts 7 more" in signs(calm, read_throttling(root))[0]


SET_OTHERWISE = [
    ({"0.power": "55000"}, "the accelerator's power limit was 70 W and is 55 W now"),
    (
        {"0.most.0": "1500"},
        "the accelerator's clock was at most 2100 MHz, memory 6001 MHz and is at most 1500 MHz, memory 6001 MHz now",
    ),
    ({"0.handle": "!15"}, "the accelerator's power limit was 70 W and is not told now"),
]


@needs_cc
@pytest.mark.parametrize(("changed", "words"), SET_OTHERWISE)
def test_a_card_that_is_set_otherwise_is_another_device(root: Path, changed: dict[str, str], words: str) -> None:
    proved_on = read_device_state(root)
    assert differences(proved_on, read_device_state(root)) == []
    tell(root, A2000 | changed)
    assert words in differences(proved_on, read_device_state(root))


@needs_cc
def test_a_lower_power_limit_under_a_running_station_lets_the_latency_be_proved_again(root: Path) -> None:
    alarms: list[tuple[str, str]] = []
    latency = LatencyWatch(20)
    proved_on = read_device_state(root)
    watch = DeviceWatch(
        lambda: proved_on, latency, alarm=lambda *told: alarms.append(told), hold=lambda _: None, root=root
    )
    watch.look()
    assert (alarms, watch.status()["latency_parts_needed"]) == ([], 0)
    tell(root, A2000 | {"0.power": "55000"})
    watch.look()
    assert [name for name, _ in alarms] == ["device_changed"]
    assert watch.status()["latency_parts_needed"] == 20


@needs_cc
def test_of_several_cards_each_is_named(root: Path) -> None:
    second = {f"1.{key[2:]}": value for key, value in A2000.items() if key.startswith("0.")}
    tell(root, A2000 | second | {"cards": "2"})
    assert read_cards(root).power_limits() == "70 W"
    tell(root, A2000 | second | {"cards": "2", "1.power": "55000", "1.reasons": "0x20"})
    assert read_cards(root).power_limits() == "card 0: 70 W; card 1: 55 W"
    (told, _) = signs(read_throttling(root), read_throttling(root))
    assert told == "NVIDIA RTX A2000 (card 1): its driver slows its clock down because of heat"


@needs_cc
def test_a_container_without_the_drivers_files_tells_by_its_library(tmp_path: Path) -> None:
    install_driver(tmp_path)
    tell(tmp_path, A2000)
    assert read_device_state(tmp_path) == DeviceState(
        gpu="NVIDIA RTX A2000", gpu_driver="550.54.15", gpu_clock="at most 2100 MHz, memory 6001 MHz", gpu_power="70 W"
    )


@needs_cc
@pytest.mark.parametrize("code", [9, 28])
def test_a_library_without_a_driver_or_a_card_claims_nothing(root: Path, code: int) -> None:
    tell(root, {"init": f"!{code}"})
    assert read_cards(root) == Cards()


@needs_cc
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"init": "!18"}, "NVIDIA's driver cannot be asked: Driver/library version mismatch"),
        (A2000 | {"0.power": "!15"}, "NVIDIA's driver does not answer nvmlDeviceGetPowerManagementLimit: GPU is lost"),
    ],
)
def test_what_cannot_be_asked_is_told(root: Path, told: dict[str, str], words: str) -> None:
    tell(root, told)
    assert read_device_state(root).unread == (words,)
    assert read_throttling(root).unread == (words,)


@needs_cc
def test_a_driver_that_never_answers_holds_up_nobody_for_long(root: Path) -> None:
    silent = root / TELLS
    silent.unlink()
    os.mkfifo(silent)
    unread = ("NVIDIA's driver does not answer; see the system's log",)
    assert read_cards(root, answers_within_s=0.2) == Cards(unread=unread)
    assert read_cards(root, answers_within_s=60.0) == Cards(unread=unread), "and nobody waits beside who waits already"
    (waiting,) = [thread for thread in threading.enumerate() if thread.name == "nvml"]
    pipe = os.open(silent, os.O_WRONLY)
    tell(root, A2000)
    os.close(pipe)
    waiting.join(30)
    assert read_cards(root).power_limits() == "70 W"


def test_a_jetson_is_not_asked(tmp_path: Path) -> None:
    write(tmp_path, JETSON | {BELOW_A_ROOT: "no library"})
    assert read_cards(tmp_path) == Cards()


def test_a_library_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    write(tmp_path, {BELOW_A_ROOT: "no library"})
    (words,) = read_cards(tmp_path).unread
    assert words.startswith("NVIDIA's library cannot be loaded: ")


def test_where_there_is_no_driver_nothing_is_claimed(tmp_path: Path) -> None:
    assert read_cards(tmp_path) == Cards()
    here = read_cards()
    assert here == Cards() or here.driver or here.unread, "of this computer, whatever it has"


@needs_cc
def test_the_library_is_found_where_the_system_keeps_its_libraries(root: Path) -> None:
    library = root / BELOW_A_ROOT
    if Path("/etc/nv_tegra_release").exists():
        pytest.skip("a Jetson is not asked")
    command = [sys.executable, "-c", ASKED]
    environment = os.environ | {"LD_LIBRARY_PATH": str(library.parent)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == "70 W\n", ended.stderr
