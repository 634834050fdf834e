"""How a rollout looks now: each ring's devices, and what its gate says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from trainer.release.assignment import RINGS, Ring
from trainer.rollout.fleet import Rings
from trainer.rollout.gate import FAILURES, Judgement, Seen, Tally, judge
from trainer.rollout.phases import Phase
from trainer.rollout.record import Record, hours_between, seen_of

WAYS_BACK = "called back", "back"
"""What a called device is: not heard of since, and known to run what it had."""


@dataclass(frozen=True, slots=True)
class RingView:
    """One ring.

    Args:
        ring: which.
        size: how many devices are in it.
        devices: device's id -> what is known of it; empty until it is told.
        tally: their sum; None until it is told.
        judgement: what its gate says; None until it is told.
    """

    ring: Ring
    size: int
    devices: Mapping[str, Seen]
    tally: Tally | None
    judgement: Judgement | None


def views(record: Record, rings: Rings, now: datetime) -> list[RingView]:
    """Look at all rings, in their order.

    Args:
        record: the rollout.
        rings: what each must show.
        now: UTC.
    """
    return [_view(record, ring, rings, now) for ring in RINGS]


def _view(record: Record, ring: Ring, rings: Rings, now: datetime) -> RingView:
    devices, terms = record.of_ring(ring), rings.of(ring)
    if ring not in record.opened:
        return RingView(ring, len(devices), {}, None, None)
    seen = {device: seen_of(record, device, terms.silent_h, now) for device in devices}
    counted = [record.heard[device] for device in devices if device in record.heard and device not in record.excused]
    hours = hours_between(record.opened[ring], now)
    tally = Tally(Counter(seen.values()), hours, sum(heard.parts for heard in counted))
    return RingView(ring, len(devices), seen, tally, judge(terms, tally))


def waits_for(record: Record, found: list[RingView]) -> list[str]:
    """Say in words what has to happen next, a sentence each."""
    name = record.name
    if record.phase is Phase.DONE:
        return ["Nothing: every ring has shown what it must."]
    if record.phase in (Phase.HALTED, Phase.RECALLED):
        return _way_back(record)
    told = [view for view in found if view.judgement is not None]
    words = [f"Ring {view.ring}: {clause}." for view in told for clause in _clauses(view, is_newest=view is told[-1])]
    if record.phase is Phase.PAUSED:
        return [f"A person: it is paused. `trainer rollout resume {name}` goes on.", *words]
    return words or [f"The next `trainer rollout advance {name}`, which tells the next ring."]


def _clauses(view: RingView, *, is_newest: bool) -> tuple[str, ...]:
    assert view.judgement is not None
    if view.judgement.says == "HALT":
        return (f"{view.judgement.words[0]}, at the next `trainer rollout advance`",)
    if view.judgement.says == "WAIT" and (is_newest or is_protected(view)):
        return view.judgement.words
    return ()


def is_protected(view: RingView) -> bool:
    """Tell whether a device of the ring protected its line, so that no further ring is told."""
    return view.tally is not None and any(view.tally.counts.get(seen) for seen in (Seen.ROLLED_BACK, Seen.QUARANTINED))


def _way_back(record: Record) -> list[str]:
    if not record.called:
        return ["Nothing: nobody has to be called back."]
    if not record.back:
        return [
            f"A person: {sized(len(record.called))} must be called back, and nothing is named to which. Release "
            "what they had under a new number (`trainer publish release`), and name it: `trainer rollout "
            f"{'recall' if record.phase is Phase.RECALLED else 'halt'} {record.name} --back PATH`."
        ]
    left = [device for device in record.called if not is_back(record, device)]
    if not left:
        return [f"Nothing: {sized(len(record.called))} called back, and all of them told that they are back."]
    return [f"{sized(len(record.called))} called back, and {len(left)} of them did not tell yet that they are back."]


def is_back(record: Record, device: str) -> bool:
    """Tell whether a called device says that it runs what it had."""
    heard = record.heard.get(device)
    return heard is not None and heard.is_back


def sized(count: int) -> str:
    """Say how many devices."""
    return "1 device" if count == 1 else f"{count} devices"


def as_plain(record: Record, found: list[RingView]) -> dict[str, object]:
    """Return a rollout as plain values for another program."""
    rings = [
        {
            "ring": view.ring, "devices": view.size, "told_at": record.opened.get(view.ring),
            "seen": {seen.value: count for seen, count in sorted(view.tally.counts.items())} if view.tally else {},
            "hours": round(view.tally.hours, 2) if view.tally else None,
            "parts": view.tally.parts if view.tally else None,
            "says": view.judgement.says if view.judgement else None,
            "words": list(view.judgement.words) if view.judgement else [],
        }
        for view in found
    ]  # fmt: skip
    left = [device for device in record.called if not is_back(record, device)]
    return {
        "rollout": record.name, "phase": record.phase.value, "rings": rings, "waits_for": waits_for(record, found),
        "releases": [chosen.path for chosen in record.releases], "back": [chosen.path for chosen in record.back],
        "refused_now": {device: refused.why for device, refused in record.refused.items()},
        "refusals": record.refusals, "called_back": len(record.called), "not_back_yet": len(left),
        "failures": {device: seen.value for view in found for device, seen in view.devices.items() if seen in FAILURES},
    }  # fmt: skip
