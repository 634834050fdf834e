"""A repository of signed updates in memory, made with python-tuf's Metadata API; it may publish what is wrong."""

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

TOP = ("root", "targets", "snapshot", "timestamp")
ONLINE = ("snapshot", "timestamp")
ALL_BUT_ROOT = ("targets", *ONLINE)


def in_days(days: float) -> datetime:
    """A moment from now, in whole seconds as TUF writes it."""
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)


class Repository:
    """Roles with one key each; `publish` signs what they say now and puts it among the files that a server serves."""

    def __init__(self, expires: datetime | None = None) -> None:
        self.expires = expires or in_days(30)
        self.files: dict[str, bytes] = {}
        self.signers: dict[str, list[CryptoSigner]] = {}
        self.roles: dict[str, Any] = {
            "targets": Targets(expires=self.expires),
            "snapshot": Snapshot(expires=self.expires),
            "timestamp": Timestamp(expires=self.expires),
            "root": Root(expires=self.expires),
        }
        self.has_hashes = False
        self._is_published: set[str] = set()
        for name in TOP:
            self.signers[name] = []
            self.add_key(name)
        self.publish(*ALL_BUT_ROOT, "root")

    @property
    def root(self) -> Root:
        return self.roles["root"]  # type: ignore[no-any-return]

    @property
    def targets(self) -> Targets:
        return self.roles["targets"]  # type: ignore[no-any-return]

    @property
    def snapshot(self) -> Snapshot:
        return self.roles["snapshot"]  # type: ignore[no-any-return]

    @property
    def timestamp(self) -> Timestamp:
        return self.roles["timestamp"]  # type: ignore[no-any-return]

    def root_bytes(self, version: int = 1) -> bytes:
        return self.files[f"metadata/{version}.root.json"]

    def add_key(self, role: str, signer: CryptoSigner | None = None, delegator: str = "root") -> CryptoSigner:
        """Let a role be signed with one more key."""
        signer = signer or CryptoSigner.generate_ed25519()
        self.roles[delegator].add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def rotate(self, role: str) -> None:
        """Give a role a new key and forget the old ones."""
        self.root.roles[role].keyids.clear()
        self.signers[role].clear()
        self.add_key(role)

    def publish(self, *names: str, bump: bool = True, at_version: int | None = None) -> None:
        """Sign roles in this order and serve them; the second time and after a role gets the next version.

        bump: False signs the version that stands there. at_version: the one in the file's name, if it should lie.
        """
        for name in names:
            role = self.roles[name]
            if bump and name in self._is_published:
                role.version += 1
            self._is_published.add(name)
            data = self.sign(name)
            self.serve(name, role.version if at_version is None else at_version, data)
            meta = MetaFile(role.version, *self._length_and_hashes(data))
            if name == "snapshot":
                self.timestamp.snapshot_meta = meta
            elif name not in ("root", "timestamp"):
                self.snapshot.meta[f"{name}.json"] = meta

    def sign(self, name: str, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        """The file that a role says now, with the signatures of its signers or of these."""
        metadata = Metadata(self.roles[name])
        for signer in self.signers[name] if signers is None else signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer())

    def serve(self, name: str, version: int, data: bytes) -> None:
        if name == "timestamp":
            self.files["metadata/timestamp.json"] = data
            return
        prefix = f"{version}." if name == "root" or self.root.consistent_snapshot else ""
        self.files[f"metadata/{prefix}{quote(name, safe='')}.json"] = data

    def update(self) -> None:
        """Publish all but the root, each with the next version."""
        self.publish(*ALL_BUT_ROOT)

    def add_target(
        self,
        name: str,
        content: bytes,
        role: str = "targets",
        hashes: Iterable[str] = ("sha256",),
        custom: Any = None,
    ) -> TargetFile:
        """Vouch for a file and serve it; publish the role afterwards."""
        target = TargetFile.from_data(name, content, list(hashes))
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.roles[role].targets[name] = target
        self.files[self.path_of(target)] = content
        return target

    def path_of(self, target: TargetFile) -> str:
        folder, slash, name = target.path.rpartition("/")
        digest = next(iter(target.hashes.values()))
        return f"targets/{folder}{slash}{digest}.{name}" if self.root.consistent_snapshot else f"targets/{target.path}"

    def delegate(
        self,
        name: str,
        paths: list[str] | None,
        *,
        delegator: str = "targets",
        terminating: bool = False,
        expires: datetime | None = None,
        hash_prefixes: list[str] | None = None,
    ) -> Targets:
        """Let a role vouch for some paths, or for those whose hash begins so; publish both afterwards."""
        role = self.roles[delegator]
        if role.delegations is None:
            role.delegations = Delegations({}, {})
        role.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths, hash_prefixes)
        if name not in self.roles:
            self.roles[name] = Targets(expires=expires or self.expires)
        self.add_key(name, delegator=delegator)
        return self.roles[name]  # type: ignore[no-any-return]

    def delegate_bins(self, bits: int, prefix: str = "bin") -> SuccinctRoles:
        """Let 2 to the power of bits roles with one key vouch for everything between them; publish them afterwards."""
        bins = SuccinctRoles([], 1, bits, prefix)
        self.targets.delegations = Delegations({}, None, bins)
        signer = CryptoSigner.generate_ed25519()
        self.targets.add_key(signer.public_key)
        for name in bins.get_roles():
            self.roles[name], self.signers[name] = Targets(expires=self.expires), [signer]
        return bins

    def _length_and_hashes(self, data: bytes) -> tuple[int | None, dict[str, str] | None]:
        if not self.has_hashes:
            return None, None
        described = TargetFile.from_data("any", data, ["sha256"])
        return described.length, described.hashes
