"""What somebody with a stolen key can bring about, by the publisher's own verify and by the device's client."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import TargetFile, Targets

from appliance.errors import BundleTrustError
from tests.release_desk import Desk, ServedFolder, begun
from tests.update_device import Device
from tests.update_server import UpdateServer
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets
from trainer.release.publication import Change, publish, signed_by
from trainer.release.shelf import Shelf

pytestmark = pytest.mark.long

FIRST = "models/boards/boards-1.bundle"
ASSIGNED = "assign/ulm/line-1.json"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = begun(tmp_path)
    assert made.release(made.bundle()) == 0
    assert made.assign("--device", "line-1", "--release", FIRST) == 0
    assert made.verify() == 0
    return made


@pytest.fixture
def device(desk: Desk) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        yield desk.device(server)


def keys(desk: Desk, *names: str) -> list[Signer]:
    return [open_signer(str(desk.key(name)), Secrets((desk.folder / "passphrase",))) for name in names]


def site_says(desk: Desk, name: str, content: bytes) -> None:
    """Publish what the site's key signs, whatever that is: the thief does not use our commands' checks."""
    standing = desk.standing()
    said: Targets = deepcopy(standing.delegated["assign-ulm"].signed)
    said.version += 1
    said.targets[name] = TargetFile.from_data(name, content, ["sha256"])
    signers = keys(desk, "ulm", "online")
    metadata = signed_by(signers, "assign-ulm", said, [(standing.root.signed, standing.targets.signed)])
    shelf = Shelf(desk.address)
    publish(shelf, standing, Change(roles={"assign-ulm": metadata}, files={name: content}), signers)


@pytest.mark.parametrize(
    ("key", "value"),
    [("sha256", "0" * 64), ("length", 1), ("seq", 2), ("path", "models/x/x-1.bundle"), ("name", "cans")],
)
def test_an_assignment_that_says_anything_else_than_was_signed_is_told(
    desk: Desk, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (Path(desk.address) / "targets" / "assign" / "ulm").glob("*.line-1.json")
    assignment = json.loads(path.read_text())
    assignment["releases"][0][key] = value
    site_says(desk, ASSIGNED, json.dumps(assignment).encode())
    assert desk.verify() == 65
    assert re.search(
        "is not what models signed|is no model of the name cans", " ".join(capsys.readouterr().err.split())
    )


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100, b'{"schema": "vi.assignment/2"}', b"\xff"])
def test_what_is_no_assignment_is_told(desk: Desk, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    site_says(desk, ASSIGNED, content)
    assert desk.verify() == 65
    assert ASSIGNED in capsys.readouterr().err


@pytest.mark.parametrize("name", [ASSIGNED, FIRST, "assign/ulm/line 9.json", "assign/ulm/line-9.txt"])
def test_what_a_thief_wrote_for_a_site_is_mended_by_the_next_assignment(desk: Desk, device: Device, name: str) -> None:
    device.repository.refresh()
    site_says(desk, name, b"{}")
    assert desk.verify() == 65
    assert desk.assign("--device", "line-1", "--release", FIRST, ring="all") == 0
    assert desk.verify() == 0
    assignment = json.loads(device.download(ASSIGNED))
    assert assignment["seq"] > 1
    assert assignment["ring"] == "all"


def test_a_number_of_an_assignment_that_a_thief_ran_up_is_no_dead_end(desk: Desk) -> None:
    (path,) = (Path(desk.address) / "targets" / "assign" / "ulm").glob("*.line-1.json")
    assignment = {**json.loads(path.read_text()), "seq": 2**53 - 1}
    site_says(desk, ASSIGNED, json.dumps(assignment).encode())
    assert desk.assign("--device", "line-1", "--release", FIRST, ring="all") == 0
    assert desk.verify() == 0


@pytest.mark.parametrize("name", ["models/evil/evil-9.bundle", FIRST, "assign/graz/line-1.json"])
def test_a_sites_key_vouches_for_nothing_but_its_own_assignments(
    desk: Desk, device: Device, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site_says(desk, name, b"evil")
    assert desk.verify() == 65
    if name == FIRST:
        assert device.download(name) == desk.bundle().read_bytes()
    else:
        with pytest.raises(BundleTrustError):
            device.repository.find(name)


def test_an_assignment_for_another_device_under_this_ones_name_is_told(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (Path(desk.address) / "targets" / "assign" / "ulm").glob("*.line-1.json")
    site_says(desk, "assign/ulm/line-9.json", path.read_bytes())
    assert desk.verify() == 65
    assert "is for the device line-1" in capsys.readouterr().err


def test_an_older_timestamp_that_is_put_back_is_refused_by_a_device_that_knows_the_newer(
    desk: Desk, device: Device
) -> None:
    file = Path(desk.address) / "metadata" / "timestamp.json"
    older = file.read_bytes()
    assert desk.refresh() == 0
    device.repository.refresh()
    file.chmod(0o644)
    file.write_bytes(older)
    with pytest.raises(BundleTrustError):
        device.repository.refresh()


def test_a_root_that_too_few_have_signed_stops_everything(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever can write to the store, and holds one of three keys."""
    assert desk.new_key("thief", "person") == 0
    assert desk.change("rotate", "--old", desk.public("carla"), "--new", desk.public("thief"), folder="theft") == 0
    root = next(path for path in desk.requests("theft") if path.name.startswith("root"))
    for name in ("anna", "thief"):
        assert desk.sign(name, root) == 0
    content = json.dumps(json.loads(root.read_text())["metadata"]).encode()
    (Path(desk.address) / "metadata" / "2.root.json").write_bytes(content)
    assert desk.verify() == 65
    assert "root 2 is not signed by enough of root 1" in " ".join(capsys.readouterr().err.split())
    assert desk.refresh() == 65


def test_an_old_state_that_is_put_back_is_not_made_the_newest_by_the_publisher(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the store puts last week's timestamp back and waits for the timer."""
    file = Path(desk.address) / "metadata" / "timestamp.json"
    older = file.read_bytes()
    assert desk.release(desk.bundle(revision=2)) == 0
    file.chmod(0o644)
    file.write_bytes(older)
    assert desk.refresh() == 65
    assert "somebody has put an old state back" in " ".join(capsys.readouterr().err.split())
    assert desk.verify() == 65
    assert file.read_bytes() == older
    Path(f"{desk.root}.seen.json").write_text("{")
    assert desk.refresh() == 78
    assert "damaged" in capsys.readouterr().err


def test_a_file_that_nobody_signed_makes_no_stick_of_an_old_state(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the store puts last month's state back, and what only a stick has."""
    timestamp = Path(desk.address) / "metadata" / "timestamp.json"
    old = timestamp.read_bytes()
    assert desk.refresh() == 0
    timestamp.write_bytes(old)
    (Path(desk.address) / "STICK.txt").write_text("USB stick with signed updates for the visual inspection.")
    capsys.readouterr()
    assert desk.verify() == 65
    assert "older than this publisher has seen" in " ".join(capsys.readouterr().err.split())
