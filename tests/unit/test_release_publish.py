"""What is published, read by the device's own client over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError, ReplayError
from tests.release_desk import Desk, ServedFolder
from tests.update_device import Device
from tests.update_server import UpdateServer


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path, str(tmp_path / "updates"))
    made.begin()
    return made


@pytest.fixture
def device(desk: Desk) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        yield desk.device(server)


FIRST = "models/boards/boards-1.bundle"


def test_a_device_gets_a_release_and_its_card_as_they_were_published(desk: Desk, device: Device) -> None:
    bundle = desk.bundle()
    (desk.folder / "report.html").write_text("<p>good</p>")
    assert desk.release(bundle, "--report", str(desk.folder / "report.html")) == 0
    assert device.download(FIRST) == bundle.read_bytes()
    assert device.download("models/boards/boards-1.card.md") == b"# tiny\n"
    assert device.download("models/boards/boards-1.report.html") == b"<p>good</p>"
    assert device.repository.find(FIRST).releases["model"].seq == 1
    assert desk.verify() == 0


def test_a_device_gets_an_assignment_that_names_what_was_signed(desk: Desk, device: Device) -> None:
    bundle = desk.bundle()
    assert desk.release(bundle) == 0
    assert desk.assign("--device", "line-1", "--device", "line-2", "--release", FIRST) == 0
    assignment = json.loads(device.download("assign/ulm/line-2.json"))
    target = device.repository.find(FIRST)
    assert assignment["schema"] == "vi.assignment/1"
    assert (assignment["device_id"], assignment["seq"], assignment["ring"]) == ("line-2", 1, "lab")
    assert assignment["releases"] == [
        {"kind": "model", "name": "boards", "path": FIRST, "sha256": target.digests["sha256"],
         "length": target.length, "seq": 1}
    ]  # fmt: skip
    assert assignment["gates"] == {"shadow_parts": 500, "canary_parts": 200, "watch_parts": 2000, "watch_h": 24.0}
