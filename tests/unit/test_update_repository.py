"""The trusted client: who is to blame for what, and what is never believed twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError, BundleTrustError, ConfigError, DeliveryError, ReplayError
from appliance.update.pace import TransferLimits
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_device import Line
from tests.update_server import Answer, Exchange, UpdateServer

FILES = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    repository = Repository()
    with UpdateServer(repository.files) as server:
        yield Line(tmp_path, server, repository)


def cut_short(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 10_000})
    exchange.body(b"{")


def unavailable(exchange: Exchange) -> None:
    exchange.head(503, {"Content-Length": 0})


def elsewhere(exchange: Exchange) -> None:
    exchange.head(302, {"Content-Length": 0, "Location": "http://127.0.0.1:9/"})


def too_long(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 6_000_000})
    exchange.body(b"{" * 6_000_000)


def endless(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    while True:
        exchange.body(b"10000\r\n" + b"{" * (1 << 16) + b"\r\n")


NETWORK = [cut_short, unavailable, elsewhere, too_long, endless]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("answer", NETWORK, ids=lambda answer: answer.__name__)
def test_what_the_network_does_is_a_delivery_error_for_each_file(line: Line, name: str, answer: Answer) -> None:
    line.publish_all()
    line.server.answers[f"metadata/{name}"] = answer
    with pytest.raises(DeliveryError, match=r"; \w+"):
        line.device.repository.refresh()
    line.server.answers.clear()
    assert line.device.repository.refresh().timestamp == 2


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 5000, b"null", b'{"signed": {}, "signatures": []}', bytes(99)])
def test_what_is_no_metadata_is_not_trusted(line: Line, name: str, content: bytes) -> None:
    line.publish_all()
    good = line.repository.files[f"metadata/{name}"]
    line.repository.files[f"metadata/{name}"] = content
    with pytest.raises(BundleTrustError, match=r"; look at who"):
        line.device.repository.refresh()
    line.repository.files[f"metadata/{name}"] = good
    assert line.device.repository.refresh().timestamp == 2


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), at=st.integers(0, 5000), byte=st.integers(0, 255))
def test_one_changed_byte_is_refused_or_changes_nothing(line: Line, name: str, at: int, byte: int) -> None:
    if "metadata/2.root.json" not in line.repository.files:
        line.publish_all()
    path = f"metadata/{name}"
    good = line.repository.files[path]
    changed = bytearray(good)
    changed[at % len(good)] = byte
    line.repository.files[path] = bytes(changed)
    try:
        assert line.device.repository.refresh().timestamp == 2
    except ApplianceError as error:
        assert isinstance(error, BundleTrustError)
    finally:
        line.repository.files[path] = good


def test_all_metadata_together_has_one_time(line: Line) -> None:
    """Each file comes fast enough; a server that offers one root after the other still comes to an end."""
    line.device.limits = TransferLimits(refresh_s=0.3)
    answered: list[str] = []

    def slow_root(exchange: Exchange) -> None:
        answered.append(exchange.path)
        exchange.stopped.wait(0.1)
        content = line.repository.files[exchange.path]
        exchange.head(200, {"Content-Length": len(content)})
        exchange.body(content)

    for _ in range(20):
        line.repository.publish("root")
    line.server.answers.update({f"metadata/{number}.root.json": slow_root for number in range(2, 22)})
    with pytest.raises(DeliveryError, match="when its time was over"):
        line.device.repository.refresh()
    assert len(answered) < 8


def test_a_root_that_is_none_is_the_images_fault(line: Line) -> None:
    line.device.root = b"{}"
    with pytest.raises(ConfigError, match="no valid root"):
        line.device.repository.refresh()
    assert line.server.requests == []


def test_an_intermediate_root_that_the_old_keys_did_not_sign_ends_there(line: Line) -> None:
    first = list(line.repository.signers["root"])
    line.repository.rotate("root")
    line.repository.publish("root")
    line.repository.signers["root"] += first
    line.repository.publish("root")
    with pytest.raises(BundleTrustError):
        line.device.repository.refresh()
    assert not (line.device.metadata / "root_history" / "2.root.json").exists()


def test_a_snapshot_with_another_hash_is_refused(line: Line) -> None:
    line.repository.has_hashes = True
    line.repository.update()
    line.repository.files["metadata/2.snapshot.json"] += b" "
    with pytest.raises((BundleTrustError, DeliveryError)):
        line.device.repository.refresh()
    assert not (line.device.metadata / "snapshot.json").exists()


# Old states


def kept_copy(line: Line) -> dict[str, bytes]:
    return dict(line.repository.files)


def tear(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


TORN = {
    "timestamp": ("timestamp.json",),
    "snapshot": ("snapshot.json",),
    "both": ("timestamp.json", "snapshot.json"),
    "all": ("timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json"),
}


@pytest.mark.parametrize("names", TORN.values(), ids=TORN)
def test_an_old_state_is_refused_whatever_was_torn(line: Line, names: tuple[str, ...]) -> None:
    old = kept_copy(line)
    line.publish_all()
    assert line.device.repository.refresh().timestamp == 2
    tear(line.device.metadata, *names)
    new = kept_copy(line)
    line.server.files = old
    with pytest.raises(BundleTrustError):
        line.device.repository.refresh()
    line.server.files = new
    assert line.device.repository.refresh().timestamp == 2


def test_a_folder_that_is_gone_is_no_way_back_and_leaves_nothing_old_behind(line: Line) -> None:
    old = kept_copy(line)
    line.publish_all()
    line.device.repository.refresh()
    line.device.metadata.rename(line.device.folder / "lost")
    line.server.files = old
    with pytest.raises(ReplayError, match="root version 1 is offered, and this device has seen 2"):
        line.device.repository.refresh()
    assert sorted(path.name for path in line.device.metadata.iterdir()) == ["root.json", "root_history"]


def test_a_folder_restored_from_a_copy_is_no_way_back_either(line: Line) -> None:
    line.repository.update()
    old = kept_copy(line)
    line.device.repository.refresh()
    stored = {path: path.read_bytes() for path in line.device.metadata.glob("[!r]*.json")}
    line.repository.update()
    assert line.device.repository.refresh().timestamp == 3
    for path, content in stored.items():
        path.write_bytes(content)
    line.server.files = old
    with pytest.raises(ReplayError, match="timestamp version 2 is offered, and this device has seen 3"):
        line.device.repository.refresh()


def test_a_failed_refresh_raises_the_floor_to_what_it_has_verified(line: Line) -> None:
    old = kept_copy(line)
    line.repository.update()
    del line.repository.files["metadata/2.targets.json"]
    with pytest.raises(DeliveryError, match="404"):
        line.device.repository.refresh()
    tear(line.device.metadata, *TORN["both"])
    line.server.files = old
    with pytest.raises(ReplayError):
        line.device.repository.refresh()


def test_releases_are_counted_per_kind(line: Line) -> None:
    for sequence in (7, 8):
        line.repository.add_target(f"models/{sequence}", b"w%d" % sequence, custom={"kind": "model", "seq": sequence})
    line.repository.add_target("notes", b"text", custom={"author": "somebody"})
    line.repository.add_target("apps/1", b"app", custom={"kind": "app", "seq": 1})
    line.repository.update()
    target = line.device.repository.find("models/8")
    line.device.floor.rise_to_releases(target.releases)
    assert {kind: release.seq for kind, release in target.releases.items()} == {"model": 8}
    with pytest.raises(ReplayError, match="model release 7 is offered"):
        line.device.repository.find("models/7")
    assert line.device.repository.find("apps/1").releases["app"].seq == 1
    assert line.device.repository.find("notes").releases == {}


def test_releases_in_a_folder_of_their_own_are_counted_for_themselves(line: Line) -> None:
    for name, sequence in (("boards", 12), ("boards", 11), ("lids", 3)):
        path = f"models/{name}/{name}-{sequence}.bundle"
        line.repository.add_target(path, path.encode(), custom={"kind": "model", "seq": sequence})
    line.repository.update()
    for name in ("boards-12", "lids-3"):
        take(line, f"models/{name.partition('-')[0]}/{name}.bundle")
    assert {name: each.seq for name, each in line.device.floor.read().releases.items()} == {
        "model/boards": 12, "model/lids": 3,
    }  # fmt: skip
    with pytest.raises(ReplayError, match="model/boards release 11 is offered, and this device has taken 12"):
        line.device.repository.find("models/boards/boards-11.bundle")


HALF = [
    {"kind": "model"}, {"kind": 1, "seq": 1}, {"kind": "model", "seq": "1"}, {"seq": True}, {"seq": 2**53},
    {"kind": "model", "seq": -1}, {"kind": "", "seq": 1}, {"kind": "app", "seq": 1}, ["model"], "model", {}, None,
]  # fmt: skip


@pytest.mark.parametrize("custom", HALF)
def test_a_release_that_says_half_is_refused(line: Line, custom: object) -> None:
    line.repository.add_target("models/a", b"w", custom=custom)
    line.repository.update()
    with pytest.raises(BundleTrustError, match="are no model release"):
        line.device.repository.find("models/a")


@pytest.mark.parametrize("custom", [{"kind": "model", "seq": 10**9}, {"kind": "model"}, {"seq": 1}])
def test_nobody_numbers_what_others_may_sign(line: Line, custom: object) -> None:
    """A stolen key that may say which model a line takes does not decide which model numbers are old."""
    line.repository.delegate("assign-berlin", ["assign/berlin/*"], terminating=True)
    line.repository.add_target("assign/berlin/l1", b"models/a", role="assign-berlin", custom=custom)
    line.repository.publish("assign-berlin", *ALL_BUT_ROOT)
    with pytest.raises(BundleTrustError, match="only names in models/, recipes/, apps/, os/ are releases"):
        line.device.repository.find("assign/berlin/l1")


def take(line: Line, name: str) -> None:
    line.device.floor.rise_to_releases(line.device.repository.find(name).releases)


def test_a_number_that_a_stolen_key_ran_up_comes_back_when_the_key_is_taken_away(line: Line) -> None:
    line.repository.delegate("models", ["models/*"], terminating=True)
    line.repository.add_target("models/a", b"w", role="models", custom={"seq": 10**9})
    line.repository.publish("models", *ALL_BUT_ROOT)
    take(line, "models/a")
    line.repository.add_target("models/a", b"w", role="models", custom={"seq": 8})
    line.repository.publish("models", *ALL_BUT_ROOT)
    with pytest.raises(ReplayError, match="take the key away"):
        take(line, "models/a")
    line.repository.targets.delegations.roles["models"].keyids.clear()
    line.repository.signers["models"].clear()
    line.repository.add_key("models", delegator="targets")
    line.repository.publish("models", *ALL_BUT_ROOT)
    take(line, "models/a")
    line.repository.add_target("models/a", b"w", role="models", custom={"seq": 7})
    line.repository.publish("models", *ALL_BUT_ROOT)
    with pytest.raises(ReplayError, match="model release 7 is offered, and this device has taken 8"):
        take(line, "models/a")
