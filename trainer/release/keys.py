"""Keys of people and of machines: encrypted files (PKCS#8) and tokens (PKCS#11), and the public half that travels."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import Field
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, parse
from appliance.errors import BundleFormatError, ConfigError, StorageError
from appliance.events import utc_now
from trainer.release.passphrases import MAX_BYTES, Secrets, read_small
from trainer.release.token import TOKEN_SCHEME, open_token

Part = Literal["person", "quality", "ci", "online"]
"""What a key may do: a person's, a person's of the quality role, the trainer's or CI's own, an unattended machine's."""

HOLDER, PART = "x-holder", "x-part"
"""Fields of a key in signed metadata: whose it is, and what it may do; who signs the list of keys vouches for both."""


Words = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PublicKey(Section):
    """The public half of a key, as a file that may be seen by everybody.

    holder: who answers for it. place: the key's file, or the token's address. key: as in TUF's metadata.
    """

    schema_: Annotated[Literal["vi.public-key/1"], Field(alias="schema")] = "vi.public-key/1"
    holder: Words
    part: Part
    keyid: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    made_at: str
    place: str
    key: dict[str, Any]

    def as_tuf(self) -> Key:
        """Return the key as it stands in metadata, with its holder and part."""
        return Key.from_dict(self.keyid, {**self.key, HOLDER: self.holder, PART: self.part})


def make_key(path: Path, holder: str, part: Part, secrets: Secrets) -> PublicKey:
    """Make an Ed25519 key in an encrypted file that only its owner can read, and its public half beside it.

    Args:
        path: the key's file, which must not be there.
        holder: who answers for it.
        part: what it may do.
        secrets: where the passphrase comes from.

    Raises:
        ConfigError: The file is there, or the passphrase is no good.
        StorageError: The disk refuses.
    """
    check_is_free(path, public_path(path))
    passphrase = secrets.new_passphrase(f"passphrase of the new key {path}")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    public = describe(CryptoSigner(private).public_key, holder, part, str(path))
    _write_new(path, pem, 0o600)
    _write_new(public_path(path), dump(public), 0o644)
    return public


def describe(key: Key, holder: str, part: Part, place: str) -> PublicKey:
    """Say whose a key is.

    Raises:
        ConfigError: The holder's name is none.
    """
    if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,100}", holder):
        raise ConfigError(f"{holder!r}: no name of a holder; write up to 100 characters on one line")
    return PublicKey(
        holder=holder, part=part, keyid=key.keyid, made_at=utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"), place=place,
        key=key.to_dict(),
    )  # fmt: skip


def write_public(path: Path, public: PublicKey) -> None:
    """Write a public half, which must not be there.

    Raises:
        ConfigError: It is there.
        StorageError: The disk refuses.
    """
    check_is_free(path)
    _write_new(path, dump(public), 0o644)


def read_public(path: Path) -> PublicKey:
    """Read a public half.

    Raises:
        ConfigError: The file is none, or names another key than it holds.
    """
    content = read_small(path)
    try:
        public = parse(content, PublicKey, schema="vi.public-key/1", origin=str(path), max_bytes=MAX_BYTES)
        key = Key.from_dict(public.keyid, dict(public.key))
        if (
            not isinstance(key, SSlibKey)
            or SSlibKey.from_crypto(key._crypto_key(), scheme=key.scheme).keyid != key.keyid
        ):
            raise ValueError("its keyid is not that of its key")
    except (BundleFormatError, UnsupportedAlgorithm, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: no public key ({error}); name the .pub.json that `trainer keys new` wrote"
        ) from error
    return public


def open_signer(named: str, secrets: Secrets) -> Signer:
    """Open the private half of a key.

    Args:
        named: a key's file, or a token's address such as hsm:2?label=A.
        secrets: where passphrase or PIN come from.

    Raises:
        ConfigError: There is no such key, it is damaged, or the passphrase or PIN is wrong.
    """
    if named.startswith(f"{TOKEN_SCHEME}:"):
        return open_token(named, secrets.ask_pin)
    path = Path(named)
    content = read_small(path)
    if b"PRIVATE KEY-----" not in content:
        raise ConfigError(f"{path}: no private key; name the file that `trainer keys new` wrote beside the .pub.json")
    if b"ENCRYPTED" not in content:
        raise ConfigError(f"{path}: the key is not encrypted, so it must be taken for stolen; make another one")
    for passphrase in secrets.candidates(f"passphrase of {path}"):
        try:
            private = load_pem_private_key(content, passphrase)
        except ValueError:
            continue
        if isinstance(private, Ed25519PrivateKey):
            return CryptoSigner(private)
        raise ConfigError(f"{path}: no Ed25519 key; make one with `trainer keys new`")
    raise ConfigError(f"{path}: the passphrase is wrong, or the file is damaged; nothing was signed, try again")


def public_path(path: Path) -> Path:
    """Return where the public half of a key's file lies."""
    return path.with_name(f"{path.name}.pub.json")


def holder_of(key: Key) -> str:
    """Return who answers for a key in metadata."""
    return printable(str(key.unrecognized_fields.get(HOLDER, "nobody named")))


def part_of(key: Key) -> str:
    """Return what a key in metadata may do."""
    return printable(str(key.unrecognized_fields.get(PART, "no part")))


def printable(text: str) -> str:
    """Return text of somebody else's file as it may be shown: nothing in it moves the terminal's cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def fingerprint(keyid: str) -> str:
    """Return a key id as people read it aloud: the first 32 digits in groups of four."""
    return " ".join(keyid[at : at + 4] for at in range(0, 32, 4))


def check_is_free(*paths: Path) -> None:
    """Refuse to write over a key.

    Raises:
        ConfigError: One of these files is there.
    """
    for path in paths:
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path}: is there, and a key is never written over; name another file")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; check space and rights") from error
