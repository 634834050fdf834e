"""Refresh as conformance suites judge it: what is asked for, what is trusted afterwards."""

from typing import Any

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Timestamp

from tests.conformance.device import Pair
from tests.tuf_repository import ALL_BUT_ROOT, TOP, Repository, in_days

FIRST = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]


def with_own_keyid(signer: CryptoSigner, **fields: Any) -> CryptoSigner:
    """Give a key more fields, and the id that it then has."""
    import hashlib

    key = signer.public_key
    key.unrecognized_fields.update(fields)
    key.keyid = hashlib.sha256(encode_canonical(key.to_dict()).encode()).hexdigest()
    return signer


def test_a_first_refresh_asks_for_each_role_once(pair: Pair) -> None:
    assert pair.client.refresh() == 0
    assert pair.server.metadata_requests == FIRST
    assert pair.client.trusted() == dict.fromkeys(sorted(TOP), 1)
    for role, name in zip(("root", "timestamp", "snapshot", "targets"), ("1.root", *FIRST[1:]), strict=True):
        served = pair.repository.files[f"metadata/{name.removesuffix('.json')}.json"]
        assert (pair.client.metadata / f"{role}.json").read_bytes() == served


def test_a_download_refreshes_first(pair: Pair) -> None:
    assert pair.client.download("nobody has this") == 1
    assert pair.server.metadata_requests == FIRST
    assert len(pair.client.trusted()) == 4


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        ("root", {"root": 1}),
        ("timestamp", {"root": 2}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "snapshot": 2, "timestamp": 2}),
    ],
)
def test_an_unsigned_role_is_refused_and_those_before_it_are_kept(
    pair: Pair, role: str, trusted: dict[str, int]
) -> None:
    pair.repository.signers[role].clear()
    pair.repository.publish("root", *ALL_BUT_ROOT)
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == trusted


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        ("root", {"root": 1}),
        ("snapshot", {"root": 2, "timestamp": 2}),
        ("targets", {"root": 2, "snapshot": 2, "timestamp": 2}),
    ],
)
def test_a_file_whose_name_lies_about_its_version_is_refused(pair: Pair, role: str, trusted: dict[str, int]) -> None:
    repository = pair.repository
    repository.roles[role].version += 1
    for name in ("root", *ALL_BUT_ROOT):
        repository.publish(name, at_version=2)
    meta = repository.timestamp.snapshot_meta if role == "snapshot" else repository.snapshot.meta["targets.json"]
    meta.version = 2
    if role == "targets":
        repository.serve("snapshot", 2, repository.sign("snapshot"))
    repository.serve("timestamp", 2, repository.sign("timestamp"))
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == trusted


def test_another_timestamp_of_the_same_version_is_not_taken(pair: Pair) -> None:
    assert pair.client.refresh() == 0
    pair.repository.timestamp.snapshot_meta.version = 100
    pair.repository.publish("timestamp", bump=False)
    assert pair.client.refresh() == 0
    assert pair.server.metadata_requests[-1] == "timestamp.json"
    kept = Metadata[Timestamp].from_file(str(pair.client.metadata / "timestamp.json"))
    assert kept.signed.snapshot_meta.version == 1


def test_hashes_of_metadata_are_checked(pair: Pair) -> None:
    repository = pair.repository
    repository.has_hashes = True
    repository.update()
    assert pair.client.refresh() == 0
    repository.publish("targets")
    hashes = repository.snapshot.meta["targets.json"].hashes
    assert hashes
    hashes["sha256"] = "46" * 32
    repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert (pair.client.version("snapshot"), pair.client.version("targets")) == (3, 2)


def test_metadata_is_kept_byte_for_byte(pair: Pair) -> None:
    served = pair.repository.files["metadata/timestamp.json"] + b" "
    pair.repository.files["metadata/timestamp.json"] = served
    assert pair.client.refresh() == 0
    assert (pair.client.metadata / "timestamp.json").read_bytes() == served


def test_unknown_fields_are_signed_content_like_others(pair: Pair) -> None:
    assert pair.client.refresh() == 0
    root = pair.repository.root
    root.unrecognized_fields["custom-field"] = "value"
    root.roles["root"].unrecognized_fields["another-field"] = "value"
    pair.repository.add_key("root", with_own_keyid(CryptoSigner.generate_ed25519(), extra={"a": 1, "b": 2}))
    pair.repository.publish("root")
    assert pair.client.refresh() == 0
    assert pair.client.version("root") == 2


def test_keyid_hash_algorithms_mean_nothing(pair: Pair) -> None:
    repository = pair.repository
    repository.root.roles["snapshot"].keyids.clear()
    repository.signers["snapshot"].clear()
    odd = with_own_keyid(CryptoSigner.generate_ed25519(), keyid_hash_algorithms="md5")
    repository.add_key("snapshot", odd)
    repository.publish("root", "snapshot", "timestamp")
    assert pair.client.refresh() == 0
    assert (pair.client.version("root"), pair.client.version("snapshot")) == (2, 2)


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        ("snapshot", {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 2}),
        ("targets", {"root": 1, "snapshot": 2, "targets": 1, "timestamp": 2}),
    ],
)
def test_a_missing_file_ends_the_refresh_there(pair: Pair, role: str, trusted: dict[str, int]) -> None:
    assert pair.client.refresh() == 0
    repository = pair.repository
    if role == "snapshot":
        repository.timestamp.snapshot_meta.version += 1
        repository.publish("timestamp")
    else:
        repository.snapshot.meta["targets.json"].version += 1
        repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert pair.server.metadata_requests[-1] == f"2.{role}.json"
    assert pair.client.trusted() == trusted


