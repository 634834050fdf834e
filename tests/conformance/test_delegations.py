"""In which order delegated roles are asked, and who may vouch for which path."""

import hashlib
from dataclasses import dataclass

import pytest

from appliance.errors import BundleTrustError
from tests.conformance.client import Device
from tests.conformance.device import Pair
from tests.tuf_repository import ALL_BUT_ROOT, Repository


@dataclass(frozen=True)
class Edge:
    """One role lets another vouch for paths."""

    delegator: str
    role: str
    paths: tuple[str, ...] = ("*",)
    terminating: bool = False


def edges(words: str) -> list[Edge]:
    """Read such as `targets>A A>C! B>C:*.py`; ! ends the search, : names the paths."""
    found = []
    for word in words.split():
        names, _, path = word.partition(":")
        delegator, role = names.rstrip("!").split(">")
        found.append(Edge(delegator, role, (path or "*",), names.endswith("!")))
    return found


GRAPHS = {
    "targets>A": "A",
    "targets>A targets>B": "A B",
    "targets>A targets>B B>C": "A B C",
    "targets>A targets>B A>C A>D": "A C D B",
    "targets>A targets>B A>C C>D": "A C D B",
    "targets>A targets>B A>C! A>D": "A C",
    "targets>A targets>B A>C! C>D": "A C D",
    "targets>A:*.py targets>B A>C": "B",
    "targets>A targets>B A>C:*.py C>D": "A B",
    "targets>A targets>B B>C C>D D>B": "A B C D",
    "targets>A targets>B B>C A>C": "A C B",
    "targets>A targets>B B>C A>C:*.py": "A B C",
}


def publish(repository: Repository, graph: list[Edge]) -> None:
    for edge in graph:
        repository.delegate(edge.role, list(edge.paths), delegator=edge.delegator, terminating=edge.terminating)
    repository.publish(*dict.fromkeys(edge.role for edge in graph), *ALL_BUT_ROOT)


@pytest.mark.parametrize(("graph", "order"), GRAPHS.items())
def test_roles_are_asked_in_preorder(pair: Pair, graph: str, order: str) -> None:
    publish(pair.repository, edges(graph))
    assert pair.client.download("missing") == 1
    assert pair.server.metadata_requests[4:] == [f"1.{role}.json" for role in order.split()]


def test_a_role_that_two_delegate_to_needs_the_keys_of_whom_it_is_reached_by(pair: Pair) -> None:
    """In a diamond each delegator's own keys count: A's consent is not B's."""
    repository = pair.repository
    publish(repository, edges("targets>A:*.a targets>B:*.b A>C B>C"))
    assert repository.roles["B"].delegations.roles["C"].keyids != repository.roles["A"].delegations.roles["C"].keyids
    repository.add_target("x.b", b"content", role="C")
    repository.signers["C"] = repository.signers["C"][:1]  # A's key alone
    repository.publish("C", *ALL_BUT_ROOT)
    assert pair.client.download("x.b") == 1
    assert pair.client.got() == []


def in_a_diamond(repository: Repository) -> None:
    """A and B delegate to C, each with a key of its own, for other paths; only A's signs it."""
    publish(repository, edges("targets>B:*.b targets>A:*.a A>C B>C"))
    for name in ("x.a", "x.b"):
        repository.add_target(name, name.encode(), role="C")
    ours = repository.roles["A"].delegations.roles["C"].keyids
    repository.signers["C"] = [each for each in repository.signers["C"] if each.public_key.keyid in ours]
    repository.publish("C", *ALL_BUT_ROOT)


def test_a_role_that_was_believed_through_one_delegator_is_not_yet_through_another(pair: Pair) -> None:
    in_a_diamond(pair.repository)
    assert pair.client.download("x.a", "x.b") == 1
    assert pair.client.got() == [b"x.a"]


def test_whoever_looks_all_up_at_once_does_not_believe_it_either(pair: Pair) -> None:
    """There one python-tuf client looks up every name; C was verified through A before B is asked for x.b."""
    in_a_diamond(pair.repository)
    repository = Device(pair.client.metadata).repository(pair.server.metadata_url)
    with pytest.raises(BundleTrustError, match="C was signed by 0/1 keys"), repository.up_to_date() as now:
        now.find_all()


TREE = "targets>A:*.md targets>B:releases/*/* B>C:releases/x/* B>D:releases/y/*.zip"


