"""Targets as conformance suites judge them: what is fetched, from whom, and what is never taken."""

from collections.abc import Sequence

import pytest
from tuf.api.metadata import TargetFile

from tests.conformance.device import Pair
from tests.tuf_repository import ALL_BUT_ROOT, in_days


def test_only_a_download_fetches_a_target(pair: Pair) -> None:
    pair.repository.add_target("target_file.txt", b"content")
    pair.repository.update()
    assert pair.client.refresh() == 0
    assert pair.client.got() == []
    assert pair.client.download("target_file.txt") == 0
    assert pair.client.got() == [b"content"]


def test_a_target_in_a_folder_arrives(pair: Pair) -> None:
    pair.repository.add_target("path/to/a/target_file.txt", b"content")
    pair.repository.update()
    assert pair.client.download("path/to/a/target_file.txt") == 0
    assert pair.client.got() == [b"content"]


def test_several_targets_arrive_in_order_up_to_the_first_that_is_refused(pair: Pair) -> None:
    for name in ("b", "a", "c"):
        pair.repository.add_target(name, name.encode())
    pair.repository.update()
    assert pair.client.download("b", "a") == 0
    assert pair.client.got() == [b"b", b"a"]
    assert pair.client.download("a", "nobody's", "c") == 1
    assert pair.client.got() == [b"b", b"a"]


def test_another_file_under_a_signed_name_is_not_taken(pair: Pair) -> None:
    one = pair.repository.add_target("one", b"first")
    two = pair.repository.add_target("two", b"second")
    pair.repository.update()
    assert pair.client.download("one") == 0
    for target in (one, two):
        pair.repository.files[pair.repository.path_of(target)] = b"malice"
    pair.client.download("one")
    assert pair.client.download("two") == 1
    assert pair.client.got() == [b"first"]


def test_a_target_that_changes_keeps_its_name(pair: Pair) -> None:
    expected: list[bytes] = []
    for number in range(3):
        content, other = f"changed {number}".encode(), f"other {number}".encode()
        target = pair.repository.add_target("same", content)
        pair.repository.add_target(f"new-{number}", other)
        pair.repository.update()
        assert pair.client.download("same") == 0
        expected = [*(item for item in expected if not item.startswith(b"changed")), content]
        assert pair.client.got() == expected
        assert pair.client.download(f"new-{number}") == 0
        expected.append(other)
        pair.repository.files[pair.repository.path_of(target)] = b"malice"
        pair.repository.update()
        pair.client.download("same")
        assert pair.client.got() == expected


@pytest.mark.parametrize("hashes", [("sha256",), ("sha512",), ("sha256", "sha512")])
def test_both_hash_algorithms_are_known(pair: Pair, hashes: Sequence[str]) -> None:
    target = pair.repository.add_target("a", b"content", hashes=hashes)
    pair.repository.update()
    assert pair.client.download("a") == 0
    assert pair.client.got() == [b"content"]
    assert [f"targets/{name}" for name in pair.server.target_requests] == [pair.repository.path_of(target)]


def test_a_target_is_refused_if_one_of_two_hashes_is_another_files(pair: Pair) -> None:
    target = pair.repository.add_target("a", b"content", hashes=("sha256", "sha512"))
    target.hashes["sha512"] = TargetFile.from_data("a", b"another", ["sha512"]).hashes["sha512"]
    pair.repository.update()
    assert pair.client.download("a") == 1
    assert pair.client.got() == []


@pytest.mark.parametrize("algorithm", ["unknown-hash", "md5", "../../etc/passwd"])
def test_a_hash_that_cannot_be_checked_is_no_hash(pair: Pair, algorithm: str) -> None:
    target = pair.repository.add_target("a", b"content", hashes=("sha512",))
    target.hashes[algorithm] = target.hashes.pop("sha512")
    pair.repository.update()
    assert pair.client.download("a") == 1
    assert pair.client.got() == []


@pytest.mark.parametrize("digest", ["../../../outside", "AB" * 32, "ab" * 31])
def test_a_digest_is_never_a_way_to_another_file(pair: Pair, digest: str) -> None:
    target = pair.repository.add_target("a", b"content")
    target.hashes["sha256"] = digest
    pair.repository.update()
    assert pair.client.download("a") == 1
    assert pair.server.target_requests == []


@pytest.mark.parametrize("name", ["../up", "/top", "a/../b", "a//b", "."])
def test_a_target_outside_the_targets_address_is_refused(pair: Pair, name: str) -> None:
    pair.repository.add_target(name, b"content")
    pair.repository.update()
    assert pair.client.download(name) == 1
    assert pair.server.target_requests == []


def test_a_target_is_fetched_once(pair: Pair) -> None:
    pair.repository.add_target("a", b"content")
    pair.repository.update()
    assert pair.client.download("a") == 0
    assert pair.client.download("a") == 0
    assert len(pair.server.target_requests) == 1


def test_an_empty_target_is_a_target(pair: Pair) -> None:
    target = pair.repository.add_target("a", b"x")
    target.length, target.hashes["sha256"] = 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    pair.repository.update()
    assert pair.client.download("a") == 0
    assert pair.client.got() == [b""]


@pytest.mark.parametrize(
    ("role", "asked"),
    [("?", "%3F"), ("#", "%23"), ("/delegated", "%2Fdelegated"), ("../delegated", "..%2Fdelegated")],
)
def test_a_roles_name_is_never_a_path(pair: Pair, role: str, asked: str) -> None:
    pair.repository.delegate(role, ["*"])
    pair.repository.publish(role, *ALL_BUT_ROOT)
    assert pair.client.download("nobody has this") == 1
    assert f"1.{asked}.json" in pair.server.metadata_requests
    assert len(pair.client.trusted()) == 5


def test_a_delegated_role_that_has_expired_vouches_for_nothing(pair: Pair) -> None:
    pair.repository.delegate("models", ["boards/*"], expires=in_days(-1))
    pair.repository.add_target("boards/a", b"content", role="models")
    pair.repository.publish("models", *ALL_BUT_ROOT)
    assert pair.client.refresh() == 0
    assert pair.client.download("boards/a") == 1
    assert pair.client.got() == []
    assert pair.client.trusted() == {"root": 1, "snapshot": 2, "targets": 2, "timestamp": 2}


def test_a_delegated_role_that_the_snapshot_does_not_know_vouches_for_nothing(pair: Pair) -> None:
    pair.repository.delegate("models", ["boards/*"])
    pair.repository.add_target("boards/a", b"content", role="models")
    pair.repository.publish("models")
    del pair.repository.snapshot.meta["models.json"]
    pair.repository.update()
    assert pair.client.download("boards/a") == 1
    assert pair.client.got() == []