def test_a_missing_timestamp_ends_the_refresh(pair: Pair) -> None:
    assert pair.client.refresh() == 0
    del pair.repository.files["metadata/timestamp.json"]
    assert pair.client.refresh() == 1
    assert pair.server.metadata_requests[-1] == "timestamp.json"


def test_a_snapshot_that_passes_for_a_timestamp_is_refused(pair: Pair) -> None:
    repository = pair.repository
    repository.add_key("snapshot", repository.signers["timestamp"][0])
    repository.snapshot.meta = {"snapshot.json": MetaFile(1)}
    repository.publish("root", "snapshot")
    repository.files["metadata/timestamp.json"] = repository.files["metadata/2.snapshot.json"]
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 2}


def test_no_more_roots_than_agreed_are_taken_in_one_refresh(pair: Pair) -> None:
    for _ in range(260):
        pair.repository.publish("root")
    assert pair.client.refresh() == 0
    assert pair.client.version("root") == 257


def test_a_root_that_was_poisoned_on_disk_is_fetched_anew(pair: Pair) -> None:
    pair.repository.publish("root")
    assert pair.client.refresh() == 0
    stored = pair.client.metadata / "root_history" / "2.root.json"
    good = stored.read_bytes()
    stored.write_bytes(Repository().root_bytes())
    assert pair.client.refresh() == 0
    assert stored.read_bytes() == good


def test_roots_on_disk_that_the_first_root_did_not_sign_are_fetched_anew(pair: Pair) -> None:
    """Somebody else's whole chain lies in the folder: none of it follows from the device's own first root."""
    pair.repository.publish("root")
    assert pair.client.refresh() == 0
    foreign = Repository()
    foreign.publish("root")
    foreign.publish("root")
    history = pair.client.metadata / "root_history"
    for version in (1, 2, 3):
        (history / f"{version}.root.json").write_bytes(foreign.root_bytes(version))
    assert pair.client.refresh() == 0
    assert pair.client.version("root") == 2
    assert (pair.client.metadata / "root.json").read_bytes() == pair.repository.root_bytes(2)


def test_a_root_of_the_same_version_is_refused(pair: Pair) -> None:
    pair.repository.files["metadata/2.root.json"] = pair.repository.root_bytes()
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 1}


def test_a_root_that_skips_a_version_is_refused(pair: Pair) -> None:
    pair.repository.publish("root")
    pair.repository.publish("root", at_version=2)
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 1}


def test_a_repository_without_consistent_snapshots_works(pair: Pair) -> None:
    repository = pair.repository
    repository.root.consistent_snapshot = False
    repository.publish("root")
    repository.add_target("boards/a", b"weights")
    repository.update()
    assert pair.client.download("boards/a") == 0
    assert pair.server.requests[-4:] == [
        "metadata/timestamp.json", "metadata/snapshot.json", "metadata/targets.json", "targets/boards/a",
    ]  # fmt: skip


def test_roots_that_lie_on_disk_are_not_asked_for_again(pair: Pair) -> None:
    pair.repository.publish("root", "root")
    assert pair.client.refresh() == 0
    assert pair.server.metadata_requests[:4] == ["2.root.json", "3.root.json", "4.root.json", "timestamp.json"]
    before = len(pair.server.requests)
    assert pair.client.refresh() == 0
    assert pair.server.metadata_requests[before:] == ["4.root.json", "timestamp.json"]
    assert sorted(path.name for path in (pair.client.metadata / "root_history").iterdir()) == [
        "1.root.json", "2.root.json", "3.root.json",
    ]  # fmt: skip


def test_a_root_between_two_may_have_expired(pair: Pair) -> None:
    expires = pair.repository.root.expires
    for moment in (in_days(-1), expires):
        pair.repository.root.expires = moment
        pair.repository.publish("root")
    assert pair.client.refresh() == 0
    assert pair.client.trusted() == {"root": 3, "snapshot": 1, "targets": 1, "timestamp": 1}


def test_hashes_of_metadata_may_come_and_go(pair: Pair) -> None:
    for number, has_hashes in enumerate((True, False, True), 2):
        pair.repository.has_hashes = has_hashes
        pair.repository.update()
        assert pair.client.refresh() == 0
        assert pair.client.trusted() == {"root": 1, "snapshot": number, "targets": number, "timestamp": number}


@pytest.mark.parametrize("role", ["snapshot", "targets"])
@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_file_of_another_length_than_was_said_is_refused(pair: Pair, role: str, off_by: int) -> None:
    pair.repository.has_hashes = True
    pair.repository.publish("targets", "snapshot")
    meta = (
        pair.repository.timestamp.snapshot_meta if role == "snapshot" else pair.repository.snapshot.meta["targets.json"]
    )
    meta.length, meta.hashes = meta.length + off_by, None
    pair.repository.publish(*(["snapshot"] if role == "targets" else []), "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.version(role) is None