@pytest.mark.parametrize(
    ("name", "role", "asked"),
    [
        ("targetfile", "targets", ""),
        ("README.md", "A", "A"),
        ("releases/x/x_v1", "C", "B C"),
        ("releases/y/y_v1.zip", "D", "B D"),
    ],
)
def test_a_target_is_found_where_its_path_leads(pair: Pair, name: str, role: str, asked: str) -> None:
    publish(pair.repository, edges(TREE))
    pair.repository.add_target(name, b"content", role=role)
    pair.repository.publish(*{role, "targets"} - {"targets"}, *ALL_BUT_ROOT)
    assert pair.client.download(name) == 0
    assert pair.client.got() == [b"content"]
    version = {role: 2}
    expected = [f"{version.get(item, 1)}.{item}.json" for item in asked.split()]
    assert pair.server.metadata_requests[4:] == expected


def test_a_role_vouches_for_nothing_outside_its_paths(pair: Pair) -> None:
    publish(pair.repository, edges(TREE))
    pair.repository.add_target("releases/z/z_v1.zip", b"content", role="D")
    pair.repository.publish("D", *ALL_BUT_ROOT)
    assert pair.client.download("releases/z/z_v1.zip") == 1
    assert pair.client.got() == []


def test_the_search_ends_after_as_many_roles_as_agreed(pair: Pair) -> None:
    publish(pair.repository, [Edge("targets", f"R{number}") for number in range(40)])
    pair.repository.add_target("deep", b"content", role="R39")
    pair.repository.publish("R39", *ALL_BUT_ROOT)
    assert pair.client.download("deep") == 1
    assert len(pair.server.metadata_requests[4:]) == 32


def test_a_role_that_nobody_signed_ends_the_search_there(pair: Pair) -> None:
    publish(pair.repository, edges("targets>A targets>bad targets>B bad>C"))
    pair.repository.add_target("x", b"content", role="B")
    pair.repository.signers["bad"].clear()
    pair.repository.publish("B", "bad", *ALL_BUT_ROOT)
    assert pair.client.download("x") == 1
    assert pair.server.metadata_requests[4:] == ["1.A.json", "2.bad.json"]
    assert sorted(pair.client.trusted()) == ["A", "root", "snapshot", "targets", "timestamp"]


def test_a_delegated_role_is_asked_for_once_and_then_read_from_disk(pair: Pair) -> None:
    publish(pair.repository, edges("targets>A A>B"))
    assert pair.client.download("missing") == 1
    before = len(pair.server.requests)
    assert pair.client.download("missing") == 1
    assert pair.server.metadata_requests[before:] == ["2.root.json", "timestamp.json"]
    pair.repository.publish("B", "snapshot", "timestamp")
    assert pair.client.download("missing") == 1
    assert pair.server.metadata_requests[before + 2 :] == [
        "2.root.json", "timestamp.json", "3.snapshot.json", "2.B.json",
    ]  # fmt: skip
    assert pair.client.version("B") == 2


@pytest.mark.parametrize("name", [f"file-{number}" for number in range(8)])
def test_a_target_is_found_where_its_hash_leads(pair: Pair, name: str) -> None:
    bins = {"low": list("01234567"), "high": list("89abcdef")}
    for role, prefixes in bins.items():
        pair.repository.delegate(role, None, hash_prefixes=prefixes)
        pair.repository.add_target(name, role.encode(), role=role)
    pair.repository.publish(*bins, *ALL_BUT_ROOT)
    role = "low" if int(hashlib.sha256(name.encode()).hexdigest()[0], 16) < 8 else "high"
    assert pair.client.download(name) == 0
    assert pair.client.got() == [role.encode()]
    assert pair.server.metadata_requests[4:] == [f"1.{role}.json"]


@pytest.mark.parametrize(("bits", "digits"), [(1, 1), (2, 1), (8, 2), (10, 3)])
@pytest.mark.parametrize("name", ["boo", "too", "a/b c"])
def test_one_bin_of_many_is_asked(pair: Pair, bits: int, digits: int, name: str) -> None:
    """The bin is what the first bits of the hash of the name say, written in hexadecimal."""
    bins = pair.repository.delegate_bins(bits)
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) >> (256 - bits)
    for role in bins.get_roles():
        pair.repository.add_target(name, role.encode(), role=role)
    pair.repository.publish(*bins.get_roles(), *ALL_BUT_ROOT)
    path = pair.repository.path_of(pair.repository.roles[f"bin-{number:0{digits}x}"].targets[name])
    pair.repository.files[path.replace(" ", "%20")] = pair.repository.files[path]
    assert pair.client.download(name) == 0
    assert pair.client.got() == [f"bin-{number:0{digits}x}".encode()]
    assert pair.server.metadata_requests[4:] == [f"1.bin-{number:0{digits}x}.json"]
