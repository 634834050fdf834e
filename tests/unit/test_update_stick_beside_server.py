"""A stick beside a server: whose order holds, and what stolen keys of sticks cannot do to a device with a server."""

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml

from appliance.errors import DeliveryError, ReplayError, StorageError
from appliance.update.brought import LastStick
from appliance.update.conventions import ISSUED_AT
from appliance.update.floor import LARGEST_SEQ, as_text
from appliance.update.orders import Orders
from appliance.update.settings import load_agent_config
from appliance.update.situation import BROUGHT
from appliance.update.stick_import import import_from
from tests.tuf_repository import in_days
from tests.update_agent import DEVICE, SITE, Device, Fleet
from tests.update_device import BUILT_AT
from tests.update_server import UpdateServer
from tests.usb_stick import write_stick

EMPTY_BATTERY = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Sticks(Fleet):
    """The repository of sticks, with keys of its own; each stick that is put in is written anew."""

    def put_into(self, device: Device, **changes: object) -> None:
        """Import a stick as `appliance agent import` does, on a device that has a server, too."""
        stick = self.folder / "stick"
        write_stick(stick, self.repository)
        (device.folder / "stick-root.json").write_bytes(self.repository.root_bytes())
        keys = {
            "metadata_url": "https://updates.example.com/metadata", "targets_url": "https://updates.example.com/targets",
            "root": "root.json", "stick_root": "stick-root.json", "state": "agent", "floor": "floor.json",
            "reserve_mb": 0, "built_at": as_text(BUILT_AT), "assignment": {"site": SITE, "device_id": DEVICE},
        }  # fmt: skip
        (device.folder / "agent.yaml").write_text(yaml.safe_dump(keys | changes))
        list(import_from(stick, [], load_agent_config(device.folder / "agent.yaml"), device.clock))


def sign_at(fleet: Fleet, days: float) -> None:
    """Let what is published next say when it was signed."""
    fleet.repository.timestamp.unrecognized_fields[ISSUED_AT] = as_text(in_days(days))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    (tmp_path / "fleet").mkdir()
    return Fleet(tmp_path / "fleet")


@pytest.fixture
def sticks(tmp_path: Path) -> Sticks:
    (tmp_path / "sticks").mkdir()
    return Sticks(tmp_path / "sticks")


@pytest.fixture
def device(tmp_path: Path, fleet: Fleet) -> Iterator[Device]:
    with UpdateServer(fleet.repository.files) as server:
        yield fleet.device(tmp_path / "device", server)


def seq_of(device: Device) -> int:
    """The number of what is to be had, as reports tell it."""
    return int(device.journal.noted("assignment")["seq"])


def asked(device: Device) -> tuple[int, str]:
    """Ask once; returns the number of what is to be had now, and the problem that is told."""
    device.start().ask()
    return seq_of(device), str(device.journal.noted("problem") or "")


def test_stolen_keys_of_sticks_take_no_device_away_from_its_server(
    device: Device, fleet: Fleet, sticks: Sticks
) -> None:
    sign_at(fleet, -1)
    fleet.offer(2)
    sticks.offer(3, seq=LARGEST_SEQ)
    sticks.put_into(device)
    assert asked(device) == (LARGEST_SEQ, ""), "so far it may be a stick that is ahead of the server"
    sign_at(fleet, 0.9)
    fleet.repository.update()
    assert asked(device)[0] == LARGEST_SEQ, "the clocks of both may differ by a day"
    device.clock.now = in_days(2)
    sign_at(fleet, 1.5)
    fleet.repository.update()
    seq, problem = asked(device)
    assert (seq, "may be STOLEN" in problem) == (1, True)
    assert device.journal.noted(BROUGHT) is None
    assert "may be STOLEN" in asked(device)[1], "it is told until somebody has seen to it"
    new = fleet.offer(4)
    assert device.update().progress.outcome == "success"
    assert device.in_force() == new
    assert asked(device) == (2, "")


def test_a_site_key_of_sticks_that_was_stolen_is_taken_away_and_sticks_begin_anew(
    device: Device, sticks: Sticks
) -> None:
    sticks.offer(3, seq=LARGEST_SEQ)
    sticks.put_into(device)
    sticks.offer(4, seq=7)
    with pytest.raises(ReplayError, match="take the key away"):
        sticks.put_into(device)
    role = f"assign-{SITE}"
    sticks.repository.targets.delegations.roles[role].keyids.clear()  # type: ignore[union-attr, index]
    sticks.repository.signers[role].clear()
    sticks.repository.add_key(role, delegator="targets")
    sticks.offer(4, seq=7)
    sticks.put_into(device)
    assert asked(device)[0] == 7


