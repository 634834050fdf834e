"""What a publisher's machine remembers, signed with the online key: who can only write there cannot alter it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Root

from appliance.bundle.section import Section
from appliance.errors import ConfigError
from trainer.release.keys import holder_of

_ROLE = "timestamp"
"""Whose keys seal: a machine's, at hand whenever something is published."""


class Seal(Section):
    """One signature."""

    keyid: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sig: str


def seal(content: bytes, signers: Iterable[Signer], root: Root) -> tuple[Seal, ...]:
    """Sign bytes with the online keys at hand.

    Raises:
        ConfigError: None is at hand.
    """
    keyids = root.roles[_ROLE].keyids
    made = [signer.sign(content) for signer in signers if signer.public_key.keyid in keyids]
    if len(made) < root.roles[_ROLE].threshold:
        names = ", ".join(f"{holder_of(root.keys[keyid])} ({keyid[:8]})" for keyid in keyids)
        raise ConfigError(
            f"a rollout is written down under the key of {names}; name it with --key. Nothing was changed"
        )
    return tuple(Seal(keyid=signature.keyid, sig=signature.signature) for signature in made)


def is_sealed(content: bytes, seals: Sequence[Seal], root: Root) -> bool:
    """Tell whether the online keys of a root signed these bytes."""
    role, found = root.roles[_ROLE], set()
    for each in seals:
        if each.keyid not in role.keyids:
            continue
        try:
            root.keys[each.keyid].verify_signature(Signature(each.keyid, each.sig), content)
        except (UnverifiedSignatureError, VerificationError, ValueError):
            continue
        found.add(each.keyid)
    return len(found) >= role.threshold
