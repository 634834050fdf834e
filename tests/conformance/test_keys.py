"""Who may sign: thresholds, copies of keys and signatures, kinds of keys, and keys that change."""

import json
from dataclasses import dataclass

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from tests.conformance.device import Pair

KEYS = [CryptoSigner.generate_ed25519() for _ in range(10)]


def test_two_of_three_signatures_are_not_three(pair: Pair) -> None:
    repository = pair.repository
    repository.root.roles["snapshot"].threshold = 3
    repository.add_key("snapshot")
    repository.add_key("snapshot")
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert pair.client.refresh() == 0
    repository.signers["snapshot"].pop()
    repository.update()
    assert pair.client.refresh() == 1
    assert pair.client.version("snapshot") == 2


def test_a_threshold_that_nobody_can_reach_is_never_reached(pair: Pair) -> None:
    repository = pair.repository
    for _ in range(4):
        repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 6
    repository.publish("root", "snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 2, "timestamp": 2}


def test_one_key_signs_once_however_often_it_is_listed(pair: Pair) -> None:
    repository = pair.repository
    signer = repository.add_key("snapshot")
    repository.root.roles["snapshot"].threshold = 6
    repository.publish("root", "snapshot", "timestamp")
    document = json.loads(repository.files["metadata/2.snapshot.json"])
    own = next(item for item in document["signatures"] if item["keyid"] == signer.public_key.keyid)
    document["signatures"] += [own] * 8
    repository.files["metadata/2.snapshot.json"] = json.dumps(document).encode()
    assert pair.client.refresh() == 1
    assert pair.client.version("snapshot") is None


def test_the_same_signature_twice_is_refused_even_where_one_is_enough(pair: Pair) -> None:
    document = json.loads(pair.repository.files["metadata/1.snapshot.json"])
    document["signatures"].append(document["signatures"][0])
    pair.repository.files["metadata/1.snapshot.json"] = json.dumps(document).encode()
    assert pair.client.refresh() == 1
    assert pair.client.version("snapshot") is None


def ecdsa() -> CryptoSigner:
    return CryptoSigner.generate_ecdsa()


def rsa_pss() -> CryptoSigner:
    return CryptoSigner.generate_rsa()


def rsa_pkcs() -> CryptoSigner:
    return CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256")


@pytest.mark.parametrize("make", [CryptoSigner.generate_ed25519, ecdsa, rsa_pss, rsa_pkcs])
def test_each_kind_of_key_is_checked(pair: Pair, make: type[CryptoSigner]) -> None:
    repository = pair.repository
    signer = repository.add_key("root", make())  # type: ignore[call-arg]
    repository.root.roles["root"].threshold = 2
    repository.publish("root")
    assert pair.client.refresh() == 0
    assert pair.client.version("root") == 2
    repository.publish("root")
    wrong = Metadata.from_bytes(repository.files["metadata/3.root.json"])
    signature = wrong.signatures[signer.public_key.keyid]
    signature.signature = repository_signature_of_another_version(pair, signer)
    repository.files["metadata/3.root.json"] = wrong.to_bytes()
    assert pair.client.refresh() == 1
    assert pair.client.version("root") == 2


def repository_signature_of_another_version(pair: Pair, signer: CryptoSigner) -> str:
    before = Metadata.from_bytes(pair.repository.files["metadata/2.root.json"])
    return before.signatures[signer.public_key.keyid].signature


@pytest.mark.parametrize("wrong", ["ab" * 64, ""])
def test_a_wrong_signature_beside_enough_right_ones_harms_nobody(pair: Pair, wrong: str) -> None:
    first = pair.repository.signers["timestamp"][0].public_key.keyid
    pair.repository.add_key("timestamp")
    pair.repository.publish("root", "timestamp")
    document = Metadata.from_bytes(pair.repository.files["metadata/timestamp.json"])
    document.signatures[first].signature = wrong
    pair.repository.files["metadata/timestamp.json"] = document.to_bytes()
    assert pair.client.refresh() == 0
    assert pair.client.version("timestamp") == 2


@dataclass(frozen=True)
class Version:
    """A version of a role: which of KEYS it lists, how many must sign, and which have signed."""

    keys: tuple[int, ...]
    threshold: int
    signed: tuple[int, ...]


FIVE, OTHER_FIVE = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
ROTATIONS = {
    "one key": [Version((1,), 1, (1,)), Version((2,), 1, (2, 1)), Version((2,), 1, (2,))],
    "one key among idle signatures": [
        Version((1,), 1, (3, 1, 4)), Version((2,), 1, (3, 2, 1, 4)), Version((2,), 1, (3, 2, 4)),
    ],
    "three of five, others each time": [
        Version(FIVE, 3, (0, 2, 4)), Version(FIVE, 3, (0, 4, 1)), Version(FIVE, 3, (0, 1, 3)),
    ],
    "three of five, one key changes": [Version(FIVE, 3, (0, 2, 4)), Version((0, 1, 3, 4, 5), 3, (0, 4, 1))],
    "three of five, one key changes with a step between": [
        Version(FIVE, 3, (0, 2, 4)), Version((0, 1, 3, 4, 5), 3, (0, 2, 4, 5)), Version((0, 1, 3, 4, 5), 3, (0, 4, 5)),
    ],
    "three of five, all keys change": [
        Version(FIVE, 3, (0, 2, 4)), Version(OTHER_FIVE, 3, (0, 2, 4, 5, 6, 7)), Version(OTHER_FIVE, 3, (5, 6, 7)),
    ],
    "from one of three to two": [Version((1, 2, 3), 1, (1,)), Version((1, 2, 3), 2, (1, 2))],
    "from two of three to one": [
        Version((1, 2, 3), 2, (1, 2)), Version((1, 2, 3), 1, (1, 2)), Version((1, 2, 3), 1, (1,)),
    ],
    "from one to two of two": [Version((1,), 1, (1,)), Version((1, 2), 2, (1, 2))],
}  # fmt: skip
REFUSED = {
    "not by the old key": [Version((1,), 1, (1,)), Version((2,), 1, (2, 3, 4))],
    "not by the new key": [Version((1,), 1, (1,)), Version((2,), 1, (1, 3, 4))],
    "not by three new keys": [Version(FIVE, 3, (0, 2, 4)), Version((0, 1, 3, 4, 5), 3, (0, 2, 4))],
    "not by three old keys": [Version(FIVE, 3, (0, 2, 4)), Version((0, 1, 3, 4, 5), 3, (0, 4, 5))],
    "the new threshold is not reached": [Version((1, 2, 3), 1, (1,)), Version((1, 2, 3), 2, (2,))],
    "the old threshold is not reached": [Version((1, 2, 3), 2, (1, 2)), Version((1, 2, 3), 1, (1,))],
}


def publish_roots(pair: Pair, versions: list[Version]) -> None:
    """Let the repository have exactly these roots, and the client begin with the first."""
    repository = pair.repository
    for number, version in enumerate(versions, 1):
        repository.root.roles["root"].keyids.clear()
        repository.signers["root"].clear()
        repository.root.roles["root"].threshold = version.threshold
        for key in version.keys:
            repository.root.add_key(KEYS[key].public_key, "root")
        repository.signers["root"] = [KEYS[key] for key in version.signed]
        repository.root.version = number
        repository.publish("root", bump=False)
    assert pair.client.init(repository.root_bytes()) == 0


@pytest.mark.parametrize("versions", ROTATIONS.values(), ids=ROTATIONS)
def test_roots_that_both_sides_signed_are_followed(pair: Pair, versions: list[Version]) -> None:
    publish_roots(pair, versions)
    assert pair.client.refresh() == 0
    assert (pair.client.metadata / "root.json").read_bytes() == pair.repository.root_bytes(len(versions))


@pytest.mark.parametrize("versions", REFUSED.values(), ids=REFUSED)
def test_a_root_that_one_side_did_not_sign_is_refused(pair: Pair, versions: list[Version]) -> None:
    publish_roots(pair, versions)
    assert pair.client.refresh() == 1
    assert (pair.client.metadata / "root.json").read_bytes() == pair.repository.root_bytes(len(versions) - 1)


ROLE_VERSIONS = {
    "a new key": (Version((2,), 1, (2,)), 0),
    "idle signatures": (Version((1,), 1, (3, 1, 4)), 0),
    "not by the new key": (Version((2,), 1, (1, 3, 4)), 1),
    "by one that is no longer listed": (Version((0, 1, 3, 4, 5), 3, (0, 2, 4)), 1),
    "one signature is missing": (Version((0, 1, 3, 4, 5), 3, (0, 4)), 1),
    "three of five": (Version(FIVE, 3, (0, 2, 4)), 0),
    "three others of five": (Version(FIVE, 3, (2, 3, 4)), 0),
    "in another order": (Version(FIVE, 3, (0, 4, 1)), 0),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(("version", "code"), ROLE_VERSIONS.values(), ids=ROLE_VERSIONS)
def test_a_roles_new_keys_hold_at_once(pair: Pair, role: str, version: Version, code: int) -> None:
    repository = pair.repository
    repository.root.roles[role].keyids.clear()
    repository.root.roles[role].threshold = version.threshold
    for key in version.keys:
        repository.root.add_key(KEYS[key].public_key, role)
    repository.signers[role] = [KEYS[key] for key in version.signed]
    repository.publish("root", "targets", "snapshot", "timestamp")
    assert pair.client.refresh() == code
    assert pair.client.version(role) == (None if code else 2)
