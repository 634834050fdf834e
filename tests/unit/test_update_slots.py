"""Slots: what `current` names is whole at every moment, whatever the process or the disk does in between."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.update.slots import Slots, digest_of
from tests.small_disk import fill, small_disk

OLD, NEW = b"the release in force", b"the new release"


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    slots = Slots(tmp_path / "tiny", ".bundle")
    put(slots, OLD)
    slots.commit(digest_of(slots.candidate))
    slots.forget_candidate()
    return slots


def put(slots: Slots, content: bytes) -> str:
    """Let a content wait as the agent does; returns its digest."""
    file = slots.folder.parent / "file"
    file.unlink(missing_ok=True)
    file.write_bytes(content)
    slots.stage(file)
    return digest_of(slots.candidate)


def test_a_commit_flips_a_link_and_keeps_the_release_before_byte_by_byte(slots: Slots) -> None:
    before, old = slots.slot(), digest_of(slots.current)
    new = put(slots, NEW)
    assert slots.current.read_bytes() == OLD, "what waits changes nothing"
    for _ in range(2):
        slots.commit(new)
        assert (slots.current.read_bytes(), slots.path(before).read_bytes()) == (NEW, OLD)
        assert str(slots.current.readlink()) in ("a.bundle", "b.bundle")
    assert slots.back_to(old)
    assert (slots.slot(), slots.current.read_bytes()) == (before, OLD)
    assert not slots.back_to("0" * 64)


def test_a_half_done_commit_goes_on(slots: Slots) -> None:
    new = put(slots, NEW)
    os.link(slots.candidate, slots.folder / "half")
    (slots.folder / "half").replace(slots.other())
    slots.forget_candidate()
    slots.commit(new)
    assert slots.current.read_bytes() == NEW


def test_only_what_was_proved_is_committed(slots: Slots) -> None:
    put(slots, NEW)
    with pytest.raises(StorageError, match="not the release that was proved"):
        slots.commit("0" * 64)
    assert slots.current.read_bytes() == OLD


def test_what_is_in_force_is_never_forgotten(slots: Slots) -> None:
    slots.forget(digest_of(slots.current))
    assert slots.current.read_bytes() == OLD
    new = put(slots, NEW)
    slots.forget(new)
    assert not slots.candidate.exists()


def crash_at(number: int, work: Callable[[], object]) -> bool:
    """Let a child work until its step on disk of that number; False if it has fewer."""
    child = os.fork()
    if child == 0:
        steps = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal steps
            if event in ("os.link", "os.symlink", "os.rename", "os.remove"):
                steps += 1
                if steps == number:
                    os._exit(9)

        sys.addaudithook(watch)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_before_any_step_leaves_a_whole_release(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        slots = Slots(tmp_path / f"{number}" / "tiny", ".bundle")
        slots.folder.parent.mkdir()
        old = put(slots, OLD)
        slots.commit(old)
        file = slots.folder.parent / "new"
        file.write_bytes(NEW)
        new = digest_of(file)

        def work(slots: Slots = slots, file: Path = file, new: str = new, old: str = old) -> None:
            slots.stage(file)
            slots.commit(new)
            slots.back_to(old)
            slots.forget(new)

        if not crash_at(number, work):
            break
        assert slots.current.read_bytes() in (OLD, NEW)
        slots.stage(file)
        slots.commit(new)
        assert slots.current.read_bytes() == NEW
        assert slots.back_to(old)
        assert not list(slots.folder.glob(".*.part")), "the next one clears what a killed one left"
    assert number > 8


def test_a_full_disk_leaves_what_is_in_force(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100_000) as disk:
        slots = Slots(disk / "tiny", ".bundle")
        old = put(slots, OLD)
        slots.commit(old)
        new = put(slots, NEW)
        ballast = fill(disk)
        for _ in range(20):  # a tmpfs gives names away until its pages are used up
            try:
                slots.commit(new)
            except StorageError as error:
                assert "No space left on device; check space" in str(error)
            assert slots.current.read_bytes() in (OLD, NEW)
        ballast.unlink()
        slots.commit(new)
        assert slots.current.read_bytes() == NEW


def test_a_link_that_is_not_the_agents_is_told(slots: Slots) -> None:
    slots.current.unlink()
    slots.current.write_bytes(b"a file that somebody put there")
    with pytest.raises(StorageError, match="is not the agent's link to a or b; put it back, or remove it"):
        slots.slot()
