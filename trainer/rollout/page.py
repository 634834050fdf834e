"""A rollout as one HTML page that opens without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from trainer.page import Page
from trainer.rollout.gate import FAILURES, Seen
from trainer.rollout.record import Record
from trainer.rollout.views import RingView, is_back, sized, waits_for

MOST_ROWS = 200
"""Of devices in a table; the rest is counted."""

_COLOURS = {
    Seen.SUCCESS: "#2f8f4e", Seen.RUNNING: "#5b8def", Seen.TOLD: "#b9c6dd", Seen.EXCUSED: "#d7dbe2",
    Seen.SILENT: "#8b6f47", Seen.FAILED: "#d99a1c", Seen.ROLLED_BACK: "#cf3a3a", Seen.QUARANTINED: "#8e1f4f",
}  # fmt: skip
_WIDTH, _LEFT, _ROW = 1000, 90, 34


def rollout_page(record: Record, found: Sequence[RingView], now: datetime) -> str:
    """Draw the page.

    Args:
        record: the rollout.
        found: its rings.
        now: UTC.
    """
    releases = ", ".join(chosen.path for chosen in record.releases)
    way = ", ".join(chosen.path for chosen in record.back) or "none named"
    lead = f"{record.phase.value.capitalize()} at {now:%Y-%m-%d %H:%M} UTC. Release: {releases}. Way back: {way}."
    page = Page(f"Rollout {record.name}", lead)
    last = record.log[-1]
    page.paragraph(f"Last, on {_at(last.at)} by {last.by}: {last.what}.")
    page.heading("What it waits for")
    for words in waits_for(record, list(found)):
        page.paragraph(words)
    page.heading("Rings")
    page.drawing(_bars(found))
    head = ("ring", "told (UTC)", "devices", "success", "failed or silent", "parts", "hours", "gate")
    page.table_of_words(head, *(_ring_row(record, view) for view in found))
    if rows := list(_failures(record, found)):
        page.heading("Devices that did not make it", _shown(rows))
        page.table_of_words(("device", "site / line", "ring", "what", "in their words"), *rows[:MOST_ROWS])
    if record.called:
        left = [device for device in sorted(record.called) if not is_back(record, device)]
        told = len(record.called) - len(left)
        page.heading("Called back", f"{sized(len(record.called))}; {told} of them told that they are back.")
        if left:
            page.paragraph(f"Not yet: {', '.join(left[:MOST_ROWS])}{' ...' if len(left) > MOST_ROWS else ''}")
    _add_refused(page, record)
    page.heading("What was done")
    page.table_of_words(("when (UTC)", "by", "what"), *((_at(entry.at), entry.by, entry.what) for entry in record.log))
    return page.html()


def _ring_row(record: Record, view: RingView) -> tuple[object, ...]:
    if view.tally is None or view.judgement is None:
        return view.ring, "not yet" if view.size else "nobody is in it", view.size, "", "", "", "", ""
    succeeded = view.tally.counts.get(Seen.SUCCESS, 0)
    gate = f"{view.judgement.says.lower()}: {'; '.join(view.judgement.words)}"
    return (
        view.ring, _at(record.opened[view.ring]), view.size, succeeded, view.tally.failures, view.tally.parts,
        f"{view.tally.hours:.1f}", gate,
    )  # fmt: skip


def _failures(record: Record, found: Sequence[RingView]) -> Iterator[tuple[object, ...]]:
    for view in found:
        for device, seen in view.devices.items():
            if seen in FAILURES:
                member, heard = record.members[device], record.heard.get(device)
                yield device, f"{member.site} / {member.line}", view.ring, seen.value, heard.reason if heard else ""


def _add_refused(page: Page, record: Record) -> None:
    if not record.refusals:
        return
    told = ", ".join(f"{count} {why}" for why, count in sorted(record.refusals.items()))
    page.heading("Refused reports", f"{told} in all; none of them counts for anything.")
    rows = [
        (device, _at(refused.since), refused.why, refused.words) for device, refused in sorted(record.refused.items())
    ]
    if rows:
        page.table_of_words(("device", "since (UTC)", "why", "what lies there now"), *rows[:MOST_ROWS])


def _bars(found: Sequence[RingView]) -> str:
    """One bar a ring, as long as the whole width, split by what its devices are."""
    parts = []
    for number, view in enumerate(found):
        y = number * _ROW
        parts.append(f'<text x="0" y="{y + 17}">{view.ring} ({view.size})</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH - _LEFT}" height="24" fill="#eef0f4"/>')
        x = float(_LEFT)
        for seen, colour in _COLOURS.items():
            count = view.tally.counts.get(seen, 0) if view.tally else 0
            if count:
                width = (_WIDTH - _LEFT) * count / view.size
                words = escape(f"{view.ring}: {count} {seen.value}")
                place = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{colour}"'
                parts.append(f"<rect {place}><title>{words}</title></rect>")
                x += width
    y, x = len(found) * _ROW, float(_LEFT)
    for seen, colour in _COLOURS.items():
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="{y + 11}">{seen.value}</text>')
        x += 112
    attributes = f'viewBox="0 0 {_WIDTH} {y + 16}" width="100%" role="img" aria-label="devices by ring"'
    return f"<svg {attributes}>{''.join(parts)}</svg>"


def _shown(rows: Sequence[object]) -> str:
    return f"The first {MOST_ROWS} of {len(rows)}." if len(rows) > MOST_ROWS else ""


def _at(moment: str) -> str:
    return moment[:16].replace("T", " ")
