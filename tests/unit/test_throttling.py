"""Heat and current: what counts as being held back, and what does not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.throttling import Throttling, read_throttling, signs
from tests.device_root import CALM, HOT_GPU, write

SUPPLY = "sys/class/hwmon/hwmon3"
CORES = "sys/devices/system/cpu"
THERMAL = "sys/class/thermal"


def test_counts_coolers_and_temperatures_are_read_as_the_kernel_tells_them(tmp_path: Path) -> None:
    assert read_throttling(write(tmp_path, CALM)) == Throttling(
        counts={
            "the processor's heat in a core": 8,
            "the processor's heat as a whole": 9,
            "the supply's alarm oc1": 0,
            "the supply's alarm oc3": 37,
        },
        coolers={"cpufreq-cpu0": 0, "gpu-throttle-alert": 0, "hot-surface-alert": 0},
        temperatures_c={"cpu-thermal": 51.281, "tj-thermal": 97.468},
    )


def test_a_device_that_is_not_held_back_shows_no_sign_though_its_fan_turns(tmp_path: Path) -> None:
    calm = read_throttling(write(tmp_path, CALM))
    assert signs(calm, calm) == []


@pytest.mark.parametrize(
    ("changed", "sign"),
    [
        (HOT_GPU, "the cooler gpu-throttle-alert is at step 1"),
        ({f"{THERMAL}/cooling_device1/cur_state": "7"}, "the cooler cpufreq-cpu0 is at step 7"),
        ({f"{THERMAL}/cooling_device3/cur_state": "1"}, "the cooler hot-surface-alert is at step 1"),
        ({f"{SUPPLY}/oc3_event_cnt": "40"}, "the supply's alarm oc3 counts 3 more"),
        ({f"{CORES}/cpu1/thermal_throttle/core_throttle_count": "6"}, "the processor's heat in a core counts 2 more"),
        ({f"{CORES}/cpu0/thermal_throttle/package_throttle_count": "10"}, "the processor's heat as a whole counts 1 m"),
    ],
)
def test_each_way_of_being_held_back_is_told_with_the_hottest_zone(
    changed: dict[str, str], sign: str, tmp_path: Path
) -> None:
    calm = read_throttling(write(tmp_path, CALM))
    told = signs(calm, read_throttling(write(tmp_path, changed)))
    assert len(told) == 2
    assert sign in told[0]
    assert told[1] == "the hottest zone is tj-thermal with 97.468 C"


@pytest.mark.parametrize("changed", [{f"{SUPPLY}/oc2_event_cnt": "99"}, {f"{THERMAL}/cooling_device0/cur_state": "9"}])
def test_an_alarm_that_is_switched_off_and_a_faster_fan_hold_nothing_back(
    changed: dict[str, str], tmp_path: Path
) -> None:
    calm = read_throttling(write(tmp_path, CALM))
    assert signs(calm, read_throttling(write(tmp_path, changed))) == []


def test_a_virtual_machine_tells_nothing(tmp_path: Path) -> None:
    assert read_throttling(tmp_path) == Throttling()


def test_a_counter_that_cannot_be_understood_is_told(tmp_path: Path) -> None:
    found = read_throttling(write(tmp_path, CALM | {f"{SUPPLY}/oc1_event_cnt": "many"}))
    assert found.unread == (f"/{SUPPLY}/oc1_event_cnt is not understood: 'many'",)
    assert "the supply's alarm oc1" not in found.counts


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=40), path=st.sampled_from(sorted(CALM)))
def test_no_content_of_a_file_breaks_the_reading(
    content: bytes, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = write(tmp_path_factory.mktemp("root"), CALM)
    (root / path).write_bytes(content)
    found = read_throttling(root)
    assert all("counts" not in sign for sign in signs(found, read_throttling(root)))
