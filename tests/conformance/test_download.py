"""Targets as conformance suites judge them: what is fetched, from whom, and what is never taken."""

from collections.abc import Sequence
from urllib.parse import quote

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


def test_several_targets_are_looked_up_in_one_state_of_the_repository(pair: Pair) -> None:
    for name in ("a", "b", "c"):
        pair.repository.add_target(name, name.encode())
    pair.repository.update()
    assert pair.client.download("a", "b", "c") == 0
    assert pair.server.metadata_requests == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]


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
    written_at = (pair.client.targets / "a").stat().st_mtime_ns
    assert pair.client.download("a") == 0
    assert len(pair.server.target_requests) == 1
    assert (pair.client.targets / "a").stat().st_mtime_ns == written_at


def test_a_target_that_lies_there_already_is_not_fetched(pair: Pair) -> None:
    pair.repository.add_target("a", b"content")
    pair.repository.update()
    pair.client.targets.mkdir()
    (pair.client.targets / "a").write_bytes(b"content")
    assert pair.client.download("a") == 0
    assert pair.server.target_requests == []


@pytest.mark.parametrize("damage", [b"", b"conten@", b"content and more", None])
def test_a_target_that_was_damaged_or_taken_away_is_fetched_anew(pair: Pair, damage: bytes | None) -> None:
    pair.repository.add_target("a", b"content")
    pair.repository.update()
    assert pair.client.download("a") == 0
    path = pair.client.targets / "a"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert pair.client.download("a") == 0
    assert pair.client.got() == [b"content"]
    assert len(pair.server.target_requests) == 2


OURS = ("models/x", "models/boards/boards-1.bundle", "recipes/x", "apps/x", "os/x", "assign/berlin/l1", "x")


@pytest.mark.parametrize("custom", [None, {"kind": "model"}, {"kind": "os", "seq": "first"}, {"seq": 1}, "text"])
def test_what_our_releases_mean_by_a_name_or_a_number_means_nothing_to_others(pair: Pair, custom: object) -> None:
    repository = pair.repository
    repository.delegate("models", ["models/*", "models/*/*"], terminating=True)
    for name in OURS:
        role = "models" if name.startswith("models/") else "targets"
        repository.add_target(name, name.encode(), role=role, custom=custom)
    repository.timestamp.unrecognized_fields["issued_at"] = "yesterday"
    repository.publish("models", *ALL_BUT_ROOT)
    assert pair.client.download(*OURS) == 0
    assert pair.client.got() == [name.encode() for name in OURS]


def test_a_lower_number_than_before_is_no_older_release_to_others(pair: Pair) -> None:
    for seq in (7, 6):
        pair.repository.add_target("models/x", b"%d" % seq, custom={"kind": "model", "seq": seq})
        pair.repository.update()
        assert pair.client.download("models/x") == 0
    assert pair.client.got() == [b"6"]


def test_a_targets_file_has_its_quoted_name(pair: Pair) -> None:
    names = {"a/b": "a%2Fb", "\u00e5\u00e4\u00f6": "%C3%A5%C3%A4%C3%B6", "a b": "a%20b", "%2e": "%252e", "..f": "..f"}
    for name in names:
        path = pair.repository.path_of(pair.repository.add_target(name, name.encode()))
        pair.repository.files[quote(path, safe="/%")] = pair.repository.files.pop(path)
    pair.repository.update()
    assert pair.client.download(*names) == 0
    assert {path.name: path.read_text() for path in pair.client.targets.iterdir()} == {
        quoted: name for name, quoted in names.items()
    }


def test_an_empty_target_is_a_target(pair: Pair) -> None:
    target = pair.repository.add_target("a", b"x")
    target.length, target.hashes["sha256"] = 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    pair.repository.update()
    assert pair.client.download("a") == 0
    assert pair.client.got() == [b""]


@pytest.mark.parametrize(
    ("role", "asked"),
    [
        ("?", "%3F"), ("#", "%23"), ("/delegated", "%2Fdelegated"), ("../delegated", "..%2Fdelegated"),
        (".", "."), ("..", ".."), ("/", "%2F"), ("\u00f6", "%C3%B6"), ("a b", "a%20b"), ("%2F", "%252F"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.", ""])
def test_a_roles_name_is_never_a_path(pair: Pair, role: str, asked: str, version: str) -> None:
    pair.repository.root.consistent_snapshot = bool(version)
    pair.repository.delegate(role, ["*"])
    pair.repository.publish("root", role, *ALL_BUT_ROOT)
    assert pair.client.download("nobody has this") == 1
    assert pair.server.metadata_requests[-1] == f"{version}{asked}.json"
    assert {path.name for path in pair.client.metadata.iterdir()} == {
        "root.json", "timestamp.json", "snapshot.json", "targets.json", f"{asked}.json", "root_history",
    }  # fmt: skip


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
