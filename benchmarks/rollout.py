"""A release reaches a fleet of simulated devices: which gates hold a bad one, how many ever ran it, the server's load.

The devices ask with the appliance's own client over real HTTP on this machine, each with metadata, floor and files in
a folder of its own; what judges parts is played, and so are the hours (TUF's own clock is the real one). A device asks
for real when its assignment changes; a check without anything new is measured on a sample and multiplied.

Four stories on one fleet, one after the other, in which a few devices of a thousand fail, are silent, lie, forge or
replay: a release that is bad everywhere; one that is bad on production lines only; a good one where the large rings
count percent only; and a good one under the rules as they are when nothing is said.
Exit code 1: a bad release came further than its ring, or the good one did not reach everybody.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.fleet.load import per_check, per_day
from benchmarks.fleet.publisher import content_of
from benchmarks.fleet.world import LAB_DEVICES, MIX, World, build
from benchmarks.results import machine, write
from trainer.release.assignment import RINGS
from trainer.rollout.phases import Phase, Step
from trainer.rollout.record import Record
from trainer.rollout.steering import Steering, Wanted

HIT = 0.4
"""Share of the devices, where a release is bad, on which it shows."""

LOAD_SAMPLE = 200
STEP_H = 2.0
RECALL_H = 30.0
MOST_H = 24.0 * 14
SAMPLE = 25
"""Devices that nobody told, and that ask all the same at each step: they must not get it."""

PERCENT_ONLY = {ring: {"halt_devices": 100_000} for ring in ("line", "quarter", "all")}
Harm = Literal["everywhere", "lines", "nowhere"]


@dataclass(frozen=True, slots=True)
class Story:
    """A rollout; harm: where the release is bad; rings: what the fleet file says of them; ends_in: empty if by luck."""

    name: str
    harm: Harm
    rings: dict[str, Any]
    ends_in: str


STORIES = (
    Story("bad-everywhere", "everywhere", {}, "lab"),
    Story("bad-on-lines", "lines", {}, "line"),
    Story("good-by-percent", "nowhere", PERCENT_ONLY, "all"),
    Story("good-by-count", "nowhere", {}, ""),
)


def tell(world: World, story: Story, chance: random.Random) -> dict[str, Any]:
    """Let a story happen; returns its figures."""
    path, back = (world.publisher.release(content_of(name)) for name in (story.name, world.has))
    digest = world.publisher.standing().releases("model")[path].hashes["sha256"]
    for number, device in enumerate(world.devices.values()):
        is_hit = story.harm == "everywhere" or (story.harm == "lines" and number >= LAB_DEVICES)
        device.bad = frozenset({digest}) if is_hit and _luck(story, device.device_id) < HIT else frozenset()
    world.write_fleet(story.rings)
    steering, begun = world.steering(), world.hours
    record = steering.start(story.name, [path], Wanted("Anna", back=[back]))
    knows: set[tuple[str, bool]] = set()
    seconds: list[float] = []
    while record.phase is Phase.RUNNING and world.hours - begun < MOST_H:
        _ask(world, record, knows)
        _check_others(world, record, digest, chance)
        world.hours += STEP_H
        for device in record.told():
            world.devices[device].go_on(world.hours)
        began = time.monotonic()
        record, _ = steering.advance(story.name)
        seconds.append(time.monotonic() - began)
    took_h = world.hours - begun
    _ask(world, record, knows)
    record, _ = steering.advance(story.name)
    figures = _summed(world, record, digest, took_h, seconds)
    if record.phase is Phase.DONE:
        world.has = story.name
    if record.phase is Phase.HALTED:
        figures |= _recall(world, steering, record, digest, knows)
    return figures


def _recall(
    world: World, steering: Steering, record: Record, digest: str, knows: set[tuple[str, bool]]
) -> dict[str, Any]:
    """A person calls back whom the halt has left with it, and the day passes that a way back takes."""
    record = steering.change(record.name, Step.RECALL, Wanted("Anna", why="it was bad"))
    _ask(world, record, knows)
    world.hours += RECALL_H
    for device in record.told():
        world.devices[device].go_on(world.hours)
    record, _ = steering.advance(record.name)
    left = [device for device in world.devices.values() if device.in_force == digest]
    return {"recalled": len(record.called), "say_that_they_are_back_after_it": _back(record),
            "still_have_it_after_it": {device.device_id: device.nature for device in left}}  # fmt: skip


def _back(record: Record) -> int:
    return sum(record.heard[device].is_back for device in record.called if device in record.heard)


def _luck(story: Story, device_id: str) -> float:
    return random.Random(f"{story.name} {device_id}").random()


def _ask(world: World, record: Record, knows: set[tuple[str, bool]]) -> None:
    """Let every device ask for which there is something new."""
    now = {(device, device in record.called) for device in record.told()}
    world.poll(sorted(device for device, _ in now - knows))
    knows |= now


def _check_others(world: World, record: Record, digest: str, chance: random.Random) -> None:
    others = sorted(world.devices.keys() - set(record.told()))
    asked = chance.sample(others, min(SAMPLE, len(others) // 10))
    world.poll(asked)
    for device in asked:
        assert digest not in world.devices[device].ran, f"{device} was not told, and runs it"


def _summed(world: World, record: Record, digest: str, took_h: float, seconds: list[float]) -> dict[str, Any]:
    ran = [device for device in world.devices.values() if digest in device.ran]
    told = record.told()
    return {
        "phase": record.phase.value, "furthest_ring": record.newest_ring, "took_h": took_h,
        "ring_sizes": {ring: len(record.of_ring(ring)) for ring in RINGS},
        "told": len(told), "ever_ran_it": len(ran), "have_it_in_force": sum(each.in_force == digest for each in ran),
        "called_back": len(record.called), "say_that_they_are_back": _back(record), "refused_reports": record.refusals,
        "last_words": record.log[-1].what, "advances": len(seconds), "longest_advance_s": round(max(seconds), 2),
    }  # fmt: skip


def measure_load(world: World, count: int) -> dict[str, Any]:
    """Count what a check costs the server: the first ever, one after a publication, one with nothing new."""
    world.figures()
    fresh = [name for name, device in world.devices.items()
             if device.nature == "healthy" and not device.folder.exists()][:count]  # fmt: skip
    found: dict[str, Any] = {}
    if fresh:
        world.poll(fresh)
        found["first"] = per_check(world.figures(), len(fresh))
    known = [name for name, device in world.devices.items() if device.nature == "healthy" and device.folder.exists()]
    known = known[:count]
    world.poll(known)
    world.publisher.release(content_of("somebody else's"))
    world.figures()
    world.poll(known)
    found["after_a_publication"] = per_check(world.figures(), len(known))
    began = time.monotonic()
    world.poll(known)
    found["nothing_new"] = per_check(world.figures(), len(known))
    found["nothing_new"]["ms_on_the_device"] = round((time.monotonic() - began) * 1000 / len(known), 1)
    return found


def run(folder: Path, count: int, stories: Sequence[Story] = STORIES) -> dict[str, Any]:
    """Build a fleet and tell stories of it."""
    began = time.monotonic()
    world = build(folder, count)
    chance = random.Random(1)
    try:
        load = measure_load(world, min(count // 5, LOAD_SAMPLE))
        natures = {nature: sum(each.nature == nature for each in world.devices.values()) for nature in MIX}
        sys.stdout.write(f"{count} devices at {len(world.publisher.sites)} sites, of which {natures}\n")
        told: dict[str, Any] = {}
        for story in stories:
            told[story.name] = tell(world, story, chance)
            sys.stdout.write(f"{story.name}: {_in_words(told[story.name])}\n")
            sys.stdout.flush()
        return {
            "devices": count, "sites": len(world.publisher.sites), "natures": natures, "hit_by_a_bad_release": HIT,
            "polls_for_real": world.polls, "took_s": round(time.monotonic() - began),
            "stories": told, "check": load, "day": per_day(count, load["nothing_new"]),
        }  # fmt: skip
    finally:
        world.close()


def _in_words(figures: dict[str, Any]) -> str:
    return (
        f"{figures['phase']} in ring {figures['furthest_ring']} after {figures['took_h']:.0f} h: told "
        f"{figures['told']}, ever ran it {figures['ever_ran_it']}, refused {figures['refused_reports']}; "
        f"{figures['last_words']}"
    )


def main() -> int:
    """Measure, print, write benchmarks/results/rollout.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    named = {story.name: story for story in STORIES}
    parser.add_argument("--story", action="append", choices=named, help="tell this one only; repeat it for more")
    parser.add_argument("--devices", type=int, default=1000, help="how many (default %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        stories = [named[name] for name in arguments.story or named]
        found = run(Path(folder), arguments.devices, stories)
    day = found["day"]
    sys.stdout.write(f"a day without anything new: {day}\n")
    write("rollout", {"machine": machine(), **found})
    told = found["stories"]
    return 0 if all(story.ends_in in ("", told[story.name]["furthest_ring"]) for story in stories) else 1


if __name__ == "__main__":
    sys.exit(main())
