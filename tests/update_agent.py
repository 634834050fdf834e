"""A device with an agent, a line and a repository around it; and an agent in a process of its own that can be killed.

    python -m tests.update_agent FOLDER URL KIND ...

reads lines such as {"kill_after_s": 0.05} and forks an agent for each, which takes its updates as far as they go; it is
killed after so many seconds (null: never). One line of JSON tells how it ended.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from appliance.agent_child import build_here, prove_here
from appliance.update.brought import LastStick
from appliance.update.conductor import Conductor
from appliance.update.device_key import open_device_key
from appliance.update.doors import Window
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.https import HttpsSource
from appliance.update.journal import Journal
from appliance.update.judging import JudgingKind, Proved, Workshop
from appliance.update.kinds import Update
from appliance.update.line import MakeJudge
from appliance.update.orders import Orders
from appliance.update.pace import TransferLimits
from appliance.update.reports import Reports
from appliance.update.repository import TrustedRepository
from appliance.update.service import Service
from appliance.update.slots import SUFFIXES, JudgingKindName, digest_of
from appliance.update.transport import Transport
from tests.counting_judge import CountingJudge
from tests.plant import write_station
from tests.simulated_line import SimulatedLine, is_proved, would_start
from tests.tiny_releases import RELEASED
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_device import BUILT_AT, SetClock
from tests.update_server import UpdateServer

SITE, DEVICE = "north", "aoi-1"
Deeds: TypeAlias = Mapping[str, Callable[[], object]]
"""State in lower case -> what happens there."""

GATES = {"shadow_parts": 10, "canary_parts": 10, "watch_parts": 10, "watch_h": 0}


@dataclass
class HereWorkshop:
    """Builds and proves as the child process does, in this one: for agents that are killed a thousand times."""

    station: Path
    current: Callable[[str], Path]

    def build(self, name: str, release: Path) -> str:
        return str(build_here(self.station, release, self.current(name))["words"])

    def prove(self, name: str, release: Path) -> Proved:
        found = prove_here(self.station, release, self.current(name))
        return Proved(str(found["words"]), float(str(found["p99_ms"])), float(str(found["budget_ms"])))


class Along:
    """A kind at whose actions something happens before or after, such as a kill or a full disk."""

    def __init__(self, kind: JudgingKind, before: Deeds | None = None, then: Deeds | None = None) -> None:
        self._kind, self._before, self._then = kind, before or {}, then or {}

    def __getattr__(self, name: str) -> Any:
        action = getattr(self._kind, name)

        def do(*arguments: Any) -> Any:
            self._before.get(name, lambda: None)()
            outcome = action(*arguments)
            self._then.get(name, lambda: None)()
            return outcome

        return do


@dataclass
class Device:
    """What lies on a device, and its agent's parts, made anew as after a start.

    kinds: what comes by the agent, in the order in which it was adopted; the first one is what most tests look at.
    """

    folder: Path
    url: str
    clock: SetClock = field(default_factory=SetClock)
    window: Window = field(default_factory=Window)
    reports: list[bytes] = field(default_factory=list)
    workshop: Workshop | None = None
    line_folder: Path | None = None
    make_judge: MakeJudge = CountingJudge
    around: Callable[[JudgingKind], Any] = lambda kind: kind
    around_journal: Callable[[Journal], Any] = lambda journal: journal
    meanwhile: Callable[[], None] = lambda: None
    kinds: tuple[JudgingKindName, ...] = ("model",)

    def __post_init__(self) -> None:
        self.state = self.folder / "agent"
        self.slots_root = self.state / "slots"
        self.models = self.slots_root / "models"
        self.transport = Transport(TransferLimits(), allows_plain_loopback=True)
        self.station = self.folder / "station" / "config.yaml"
        self.line = SimulatedLine(self.station, self.line_folder or self.folder)
        self.deliver: Callable[[bytes], None] = self.reports.append

    def set_up(self, root: bytes, *first: Path) -> None:
        """Write the station, and adopt a first release of each kind as a person does, one after the other."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "root.json").write_bytes(root)
        self.station.parent.mkdir()
        config = yaml.safe_load(write_station(self.station.parent).read_text()) | {"runtime": {"threads": 1}}
        RELEASED["model"].write(self.station.parent / config["bundle"], 1)
        for kind, file in zip(self.kinds, first, strict=True):
            config[RELEASED[kind].key] = str(RELEASED[kind].current(self.slots_root))
            self.station.write_text(yaml.safe_dump(config))
            judging, name = self.judging(kind), RELEASED[kind].name
            slots = judging.slots(name)
            slots.folder.mkdir(parents=True)
            slots.candidate.write_bytes(file.read_bytes())
            judging.workshop.prove(name, slots.candidate)
            slots.commit(digest_of(file))
            slots.forget_candidate()
        self.line.restart()

    @property
    def journal(self) -> Journal:
        return Journal(self.state / "journal.db", self.clock)

    @property
    def name(self) -> str:
        """What the first kind's releases are of."""
        return RELEASED[self.kinds[0]].name

    @property
    def kind(self) -> JudgingKind:
        return self.judging(self.kinds[0])

    def judging(self, name: JudgingKindName, journal: Journal | None = None) -> JudgingKind:
        """Return one of the device's kinds; with a journal it knows what a stick has brought."""
        last_stick = LastStick(journal, self.floor, SITE, DEVICE, self.allowed, has_server=True) if journal else None
        files, folder = self.state / "files", self.slots_root / f"{name}s"
        targets = HttpsSource(f"{self.url}/targets/", self.transport)
        repository = TrustedRepository(
            "online", HttpsSource(f"{self.url}/metadata/", self.transport), self.state / "metadata",
            root=(self.folder / "root.json").read_bytes(), floor=self.floor, clock=self.clock, elsewhere=[files],
        )  # fmt: skip
        papers = TargetStore(self.state / "assignments", targets)
        orders = Orders(
            repository, TargetStore(files, targets, meanwhile=self.meanwhile), papers, self.floor, SITE, DEVICE,
            self.allowed, last_stick,
        )  # fmt: skip
        workshop = self.workshop or HereWorkshop(
            self.station, lambda each: folder / each / f"current{SUFFIXES[name]}"
        )  # fmt: skip
        return JudgingKind(
            orders, folder, self.line, self.make_judge, workshop, self.clock, content=RELEASED[name].content
        )  # fmt: skip

    @property
    def floor(self) -> Floor:
        return Floor(self.folder / "floor.json", BUILT_AT)

    def allowed(self) -> list[tuple[str, str]]:
        return [(kind, path.name) for kind in self.kinds for path in (self.slots_root / f"{kind}s").glob("*")]

    def start(self) -> Service:
        """Start an agent; what an earlier one broke off counts as that."""
        journal = self.journal
        kinds = {name: self.judging(name, journal) for name in self.kinds}
        conductor = Conductor(
            self.around_journal(journal),
            {name: self.around(kind) for name, kind in kinds.items()},
            self.clock,
            self.window,
        )
        key = open_device_key(self.state / "device.key")
        reports = Reports(journal, key, self.clock, site=SITE, device_id=DEVICE, boot_id="boot")
        conductor.resume()
        source = kinds[self.kinds[0]].source
        return Service(
            journal, conductor, self.line, reports, source.read_assignment, self.deliver, poll_s=900, look_s=0.01,
            read_brought=source.brought,
        )  # fmt: skip

    def update(self, looks: int = 50) -> Update:
        """Let a fresh agent ask once and look until nothing is under way, or so often; returns the newest update."""
        service = self.start()
        service.ask()
        for _ in range(looks):
            service.look()
            if not service.journal.open_updates():
                break
        return self.newest()

    def newest(self) -> Update:
        return max(self.journal.latest(), key=lambda update: update.number)

    def in_force(self) -> str:
        """Digest of what a station would start now of the first kind; see would_start."""
        return self.would_start()[self.kinds[0]]

    def would_start(self) -> dict[JudgingKindName, str]:
        """Digests of what a station would start now: whole, readable, and proved together on this device."""
        pair = would_start(self.station)
        assert is_proved(self.station, pair), "what is in force was never proved here"
        return {kind: pair[RELEASED[kind].name] for kind in self.kinds}