def test_of_a_stick_and_a_server_that_lags_behind_the_stick_holds_until_the_server_is_ahead(
    device: Device, fleet: Fleet, sticks: Sticks
) -> None:
    sign_at(fleet, -3)
    fleet.offer(2)
    sticks.offer(3, seq=2)
    sticks.put_into(device)
    device.clock.now = in_days(10)
    assert asked(device) == (2, ""), "metadata from before the import says nothing about the stick"
    for number, seq in ((3, 2), (4, 3)):
        sign_at(fleet, 9)
        fleet.offer(number)
        assert asked(device) == (seq, "")
    assert device.journal.noted(BROUGHT) is None
    with pytest.raises(ReplayError, match="assignment 2 of the stick is older than 3, which the server has given"):
        sticks.put_into(device)


def test_a_clock_that_is_behind_makes_no_thief_of_who_wrote_the_stick(
    device: Device, fleet: Fleet, sticks: Sticks
) -> None:
    sign_at(fleet, -3)
    fleet.offer(2)
    device.clock.now = EMPTY_BATTERY
    sign_at(sticks, -1)
    sticks.offer(3, seq=2)
    sticks.put_into(device)
    assert asked(device) == (2, "")


def test_import_and_agent_leave_each_other_the_assignment_that_they_read(
    device: Device, fleet: Fleet, sticks: Sticks
) -> None:
    folders = [device.state / name for name in ("assignments", "stick-assignments")]
    fleet.offer(2)
    asked(device)
    servers = list(folders[0].glob("[!.]*"))
    assert len(servers) == 1
    sticks.offer(3)
    sticks.put_into(device)
    assert list(folders[0].glob("[!.]*")) == servers
    of_sticks = list(folders[1].glob("[!.]*"))
    fleet.offer(4)
    asked(device)
    assert len(of_sticks) == 1
    assert list(folders[1].glob("[!.]*")) == of_sticks


def test_a_device_without_a_server_says_why_nothing_of_a_stick_holds(device: Device, sticks: Sticks) -> None:
    floor, store = device.floor, device.kind.source.store
    last = LastStick(device.journal, floor, SITE, DEVICE, device.allowed, has_server=False)
    orders = Orders(None, store, store, floor, SITE, DEVICE, device.allowed, last)

    def refusal() -> str:
        with pytest.raises(DeliveryError, match=r"agent\.yaml names no server, and ") as refused:
            orders.read_assignment()
        return str(refused.value)

    assert "no stick has brought an assignment yet" in refusal()
    kept = list[object]()
    for number in (2, 3):
        sticks.offer(number)
        sticks.put_into(device, metadata_url=None, targets_url=None, root=None)
        assert orders.read_assignment().seq == number - 1
        kept.append(device.journal.noted(BROUGHT))
    device.journal.note(BROUGHT, kept[0])  # as if the process had been killed between the floor and the note
    assert "does not hold: stick-assignment/north release 1 is offered, and this device has taken 2" in refusal()
    device.journal.note(BROUGHT, {"of": "another version"})
    assert "cannot be read by this version; import it once more" in refusal()


def test_a_damaged_floor_is_told_to_the_line_and_the_fleet(device: Device, fleet: Fleet, sticks: Sticks) -> None:
    sticks.offer(3)
    sticks.put_into(device)
    service = device.start()
    service.ask()
    floor = device.folder / "floor.json"
    whole = floor.read_bytes()
    floor.write_bytes(b"{")
    device.journal.note("hold", {"by": "Ann", "at": "now"})  # so that a look asks what is to be begun
    assert device.journal.unsent()
    for _ in range(2):
        assert isinstance(service.ask(), StorageError)
        with pytest.raises(StorageError, match="is damaged"):
            service.look()
    assert not device.journal.unsent()
    assert "the floor against old releases is damaged" in json.loads(device.reports[-1])["problem"]
    floor.write_bytes(whole)
    device.journal.note("hold", None)
    assert device.update().progress.outcome == "success"


def test_a_number_that_a_stolen_key_of_the_server_ran_up_keeps_no_stick_from_a_device_without_a_server(
    device: Device, fleet: Fleet, sticks: Sticks
) -> None:
    fleet.offer(2, seq=LARGEST_SEQ)
    assert asked(device)[0] == LARGEST_SEQ
    sticks.offer(3, seq=2)
    sticks.put_into(device, metadata_url=None, targets_url=None, root=None)
    taken = device.floor.read().releases
    assert taken[f"stick-assignment/{SITE}"].seq == 2
