"""What is published, read by the device's own client over HTTP."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from appliance.bundle.gate_settings import GateSettings
from appliance.errors import BundleTrustError, ReplayError
from appliance.update.assignment import read_assignment
from tests.release_desk import Desk, ServedFolder, begun
from tests.update_device import Device
from tests.update_server import UpdateServer

FIRST, SECOND = "models/boards/boards-1.bundle", "models/boards/boards-2.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return begun(tmp_path)


@pytest.fixture
def device(desk: Desk) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        yield desk.device(server)


def test_a_device_gets_a_release_with_its_card_and_its_report(desk: Desk, device: Device) -> None:
    bundle = desk.bundle()
    figures, page = desk.evaluated(bundle)
    assert desk.release(bundle, "--report", figures, "--report", page) == 0
    assert device.download(FIRST) == bundle.read_bytes()
    assert device.download("models/boards/boards-1.card.md") == b"# tiny\n"
    assert device.download("models/boards/boards-1.report.json") == Path(figures).read_bytes()
    assert device.download("models/boards/boards-1.report.html") == Path(page).read_bytes()
    assert device.repository.find(FIRST).releases["model/boards"].seq == 1
    assert desk.verify() == 0


def test_a_device_gets_an_assignment_that_names_what_was_signed(desk: Desk, device: Device) -> None:
    assert desk.release(desk.bundle()) == 0
    assert desk.assign("--device", "line-1", "--device", "line-2", "--release", FIRST, "--watch-h", "2") == 0
    assignment = json.loads(device.download("assign/ulm/line-2.json"))
    target = device.repository.find(FIRST)
    assert assignment["schema"] == "vi.assignment/1"
    assert (assignment["device_id"], assignment["seq"], assignment["ring"]) == ("line-2", 1, "lab")
    assert assignment["releases"] == [
        {"kind": "model", "name": "boards", "path": FIRST, "sha256": target.digests["sha256"],
         "length": target.length, "seq": 1}
    ]  # fmt: skip
    assert assignment["gates"] == {"shadow_parts": 500, "canary_parts": 200, "watch_parts": 2000, "watch_h": 2.0}
    assert desk.verify() == 0


def test_every_setting_of_the_gates_can_be_assigned_and_is_what_the_device_judges_by(
    desk: Desk, device: Device
) -> None:
    wanted = {
        "alpha": 0.02, "beta": 0.002, "shadow_parts": 40, "canary_parts": 30, "watch_parts": 60, "watch_h": 0.5,
        "patience": 30.0, "most_escapes": 0.2, "most_overkill": 0.05, "most_disagreement": 0.06, "most_imbalance": 0.03,
        "most_faults": 0.02, "most_missed": 0.02, "most_late": 0.03, "most_skipped": 0.8, "most_score_shift": 0.2,
        "most_crashes": 1, "canary_factor": 2.0, "least_reject_ratio": 0.0, "challenge_parts": 3,
        "most_good_rejected": 0, "longest_pause_s": 300.0, "most_h": 72.0,
    }  # fmt: skip
    assert set(wanted) == set(GateSettings.__dataclass_fields__)
    assert desk.release(desk.bundle()) == 0
    words = [word for key, value in wanted.items() for word in ("--gate", f"{key}={value}")]
    assert desk.assign("--device", "line-1", "--release", FIRST, *words) == 0
    read = read_assignment(
        device.download("assign/ulm/line-1.json"), origin="it", device_id="line-1", allowed=[("model", "boards")]
    )
    assert asdict(read.gates.settings()) == wanted
    assert desk.verify() == 0


def test_an_assignment_counts_up_when_it_changes_and_only_then(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle()) == 0
    assert desk.assign("--device", "line-1", "--release", FIRST) == 0
    version = desk.standing().version("assign-ulm")
    assert desk.assign("--device", "line-1", "--release", FIRST) == 0
    assert "already" in capsys.readouterr().out
    assert desk.standing().version("assign-ulm") == version
    assert desk.assign("--device", "line-1", "--release", FIRST, ring="line") == 0
    assignment = json.loads(device.download("assign/ulm/line-1.json"))
    assert (assignment["seq"], assignment["ring"]) == (2, "line")


def test_each_name_is_numbered_for_itself_as_devices_count(desk: Desk, device: Device) -> None:
    assert desk.release(desk.bundle("boards"), "--seq", str(2**53 - 1)) == 0
    assert desk.release(desk.bundle("cans")) == 0
    boards, cans = f"models/boards/boards-{2**53 - 1}.bundle", "models/cans/cans-1.bundle"
    for name in (boards, cans):
        target = device.repository.find(name)
        device.floor.rise_to_releases(target.releases)
    assert desk.assign("--device", "line-1", "--release", cans, "--release", boards) == 0
    assignment = json.loads(device.download("assign/ulm/line-1.json"))
    assert [release["path"] for release in assignment["releases"]] == [boards, cans]


def test_a_release_twice_is_one_release(desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = desk.bundle()
    assert desk.release(bundle) == 0
    before = desk.standing().timestamp.signed_bytes
    assert desk.release(bundle) == 0
    assert "is released already" in capsys.readouterr().out
    assert desk.standing().timestamp.signed_bytes == before


def test_a_report_that_comes_later_is_not_told_to_be_there(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = desk.bundle()
    figures, _ = desk.evaluated(bundle)
    assert desk.release(bundle) == 0
    assert desk.release(bundle, "--report", figures) == 78
    assert "not with this models/boards/boards-1.report.json" in " ".join(capsys.readouterr().err.split())
    assert desk.release(bundle, "--report", figures, "--seq", "2") == 0
    assert desk.release(bundle, "--report", figures) == 0
    assert device.download("models/boards/boards-2.report.json") == Path(figures).read_bytes()


def test_an_old_content_comes_back_under_a_new_number_and_an_older_number_never(
    desk: Desk, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    old = desk.bundle(revision=1).read_bytes()
    assert desk.release(desk.folder / "boards.bundle") == 0
    assert desk.release(desk.bundle(revision=2)) == 0
    device.floor.rise_to_releases(device.repository.find(SECOND).releases)
    with pytest.raises(ReplayError):
        device.repository.find(FIRST)
    (desk.folder / "boards.bundle").write_bytes(old)
    assert desk.release(desk.folder / "boards.bundle", "--seq", "2") == 78
    assert "take 3 or more" in capsys.readouterr().err
    assert desk.release(desk.folder / "boards.bundle") == 0
    assert device.download("models/boards/boards-3.bundle") == old


def test_apps_and_systems_are_released_by_two_people(desk: Desk, device: Device) -> None:
    for ending, kind in ((".zip", "app"), (".raucb", "os")):
        file = desk.folder / f"any{ending}"
        file.write_bytes(kind.encode())
        assert desk.release(file, "--kind", kind, "--name", "line", keys=("anna", "carla", "online")) == 0
    assert device.download("apps/line/line-1.zip") == b"app"
    assert device.download("os/line/line-1.raucb") == b"os"


def test_a_quality_person_signs_elsewhere_and_only_then_a_device_sees_it(desk: Desk, device: Device) -> None:
    """The signing request goes to who holds the key, and comes back; nothing else does."""
    bundle, request = desk.bundle(), desk.folder / "boards-1.json"
    assert desk.release(bundle, "--request", str(request), keys=("ci", "online")) == 0
    with pytest.raises(BundleTrustError):
        device.repository.find(FIRST)
    assert desk.publish_signed([request]) == 78
    away = desk.folder / "away" / "boards-1.json"
    away.parent.mkdir()
    away.write_bytes(request.read_bytes())
    assert desk.sign("quirin", away) == 0
    assert desk.publish_signed([away]) == 0
    assert device.download(FIRST) == bundle.read_bytes()
    assert desk.publish_signed([away]) == 0, "the same again changes nothing"


@pytest.mark.parametrize("keys", [("ci", "online"), ("ci", "ci", "online")])
def test_no_model_is_released_without_the_quality_role(
    desk: Desk, keys: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = desk.standing().timestamp.signed_bytes
    assert desk.release(desk.bundle(), keys=keys) == 78
    assert "1 more of Quentin, Quirin" in capsys.readouterr().err
    assert desk.standing().timestamp.signed_bytes == before


def test_a_key_that_has_nothing_to_sign_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    before = desk.standing().timestamp.signed_bytes
    assert desk.release(desk.bundle(), keys=("ci", "anna", "online")) == 78
    assert "has no part in models, snapshot, timestamp" in " ".join(capsys.readouterr().err.split())
    assert desk.refresh("online", "anna") == 78
    assert desk.standing().timestamp.signed_bytes == before


def test_a_device_believes_the_time_of_signing(desk: Desk, device: Device) -> None:
    device.repository.refresh()
    issued = desk.standing().timestamp.signed.unrecognized_fields["issued_at"]
    assert json.loads((device.folder / "floor.json").read_text())["time"] == issued


def test_refresh_signs_the_timestamp_anew_and_the_rest_when_it_is_due(desk: Desk, device: Device) -> None:
    before = device.repository.refresh()
    assert desk.refresh() == 0
    after = device.repository.refresh()
    assert (after.timestamp, after.snapshot) == (before.timestamp + 1, before.snapshot)


def test_what_was_made_for_another_state_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Two releases are prepared at once; the second must not undo the first."""
    requests = [desk.folder / f"{name}.json" for name in ("boards", "cans")]
    for name, request in zip(("boards", "cans"), requests, strict=True):
        assert desk.release(desk.bundle(name), "--request", str(request), keys=("ci",)) == 0
        assert desk.sign("quentin", request) == 0
    assert desk.publish_signed(requests[:1]) == 0
    assert desk.publish_signed(requests[1:]) == 78
    assert "make it anew" in " ".join(capsys.readouterr().err.split())
    assert all(name.startswith("models/boards/") for name in desk.standing().releases("model"))
