"""The record of a ceremony: who, when, which keys, what was signed, and lines to sign by hand: an HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.events import utc_now
from trainer.page import Page
from trainer.release.keys import fingerprint, holder_of, part_of
from trainer.release.request import Request, contents, signed_digest

LINE = "_" * 34


def record(requests: Sequence[Request], by: str) -> str:
    """Make the page.

    Args:
        requests: with the signatures so far.
        by: who prints it.
    """
    page = Page(
        "Record of signatures",
        f"Printed by {by} on {utc_now():%Y-%m-%d at %H:%M} UTC. Each person compares the fingerprint of the own key "
        "and the SHA-256 below with what the own computer shows, and signs this page by hand.",
    )
    for request in requests:
        page.heading(
            request.title(),
            f"{request.why} Asked for by {request.made_by} on {request.made_at}. SHA-256 of what is signed: "
            f"{signed_digest(request)}",
        )
        page.tables([("what", "says"), *contents(request)])
        page.tables([("by", "signatures needed"), *((need.by, str(need.threshold)) for need in request.needs)])
        page.tables(
            [("holder", "part", "key id", "fingerprint", "signed", "date, signature by hand"), *_holders(request)]
        )
        page.heading(
            "", "; ".join(f"still needed: {words}" for words in request.lacks()) or "All signatures are there."
        )
    return page.html()


def _holders(request: Request) -> list[tuple[str, ...]]:
    done = request.signers()
    rows: list[tuple[str, ...]] = []
    for keyid in request.keys:
        key = request.key(keyid)
        signed = request.signed_at.get(keyid, "yes") if keyid in done else "not yet"
        rows.append((holder_of(key), part_of(key), keyid, fingerprint(keyid), signed, LINE))
    return rows
