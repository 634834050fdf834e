"""What a device says about itself, and what is a difference: read from folders as boards and computers have them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.device_state import WORDS, DeviceState, describe, differences, parse_cores, read_device_state
from appliance.processor import flags, name, name_of
from tests.device_root import GPU_CLOCK, JETSON, PANEL_PC, POLICY, write


def test_a_jetson_tells_its_board_release_mode_and_clocks(tmp_path: Path) -> None:
    assert read_device_state(write(tmp_path, JETSON)) == DeviceState(
        board="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        processor="implementer 0x41, part 0xd42",
        cores=6,
        processor_clock="schedutil 729600..1728000 kHz",
        memory_mb=7619,
        kernel="5.15.148-tegra",
        l4t="36.4.3",
        gpu_driver="540.4.0",
        gpu_clock="17000000.gpu 306000000..1020000000 Hz",
        power_mode="MAXN_SUPER (2)",
    )


def test_a_panel_pc_tells_its_processor_card_and_driver(tmp_path: Path) -> None:
    state = read_device_state(write(tmp_path, PANEL_PC))
    assert (state.processor, state.cores) == ("13th Gen Intel(R) Core(TM) i5-1335UE", 5)
    assert (state.gpu, state.gpu_driver) == ("NVIDIA RTX A2000", "550.54.15")
    fast = "policy0, policy2: powersave 400000..4500000 kHz"
    assert state.processor_clock == f"{fast}; policy10: powersave 400000..3300000 kHz; boost on"
    assert (state.board, state.l4t, state.gpu_clock, state.power_mode, state.unread) == (None, None, None, None, ())


def test_a_computer_that_tells_nothing_has_nothing(tmp_path: Path) -> None:
    assert read_device_state(tmp_path) == DeviceState()


def test_this_computer_tells_what_a_proof_depends_on() -> None:
    state = read_device_state()
    assert state.kernel
    assert state.cores
    assert state.memory_mb
    assert differences(state, read_device_state()) == []
    assert json.loads(json.dumps(asdict(state)))["cores"] == state.cores


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"var/lib/nvpmodel/status": "pmode:0000"}, "the power mode was MAXN_SUPER (2) and is 15W (0) now"),
        ({f"{GPU_CLOCK}/max_freq": "612000000\n"}, "..1020000000 Hz and is 17000000.gpu 306000000..612000000 Hz now"),
        (
            {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.28  Wed Aug 17 2016\n"},
            "the NVIDIA driver was 540.4.0 and is 560.28 now",
        ),
        ({"sys/devices/system/cpu/online": "0-3\n"}, "the number of usable cores was 6 and is 4 now"),
        ({f"{POLICY.format(0)}/scaling_governor": "powersave"}, "policy0: powersave 729600..1728000 kHz; policy4: sch"),
        ({"etc/nv_tegra_release": "# R36 (release), REVISION: 5.0, GCID: 1"}, "was 36.4.3 and is 36.5.0 now"),
        ({"proc/meminfo": "MemTotal: 3901418 kB\n"}, "the memory in MiB was 7619 and is 3809 now"),
    ],
)
def test_each_change_is_told_in_words_and_alone(changed: dict[str, str], told: str, tmp_path: Path) -> None:
    before = read_device_state(write(tmp_path, JETSON))
    sentences = differences(before, read_device_state(write(tmp_path, changed)))
    assert len(sentences) == 1
    assert told in sentences[0]


def test_a_device_is_told_in_one_line_with_what_could_not_be_understood(tmp_path: Path) -> None:
    told = describe(read_device_state(write(tmp_path, JETSON | {"etc/nv_tegra_release": "new"})))
    assert told.startswith("board NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super; processor implem")
    assert told.endswith("; power mode MAXN_SUPER (2); /etc/nv_tegra_release is not understood: 'new'")
    assert describe(DeviceState()) == "tells nothing about itself"


def test_what_comes_and_goes_is_a_difference_too() -> None:
    assert differences(DeviceState(), DeviceState(gpu="B")) == ["the accelerator was not told before and is B now"]
    assert differences(DeviceState(gpu="B"), DeviceState()) == ["the accelerator was B and is not told now"]


def test_a_few_megabytes_less_after_a_start_are_no_other_device() -> None:
    assert differences(DeviceState(memory_mb=7619), DeviceState(memory_mb=7600)) == []


def test_every_field_that_can_differ_has_a_word() -> None:
    assert [*WORDS, "unread"] == list(asdict(DeviceState()))


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("var/lib/nvpmodel/status", "mode two", "power_mode"),
        ("etc/nv_tegra_release", "R36 revision 4.3", "l4t"),
        ("proc/driver/nvidia/version", "NVRM version: soon", "gpu_driver"),
        ("sys/devices/system/cpu/online", "all", "cores"),
        ("proc/meminfo", "MemTotal: much", "memory_mb"),
    ],
)
def test_what_cannot_be_understood_is_told(path: str, content: str, field: str, tmp_path: Path) -> None:
    state = read_device_state(write(tmp_path, JETSON | {path: content}))
    assert state.unread == (f"/{path} is not understood: {content!r}",)
    assert getattr(state, field) is None or field == "cores"


def test_a_power_mode_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    state = read_device_state(write(tmp_path, JETSON | {"var/lib/nvpmodel/status": "pmode:0009"}))
    assert state.power_mode == "unnamed (9)"
    assert state.unread == ("/etc/nvpmodel.conf names no power mode 9",)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    root = write(tmp_path, JETSON)
    (root / "etc/nv_tegra_release").unlink()
    (root / "etc/nv_tegra_release").mkdir()  # nobody reads a folder, whatever rights they have
    assert read_device_state(root).unread == ("/etc/nv_tegra_release cannot be read: Is a directory",)


@given(cores=st.sets(st.integers(0, 300), min_size=1))
def test_a_list_of_cores_is_read_as_the_kernel_writes_it(cores: set[int]) -> None:
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and runs[-1][-1] == core - 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    assert parse_cores(",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)) == cores


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=80), path=st.sampled_from(sorted(JETSON)))
def test_no_content_of_a_file_breaks_the_reading(
    content: bytes, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = write(tmp_path_factory.mktemp("root"), JETSON)
    (root / path).write_bytes(content)
    state = read_device_state(root)
    assert json.dumps(asdict(state), allow_nan=False)
    assert differences(state, read_device_state(root)) == []


@given(text=st.text(max_size=60))
def test_the_first_name_is_the_processors_whatever_follows(text: str) -> None:
    name_of(text)
    assert name_of(f"model name : x\n{text}") == "x"


def test_the_processor_is_told_by_the_kernels_words(tmp_path: Path) -> None:
    write(tmp_path, {"intel": PANEL_PC["proc/cpuinfo"], "arm": JETSON["proc/cpuinfo"], "none": "processor\t: 0\n"})
    assert name(tmp_path / "intel") == "13th Gen Intel(R) Core(TM) i5-1335UE"
    assert flags(tmp_path / "arm") == {"fp", "asimd", "asimddp"}
    assert (name(tmp_path / "none"), flags(tmp_path / "none")) == (None, frozenset())
    assert (name(tmp_path / "nowhere"), flags(tmp_path / "nowhere")) == (None, frozenset())
