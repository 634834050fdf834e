"""A publisher that dies at any step leaves what devices believe, and the same command again completes it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError
from tests.killed_at import killed_at
from tests.release_desk import Desk, ServedFolder, begun
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer

FIRST = "models/boards/boards-1.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return begun(tmp_path)


def each_death(desk: Desk, work: Callable[[], int]) -> Iterator[int]:
    """Let a command die at its first step, its second and so on, each time from the same beginning; gives the step."""
    place = Path(desk.address)
    begun = desk.folder / "as-it-was"
    shutil.copytree(place, begun)
    step = 0
    while True:
        step += 1
        shutil.rmtree(place)
        shutil.copytree(begun, place)
        Path(f"{desk.root}.seen.json").unlink(missing_ok=True)  # it would notice the copy
        if not killed_at(step, place, work):
            return
        yield step


def found(desk: Desk) -> dict[str, str]:
    return {name: target.hashes["sha256"] for name, target in desk.standing().releases("model").items()}


def test_a_release_that_was_killed_anywhere_is_completed_by_the_same_command(desk: Desk) -> None:
    bundle, steps, results = desk.bundle(), [], []
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        known = desk.device(server, "known")
        known.repository.refresh()
        for step in each_death(desk, lambda: desk.release(bundle)):
            steps.append(step)
            for device in (desk.device(server, f"new-{step}"), known):
                device.repository.refresh()
                with pytest.raises(BundleTrustError):
                    device.repository.find(FIRST)
            assert desk.release(bundle) == 0
            assert desk.device(server, f"then-{step}").download(FIRST) == bundle.read_bytes()
            assert not list(Path(desk.address).rglob(".*.part"))
            results.append(found(desk))
    assert len(steps) == 7  # a rename each for card, bundle, timestamp; a rename and a link for models, snapshot
    assert all(result == results[0] for result in results)


def test_a_withdrawal_that_was_killed_anywhere_is_completed_by_the_same_command(desk: Desk) -> None:
    for revision in (1, 2):
        assert desk.release(desk.bundle(revision=revision)) == 0
    words = ["publish", "withdraw", FIRST, "--by", "Anna", "--why", "bad", *desk.at()]
    steps = []
    for step in each_death(desk, lambda: trainer([*words, *desk.keyed("ci", "quentin", "online")])):
        steps.append(step)
        assert FIRST in found(desk)
        assert trainer([*words, *desk.keyed("ci", "quentin", "online")]) == 0
        assert list(found(desk)) == ["models/boards/boards-2.bundle", "models/boards/boards-2.card.md"]
        assert desk.verify() == 0
    assert len(steps) == 5  # a rename and a link each for models and snapshot; a rename for the timestamp


def test_a_rotation_of_keys_that_was_killed_anywhere_is_completed_and_no_device_is_ever_refused(desk: Desk) -> None:
    assert desk.release(desk.bundle()) == 0
    assert desk.new_key("online2", "online") == 0
    assert (
        desk.change("rotate", "--old", desk.public("online"), "--new", desk.public("online2"), folder="rotation") == 0
    )
    files = desk.requests("rotation")
    for name in ("anna", "carla"):
        assert desk.sign(name, *files) == 0
    steps = []
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        known = desk.device(server, "known")
        known.repository.refresh()
        for step in each_death(desk, lambda: desk.publish_signed(files, "online", "online2")):
            steps.append(step)
            for device in (desk.device(server, f"new-{step}"), known):
                device.repository.find(FIRST)
            assert desk.publish_signed(files, "online", "online2") == 0
            again = desk.device(server, f"then-{step}")
            assert again.repository.refresh().root == 2
            assert desk.refresh("online2") == 0
            again.repository.refresh()
            shutil.rmtree(known.folder)
    assert len(steps) >= 5


def test_a_beginning_that_was_killed_anywhere_is_completed(desk: Desk) -> None:
    place, pinned = Path(desk.address), desk.root.read_bytes()
    shutil.rmtree(place)
    place.mkdir()

    def begin() -> int:
        desk.root.unlink(missing_ok=True)
        return desk.publish_signed(desk.requests("ceremony"))

    for _ in each_death(desk, begin):
        assert desk.publish_signed(desk.requests("ceremony")) == 0
        assert desk.root.read_bytes() == pinned
        assert desk.verify() == 0
