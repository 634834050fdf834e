"""Keys that never leave a token: PKCS#11, by python-pkcs11 and securesystemslib's HSMSigner.

Source: PKCS #11 v2.40 (C_GenerateKeyPair, CKA_ID, CKA_EXTRACTABLE); securesystemslib, HSMSigner (hsm:ID?label=L).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Key, Signature, Signer

from appliance.errors import ConfigError

TOKEN_SCHEME = "hsm"
MODULE = "PYKCS11LIB"
"""Environment variable with the path of the token's PKCS#11 library."""

_ADDRESS = re.compile(r"hsm:(?P<id>\d{1,4})\?(?P<query>label=[^&]+)")


class TokenSigner(Signer):
    """HSMSigner, whose refusals are said in words; the PIN is asked for each signature."""

    def __init__(self, signer: HSMSigner, named: str) -> None:
        self._signer, self._named = signer, named

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Callable[[str], str] | None = None
    ) -> TokenSigner:
        """Open a token's key as securesystemslib does."""
        return cls(HSMSigner.from_priv_key_uri(priv_key_uri, public_key, secrets_handler), priv_key_uri)

    @property
    def public_key(self) -> Key:
        """The public half."""
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        """Let the token sign.

        Raises:
            ConfigError: It refuses: another PIN, or it was pulled out.
        """
        with _in_words(self._named):
            return self._signer.sign(payload)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A place on a token.

    Args:
        label: of the token.
        number: of the key there (CKA_ID); 2 is the signature slot of PIV tokens.
    """

    label: str
    number: int

    def address(self) -> str:
        """Return the key's address."""
        return f"{TOKEN_SCHEME}:{self.number}?label={quote(self.label)}"


def make_token_key(place: TokenKey, ask_pin: Callable[[str], str]) -> tuple[Key, bool]:
    """Make a P-256 key on a token, from which it can never be read; a key that is there already is taken.

    Args:
        place: where.
        ask_pin: asks for the PIN.

    Returns:
        The public half, and whether the key is new.

    Raises:
        ConfigError: There is no such token, or it refuses.
    """
    with _in_words(place.address()):
        import pkcs11
        from pkcs11.util import biginteger
        from pkcs11.util.ec import encode_named_curve_parameters

        pin = ask_pin(f"PIN of the token {place.label}")
        token = pkcs11.lib(_module()).get_token(token_label=place.label)
        with token.open(user_pin=pin, rw=True) as session:
            number = biginteger(place.number)
            asked = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, pkcs11.Attribute.ID: number}
            is_new = not list(session.get_objects(asked))
            if is_new:
                curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
                session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True).generate_keypair(
                    id=number,
                    label=f"release {place.number}",
                    store=True,
                    private_template={
                        pkcs11.Attribute.EXTRACTABLE: False,
                        pkcs11.Attribute.SENSITIVE: True,
                        pkcs11.Attribute.SIGN: True,
                    },
                )
        return HSMSigner.import_(place.number, place.label, lambda _: pin)[1], is_new


def open_token(named: str, ask_pin: Callable[[str], str]) -> TokenSigner:
    """Open a token's key for signing.

    Args:
        named: its address, such as hsm:2?label=A.
        ask_pin: asks for the PIN, once.

    Raises:
        ConfigError: The address is none, or there is no such token or key.
    """
    match = _ADDRESS.fullmatch(named)
    if match is None:
        raise ConfigError(f"{named}: no address of a token's key; write hsm:NUMBER?label=LABEL, as `keys new` told it")
    label = parse_qs(match["query"])["label"][0]
    with _in_words(named):
        _module()
        pin = ask_pin(f"PIN of the token {label}")
        _, public = HSMSigner.import_(int(match["id"]), label, lambda _: pin)
        return TokenSigner(HSMSigner(int(match["id"]), public, lambda _: pin, label), named)


def _module() -> str:
    module = os.environ.get(MODULE, "")
    if not module:
        raise ConfigError(f"{MODULE} names no PKCS#11 library; set it to the path of the one that came with the token")
    return module


@contextmanager
def _in_words(named: str) -> Iterator[None]:
    try:
        yield
    except (ModuleNotFoundError, UnsupportedLibraryError) as error:
        raise ConfigError(f"{named}: tokens need more: pip install 'inspection-appliance[hsm]'") from error
    except ValueError as error:
        raise ConfigError(f"{named}: {error}; look at the token's label and the key's number") from error
    except _token_errors() as error:
        raise ConfigError(
            f"{named}: the token refuses ({type(error).__name__}{f': {error}' if str(error) else ''}); check label, "
            "number and PIN (after a few wrong ones a token locks itself), and the library that PYKCS11LIB names"
        ) from error


def _token_errors() -> tuple[type[Exception], ...]:
    try:
        from pkcs11.exceptions import PKCS11Error
    except ModuleNotFoundError:
        return ()
    return (PKCS11Error, RuntimeError)
