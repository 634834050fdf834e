"""Keys that come and go, followed by the device's own client from the root of its image."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError
from tests.release_desk import Desk, ServedFolder, begun
from tests.update_device import Device
from tests.update_server import UpdateServer
from trainer.release.keys import read_public

FIRST = "models/boards/boards-1.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = begun(tmp_path)
    assert made.release(made.bundle()) == 0
    return made


@pytest.fixture
def server(desk: Desk) -> Iterator[UpdateServer]:
    with UpdateServer(ServedFolder(Path(desk.address))) as running:
        yield running


@pytest.fixture
def device(desk: Desk, server: UpdateServer) -> Device:
    """One that knew the repository before any key was changed."""
    made = desk.device(server)
    made.repository.find(FIRST)
    return made


def exchange(desk: Desk, old: str, new: str, part: str, signers: dict[str, tuple[str, ...]], *online: str) -> None:
    """Make a key, put it in another's place, let roles be signed and publish that."""
    assert desk.new_key(new, part) == 0
    assert desk.change("rotate", "--old", desk.public(old), "--new", desk.public(new), folder=new) == 0
    for path in desk.requests(new):
        for name in signers[path.name.partition("-")[0]]:
            assert desk.sign(name, path) == 0
    assert desk.publish_signed(desk.requests(new), *(online or ("online",))) == 0


def keyids(desk: Desk, *names: str) -> set[str]:
    return {read_public(Path(desk.public(name))).keyid for name in names}


def test_a_device_follows_roots_one_after_the_other(desk: Desk, server: UpdateServer, device: Device) -> None:
    by_all = {"root": ("ben", "carla"), "targets": ("ben", "carla")}
    exchange(desk, "anna", "dora", "person", by_all)
    exchange(desk, "ben", "emil", "person", {"root": ("dora", "carla"), "targets": ("dora", "carla")})
    for each in (device, desk.device(server, "new")):
        assert each.repository.refresh().root == 3
        assert each.download(FIRST) == desk.bundle().read_bytes()
    root = desk.standing().root.signed
    assert set(root.roles["root"].keyids) == keyids(desk, "carla", "dora", "emil")


def test_a_root_is_not_changed_by_too_few_of_the_old_or_of_the_new(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.new_key("dora", "person") == 0
    assert desk.change("rotate", "--old", desk.public("anna"), "--new", desk.public("dora"), folder="dora") == 0
    files = desk.requests("dora")
    for name in ("carla", "dora"):
        assert desk.sign(name, files[0]) == 0
    capsys.readouterr()
    assert desk.publish_signed(files[:1]) == 78
    assert "1 more of Anna, Ben (by root 1)" in " ".join(capsys.readouterr().err.split())
    assert device.repository.refresh().root == 1


def test_a_stolen_ci_key_is_taken_away_with_what_it_signed_and_releases_go_on(
    desk: Desk, device: Device, server: UpdateServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.new_key("ci2", "ci") == 0
    keyid = read_public(Path(desk.public("ci"))).keyid
    assert desk.change("revoke", "--old", keyid[:8], "--new", desk.public("ci2"), folder="away") == 0
    models, targets = desk.requests("away")
    assert (models.name, targets.name) == ("models-2.json", "targets-2.json")
    for name in ("anna", "carla"):
        assert desk.sign(name, targets) == 0
    assert desk.publish_signed([targets]) == 65  # else devices would refuse every release
    assert "models 1 is not signed by enough" in " ".join(capsys.readouterr().err.split())
    for name in ("ci2", "quentin"):
        assert desk.sign(name, models) == 0
    assert desk.publish_signed([targets, models]) == 0
    assert device.download(FIRST) == desk.bundle().read_bytes()
    changed = desk.bundle(revision=2)
    assert desk.release(changed, keys=("ci", "quentin", "online")) == 78
    assert desk.release(changed, keys=("ci2", "quentin", "online")) == 0
    assert device.download("models/boards/boards-2.bundle") == changed.read_bytes()


def test_a_key_is_only_taken_away_where_enough_are_left(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.change("revoke", "--old", desk.public("ci"), folder="ci-away") == 0  # two quality people are left
    assert desk.change("revoke", "--old", desk.public("online"), folder="online-away") == 65
    assert "put another in its place with --new" in " ".join(capsys.readouterr().err.split())
    assert not (desk.folder / "online-away").exists()


def test_a_new_online_key_is_followed_also_when_the_old_one_is_lost(
    desk: Desk, device: Device, server: UpdateServer, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange(desk, "online", "online2", "online", {"root": ("anna", "ben")}, "online2")
    assert "was refused, and will not be at its next try" in " ".join(capsys.readouterr().err.split())
    assert device.repository.refresh().root == 2
    assert desk.refresh("online") == 78
    assert desk.refresh("online2") == 0
    for each in (device, desk.device(server, "new")):
        each.repository.find(FIRST)


def test_a_new_key_of_a_site_signs_what_the_old_one_assigned(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.assign("--device", "line-1", "--release", FIRST) == 0
    before = device.download("assign/ulm/line-1.json")
    exchange(desk, "ulm", "ulm2", "online", {"targets": ("anna", "ben")}, "online", "ulm2")
    assert device.download("assign/ulm/line-1.json") == before
    assert desk.assign("--device", "line-2", "--release", FIRST, keys=("ulm", "online")) == 78
    assert desk.assign("--device", "line-2", "--release", FIRST, keys=("ulm2", "online")) == 0


def test_a_site_is_added(desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.new_key("graz", "online") == 0
    given = ["--device", "line-1", "--release", FIRST]
    assert desk.assign(*given, site="graz", keys=("graz", "online")) == 78
    assert "the site 'graz' is not known" in " ".join(capsys.readouterr().err.split())
    assert desk.change("site", f"graz={desk.public('graz')}", folder="graz") == 0
    (request,) = desk.requests("graz")
    for name in ("ben", "carla"):
        assert desk.sign(name, request) == 0
    assert desk.publish_signed([request]) == 0
    assert desk.assign(*given, site="graz", keys=("graz", "online")) == 0
    assert b"vi.assignment/1" in device.download("assign/graz/line-1.json")
    with pytest.raises(BundleTrustError):
        device.repository.find("assign/ulm/line-1.json")


def test_roles_are_renewed(desk: Desk, device: Device) -> None:
    assert desk.change("renew", "root,targets,models", folder="renewal") == 0
    for path in desk.requests("renewal"):
        for name in ("ci", "quentin") if path.name.startswith("models") else ("anna", "ben"):
            assert desk.sign(name, path) == 0
    assert desk.publish_signed(desk.requests("renewal")) == 0
    versions = device.repository.refresh()
    standing = desk.standing()
    assert (versions.root, standing.version("targets"), standing.version("models")) == (2, 2, 2)
    device.repository.find(FIRST)


def test_who_signs_what_is_listed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    from trainer.__main__ import main as trainer

    assert trainer(["keys", "list", *desk.at()]) == 0
    listed = capsys.readouterr().out
    for words in ("Quentin", "quality", "assign-ulm", "timestamp"):
        assert words in listed
