"""A repository's files on a server."""

import re
from collections.abc import Generator
from dataclasses import dataclass

from appliance.errors import DeliveryError
from appliance.update.pace import TransferLimits
from appliance.update.source import CannotGoOnError, NotThereError, ends_early
from appliance.update.transport import Answer, Transport

CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
OK, PARTIAL, FORBIDDEN, NOT_FOUND, NOT_SATISFIABLE = 200, 206, 403, 404, 416


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """A folder of a server; see `source.Source`. An address that this device may not ask is a ConfigError."""

    url: str
    transport: Transport

    def __post_init__(self) -> None:
        """Check the address."""
        self.transport.check_address(self.url)

    @property
    def place(self) -> str:
        """Return the address."""
        return self.url.rstrip("/")

    @property
    def limits(self) -> TransferLimits:
        """Return what a transfer must keep to."""
        return self.transport.limits

    def read(self, name: str, *, most_bytes: int, ends_at: float) -> bytes:
        """Return a small file; see `source.Source`."""
        place = f"{self.place}/{name}"
        with self.transport.get(place, most_bytes=most_bytes, ends_at=ends_at) as answer:
            if answer.status != OK:
                raise _no_file(answer, place)
            return b"".join(answer.chunks(most_bytes))

    def rest(self, path: str, *, first_byte: int, length: int, ends_at: float) -> Generator[bytes, None, None]:
        """Ask for the rest of a file; see `source.Source`.

        Source:
            RFC 9110 section 14 (ranges): a server may send all of it instead, or less.
        """
        place, reached = f"{self.place}/{path}", first_byte
        with self.transport.get(place, most_bytes=length, ends_at=ends_at, first_byte=first_byte) as answer:
            if answer.status == NOT_SATISFIABLE and first_byte:
                raise CannotGoOnError(f"{place}: the server does not go on at byte {first_byte}; try again")
            skipped = _first_byte(answer, place, first_byte, length)
            for chunk in answer.chunks(length - first_byte + skipped):
                reached += max(0, len(chunk) - skipped)
                yield chunk[skipped:]
                skipped = max(0, skipped - len(chunk))
            if answer.status == OK and reached < length:
                raise ends_early(place, reached, length)


def _no_file(answer: Answer, place: str) -> DeliveryError:
    kind = NotThereError if answer.status in (FORBIDDEN, NOT_FOUND) else DeliveryError
    return kind(f"{place}: the server answers {answer.status}; check the address and the server")


def _first_byte(answer: Answer, place: str, wanted: int, length: int) -> int:
    """Check that the answer is what was asked for; returns how many bytes at its beginning are on disk already."""
    if answer.status == OK:
        return wanted  # a server that knows no ranges sends all of it
    if answer.status != PARTIAL:
        raise _no_file(answer, place)
    found = CONTENT_RANGE.fullmatch(answer.header("Content-Range"))
    if not wanted or not found or int(found[1]) != wanted or not wanted <= int(found[2]) < length:
        raise _wrong_range(answer, place, wanted, length)
    if found[3] not in ("*", str(length)):
        raise _wrong_range(answer, place, wanted, length)
    return 0


def _wrong_range(answer: Answer, place: str, wanted: int, length: int) -> DeliveryError:
    return DeliveryError(
        f"{place}: bytes {wanted} to {length - 1} were asked for, and the server sends "
        f"{answer.header('Content-Range')[:80]!r}; correct the server"
    )