class Fleet:
    """The repository of a fleet of one device, and whoever signs there; kinds: what is offered, one of each."""

    def __init__(self, folder: Path, *kinds: JudgingKindName) -> None:
        self.folder, self.repository, self.kinds = folder, Repository(), kinds or ("model",)
        for role in ("models", "recipes"):
            self.repository.delegate(role, [f"{role}/*/*"], terminating=True)
        self.repository.delegate(f"assign-{SITE}", [f"assign/{SITE}/*"], terminating=True)
        self.assigned = 0

    def bundle(self, revision: int) -> Path:
        """A tiny bundle; each revision is another file."""
        return RELEASED["model"].file(self.folder, revision)

    def publish(self, seq: int, content: bytes, custom_seq: int | None = None) -> dict[str, Any]:
        """Sign a release of the first kind; returns what an assignment says of it."""
        name = RELEASED[self.kinds[0]].name
        return self._publish(self.kinds[0], name, seq, content, seq if custom_seq is None else custom_seq)

    def publish_recipe(self, name: str, seq: int, content: bytes) -> dict[str, Any]:
        """Sign a release of a recipe; returns what an assignment says of it."""
        return self._publish("recipe", name, seq, content, seq)

    def _publish(self, kind: JudgingKindName, name: str, seq: int, content: bytes, custom_seq: int) -> dict[str, Any]:
        path = f"{kind}s/{name}/{name}-{seq}{SUFFIXES[kind]}"
        self.repository.add_target(path, content, role=f"{kind}s", custom={"kind": kind, "seq": custom_seq})
        return {"kind": kind, "name": name, "path": path, "sha256": hashlib.sha256(content).hexdigest(),
                "length": len(content), "seq": seq}  # fmt: skip

    def assign(self, *releases: dict[str, Any], gates: dict[str, Any] | None = None, **changes: Any) -> None:
        """Sign what the device is to have, and publish everything."""
        self.assigned += 1
        document = {
            "schema": "vi.assignment/1", "device_id": DEVICE, "seq": self.assigned, "rollout": "tiny", "ring": "lab",
            "releases": list(releases), "gates": GATES | (gates or {}),
        } | changes  # fmt: skip
        name = f"assign/{SITE}/{DEVICE}.json"
        self.repository.add_target(name, json.dumps(document).encode(), role=f"assign-{SITE}")
        self.repository.publish("models", "recipes", f"assign-{SITE}", *ALL_BUT_ROOT)

    def offer(self, number: int, **changes: Any) -> str:
        """Publish a good release of each kind and assign them; returns the digest of the first."""
        releases = [
            self._publish(kind, RELEASED[kind].name, number, self.file(kind, number).read_bytes(), number)
            for kind in self.kinds
        ]
        self.assign(*releases, **changes)
        return str(releases[0]["sha256"])

    def file(self, kind: JudgingKindName, number: int) -> Path:
        """A release of a kind; each number is another file."""
        return RELEASED[kind].file(self.folder, number)

    def device(self, folder: Path, server: UpdateServer) -> Device:
        """A device that runs number 1, which did not come by the agent; the line's own disk is this folder's."""
        device = Device(folder, server.url, line_folder=self.folder, kinds=self.kinds)
        device.set_up(self.repository.root_bytes(), *(self.file(kind, 1) for kind in self.kinds))
        return device


def take_updates(device: Device) -> None:
    """What a killed agent does until then: everything, until nothing is under way."""
    service = device.start()
    service.ask()
    while service.journal.open_updates():
        service.look()
    service.look()


def fork_agent(device: Device, kill_after_s: float | None) -> dict[str, object]:
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its progress is nobody's answer
            take_updates(device)
        except BaseException as error:  # noqa: BLE001 told to the parent by the exit code, and on stderr
            sys.stderr.write(f"{error!r}\n")
            sys.stderr.flush()
            os._exit(3)
        os._exit(0)
    wakes = threading.Event()
    until = time.monotonic() + (60.0 if kill_after_s is None else kill_after_s)
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return {"ended": os.waitstatus_to_exitcode(status)}
        wakes.wait(0.0005)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {"ended": os.waitstatus_to_exitcode(status)}


def main() -> None:
    folder, url, *kinds = sys.argv[1:]
    for line in sys.stdin:
        device = Device(Path(folder), url, line_folder=Path(folder).parent, kinds=tuple(kinds))  # type: ignore[arg-type]
        found = fork_agent(device, json.loads(line)["kill_after_s"])
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
