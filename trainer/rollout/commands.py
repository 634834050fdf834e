"""What `trainer rollout` does, and how its result is shown."""

from __future__ import annotations

import argparse

from rich.table import Table

from appliance.errors import EXIT_REFUSED
from appliance.events import utc_now
from trainer.files import write_json
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.release.orders import Signers
from trainer.release.publish_commands import signers_of
from trainer.rollout.fleet import read_fleet
from trainer.rollout.gate import Seen
from trainer.rollout.page import rollout_page
from trainer.rollout.phases import Phase, Step
from trainer.rollout.record import Record
from trainer.rollout.steering import Steering, Wanted
from trainer.rollout.views import RingView, as_plain, is_back, sized, views, waits_for


def start(arguments: argparse.Namespace) -> int:
    """Begin a rollout.

    Args:
        arguments: of `trainer rollout start`.

    Returns:
        The exit code.
    """
    steering = _steering(arguments, signers_of(arguments))
    wanted = Wanted(by=arguments.by, why=arguments.why, back=arguments.back)
    record = steering.start(arguments.rollout, arguments.release, wanted)
    if not record.back:
        _err.print(
            "trainer: beware: no way back is named with --back, so a halt can call nobody back until one is: "
            "docs/rollout.md",
            soft_wrap=True,
        )
    _show(record, views(record, steering.fleet.rings, utc_now()))
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Tell how a rollout stands.

    Args:
        arguments: of `trainer rollout status`.

    Returns:
        The exit code.
    """
    record, found = _steering(arguments, ()).look(arguments.rollout)
    if arguments.html:
        arguments.html.write(rollout_page(record, found, utc_now()))
    return _told(arguments, record, found)


def advance(arguments: argparse.Namespace) -> int:
    """Read reports, judge, and tell the next ring or end it.

    Args:
        arguments: of `trainer rollout advance`.

    Returns:
        The exit code; 1 once it is halted or recalled, so that a timer's mail tells somebody.
    """
    record, found = _steering(arguments, signers_of(arguments)).advance(arguments.rollout)
    code = _told(arguments, record, found)
    return EXIT_REFUSED if record.phase in (Phase.HALTED, Phase.RECALLED) else code


def change(arguments: argparse.Namespace) -> int:
    """Pause, resume, halt or recall.

    Args:
        arguments: of the command of that name.

    Returns:
        The exit code.
    """
    steering = _steering(arguments, signers_of(arguments))
    excuse = arguments.excuse if arguments.task == "resume" else ()
    back = arguments.back if arguments.task in ("halt", "recall") else ()
    wanted = Wanted(by=arguments.by, why=arguments.why, back=back, excuse=excuse)
    record = steering.change(arguments.rollout, Step(arguments.task), wanted)
    _show(record, views(record, steering.fleet.rings, utc_now()))
    return 0


def _steering(arguments: argparse.Namespace, signers: Signers) -> Steering:
    fleet = read_fleet(arguments.fleet)
    return Steering(arguments.repository, arguments.root, fleet, signers, utc_now)


def _told(arguments: argparse.Namespace, record: Record, found: list[RingView]) -> int:
    _show(record, found)
    if arguments.json:
        write_json(arguments.json.path, as_plain(record, found))
    return 0


def _show(record: Record, found: list[RingView]) -> None:
    table = Table("ring", "told (UTC)", "devices", "of them", "parts", "gate")
    for view in found:
        if view.tally is None or view.judgement is None:
            table.add_row(view.ring, "not yet" if view.size else "nobody is in it", str(view.size))
            continue
        counts = ", ".join(f"{view.tally.counts[seen]} {seen.value}" for seen in Seen if view.tally.counts.get(seen))
        told_at = record.opened[view.ring][:16].replace("T", " ")
        table.add_row(view.ring, told_at, str(view.size), counts, str(view.tally.parts), view.judgement.says)
    _out.print(
        f"{record.name}: {record.phase.value}; {', '.join(chosen.path for chosen in record.releases)}", soft_wrap=True
    )
    _out.print(table)
    last = record.log[-1]
    _out.print(f"last: {last.at} {last.by}: {last.what}", soft_wrap=True)
    if record.called:
        back = sum(is_back(record, device) for device in record.called)
        _out.print(f"called back: {sized(len(record.called))}, {back} of them told that they are back")
    if record.refused:
        words = "; ".join(refused.words for _, refused in sorted(record.refused.items())[:5])
        _out.print(f"refused: {len(record.refused)} reports: {words}", soft_wrap=True)
    for words in waits_for(record, found):
        _out.print(f"waits for: {words}", soft_wrap=True)
