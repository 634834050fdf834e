"""How a rollout begins: who takes part, what each had before, and whether there is a way back to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from appliance.errors import ConfigError
from trainer.release.assignment import Assignment, Chosen, choose, content_of
from trainer.release.orders import assignment_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing
from trainer.rollout.fleet import Fleet, Placed
from trainer.rollout.phases import Phase
from trainer.rollout.record import NAME, Member, Record, names_of
from trainer.rollout.rings import share_out


def begin(
    name: str,
    shelf: Shelf,
    standing: Standing,
    fleet: Fleet,
    others: Sequence[Record],
    paths: Sequence[str],
    back: Sequence[str],
) -> Record:
    """Make the record of a new rollout, in which nobody is told yet.

    Args:
        name: of the rollout.
        shelf: where the repository lies.
        standing: what stands there.
        fleet: the devices.
        others: all rollouts before that can still go on.
        paths: of the releases.
        back: of what devices had, released again under higher numbers.

    Raises:
        ConfigError: It cannot begin so; says why.
    """
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"{name!r}: no name of a rollout; write letters, digits, -, _ and ., such as 2026-11-27-boards"
        )
    releases, ways = choose(standing, paths), choose_all(standing, back)
    _check_is_alone(releases, others)
    rings = share_out(fleet, name)
    members: dict[str, Member] = {}
    for device in sorted(rings):
        placed = fleet.devices[device]
        before = assignment_of(shelf, standing, placed.site, device)
        member = _member(device, before, releases, placed, standing)
        if member is not None:
            members[device] = member.model_copy(update={"ring": rings[device]})
    if not any(member.ring == "lab" for member in members.values()):
        raise ConfigError(
            f"{fleet.path}: no device of ring lab would try {', '.join(paths)}: all of them have this content already; "
            "give `ring: lab` to one that has not"
        )
    check_way_back(standing, releases, ways, members)
    return Record(
        name=name, number=1, releases=releases, back=ways, phase=Phase.RUNNING, opened={}, is_settled=False,
        members=members, heard={}, refused={}, refusals={}, excused={}, called={}, log=(),
    )  # fmt: skip


def choose_all(standing: Standing, paths: Sequence[str]) -> tuple[Chosen, ...]:
    """Look releases up, also several of one name: a fleet may have had several.

    Raises:
        ConfigError: Nobody signed such a release, or it has expired.
    """
    return tuple(chosen for path in paths for chosen in choose(standing, [path]))


def check_way_back(
    standing: Standing, releases: Sequence[Chosen], back: Sequence[Chosen], members: Mapping[str, Member]
) -> None:
    """Refuse a way back that devices would refuse, or that leads some of them elsewhere; none may be named later.

    Raises:
        ConfigError: It does.
    """
    if not back:
        return
    news, ways = names_of(releases), {content_of(standing, chosen) for chosen in back}
    for chosen in back:
        new = news.get(f"{chosen.kind}/{chosen.name}")
        if new is None:
            raise ConfigError(
                f"--back {chosen.path}: this rollout changes no {chosen.kind} {chosen.name}; leave it out"
            )
        if chosen.seq <= new.seq or chosen.sha256 == new.sha256:
            raise ConfigError(
                f"--back {chosen.path}: devices that have taken {new.path} refuse lower numbers; release what they had "
                "before once more, with `trainer publish release` (a recipe under a higher version), and name that"
            )
    for device, member in sorted(members.items()):
        if lost := [name for name, digest in member.had.items() if digest not in ways]:
            digest = "content" if lost[0].startswith("recipe/") else "sha256"
            raise ConfigError(
                f"--back: {device} had another {lost[0]} ({digest} {member.had[lost[0]][:12]}...); release that once "
                "more, too, and name all of them with --back"
            )
        if not member.had.keys() >= news.keys():
            raise ConfigError(
                f"--back: nobody knows what {device} had, because it was never assigned anything; assign it first what "
                "it runs (`trainer publish assign`), or begin without --back"
            )


def _check_is_alone(releases: Sequence[Chosen], others: Sequence[Record]) -> None:
    for other in others:
        both = names_of(releases).keys() & names_of(other.releases).keys()
        if both and other.phase in (Phase.RUNNING, Phase.PAUSED):
            raise ConfigError(
                f"{', '.join(sorted(both))}: {other.name} is {other.phase.value} with it; wait for its end, or halt it"
            )


def _member(
    device: str, before: Assignment | None, releases: Sequence[Chosen], placed: Placed, standing: Standing
) -> Member | None:
    """Say what a device had; None if it has the very same content already."""
    held, news = names_of(before.releases if before else ()), names_of(releases)
    if all(name in held and held[name].sha256 == chosen.sha256 for name, chosen in news.items()):
        return None
    for name, chosen in news.items():
        if name in held and held[name].seq > chosen.seq:
            raise ConfigError(
                f"{device} was given {held[name].path}, and {chosen.path} is older, which devices refuse; release this "
                "content under a new number"
            )
    return Member(
        site=placed.site, line=placed.line, ring="all",
        had={name: content_of(standing, held[name]) for name in news if name in held},
        keeps=tuple(chosen.path for name, chosen in held.items() if name not in news),
    )  # fmt: skip
