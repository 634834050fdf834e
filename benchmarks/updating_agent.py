"""The agent of `benchmarks.update_load`, in a process of its own: fetches, builds and proves until it is told to stop.

`python -m benchmarks.updating_agent FOLDER URL NAME STATION MODELS` takes a release up to the end of PROVE and begins
anew, as long as its standard input is open; then it prints one line of JSON: how often, and how long each step took.
Its first line says that it begins: what it costs to start an agent is not what an update costs. As with `agent run`, a
worker does it, which rests while the line inspects.
"""

import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from appliance.agent_rest import WorkerRest
from appliance.agent_workshop import ChildWorkshop
from appliance.bundle.archive import read_bundle
from appliance.clock import SystemClock
from appliance.config import load_config
from appliance.inspection_flag import SeenFlag, flag_of
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.https import HttpsSource
from appliance.update.kinds import InterruptedWorkError
from appliance.update.pace import TransferLimits
from appliance.update.repository import TrustedRepository
from appliance.update.settings import WorkSection
from appliance.update.slots import Slots
from appliance.update.transport import Transport

STEPS = ("fetch_s", "build_s", "prove_s")


def main() -> int:
    """Have a worker work, and let it rest while the line inspects."""
    if "--work" in sys.argv:
        return work()
    flag = SeenFlag(flag_of(load_config(Path(sys.argv[4]))[0].ledger.path))
    command = [sys.executable, "-m", "benchmarks.updating_agent", *sys.argv[1:], "--work"]
    with subprocess.Popen(command, start_new_session=True) as worker:
        rest = WorkerRest(worker.pid, flag, lambda: True)
        try:
            while not worker_has_ended(worker.pid):
                pass
        finally:
            rest.close()
    return worker.returncode


def worker_has_ended(number: int) -> bool:
    """Wait for a child for a second; it stays to be waited for."""
    threading.Event().wait(1)
    return os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def work() -> int:
    """Work until nobody holds the other end of standard input."""
    folder, url, target_name, station, models = Path(sys.argv[1]), *sys.argv[2:4], *map(Path, sys.argv[4:6])
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    transport = Transport(TransferLimits(), allows_plain_loopback=True)
    repository = TrustedRepository(
        "online", HttpsSource(f"{url}/metadata", transport), folder / "metadata",
        root=(folder / "root.json").read_bytes(),
        floor=Floor(folder / "floor.json", datetime(2020, 1, 1, tzinfo=timezone.utc)), clock=SystemClock(),
    )  # fmt: skip
    store = TargetStore(folder / "files", HttpsSource(f"{url}/targets", transport))
    workshop = ChildWorkshop(station, lambda name: models / name / "current.bundle", WorkSection(), stopped.is_set)
    certificates = load_config(station)[0].certificates
    name = target_name.split("/")[1]
    slots, spent = Slots(models / name, ".bundle"), dict.fromkeys(STEPS, 0.0)
    rounds = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not stopped.is_set():
        before = set(certificates.iterdir())
        moments = [time.monotonic()]
        path = store.fetch(repository.find(target_name))
        read_bundle(path)
        slots.stage(path)
        moments.append(time.monotonic())
        try:
            workshop.build(name, slots.candidate)
            moments.append(time.monotonic())
            workshop.prove(name, slots.candidate)
            moments.append(time.monotonic())
        except InterruptedWorkError:
            pass
        rounds += len(moments) > len(STEPS)
        for step, began, ended in zip(STEPS, moments, moments[1:], strict=False):
            spent[step] += ended - began
        for each in (*(set(certificates.iterdir()) - before), slots.candidate, path):
            each.unlink(missing_ok=True)  # so that the next round is as new as this one
    sys.stdout.write(json.dumps({"rounds": rounds} | {key: round(value, 2) for key, value in spent.items()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
