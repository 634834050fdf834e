"""The device's own key: made at first use, never leaves the device, signs what it says."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.bundle.whole_file import sync
from appliance.errors import StorageError
from appliance.update.durable import in_words

KEY_BYTES = 32


class DeviceKey:
    """An ed25519 key in a file that only the agent's user reads."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take over a key; open_device_key makes one."""
        self._private = private

    @property
    def public(self) -> str:
        """The public half, hexadecimal."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> str:
        """Return the signature of some bytes, hexadecimal."""
        return self._private.sign(content).hex()


def is_signed_by(public: str, content: bytes, signature: str) -> bool:
    """Return whether a device signed these bytes.

    Args:
        public: its public key, hexadecimal.
        content: the bytes.
        signature: hexadecimal.
    """
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (ValueError, InvalidSignature):
        return False
    return True


def open_device_key(path: Path) -> DeviceKey:
    """Read the device's key, and make it if there is none.

    Args:
        path: its file; 32 bytes, mode 0600.

    Raises:
        StorageError: it cannot be read or written, others may read it, or it is damaged.
    """
    with in_words(path):
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise StorageError(
                f"{path}: others may read the device's key; remove it, and let the fleet know the new one"
            )
        content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise StorageError(f"{path}: the device's key is damaged; remove it, and let the fleet know the new one")
    return DeviceKey(Ed25519PrivateKey.from_private_bytes(content))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):  # a draft that became the key is gone
            draft.unlink()
