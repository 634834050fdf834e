"""A repository for a fleet: keys in memory, the trainer's own functions, releases of a few kilobytes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata

from trainer.release.assignment import Wish
from trainer.release.ceremony import Said
from trainer.release.keys import PublicKey, describe
from trainer.release.orders import Order, publish_orders
from trainer.release.publication import Change, publish
from trainer.release.releases import Release, bring, next_seq
from trainer.release.request import as_bytes
from trainer.release.roles import assign_role, make_root, make_targets
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, stands

RELEASE_BYTES = 4000
"""As small as can be: what a release weighs is the release's matter, and everybody knows it beforehand."""
PEOPLE = {"anna": "person", "ben": "person", "carla": "person", "quentin": "quality", "ci": "ci", "online": "online"}


@dataclass(frozen=True, slots=True)
class Publisher:
    """A repository in a folder, and everybody's keys."""

    shelf: Shelf
    pinned: bytes
    keys: Mapping[str, CryptoSigner]
    sites: Sequence[str]

    @property
    def online(self) -> list[Signer]:
        """Keys of the machine that publishes: the online one, and every site's."""
        return [self.keys["online"], *(self.keys[site] for site in self.sites)]

    def standing(self) -> Standing:
        """What stands there now."""
        return stands(self.shelf, self.pinned)

    def release(self, content: bytes) -> str:
        """Release a model; returns its path."""
        standing = self.standing()
        wanted = Release("model", "boards", ".bundle", content, {})
        seq = next_seq(standing, wanted.kind, wanted.name, None)
        request = bring(self.shelf, standing, wanted, seq, Said("Anna", "a benchmark"))
        for name in ("ci", "quentin"):
            request = request.signed_by(self.keys[name])
        publish(self.shelf, standing, Change(roles={request.role: request.as_metadata()}), self.online)
        return wanted.path(seq)

    def assign(self, places: Mapping[str, Sequence[str]], path: str) -> None:
        """Let all devices (site -> ids) have a release, as before any rollout."""
        wish = Wish(rollout="before", ring="all", paths=(path,))
        orders = [Order(site, devices, wish) for site, devices in places.items()]
        publish_orders(self.shelf, self.standing(), orders, self.online)


def content_of(name: str) -> bytes:
    """A release's bytes, which only the name decides."""
    return hashlib.shake_128(name.encode()).digest(RELEASE_BYTES)


def begin(folder: Path, sites: Sequence[str]) -> Publisher:
    """Begin a repository, every site with a key of its own."""
    keys = {name: CryptoSigner.generate_ed25519() for name in (*PEOPLE, *sites)}
    public: dict[str, PublicKey] = {
        name: describe(signer.public_key, name, PEOPLE.get(name, "online"), "memory")  # type: ignore[arg-type]
        for name, signer in keys.items()
    }
    people = [public[name] for name in ("anna", "ben", "carla")]
    root = Metadata(make_root({"root": people, "targets": people, "snapshot": [public["online"]],
                               "timestamp": [public["online"]]}))  # fmt: skip
    lists = {"models": [public["ci"], public["quentin"]], "apps": people, "os": people}
    targets = Metadata(make_targets({**lists, **{assign_role(site): [public[site]] for site in sites}}))
    for name in ("anna", "ben"):
        root.sign(keys[name], append=True)
        targets.sign(keys[name], append=True)
    shelf = Shelf(str(folder))
    publish(shelf, None, Change(root=root, roles={"targets": targets}), [keys["online"]])
    return Publisher(shelf, as_bytes(root), keys, sites)
