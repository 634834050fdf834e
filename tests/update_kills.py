"""An agent that is killed at random moments over whole updates, and what must hold after each kill."""

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import ApplianceError
from tests.update_agent import NAME, Device, Fleet
from tests.update_server import UpdateServer

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 0.8
"""A whole update takes about as long, so that a kill falls into any part of it."""


@dataclass
class Tally:
    """What came of it: kills, updates by how they ended, states that a kill fell into, and what did not hold."""

    kills: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    killed_in: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def kill_agents(folder: Path, kills: int, seed: int, longest_s: float = LONGEST_S) -> Tally:
    """Kill an agent so often, over as many updates as that takes."""
    rng, tally, fleet = random.Random(seed), Tally(), Fleet(folder)
    with UpdateServer(fleet.repository.files) as server:
        device = fleet.device(folder / "device", server)
        old, revision = device.in_force(), 2
        new = fleet.offer(revision)
        command = [sys.executable, "-m", "tests.update_agent", str(device.folder), server.url]
        agent = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert agent.stdin is not None
        assert agent.stdout is not None
        while tally.kills < kills:
            agent.stdin.write(json.dumps({"kill_after_s": rng.uniform(0, longest_s)}) + "\n")
            agent.stdin.flush()
            ended = json.loads(agent.stdout.readline())["ended"]
            tally.kills += ended == -9
            note_what_is_broken(tally, device, old, new, ended)
            if rng.random() < 0.2:
                device.line.restart()
            if ended == 0:
                tally.ended[device.newest().progress.outcome] += 1
                old, revision = device.in_force(), revision + 1
                new = fleet.offer(revision)
        agent.stdin.close()
        assert agent.wait(30) == 0
    return tally


def note_what_is_broken(tally: Tally, device: Device, old: str, new: str, ended: int) -> None:
    """Look at the device as a station that starts now would; after an agent that ended by itself, at what it says."""
    try:
        in_force = device.in_force()
        (device.models / NAME / "current.bundle").resolve(strict=True)
        updates = device.journal.latest()
    except (AssertionError, ApplianceError, OSError) as error:
        tally.broken.append(f"after {ended}: {error!r}")
        return
    if in_force not in (old, new):
        tally.broken.append(f"after {ended}: {in_force} is neither the release before nor the new one")
    if ended == -9:
        tally.killed_in[updates[0].progress.state.value if updates else "before any"] += 1
        return
    outcome = updates[0].progress.outcome
    expected = new if outcome == "success" else old
    if ended != 0 or outcome not in ("success", "quarantined") or in_force != expected:
        tally.broken.append(f"after {ended}: {outcome}, and {in_force} is in force instead of {expected}")
    if device.line.in_force(NAME) != expected:
        tally.broken.append(f"after {ended}: the line judges with another release than {expected}")
