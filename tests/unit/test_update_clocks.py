"""Which time counts: clocks that are behind, ahead or not kept right, and what a signature says about its time."""

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError
from appliance.update.conventions import ISSUED_AT
from tests.tuf_repository import ALL_BUT_ROOT, Repository, in_days
from tests.update_device import Line, SetClock
from tests.update_server import UpdateServer

EMPTY_BATTERY = datetime(1970, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    repository = Repository()
    with UpdateServer(repository.files) as server:
        yield Line(tmp_path, server, repository)


@pytest.mark.parametrize("clock", [EMPTY_BATTERY, in_days(-5 * 365)])
def test_a_clock_that_is_behind_does_not_make_old_metadata_young(line: Line, clock: datetime) -> None:
    """Freeze: somebody holds newer metadata back until ours has expired, and the device's battery is empty."""
    line.device.clock = SetClock(synchronised=True)
    line.device.repository.refresh()
    line.repository.timestamp.expires = in_days(-1)
    line.repository.publish("timestamp")
    line.device.clock = SetClock(clock, synchronised=False)
    with pytest.raises(BundleTrustError, match=r"expired \(it is 20[2-9]"):
        line.device.repository.refresh()


def test_a_new_device_with_an_empty_battery_knows_when_its_image_was_built(line: Line) -> None:
    line.repository.timestamp.expires = in_days(-30)
    line.repository.publish("timestamp")
    line.device.clock = SetClock(EMPTY_BATTERY)
    line.device.not_before = in_days(-10)
    with pytest.raises(BundleTrustError, match="expired"):
        line.device.repository.refresh()


@pytest.mark.parametrize(("days", "role"), [(25, "timestamp"), (12 * 365, "root")])
def test_a_clock_that_is_ahead_refuses_and_forgets_it(line: Line, days: int, role: str) -> None:
    line.repository.timestamp.expires = in_days(1)
    line.repository.publish("timestamp")
    for synchronised in (False, None, True):
        line.device.clock = SetClock(in_days(days), synchronised)
        with pytest.raises(BundleTrustError, match=rf"{role}.json is expired"):
            line.device.repository.refresh()
    line.device.clock = SetClock(synchronised=True)
    assert line.device.repository.refresh().timestamp == 2


def test_a_clock_that_nobody_keeps_right_never_moves_the_floor(line: Line) -> None:
    for synchronised in (False, None):
        line.device.clock = SetClock(in_days(20), synchronised)
        line.device.repository.refresh()
    assert line.device.floor.read().time is None
    line.device.clock = SetClock(synchronised=True)
    line.device.repository.refresh()
    assert line.device.floor.time(in_days(-900)) > in_days(-1)


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_time_of_signing_is_a_time_that_has_been(line: Line) -> None:
    line.device.clock = SetClock(EMPTY_BATTERY, synchronised=False)
    signed_at = written(in_days(-1))
    line.repository.timestamp.unrecognized_fields[ISSUED_AT] = signed_at
    line.repository.publish("timestamp")
    line.device.repository.refresh()
    assert line.device.floor.read().time == signed_at
    line.repository.timestamp.expires = in_days(-2)
    del line.repository.timestamp.unrecognized_fields[ISSUED_AT]
    line.repository.publish("timestamp")
    with pytest.raises(BundleTrustError, match="expired"):
        line.device.repository.refresh()


def test_a_delegated_list_is_judged_by_the_time_at_which_the_timestamp_was_signed(line: Line) -> None:
    line.repository.delegate("models", ["models/*"], expires=in_days(-1))
    line.repository.add_target("models/a", b"w", role="models", custom={"seq": 1})
    line.repository.timestamp.unrecognized_fields[ISSUED_AT] = written(in_days(-0.5))
    line.repository.publish("models", *ALL_BUT_ROOT)
    line.device.clock = SetClock(EMPTY_BATTERY, synchronised=False)
    with pytest.raises(BundleTrustError, match="models is expired"):
        line.device.repository.find("models/a")


LONG_AGO = "0999-01-01T00:00:00Z"


IN_A_MONTH = pytest.param(written(in_days(31)), id="in a month")  # two processes must name the test alike


@pytest.mark.parametrize("said", [IN_A_MONTH, "yesterday", 1_700_000_000, "2038-01-19T03:14:08Z", None, [], LONG_AGO])
def test_a_time_of_signing_that_cannot_be_moves_nothing(line: Line, said: object) -> None:
    line.repository.timestamp.unrecognized_fields[ISSUED_AT] = said
    line.repository.publish("timestamp")
    if said in (None, LONG_AGO):
        line.device.repository.refresh()
    else:
        with pytest.raises(BundleTrustError, match=r"signed at|publish it with a time"):
            line.device.repository.refresh()
    assert line.device.floor.read().time is None
    line.device.floor.time(in_days(0))


@pytest.mark.parametrize(("days", "is_noted"), [(29, False), (1.5, False), (0.9, True), (-3, True)])
def test_a_time_of_signing_that_a_plausible_clock_contradicts_is_not_noted(
    line: Line, days: float, is_noted: bool
) -> None:
    said = written(in_days(days))
    line.repository.timestamp.unrecognized_fields[ISSUED_AT] = said
    line.repository.publish("timestamp")
    assert line.device.repository.refresh().timestamp == 2
    assert line.device.floor.read().time == (said if is_noted else None)


def test_two_times_of_signing_move_a_right_clocks_floor_by_no_more_than_one(line: Line) -> None:
    signed_at = [written(in_days(days)) for days in (0.9, 1.8, 29)]
    for said in signed_at:
        line.repository.timestamp.unrecognized_fields[ISSUED_AT] = said
        line.repository.publish("timestamp")
        line.device.repository.refresh()
    assert line.device.floor.read().time == signed_at[0]


def test_a_time_of_signing_never_locks_a_device_out(line: Line) -> None:
    """The worst that a stolen online key can do to a device with an empty battery: roles must be signed for longer.

    A delegated role that expires before the false time is one of them; nobody looks at it when the time is noted.
    """
    models = line.repository.delegate("models", ["models/*"], expires=in_days(7))
    line.repository.add_target("models/a", b"w", role="models", custom={"seq": 1})
    line.repository.timestamp.unrecognized_fields[ISSUED_AT] = said = written(in_days(29))
    line.repository.publish("models", *ALL_BUT_ROOT)
    line.device.clock = SetClock(EMPTY_BATTERY, synchronised=False)
    line.device.repository.refresh()
    assert line.device.floor.read().time == said
    for role in ("root", "targets", "snapshot", "timestamp"):
        line.repository.roles[role].expires = in_days(60)
    del line.repository.timestamp.unrecognized_fields[ISSUED_AT]
    line.repository.rotate("timestamp")
    line.publish_all()
    assert line.device.repository.refresh().timestamp == 3
    with pytest.raises(BundleTrustError, match="expired"):
        line.device.repository.find("models/a")
    models.expires = in_days(60)
    line.repository.publish("models", *ALL_BUT_ROOT)
    assert line.device.repository.find("models/a").releases["model"].seq == 1
