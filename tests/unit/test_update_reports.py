"""Reports, the device's key, and the PUT that carries them."""

import json
import stat
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError, ConfigError, DeliveryError, StorageError
from appliance.update.device_key import is_signed_by, open_device_key
from appliance.update.journal import Journal
from appliance.update.pace import TransferLimits
from appliance.update.reports import Reports, read_report
from appliance.update.transport import Transport
from tests.update_device import SetClock
from tests.update_server import Exchange, UpdateServer


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "device.key"
    key = open_device_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_device_key(path).public == key.public
    assert is_signed_by(key.public, b"words", key.sign(b"words"))
    assert not is_signed_by(key.public, b"other words", key.sign(b"words"))
    assert not is_signed_by("no key", b"words", key.sign(b"words"))
    path.chmod(0o644)
    with pytest.raises(StorageError, match="others may read the device's key"):
        open_device_key(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="is damaged; remove it"):
        open_device_key(path)


def test_a_report_is_numbered_signed_and_sent_until_it_is_taken(tmp_path: Path) -> None:
    journal, key, sent = Journal(tmp_path / "journal.db", SetClock()), open_device_key(tmp_path / "key"), list[bytes]()

    def refuse(content: bytes) -> None:
        sent.append(content)
        raise DeliveryError("nobody is there")

    reports = Reports(journal, key, SetClock(), site="north", device_id="aoi-1", boot_id="b")
    for _ in range(2):
        with pytest.raises(DeliveryError):
            reports.send(refuse)
    reports.send(sent.append)
    reports.send(sent.append)
    assert [read_report(each, "it", key.public).seq for each in sent] == [1, 2, 3]
    journal.note("problem", "the repository is away")
    reports.send(sent.append)
    report = read_report(sent[-1], "it", key.public)
    assert (report.seq, report.problem, report.site, report.releases) == (4, "the repository is away", "north", ())
    for forged in (json.dumps(json.loads(sent[-1]) | {"site": "south"}).encode(), b"{}"):
        with pytest.raises(BundleTrustError):
            read_report(forged, "it", key.public)


def test_a_document_is_put_whole(tmp_path: Path) -> None:
    transport = Transport(TransferLimits(), allows_plain_loopback=True)
    with UpdateServer({}) as server:
        transport.put(f"{server.url}/reports/d.json", b"{}" * 50_000)
        assert server.put == {"reports/d.json": [b"{}" * 50_000]}


def moved(exchange: Exchange) -> None:
    exchange.head(307, {"Location": "/elsewhere", "Content-Length": 0})


def refused(exchange: Exchange) -> None:
    exchange.head(403, {"Content-Length": 0})


def silent(exchange: Exchange) -> None:
    exchange.stopped.wait(30)


@pytest.mark.parametrize(
    ("answer", "words"), [(moved, "answers 307"), (refused, "answers 403"), (silent, "bytes came in|time was over")]
)
def test_a_server_that_does_not_take_it_is_told(answer: object, words: str) -> None:
    transport = Transport(TransferLimits(window_s=0.3), allows_plain_loopback=True)
    with UpdateServer({}) as server:
        server.answers["d.json"] = answer  # type: ignore[assignment]
        with pytest.raises(DeliveryError, match=words):
            transport.put(f"{server.url}/d.json", b"{}")
        assert server.put == {}
        assert "elsewhere" not in server.requests


def test_reports_go_to_https_only() -> None:
    with pytest.raises(ConfigError, match="https only"):
        Transport(TransferLimits()).put("http://127.0.0.1/x", b"{}")
