"""The request to keep the processor awake: what the kernel is asked, and what a person is told where it is not."""

import os
import struct
from pathlib import Path

import pytest

from appliance.processor import LATENCY_DEVICE, Wakefulness


def asked(device: Path) -> int:
    return int(struct.unpack("=i", device.read_bytes()[:4])[0])


@pytest.mark.skipif(not os.access(LATENCY_DEVICE, os.R_OK | os.W_OK), reason=f"no right to write {LATENCY_DEVICE}")
def test_the_kernel_holds_to_the_request_until_it_is_closed() -> None:
    before_us = asked(LATENCY_DEVICE)
    with Wakefulness(0) as processor:
        assert asked(LATENCY_DEVICE) == 0
        assert (processor.seen, processor.remedy) == ("stays awake between parts", "")
    assert asked(LATENCY_DEVICE) == before_us


@pytest.mark.parametrize(("wake_up_us", "seen"), [(0, "stays awake between parts"), (20, "wakes up within 20 us")])
def test_the_device_gets_the_microseconds_as_a_32_bit_number(wake_up_us: int, seen: str, tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    device.write_bytes(b"\xff" * 4)
    with Wakefulness(wake_up_us, device) as processor:
        assert asked(device) == wake_up_us
        assert processor.seen == seen


def test_nothing_is_asked_where_a_person_decided_so(tmp_path: Path) -> None:
    device = tmp_path / "cpu_dma_latency"
    device.write_bytes(b"\xff" * 4)
    with Wakefulness(None, device) as processor:
        assert (processor.seen, processor.remedy) == ("may sleep between parts, as configured", "")
    assert device.read_bytes() == b"\xff" * 4


def test_a_computer_without_the_device_is_left_as_it_is(tmp_path: Path) -> None:
    with Wakefulness(0, tmp_path / "none") as processor:
        assert "this computer has no" in processor.seen
        assert processor.remedy == ""
    assert not (tmp_path / "none").exists()


def test_a_refusal_says_what_to_do_and_does_not_stop_the_station(tmp_path: Path) -> None:
    with Wakefulness(0, tmp_path) as processor:  # a folder cannot be written, whoever asks
        assert "cannot be written" in processor.seen
        assert "60-inspection-appliance.rules" in processor.remedy
        assert "wake_up_us" in processor.remedy
