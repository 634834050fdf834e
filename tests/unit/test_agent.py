"""appliance agent as a user calls it, against a repository over TLS."""

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from appliance.__main__ import main
from appliance.update.floor import Release, Role
from appliance.update.pace import TransferLimits
from appliance.update.settings import AgentConfig, load_agent_config
from tests.certificates import make_certificates, needs_openssl
from tests.tuf_repository import Repository
from tests.update_server import Exchange, UpdateServer

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "updates.md").read_text(encoding="utf-8")
EXAMPLE = DOC.split("```yaml\n")[1].split("```")[0]
NAME = "models/boards.bundle"


class Station:
    """A station's folder with agent.yaml, and the repository that it names."""

    def __init__(self, folder: Path, server: UpdateServer, repository: Repository) -> None:
        self.folder, self.server, self.repository = folder, server, repository
        self.config = folder / "agent.yaml"
        (folder / "floor").mkdir()
        (folder / "root.json").write_bytes(repository.root_bytes())
        address = server.url.replace("http:", "https:")
        self.keys = {
            "metadata_url": f"{address}/metadata", "targets_url": f"{address}/targets", "root": "root.json",
            "state": "agent", "floor": "floor/floor.json", "ca_file": "ca.crt", "reserve_mb": 0,
            "built_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        self.configure()

    def configure(self, **keys: object) -> None:
        self.config.write_text(yaml.safe_dump({**self.keys, **keys}))

    def agent(self, *words: str) -> int:
        return main(["agent", *words, "--config", str(self.config)])


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    make_certificates(tmp_path, {"server": "ca"})
    repository = Repository()
    repository.add_target(NAME, b"weights", custom={"kind": "model", "seq": 3})
    repository.update()
    with UpdateServer(repository.files) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
        server.use_tls(context)
        yield Station(tmp_path, server, repository)


@needs_openssl
def test_refresh_says_what_holds(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    assert station.agent("refresh") == 0
    assert capsys.readouterr().out == "root 1, timestamp 2, snapshot 2\n"
    assert (station.folder / "floor" / "floor.json").is_file()


@needs_openssl
def test_download_says_where_the_file_lies(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert station.agent("download", NAME) == 0
        assert Path(capsys.readouterr().out.strip()).read_bytes() == b"weights"
    assert len(station.server.target_requests) == 1


@needs_openssl
def test_an_older_release_is_refused_from_then_on(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    assert station.agent("download", NAME) == 0
    station.repository.add_target(NAME, b"older", custom={"kind": "model", "seq": 2})
    station.repository.update()
    assert station.agent("download", NAME) == 65
    assert "publish the old content as release 4" in capsys.readouterr().err


@needs_openssl
def test_a_release_that_another_process_overtakes_is_refused(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the file is on its way, another call takes a newer release."""
    floor = load_agent_config(station.config).make_floor()
    nobody = Role(keyids=("any",))
    newer = Release(seq=4, root=1, targets=9, targets_role=nobody)
    path = station.repository.path_of(station.repository.targets.targets[NAME])

    def overtaken(exchange: Exchange) -> None:
        floor.rise_to_releases({"model": newer})
        exchange.head(200, {"Content-Length": len(b"weights")})
        exchange.body(b"weights")

    station.server.answers[path] = overtaken
    assert station.agent("download", NAME) == 65
    told = capsys.readouterr()
    assert "model release 3 is offered, and this device has taken 4" in told.err
    assert told.out == ""


def loses_the_repository(station: Station) -> None:
    station.server.files = {}


def loses_a_signature(station: Station) -> None:
    station.repository.signers["timestamp"].clear()
    station.repository.publish("timestamp")


def is_set_back(station: Station) -> None:
    assert station.agent("refresh") == 0
    (station.folder / "agent").rename(station.folder / "lost")
    station.repository.timestamp.version = 1
    station.repository.publish("timestamp", bump=False)


def has_no_root(station: Station) -> None:
    (station.folder / "root.json").unlink()


def has_a_damaged_floor(station: Station) -> None:
    (station.folder / "floor" / "floor.json").write_text("{}")


def has_no_place_for_the_floor(station: Station) -> None:
    (station.folder / "floor").rmdir()


def loses_its_floor(station: Station) -> None:
    assert station.agent("refresh") == 0
    (station.folder / "floor" / "floor.json").unlink()


def loses_its_floor_and_metadata(station: Station) -> None:
    assert station.agent("download", NAME) == 0
    (station.folder / "floor" / "floor.json").unlink()
    (station.folder / "agent" / "metadata").rename(station.folder / "lost")


@needs_openssl
@pytest.mark.parametrize(
    ("happens", "code", "words"),
    [
        (loses_the_repository, 1, "answers 404; check"),
        (loses_a_signature, 65, "look at who signs"),
        (is_set_back, 65, "timestamp version 1 is offered, and this device has seen 2"),
        (has_no_root, 78, "name the root.json that the image brings"),
        (has_no_place_for_the_floor, 74, "the floor's folder is not there; mount its partition"),
        (loses_its_floor, 74, "knows nothing of repository online, and"),
        (loses_its_floor_and_metadata, 74, "shows that it was used here; mount"),
        (has_a_damaged_floor, 74, "the floor against old releases is damaged"),
    ],
)
def test_each_refusal_has_its_code_and_its_words(
    station: Station, capsys: pytest.CaptureFixture[str], happens: Callable[[Station], None], code: int, words: str
) -> None:
    happens(station)
    capsys.readouterr()
    assert station.agent("refresh") == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


@needs_openssl
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"metadata_url": "http://127.0.0.1/x"}, "metadata_url: http://127.0.0.1/x: updates are fetched by https only"),
        ({"targets_url": "ftp://x/y"}, "targets_url: ftp://x/y: updates are fetched"),
        ({"silence_s": 200}, "silence_s: 200 s are less than the 210 s that `limits` leave the network; raise it"),
        ({"floor": "agent/floor.json"}, "floor: .*lies in the state folder; put it elsewhere"),
        ({"ca_file": "nobody.crt"}, "ca_file: .*nobody.crt: no certificates of an authority .*; name"),
        ({"ca_file": "agent.yaml"}, "ca_file: .*agent.yaml: no certificates of an authority .*; name"),
        ({"metadata_url": "https://updates..example.com/"}, "metadata_url: .*no address of a server"),
        ({"built_at": "2026-13-01T00:00:00Z"}, "built_at: "),
        ({"built_at": "yesterday"}, "built_at: "),
        ({"built_at": None}, "built_at: "),
        ({"limits": {"min_bytes_per_s": 100, "max_bytes_per_s": 150}}, "twice min_bytes_per_s"),
        ({"reserve": 1}, "reserve"),
        ({"metadata_url": None}, "targets_url: a server takes .* and metadata_url is missing; add it"),
        ({"root": None, "targets_url": None}, "metadata_url: .* targets_url and root is missing; add it"),
        ({"metadata_url": None, "targets_url": None, "root": None}, "names neither a server .* nor the root of sticks"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(
    station: Station, capsys: pytest.CaptureFixture[str], keys: dict[str, object], words: str
) -> None:
    station.configure(**keys)
    assert station.agent("refresh") == 78
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert re.search(r"agent\.yaml:\d+: ", said)


@needs_openssl
@pytest.mark.parametrize(("limits", "silence_s"), [({}, 900), ({"refresh_s": 900}, 990)])
def test_who_says_nothing_of_silence_gets_as_much_as_the_limits_leave_the_network(
    station: Station, limits: dict[str, float], silence_s: float
) -> None:
    station.configure(limits=limits)
    assert load_agent_config(station.config).must_get_on_s == silence_s
    assert station.agent("refresh") == 0


@needs_openssl
@pytest.mark.parametrize("task", [["refresh"], ["download", "models/boards.bundle"]])
def test_where_updates_come_by_stick_only_there_is_no_server_to_ask(
    station: Station, capsys: pytest.CaptureFixture[str], task: list[str]
) -> None:
    station.configure(metadata_url=None, targets_url=None, root=None, stick_root="root.json")
    assert station.agent(*task) == 78
    assert "agent.yaml names no server of updates" in capsys.readouterr().err


@needs_openssl
def test_the_example_in_the_documentation_loads(tmp_path: Path) -> None:
    authority = make_certificates(tmp_path, {"server": "ca"}) / "ca.crt"
    path = tmp_path / "agent.yaml"
    path.write_text(EXAMPLE.replace("/etc/inspection/plant-ca.pem", str(authority)))
    config = load_agent_config(path)
    assert config.limits == TransferLimits()
    assert config.floor == Path("/var/lib/inspection-floor/floor.json")


def test_every_key_is_documented() -> None:
    keys = [*AgentConfig.model_fields, *(f"limits.{name}" for name in TransferLimits.model_fields)]
    assert not [key for key in keys if key != "limits" and f"`{key}`" not in DOC]


@needs_openssl
def test_without_the_extra_a_person_is_told_what_to_install(station: Station, tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "tuf"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError('No module named tuf', name='tuf')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(absent.parent), str(ROOT)])}
    command = [sys.executable, "-m", "appliance", "agent", "refresh", "--config", str(station.config)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "pip install 'inspection-appliance[agent]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@needs_openssl
def test_the_agent_brings_nothing_of_the_inspection_into_memory(station: Station) -> None:
    """A process that waits for updates beside the line leaves the memory to the line."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "appliance",
        "agent",
        "refresh",
        "--config",
        str(station.config),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == "root 1, timestamp 2, snapshot 2\n"
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "tuf.ngclient" in imported
    assert not imported & {"numpy", "cv2", "onnxruntime", "paho", "sqlite3", "appliance.events", "appliance.station"}
