"""An agent that is killed at random moments over whole updates, and what must hold after each kill."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.update.lifecycle import State
from appliance.update.slots import JudgingKindName, digest_of
from tests.tiny_releases import RELEASED
from tests.update_agent import Device, Fleet
from tests.update_server import UpdateServer

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 0.8
"""A whole update takes about as long, so that a kill falls into any part of it; for each kind."""

TO_BLAME = ("the agent ended within", "the line restarted")
"""What a good release may end in quarantine for: it was under way each time."""

Digests = dict[JudgingKindName, str]


@dataclass
class Tally:
    """What came of it: kills, updates by how they ended, states that a kill fell into, and what did not hold."""

    kills: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    killed_in: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def kill_agents(folder: Path, kills: int, seed: int, kinds: Sequence[JudgingKindName] = ("model",)) -> Tally:
    """Kill an agent so often, over as many updates of one of each kind as that takes."""
    rng, tally, fleet = random.Random(seed), Tally(), Fleet(folder, *kinds)
    with UpdateServer(fleet.repository.files) as server:
        device = fleet.device(folder / "device", server)
        old, number = device.would_start(), 2
        new = offer(fleet, number)
        command = [sys.executable, "-m", "tests.update_agent", str(device.folder), server.url, *kinds]
        agent = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert agent.stdin is not None
        assert agent.stdout is not None
        while tally.kills < kills:
            agent.stdin.write(json.dumps({"kill_after_s": rng.uniform(0, LONGEST_S * len(kinds))}) + "\n")
            agent.stdin.flush()
            ended = json.loads(agent.stdout.readline())["ended"]
            tally.kills += ended == -9
            note_what_is_broken(tally, device, old, new, ended)
            if rng.random() < 0.2:
                device.line.restart()
            if ended == 0:
                tally.ended.update(update.progress.outcome for update in device.journal.latest())
                old, number = device.would_start(), number + 1
                new = offer(fleet, number)
        agent.stdin.close()
        assert agent.wait(30) == 0
    return tally


def offer(fleet: Fleet, number: int) -> Digests:
    """Offer a release of each kind; returns their digests."""
    fleet.offer(number)
    return {kind: digest_of(fleet.file(kind, number)) for kind in fleet.kinds}


def note_what_is_broken(tally: Tally, device: Device, old: Digests, new: Digests, ended: int) -> None:
    """Look at the device as a station that starts now would; after an agent that ended by itself, at what it says."""
    try:
        in_force = device.would_start()
        for kind in device.kinds:
            RELEASED[kind].current(device.slots_root).resolve(strict=True)
        updates = {update.release.kind: update for update in device.journal.latest()}
    except (AssertionError, ApplianceError, OSError) as error:
        tally.broken.append(f"after {ended}: {error!r}")
        return
    if ended == -9:
        states = [update.progress.state for update in updates.values()]
        tally.killed_in.update(state.value for state in states or [State.IDLE])
    for kind, digest in in_force.items():
        if digest not in (old[kind], new[kind]):
            tally.broken.append(f"after {ended}: {digest} is neither the {kind} before nor the new one")
        if ended == -9:
            continue
        outcome, reason = updates[kind].progress.outcome, updates[kind].reason
        expected = new[kind] if outcome == "success" else old[kind]
        if ended != 0 or outcome not in ("success", "quarantined") or digest != expected:
            tally.broken.append(f"after {ended}: {kind} {outcome}, and {digest} is in force instead of {expected}")
        if outcome == "quarantined" and not any(words in reason for words in TO_BLAME):
            tally.broken.append(f"after {ended}: a good {kind} is blamed for {reason}")
        if device.line.in_force(RELEASED[kind].name) != expected:
            tally.broken.append(f"after {ended}: the line judges with another {kind} than {expected}")
