"""What this product's repositories say beyond TUF: which release a file is, and when the timestamp was signed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from appliance.errors import BundleTrustError
from appliance.update.floor import LARGEST_SEQ, as_moment

ISSUED_AT = "issued_at"
"""Key of timestamp.json's signed part: when it was signed, which TUF itself does not say."""

KINDS = {"models": "model", "recipes": "recipe", "apps": "app", "os": "os"}
"""First folder of a target's name -> what is counted against older releases of the same kind."""


class Conventions(Protocol):
    """What verified metadata says beyond TUF."""

    def numbered(self, name: str, custom: object) -> dict[str, int]:
        """Return kind, or kind/name -> number, as which a target counts against older ones; none: it is not counted.

        Args:
            name: the target's TUF path.
            custom: what its signer says of it.

        Raises:
            BundleTrustError: it says that in another way than was agreed.
        """
        ...

    def issued_at(self, said: Mapping[str, Any], expires: datetime) -> datetime | None:
        """Return when the timestamp was signed; None: it does not say.

        Args:
            said: what timestamp.json has beyond TUF.
            expires: the first moment at which something that was verified with it expires.

        Raises:
            BundleTrustError: it says no moment, or one that cannot be.
        """
        ...


class OurConventions:
    """What `trainer publish` writes, and every device holds its repositories to."""

    def numbered(self, name: str, custom: object) -> dict[str, int]:
        """See Conventions; the kind follows from the name, so that nobody numbers what others may sign.

        In a folder of its own (models/NAME/FILE) a name is counted for itself, else with all of its kind.
        """
        said = custom if isinstance(custom, dict) else {}
        kind, sequence = KINDS.get(name.partition("/")[0]) if "/" in name else None, said.get("seq")
        if kind is None and {"kind", "seq"} & said.keys():
            raise BundleTrustError(
                f"{name}: only names in {', '.join(f'{folder}/' for folder in KINDS)} are releases; "
                "publish it there, or leave kind and seq out"
            )
        if kind is None:
            return {}
        if said.get("kind", kind) == kind and type(sequence) is int and 0 <= sequence <= LARGEST_SEQ:
            _, *own, _ = name.split("/")
            return {"/".join([kind, *own[:1]]): sequence}
        raise BundleTrustError(
            f"{name}: kind {said.get('kind')!r} and seq {sequence!r} are no {kind} release; publish it with a seq from "
            f"0 to {LARGEST_SEQ}, and as kind {kind} or none"
        )

    def issued_at(self, said: Mapping[str, Any], expires: datetime) -> datetime | None:
        """See Conventions."""
        if (moment := said.get(ISSUED_AT)) is None:
            return None
        try:
            issued_at = as_moment(moment)
        except (TypeError, ValueError) as error:
            raise BundleTrustError(
                f"timestamp.json: {ISSUED_AT} is {moment!r}; publish it with a time such as 2026-01-31T12:00:00Z"
            ) from error
        if issued_at >= expires:
            raise BundleTrustError(
                f"timestamp.json says that it was signed at {moment}, after what it vouches for expires; "
                "correct the clock of who signs it"
            )
        return issued_at


OURS = OurConventions()
