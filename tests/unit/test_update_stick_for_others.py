"""A stick that has no word for this device's site: written for others, or with releases alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tuf_repository import ALL_BUT_ROOT, Repository, in_days
from tests.usb_stick import UsbDevice, add_release, stick_repository


def is_not_published(repository: Repository) -> None:
    """Its key is known, and no stick was written for it yet."""
    repository.delegate("assign-graz", ["assign/graz/*"], terminating=True)


def has_expired(repository: Repository) -> None:
    """A stick was written for it, long ago."""
    repository.delegate("assign-graz", ["assign/graz/*"], terminating=True, expires=in_days(-1))
    repository.add_target("assign/graz/line-1.json", b"{}", role="assign-graz")
    repository.publish("assign-graz")


@pytest.fixture
def repository() -> Repository:
    return stick_repository()


@pytest.fixture
def device(tmp_path: Path, repository: Repository) -> UsbDevice:
    device = UsbDevice(tmp_path, repository.root_bytes())
    device.configure(stick_root="stick-root.json", assignment={"site": "graz", "device_id": "line-1"})
    return device


@pytest.mark.parametrize("its_site", [is_not_published, has_expired])
def test_a_stick_of_others_says_for_whom_it_is_where_it_says_nothing_of_this_site(
    device: UsbDevice,
    repository: Repository,
    capsys: pytest.CaptureFixture[str],
    its_site: Callable[[Repository], None],
) -> None:
    its_site(repository)
    repository.delegate("assign-ulm", ["assign/ulm/*"], terminating=True)
    repository.add_target("assign/ulm/line-1.json", b"{}", role="assign-ulm")
    repository.publish("assign-ulm", *ALL_BUT_ROOT)
    device.plug_in(repository)
    assert device.takes() == 65
    assert "is for ulm/line-1, and this is graz/line-1" in capsys.readouterr().err


@pytest.mark.parametrize("its_site", [is_not_published, has_expired])
def test_a_stick_of_releases_alone_is_taken_where_it_says_nothing_of_this_site(
    device: UsbDevice, repository: Repository, its_site: Callable[[Repository], None]
) -> None:
    its_site(repository)
    add_release(repository, 12, b"boards")
    device.plug_in(repository)
    assert device.takes() == 0
    assert device.has() == [b"boards"]


def test_a_list_of_releases_that_has_expired_is_never_left_out(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.roles["models"].expires = in_days(-1)
    add_release(repository, 12, b"boards")
    device.plug_in(repository)
    assert device.takes() == 65
    assert "models is expired" in capsys.readouterr().err
    assert device.has() == []
