"""Old metadata offered as new, and the ways back that only holders of the root's keys have."""

import pytest

from tests.conformance.device import Pair
from tests.tuf_repository import Repository

SIGNED_AGAIN = ("targets", "snapshot", "timestamp")


def set_back(repository: Repository, role: str, version: int = 1) -> None:
    """Sign a role with an old version number and serve it."""
    repository.roles[role].version = version
    repository.publish(role, bump=False)


def test_an_older_timestamp_is_refused(pair: Pair) -> None:
    pair.repository.publish("timestamp")
    assert pair.client.refresh() == 0
    set_back(pair.repository, "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.version("timestamp") == 2
    assert pair.server.metadata_requests[-1] == "timestamp.json"


@pytest.mark.parametrize("has_hashes", [False, True])
def test_an_older_snapshot_in_a_newer_timestamp_is_refused(pair: Pair, has_hashes: bool) -> None:
    pair.repository.has_hashes = has_hashes
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 0
    set_back(pair.repository, "snapshot")
    pair.repository.publish("timestamp")
    assert pair.client.refresh() == 1
    assert (pair.client.version("timestamp"), pair.client.version("snapshot")) == (2, 2)
    assert pair.server.metadata_requests[-1] == "timestamp.json"


@pytest.mark.parametrize("has_hashes", [False, True])
def test_older_targets_in_a_newer_snapshot_are_refused(pair: Pair, has_hashes: bool) -> None:
    pair.repository.has_hashes = has_hashes
    pair.repository.update()
    assert pair.client.refresh() == 0
    set_back(pair.repository, "targets")
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert (pair.client.version("snapshot"), pair.client.version("targets")) == (2, 2)


def test_an_older_snapshot_behind_the_same_timestamp_is_not_even_asked_for(pair: Pair) -> None:
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 0
    pair.repository.files["metadata/2.snapshot.json"] = pair.repository.files["metadata/1.snapshot.json"]
    assert pair.client.refresh() == 0
    assert pair.client.version("snapshot") == 2
    assert pair.server.metadata_requests[-1] == "timestamp.json"


def test_a_snapshot_on_disk_that_no_longer_fits_its_hash_still_forbids_older_targets(pair: Pair) -> None:
    """It was signed again as the same version: no longer final, and still what nothing may fall behind."""
    repository = pair.repository
    repository.has_hashes = True
    repository.update()
    assert pair.client.refresh() == 0
    repository.snapshot.unrecognized_fields["again"] = True
    repository.publish("snapshot", bump=False)
    repository.publish("timestamp")
    set_back(repository, "targets")
    repository.snapshot.version = 3
    repository.publish("snapshot", bump=False)
    repository.publish("timestamp")
    assert pair.client.refresh() == 1
    assert (pair.client.version("snapshot"), pair.client.version("targets")) == (2, 2)


def test_a_role_that_disappears_from_the_snapshot_is_a_rollback(pair: Pair) -> None:
    pair.repository.delegate("models", ["boards/*"])
    pair.repository.publish("models", *SIGNED_AGAIN)
    assert pair.client.refresh() == 0
    del pair.repository.snapshot.meta["models.json"]
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.version("snapshot") == 2


def test_mixed_states_are_refused(pair: Pair) -> None:
    """Mix and match: the targets of one state under the snapshot of another."""
    pair.repository.has_hashes = True
    pair.repository.add_target("boards/a", b"one")
    pair.repository.update()
    old_targets = pair.repository.files["metadata/2.targets.json"]
    pair.repository.add_target("boards/a", b"two")
    pair.repository.update()
    pair.repository.files["metadata/3.targets.json"] = old_targets
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 1, "snapshot": 3, "timestamp": 3}


def test_a_timestamp_that_ran_away_comes_back_with_a_new_key(pair: Pair) -> None:
    pair.repository.timestamp.version = 99
    pair.repository.publish("timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("timestamp") == 100
    pair.repository.rotate("timestamp")
    pair.repository.publish("root")
    set_back(pair.repository, "timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("timestamp") == 1


def test_a_timestamp_of_one_of_two_keys_comes_back_when_that_key_is_taken_away(pair: Pair) -> None:
    """Either key suffices; the first is stolen and runs the version up, the second stays."""
    repository = pair.repository
    stolen, kept = repository.signers["timestamp"][0], repository.add_key("timestamp")
    repository.publish("root")
    repository.signers["timestamp"] = [stolen]
    repository.timestamp.version = 99
    repository.publish("timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("timestamp") == 100
    repository.root.roles["timestamp"].keyids.remove(stolen.public_key.keyid)
    repository.signers["timestamp"] = [kept]
    repository.publish("root")
    set_back(repository, "timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("timestamp") == 1


def test_a_snapshot_that_ran_away_comes_back_with_new_keys(pair: Pair) -> None:
    pair.repository.snapshot.version = 99
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("snapshot") == 100
    pair.repository.rotate("snapshot")
    pair.repository.rotate("timestamp")
    pair.repository.publish("root", "targets")
    set_back(pair.repository, "snapshot")
    pair.repository.publish("timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("snapshot") == 1


def test_targets_that_ran_away_come_back_with_a_new_snapshot_key(pair: Pair) -> None:
    pair.repository.delegate("models", ["boards/*"])
    pair.repository.publish("models")
    pair.repository.targets.version = 99
    pair.repository.update()
    assert pair.client.refresh() == 0
    assert pair.client.version("targets") == 100
    pair.repository.rotate("snapshot")
    pair.repository.publish("root")
    set_back(pair.repository, "targets")
    del pair.repository.snapshot.meta["models.json"]
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 0
    assert pair.client.version("targets") == 1


def test_without_new_keys_nothing_comes_back(pair: Pair) -> None:
    pair.repository.timestamp.version = 99
    pair.repository.publish("timestamp")
    assert pair.client.refresh() == 0
    pair.repository.publish("root")
    set_back(pair.repository, "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.version("timestamp") == 100
