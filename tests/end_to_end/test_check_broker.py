"""appliance check, asked about the broker: what `appliance run` would meet there, told in words."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.__main__ import main
from appliance.simulator.broker import EmbeddedBroker
from tests.certificates import AS_ME, make_certificates, needs_openssl, tls_of
from tests.dynamic_security import ALL_IS_ALLOWED, needs_plugin, with_plugin
from tests.models import tiny_bundle
from tests.plant import write_station
from tests.stations import SmallStation, mqtt_settings, needs_mosquitto

PLACE = mqtt_settings(1).model_dump(include={"device_id", "enterprise", "site", "area", "line", "station"})
ACCESS_LIST = Path(__file__).resolve().parents[2] / "firmware-config" / "mosquitto.acl"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {"broker": "ca", "aoi2": "ca", "aoi9": "ca", "stranger": "other-ca"}
    return make_certificates(tmp_path_factory.mktemp("certificates"), names)


@pytest.fixture
def secure_broker(certificates: Path) -> Iterator[EmbeddedBroker]:
    """mosquitto with client certificates and the shipped access list."""
    tls = [f"{kind} {certificates}/{name}" for kind, name in (
        ("cafile", "ca.crt"), ("certfile", "broker.crt"), ("keyfile", "broker.key"))]  # fmt: skip
    lines = [AS_ME, "listener {port} 127.0.0.1", *tls, "require_certificate true", "use_identity_as_username true"]
    with EmbeddedBroker("mosquitto", [*lines, f"acl_file {ACCESS_LIST}"]) as running:
        yield running


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """The configuration of a station in the place of tests.stations, without a broker."""
    tiny_bundle(tmp_path / "tiny.bundle")
    path = write_station(tmp_path)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "device": PLACE}))
    return path


def configure(config: Path, **mqtt: Any) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "mqtt": mqtt}))


def finding(config: Path, capsys: pytest.CaptureFixture[str], **mqtt: Any) -> dict[str, Any]:
    """Check a station with this link; returns what is said about the broker."""
    configure(config, **mqtt)
    code = main(["check", "--config", str(config), "--json"])
    (found,) = (entry for entry in json.loads(capsys.readouterr().out) if entry["what"] == "broker")
    assert isinstance(found, dict)
    assert found["is_ok"] or (code == 1 and found["remedy"])
    return found


def tls(certificates: Path, name: str | None, authority: str = "ca") -> dict[str, str]:
    return {key: str(path) for key, path in tls_of(certificates, name, authority).model_dump(exclude_none=True).items()}


@needs_mosquitto
@needs_openssl
def test_a_broker_that_takes_the_station_is_ok_and_the_running_station_stays_connected(
    secure_broker: EmbeddedBroker, certificates: Path, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = SmallStation()
    link = running.link(mqtt_settings(secure_broker.port, tls=tls_of(certificates, "aoi2")))
    link.open(running)
    found = finding(station, capsys, port=secure_broker.port, tls=tls(certificates, "aoi2"))
    link.send_alarm("still", "here")
    assert found["is_ok"], found
    assert found["seen"] == f"127.0.0.1:{secure_broker.port} takes this station (MQTT 5)"
    assert (link.status()["connects"], link.status()["protocol"]) == (1, "mqtt5")
    assert not (running.triggers or running.acknowledged or running.commands)
    link.close()


@needs_mosquitto
@needs_openssl
@pytest.mark.parametrize(
    ("name", "authority", "seen", "remedy"),
    [
        ("stranger", "ca", "hung up on CONNECT", "check certificates"),
        (None, "ca", "hung up on CONNECT", "check certificates"),
        ("aoi2", "other-ca", "CERTIFICATE_VERIFY_FAILED", "check tls.ca_file"),
        ("aoi9", "ca", "does not let this station write .*/aoi2/reply/.*: Not authorized", "access list, or the name"),
    ],
)
def test_what_the_broker_refuses_is_told(
    name: str | None, authority: str, seen: str, remedy: str, secure_broker: EmbeddedBroker, certificates: Path,
    station: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = finding(station, capsys, port=secure_broker.port, tls=tls(certificates, name, authority))
    assert re.search(seen, found["seen"]), found
    assert remedy in found["remedy"]


@needs_openssl
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"ca_file": "absent.crt"}, "ca_file .*absent.crt: .*No such file"),
        ({"cert_file": "absent.crt"}, "cert_file .*absent.crt with its key in .*aoi2.key: .*No such file"),
        ({"key_file": "aoi9.key"}, "cert_file .*aoi2.crt with its key in .*aoi9.key: .*mismatch"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    change: dict[str, str], seen: str, certificates: Path, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {key: str(certificates / name) for key, name in change.items()}
    found = finding(station, capsys, port=1, tls=tls(certificates, "aoi2") | changed)
    assert re.search(seen, found["seen"]), found
    assert "PEM files that this user may read" in found["remedy"]


@needs_mosquitto
@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("secret\n", "takes this station"),
        ("wrong\n", "refuses check-device-07: Not authorized"),
        (None, "No such file"),
    ],
)
def test_the_password_is_tried(
    password: str | None, words: str, tmp_path: Path, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run([program, "-b", "-c", str(passwords), "aoi2", "secret"], check=True, capture_output=True)
    if password is not None:
        (tmp_path / "password").write_text(password)
    lines = [AS_ME, "listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
    with EmbeddedBroker("mosquitto", lines) as broker:
        found = finding(station, capsys, port=broker.port, username="aoi2", password_file="password")
    assert words in found["seen"]


@needs_mosquitto
@needs_plugin
def test_a_subscription_that_the_broker_refuses_is_told(
    tmp_path: Path, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedBroker("mosquitto", with_plugin(tmp_path, ALL_IS_ALLOWED | {"subscribe": False})) as broker:
        found = finding(station, capsys, port=broker.port)
    assert re.search(r"does not let check-device-07 hear .*/trigger, .*/ack/\+, .*/command/\+", found["seen"]), found
    assert "access list" in found["remedy"]


@pytest.mark.parametrize(("protocol", "is_ok"), [("auto", True), ("mqtt5", False)])
def test_a_broker_without_mqtt5_is_called_one(
    protocol: str, is_ok: bool, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedBroker("amqtt") as broker:
        found = finding(station, capsys, port=broker.port, protocol=protocol)
    assert found["is_ok"] is is_ok
    assert ("MQTT 3.1.1 only" if is_ok else "does not speak mqtt5") in found["seen"]


@needs_openssl
def test_a_broker_that_accepts_and_says_nothing_does_not_hold_the_check(
    certificates: Path, station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = finding(station, capsys, port=port, keepalive_s=600, tls=tls(certificates, "aoi2"))
    assert not found["is_ok"]


def test_findings_are_told_while_the_check_still_waits_for_the_broker(station: Path) -> None:
    refusal = b"\x20\x03\x00\x87\x00"  # CONNACK, MQTT 5: not authorized
    with socket.create_server(("127.0.0.1", 0)) as broker, contextlib.ExitStack() as opened:
        configure(station, port=broker.getsockname()[1])
        command = [sys.executable, "-m", "appliance", "check", "--config", str(station)]
        ended = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert ended.stdout is not None
        told = iter(ended.stdout)
        assert any("image store's disk" in line for line in told)
        peer = opened.enter_context(broker.accept()[0])
        peer.recv(4096)
        peer.sendall(refusal)  # too late if the lines above came only with the rest
        rest = ended.communicate(timeout=60)[0]
    assert "Not authorized" in rest
    assert ended.returncode == 1
