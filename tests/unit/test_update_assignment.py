"""An assignment chooses among what others signed, and nothing else; whoever has stolen a site's key tries here."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BundleTrustError, ConfigError, ReplayError
from appliance.update.assignment import MAX_BYTES, AssignedRelease, Assignment, assignment_name, read_assignment
from appliance.update.kinds import SignedFile
from appliance.update.orders import Orders
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_device import Line
from tests.update_server import UpdateServer

ALLOWED = {("model", "boards"), ("app", "inspection")}
NAME = "assign/berlin/line-1.json"
CONTENTS = {seq: b"weights %d" % seq for seq in (11, 12)}
GATES = {"shadow_parts": 500, "canary_parts": 200, "watch_parts": 2000, "watch_h": 24}


def chosen(of: int = 12, **changes: Any) -> dict[str, Any]:
    content = CONTENTS[of]
    return {
        "kind": "model", "name": "boards", "path": f"models/boards/boards-{of}.bundle",
        "sha256": hashlib.sha256(content).hexdigest(), "length": len(content), "seq": of, **changes,
    }  # fmt: skip


def assignment(seq: int = 17, *releases: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "schema": "vi.assignment/1", "device_id": "line-1", "seq": seq, "rollout": "2026-11-27-boards-12",
        "ring": "line", "releases": list(releases or [chosen()]), "gates": GATES, **changes,
    }  # fmt: skip


class Site(Line):
    """A repository with the roles of the design, and the key of a site."""

    def begin(self) -> "Site":
        self.repository.delegate("models", ["models/*/*"], terminating=True)
        self.repository.delegate("assign-berlin", ["assign/berlin/*"], terminating=True)
        for seq, content in CONTENTS.items():
            custom = {"kind": "model", "seq": seq}
            self.repository.add_target(f"models/boards/boards-{seq}.bundle", content, role="models", custom=custom)
        self.repository.publish("models")
        return self

    def assign(self, document: object, name: str = NAME) -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.repository.add_target(name, content, role="assign-berlin")
        self.repository.publish("assign-berlin", *ALL_BUT_ROOT)

    def orders(self, site: str = "berlin", device_id: str = "line-1") -> Orders:
        device = self.device
        return Orders(
            device.repository, device.store, device.store, device.floor, site, device_id, lambda: ALLOWED
        )  # fmt: skip

    def finds(self) -> tuple[Assignment, list[tuple[AssignedRelease, SignedFile]]]:
        """What the agent reads, and what it finds signed of it."""
        orders = self.orders()
        assignment = orders.read_assignment()
        return assignment, [(release, orders.check(release)) for release in assignment.releases]

    def takes(self) -> None:
        for release, signed in self.finds()[1]:
            self.orders().fetch(release, signed)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    repository = Repository()
    with UpdateServer(repository.files) as server:
        yield Site(tmp_path, server, repository).begin()


def test_a_device_finds_what_it_should_run(site: Site) -> None:
    site.assign(assignment())
    found, [(release, signed)] = site.finds()
    assert (found.seq, found.ring, found.gates.watch_h) == (17, "line", 24.0)
    assert (release.seq, signed.releases["model/boards"].seq) == (12, 12)
    assert site.device.floor.read().releases["assignment/berlin"].seq == 17


def test_an_assignment_may_choose_nothing(site: Site) -> None:
    site.assign(assignment() | {"releases": []})
    assert site.finds()[1] == []


UNSIGNED = hashlib.sha256(b"unsigned").hexdigest()


@pytest.mark.parametrize(
    ("release", "words"),
    [
        (chosen(path="models/boards/boards-13.bundle", seq=13), "nobody whom this device trusts vouches for it"),
        (chosen(sha256=UNSIGNED), "nothing of it is taken"),
        (chosen(length=8), "nothing of it is taken"),
        (chosen(seq=13), "nothing of it is taken"),
        (chosen(path="models/boards/boards-11.bundle"), "nothing of it is taken"),
        (chosen(path=NAME), "is no name of model/boards"),
        (chosen(path="models/lids/lids-12.bundle"), "is no name of model/boards"),
        (chosen(path="models/boards/../../assign/berlin/line-1.json"), "vouches for it"),
    ],
    ids=["unsigned", "sha256", "length", "seq", "another's path", "itself", "foreign path", "up and down"],
)
def test_a_stolen_site_key_cannot_choose_what_nobody_signed(site: Site, release: dict[str, Any], words: str) -> None:
    site.assign(assignment(17, release))
    with pytest.raises(BundleTrustError, match=words):
        site.finds()
    assert "model/boards" not in site.device.floor.read().releases


def test_a_stolen_site_key_cannot_sign_a_release_itself(site: Site) -> None:
    custom = {"kind": "model", "seq": 13}
    site.repository.add_target("models/boards/boards-13.bundle", b"mine", role="assign-berlin", custom=custom)
    mine = {
        "path": "models/boards/boards-13.bundle",
        "seq": 13,
        "length": 4,
        "sha256": hashlib.sha256(b"mine").hexdigest(),
    }
    site.assign(assignment(17, chosen(**mine)))
    with pytest.raises(BundleTrustError, match="nobody whom this device trusts vouches for it"):
        site.finds()


def test_a_stolen_site_key_cannot_choose_an_older_release(site: Site) -> None:
    site.assign(assignment(17, chosen(12)))
    site.takes()
    site.assign(assignment(18, chosen(11)))
    with pytest.raises(ReplayError, match="model/boards release 11 is offered, and this device has taken 12"):
        site.finds()
    assert site.device.floor.read().releases["model/boards"].seq == 12


def test_a_stolen_site_key_cannot_bring_an_older_assignment_back(site: Site) -> None:
    site.assign(assignment(17))
    site.finds()
    site.assign(assignment(16))
    with pytest.raises(ReplayError, match="assignment/berlin release 16 is offered, and this device has taken 17"):
        site.finds()


@pytest.mark.parametrize("foreign", [{"name": "lids"}, {"kind": "os", "name": "boards"}])
def test_a_stolen_site_key_cannot_choose_what_the_device_does_not_run(site: Site, foreign: dict[str, Any]) -> None:
    site.assign(assignment(17, chosen(**foreign)))
    with pytest.raises(BundleTrustError, match="is nothing that this device runs"):
        site.finds()


def test_an_assignment_of_another_device_is_refused(site: Site) -> None:
    site.assign(assignment(device_id="line-2"))
    with pytest.raises(BundleTrustError, match="is for device line-2, and this is line-1"):
        site.finds()


def test_the_key_of_one_site_says_nothing_at_another(site: Site) -> None:
    site.repository.delegate("assign-paris", ["assign/paris/*"], terminating=True)
    site.repository.publish("assign-paris")
    site.assign(assignment(), "assign/paris/line-1.json")
    with pytest.raises(BundleTrustError, match="nobody whom this device trusts vouches for it"):
        site.orders("paris").read_assignment()


def test_a_number_that_a_stolen_site_key_ran_up_comes_back_when_it_is_taken_away(site: Site) -> None:
    site.assign(assignment(10**9))
    site.finds()
    site.repository.targets.delegations.roles["assign-berlin"].keyids.clear()
    site.repository.signers["assign-berlin"].clear()
    site.repository.add_key("assign-berlin", delegator="targets")
    site.assign(assignment(18))
    assert site.finds()[0].seq == 18


def test_a_large_assignment_is_not_even_fetched(site: Site) -> None:
    site.assign(b" " * (MAX_BYTES + 1))
    with pytest.raises(BundleTrustError, match="are no assignment"):
        site.finds()
    assert site.server.target_requests == []


WRONG: list[Callable[[dict[str, Any]], Any]] = [
    lambda good: good | {"schema": "vi.assignment/2"}, lambda good: good | {"more": 1}, lambda good: good | {"seq": -1},
    lambda good: good | {"seq": "17"}, lambda good: good | {"seq": 2**53}, lambda good: good | {"ring": "everybody"},
    lambda good: good | {"releases": [chosen(), chosen(11)]}, lambda good: good | {"releases": [chosen(sha256="AB")]},
    lambda good: good | {"gates": GATES | {"watch_h": -1}}, lambda good: good | {"gates": {}}, lambda good: [good],
    lambda good: good | {"releases": [chosen(name="../x")]}, lambda good: {},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG)
def test_what_is_no_assignment_is_refused_in_words(change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.dumps(change(assignment())).encode()
    with pytest.raises(BundleTrustError, match=r"line-1\.json: no assignment \(.+\); publish it again"):
        read_assignment(data, origin=NAME, device_id="line-1", allowed=ALLOWED)


@given(st.one_of(st.binary(max_size=200), st.integers(0, 300).map(lambda at: json.dumps(assignment()).encode()[:at])))
def test_no_bytes_are_taken_for_an_assignment(data: bytes) -> None:
    with pytest.raises(BundleTrustError):
        read_assignment(data, origin=NAME, device_id="line-1", allowed=ALLOWED)


@pytest.mark.parametrize("word", ["", "..", ".", "a/b", "a b", "ä", "x" * 65, "a\n", "-a"])
def test_a_site_or_device_is_one_word(word: str) -> None:
    with pytest.raises(ConfigError, match="no site or device"):
        assignment_name("berlin", word)
    with pytest.raises(ConfigError, match="no site or device"):
        assignment_name(word, "line-1")
