"""Metadata that waits for signatures: a file that goes to who holds a key, and comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root, Signed, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from appliance.bundle.section import Section
from appliance.bundle.strict_json import in_words
from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError
from appliance.events import utc_now
from trainer.release.keys import Words, fingerprint, holder_of, part_of
from trainer.release.roles import NO_REPORT, delegated_roles, purpose_of, said_of, seq_of, version_of, withdrawals

MAX_BYTES = 20_000_000


class Need(Section):
    """Who must sign: so many of these keys, as this metadata says."""

    by: str
    threshold: Annotated[int, Field(ge=1)]
    keyids: Annotated[tuple[str, ...], Field(strict=False)]


class Request(Section):
    """The file.

    base: version of the role when it was made; what stands by then must still be this one. keys: all that may sign.
    signed_at: key id -> when; brings: the release for which it was made, empty if for none; nobody vouches for these.
    """

    schema_: Annotated[Literal["vi.signing-request/1"], Field(alias="schema")] = "vi.signing-request/1"
    role: str
    base: Annotated[int, Field(ge=0)]
    why: str
    made_by: Words
    made_at: str
    needs: Annotated[tuple[Need, ...], Field(strict=False, min_length=1)]
    keys: dict[str, dict[str, Any]]
    signed_at: dict[str, str] = Field(default_factory=dict)
    brings: str = ""
    metadata: dict[str, Any]

    def as_metadata(self) -> Metadata[Any]:
        """Return what is to be signed, with the signatures so far."""
        return Metadata.from_dict(deepcopy(self.metadata))

    def key(self, keyid: str) -> Key:
        """Return one of the keys."""
        return Key.from_dict(keyid, deepcopy(self.keys[keyid]))

    def signers(self) -> dict[str, str]:
        """Return key id -> holder of the signatures that are good."""
        metadata = self.as_metadata()
        return {keyid: holder_of(self.key(keyid)) for keyid in self.keys if _is_signed(metadata, self.key(keyid))}

    def lacks(self) -> list[str]:
        """Return in words whose signatures are still needed; nothing if it can be published."""
        done = self.signers()
        words = []
        for need in self.needs:
            missing = need.threshold - len(done.keys() & set(need.keyids))
            if missing > 0:
                names = [holder_of(self.key(keyid)) for keyid in need.keyids if keyid not in done]
                words.append(f"{missing} more of {', '.join(names)} (by {need.by})")
        return words

    def signed_by(self, signer: Signer) -> Request:
        """Return the request with one more signature.

        Raises:
            ConfigError: The key has no part in it.
        """
        keyid = signer.public_key.keyid
        if keyid not in self.keys:
            names = ", ".join(holder_of(self.key(known)) for known in self.keys)
            raise ConfigError(
                f"key {keyid[:8]} has no part in {self.title()}; that is signed by {names}. Nothing was signed"
            )
        metadata = self.as_metadata()
        add_signature(metadata, signer)
        return self._with(metadata, {**self.signed_at, keyid: _now()})

    def merged(self, other: Request) -> Request:
        """Return the request with the signatures of a copy of it.

        Raises:
            ConfigError: The other one is to sign something else.
        """
        mine, theirs = self.as_metadata(), other.as_metadata()
        if mine.signed_bytes != theirs.signed_bytes:
            raise ConfigError(f"two different files want to be {self.title()}; leave one of them out")
        for keyid in other.signers():
            mine.signatures[keyid] = theirs.signatures[keyid]
        return self._with(mine, {**other.signed_at, **self.signed_at})

    def title(self) -> str:
        """Return role and version."""
        return f"{self.role} {self.as_metadata().signed.version}"

    def _with(self, metadata: Metadata[Any], signed_at: dict[str, str]) -> Request:
        return self.model_copy(update={"metadata": metadata.to_dict(), "signed_at": signed_at})


def request_of(
    role: str,
    content: Signed,
    delegators: Iterable[tuple[str, Root | Targets]],
    *,
    base: int,
    by: str,
    why: str,
    brings: str = "",
) -> Request:
    """Make a request.

    Args:
        role: whose metadata.
        content: what is to be signed.
        delegators: name in words, and who says by which keys; all of them must be satisfied.
        base: version of the role that stands now; 0 if there is none.
        by: who made it.
        why: in a sentence.
        brings: the release for which it is made.
    """
    needs: list[Need] = []
    keys: dict[str, dict[str, Any]] = {}
    for name, delegator in delegators:
        found = delegator.get_delegated_role(role)
        needs.append(Need(by=name, threshold=found.threshold, keyids=tuple(found.keyids)))
        keys |= {keyid: delegator.get_key(keyid).to_dict() for keyid in found.keyids}
    metadata = Metadata[Any](content).to_dict()
    return Request(
        role=role, base=base, why=why, made_by=by, made_at=_now(), needs=tuple(needs), keys=keys, brings=brings,
        metadata=metadata,
    )  # fmt: skip


def write_request(path: Path, request: Request) -> None:
    """Write a request; whole or not at all.

    Raises:
        StorageError: The disk refuses.
    """
    write_whole(path, (request.model_dump_json(by_alias=True, indent=1) + "\n").encode())


def read_request(path: Path) -> Request:
    """Read a request.

    Raises:
        ConfigError: The file is none.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        request = Request.model_validate_json(content)
        metadata = request.as_metadata()
        for keyid in request.keys:
            request.key(keyid)
        if metadata.signed.type != ("root" if request.role == "root" else "targets"):
            raise ValueError(f"it says role {request.role} and holds {metadata.signed.type}")
        unknown = {keyid for need in request.needs for keyid in need.keyids} - request.keys.keys()
        if unknown:
            raise ValueError(f"it asks for keys that it does not hold: {', '.join(sorted(unknown))[:80]}")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check path and rights") from error
    except ValidationError as error:
        raise ConfigError(
            f"{path}: no signing request ({in_words(error)}); name a file that this trainer made"
        ) from error
    except (RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: no signing request ({error}); name a file that this trainer made") from error
    return request


def collected(paths: Sequence[Path]) -> list[Request]:
    """Read requests; copies of one that several people signed become one.

    Raises:
        ConfigError: A file is none, or two say different things.
    """
    found: dict[str, Request] = {}
    for path in paths:
        request = read_request(path)
        known = found.get(request.role)
        found[request.role] = known.merged(request) if known else request
    return list(found.values())


def contents(request: Request) -> Iterator[tuple[str, str]]:
    """Tell what is signed, as name and words, the newest releases first."""
    signed = request.as_metadata().signed
    yield "valid until", f"{signed.expires:%Y-%m-%d %H:%M} UTC"
    if isinstance(signed, Root):
        if purpose := purpose_of(signed):
            yield "for", str(purpose)
        for name, role in signed.roles.items():
            yield f"role {name}", _named(role, signed.keys)
        return
    for name, delegated in delegated_roles(signed).items():
        yield f"role {name}", _named(delegated, signed.delegations.keys if signed.delegations else {})
    numbered = [(seq_of(target), name, target) for name, target in signed.targets.items()]
    for _, name, target in sorted(numbered, key=lambda item: item[:2], reverse=True):
        yield name, _numbered(target) + _of_evaluation(name, signed.targets)
    for name, about in withdrawals(signed).items():
        yield name, f"WITHDRAWN by {about.get('by')}: {about.get('why')}; sha256 {about.get('sha256')}"


def _numbered(target: TargetFile) -> str:
    version = f"version {version_of(target)}, " if version_of(target) >= 0 else ""
    return f"{version}{target.length} bytes, sha256 {target.hashes.get('sha256', 'none')}"


def _of_evaluation(name: str, targets: Mapping[str, TargetFile]) -> str:
    """Say of a model without figures that it has none; nothing of all else."""
    bundle, is_model, _ = name.rpartition(".bundle")
    if not is_model or f"{bundle}.report.json" in targets:
        return ""
    return f"; NO EVALUATION: {said_of(targets[name]).get(NO_REPORT) or 'nobody says why'}"


def _named(role: Role, keys: Mapping[str, Key]) -> str:
    """All that people vouch for by their signature: whose key it is, what it may do, and which key it is."""
    known = [(keyid, keys[keyid]) for keyid in role.keyids if keyid in keys]
    names = [f"{holder_of(key)}, {part_of(key)} ({fingerprint(keyid)})" for keyid, key in known]
    return f"{role.threshold} of {'; '.join(names)}"


def signed_digest(request: Request) -> str:
    """Return the SHA-256 of the bytes that are signed, for people to compare."""
    return hashlib.sha256(request.as_metadata().signed_bytes).hexdigest()


def add_signature(metadata: Metadata[Any], signer: Signer) -> None:
    """Sign metadata; what the signer refuses is said as it says it, which python-tuf's own way hides.

    Raises:
        ConfigError: A token refuses.
    """
    metadata.signatures[signer.public_key.keyid] = signer.sign(metadata.signed_bytes)


def as_bytes(metadata: Metadata[Any]) -> bytes:
    """Return metadata as it is published."""
    return metadata.to_bytes(JSONSerializer())


def _is_signed(metadata: Metadata[Any], key: Key) -> bool:
    signature = metadata.signatures.get(key.keyid)
    if signature is None:
        return False
    try:
        key.verify_signature(signature, metadata.signed_bytes)
    except UnverifiedSignatureError:
        return False
    return True


def _now() -> str:
    return utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
