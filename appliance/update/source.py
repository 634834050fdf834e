"""Where a repository's files lie: on a server, or in a folder; nothing from there is believed before it is checked."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from appliance.errors import DeliveryError
from appliance.update.pace import TransferLimits


class NotThereError(DeliveryError):
    """The source has no file of this name; TUF takes that for the end of a chain of roots."""


class CannotGoOnError(DeliveryError):
    """The source does not give the rest of a file from there, so it must be begun anew."""


class Source(Protocol):
    """One folder of a repository: its metadata, or its targets."""

    @property
    def place(self) -> str:
        """Return where it lies, for messages."""
        ...

    @property
    def limits(self) -> TransferLimits:
        """Return what a transfer must keep to."""
        ...

    def read(self, name: str, *, most_bytes: int, ends_at: float) -> bytes:
        """Return a small file.

        Args:
            name: of a file right in this place, percent-encoded.
            most_bytes: what it may have.
            ends_at: monotonic seconds at which it must be here.

        Raises:
            NotThereError: there is no such file.
            DeliveryError: it is longer, or the network, the server or the stick said no.
        """
        ...

    def rest(self, path: str, *, first_byte: int, length: int, ends_at: float) -> Generator[bytes, None, None]:
        """Read the rest of a file, or some of it.

        Args:
            path: below this place, percent-encoded.
            first_byte: where the rest begins.
            length: what the whole file must have; a longer one is refused.
            ends_at: monotonic seconds at which it must be here.

        Yields:
            Bytes in order from first_byte on, never more than the rest. Close it if it is not read to its end.

        Raises:
            CannotGoOnError: only for a first_byte other than 0.
            DeliveryError: it is longer or shorter, or the network, the server or the stick said no.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoSource:
    """The place of a repository that this device cannot ask: what is not here already must be brought."""

    limits: TransferLimits
    place: str = "no server"

    def read(self, name: str, *, most_bytes: int, ends_at: float) -> bytes:
        """Return nothing; see Source."""
        raise self._refused(name)

    def rest(self, path: str, *, first_byte: int, length: int, ends_at: float) -> Generator[bytes, None, None]:
        """Return nothing; see Source."""
        raise self._refused(path)

    def _refused(self, name: str) -> DeliveryError:
        return DeliveryError(f"{name}: is not here, and agent.yaml names no server; import the stick once more")


def ends_early(place: str, reached: int, length: int) -> DeliveryError:
    """Return the error for a file that has less bytes than were signed."""
    return DeliveryError(f"{place}: the file there ends after {reached} of {length} bytes; publish it again")
