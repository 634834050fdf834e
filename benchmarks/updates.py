"""What an update costs a device: a refresh, the check of a file, and the memory of who asks and who waits.

The repository has the roles of a fleet: root, targets, models, snapshot, timestamp, and one for each of 50 sites. Each
device is a process of its own, asked by http over loopback; the interpreter and the imports count for the memory and
not for the times. `idle` is a real `appliance agent run`, at a broker, that has brought a release into force. Exit code
1: a median misses its goal.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from appliance.report import percentiles
from benchmarks.results import machine, write
from benchmarks.updating_device import memory_mib
from tests.agent_place import device_at_a_broker, workers
from tests.stations import until
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_server import UpdateServer

NAME = "models/boards/boards-1.bundle"
SITES = 50
FILE_BYTES = 20_000_000
PATIENCE_S = 90
GOALS = {"refresh_ms": 50.0, "verify_ms": 100.0, "idle_mib": 40.0}


def repository() -> Repository:
    """Return a repository with a role for models and one for each site."""
    made = Repository()
    made.delegate("models", ["models/*/*"], terminating=True)
    sites = [f"assign-{site}" for site in range(SITES)]
    for site in sites:
        made.delegate(site, [f"{site.replace('-', '/')}/*"], terminating=True)
    content = bytes(range(256)) * (FILE_BYTES // 256)
    made.add_target(NAME, content, role="models", custom={"kind": "model", "seq": 1})
    made.publish("models", *sites, *ALL_BUT_ROOT)
    return made


def idle_mib() -> dict[str, float]:
    """Let a real agent bring a release into force and come to rest; returns its memory then."""
    with tempfile.TemporaryDirectory() as name, device_at_a_broker(Path(name)) as place:
        place.config.write_text(yaml.safe_dump(place.keys | {"poll_min": 60}))
        place.adopt()
        new = place.offer(2)
        agent = place.start()
        until(lambda: place.in_force() == new, "the release is in force", PATIENCE_S)
        until(lambda: not workers(agent), "nothing is left to do", PATIENCE_S)
        found = memory_mib(str(agent.pid))
        agent.terminate()
        agent.communicate(timeout=PATIENCE_S)
        return found


def main() -> int:
    """Measure, print, write benchmarks/results/updates.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=15, help="how often all is done anew (default %(default)s)")
    arguments = parser.parse_args()
    made, found = repository(), []
    with tempfile.TemporaryDirectory() as name, UpdateServer(made.files) as server:
        for number in range(arguments.devices):
            folder = Path(name) / str(number)
            folder.mkdir()
            (folder / "root.json").write_bytes(made.root_bytes())
            command = [sys.executable, "-m", "benchmarks.updating_device", str(folder), server.url, NAME]
            found.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    times = {name: percentiles([each[name] for each in found]) for name in found[0] if name.endswith("_ms")}
    memory = {
        moment: {word: percentiles([each[moment][word] for each in found])["p50"] for word in found[0][moment]}
        for moment in ("waiting_mib", "asked_mib")
    }
    memory["idle_mib"] = idle_mib()
    for name, figures in times.items():
        sys.stdout.write(f"{name}: p50 {figures['p50']:.1f}, max {figures['max']:.1f}\n")
    for name, amounts in memory.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{word} {amount:.1f}" for word, amount in amounts.items()) + "\n")
    document = {"devices": arguments.devices, "sites": SITES, "file_bytes": FILE_BYTES, **times, **memory}
    write("updates", {"machine": machine(), "goals": GOALS, **document})
    medians = {**{name: each["p50"] for name, each in times.items()}, "idle_mib": memory["idle_mib"]["resident"]}
    missed = [name for name, goal in GOALS.items() if medians[name] > goal]
    sys.stdout.write("".join(f"{name}: {medians[name]:.1f} misses the goal of {GOALS[name]:g}\n" for name in missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
