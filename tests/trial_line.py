"""A line at which releases are tried one after another: a real agent, `appliance run`, a broker, signed releases."""

import queue
import random
import re
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import yaml

from appliance.agent_line import MqttLine
from appliance.agent_station import Station
from appliance.agent_workshop import ChildWorkshop
from appliance.bundle.archive import read_bundle
from appliance.bundle.whole_file import write_whole
from appliance.errors import DeliveryError
from appliance.events import Challenge, Pixels, moment_of
from appliance.links.awaited_parts import Outcome
from appliance.links.question import ask
from appliance.update.kinds import Update
from appliance.update.service import Service
from appliance.update.settings import WorkSection
from appliance.update.statistical import make_judge
from tests.bad_releases import FLAWS, GLINT, SPOT, TRAP_GREY, Flaw, flawed_bundle, picture
from tests.plant import Plant
from tests.releases import BUNDLES
from tests.slow_model import rounds_for
from tests.stations import until
from tests.tiny_releases import NAME
from tests.update_agent import Device, Fleet
from tests.update_server import UpdateServer

BUDGET_MS, SLOW_S = 900, 4.0
"""What a part may take in a model, and what a slow one takes at least."""

PICTURES, TRAPS, DEFECTS = 20, 4, 2
"""Pictures in a row, how many of them have the trap, and how many others have a defect."""

MOST_MB = 1500
"""What a release may take beside the line, in its proof, and what the station's process may: see _starve."""

REPEAT_MS, DEADLINE_MS = 2_000, 30_000
"""So patient that also a part whose trigger came while the station was away gets its one verdict."""

CHALLENGE_EVERY_S = 1.0
LONGEST_WORK_S = 120.0

AT_ONCE = 8
"""Parts that are announced and have neither an answer nor a record yet."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one release: caught_at a state, or `success`; parts that its last gate judged by.

    seed: of the order of the pictures. switches_back: how often the line changed to the release before, restarts
    included. rollback_s: from the agent's decision to that change; None where a restart had made it already.
    announced: parts. without_one_verdict: of those, how many have none or several on record.
    """

    model: str
    mistake: str
    kind: str
    seed: int
    caught_at: str
    outcome: str
    parts: int
    reason: str
    seconds: float
    station_restarts: int
    faults: int
    fault_reasons: dict[str, int]
    switches_back: int
    rollback_s: float | None
    announced: int
    without_one_verdict: int


class TrialLine:
    """A station with the good release in force, and the agent beside it; use it as a context."""

    def __init__(self, folder: Path, gates: dict[str, Any], rate_hz: float = 80.0) -> None:
        self._folder, self._gates, self._rate_hz = folder, gates, rate_hz
        self._revision, self.restarts, self.good = 1, 0, ""
        self._stopped = threading.Event()
        self._rounds = self._announced = 0
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._fleet = Fleet(folder)
        self._server = UpdateServer(self._fleet.repository.files)

    def __enter__(self) -> "TrialLine":
        self._rounds = rounds_for(SLOW_S)
        self._server.__enter__()
        self._models = self._folder / "device" / "agent" / "slots" / "models"
        place = self._folder / "plant"
        place.mkdir()
        recipe = {"deadline_ms": BUDGET_MS + 100, "answer_reserve_ms": 100}
        self.plant = Plant(place, recipe=recipe, products=self._product)
        self.plant.config |= {"shadow": {"memory_mb": MOST_MB}}
        for old in (place / "pictures").iterdir():
            old.unlink()
        self.show(FLAWS["good"])
        self._set_up(place)
        self.plant.__enter__()
        self._device.line = MqttLine(Station.read(self._device.station), self._models)  # type: ignore[assignment]
        self._service: Service = self._device.start()
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._announce, self._restart, self._starve)
        ]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()
        self.plant.__exit__()
        self._server.__exit__(None, None, None)

    def show(self, flaw: Flaw, state: str = "", seed: int = 0) -> None:
        """Replace the pictures, in an order of the seed: those with the trap come from the flaw's state on."""
        has_traps = not flaw.until or state == flaw.until
        places = random.Random(seed).sample(range(PICTURES), TRAPS + DEFECTS)
        greys = dict(zip(places[TRAPS:], (SPOT, GLINT if flaw.line_has_glints else SPOT), strict=True))
        for number in range(PICTURES):
            is_trap = has_traps and number in places[:TRAPS]
            self._paint(number, picture(greys.get(number, 0), background=TRAP_GREY if is_trap else 60))

    def wait_for_parts(self, count: int) -> None:
        """Let so many parts pass with what is in force."""
        until(lambda: self.plant.query("SELECT count(*) FROM inspection")[0][0] >= count, f"{count} parts", 300.0)

    def challenge(self) -> None:
        """Put in a glint that is known to be bad, when all parts before it have their answer."""
        done = threading.Event()
        self._calls.put((self._put_in, done))
        assert done.wait(60.0), "the line did not come to the known part"

    def try_out(self, name: str, limit_s: float = 600.0, seed: int = 0) -> Trial:
        """Publish and assign a release, let the agent take it as far as it comes, and take it back if it stays."""
        flaw, began, before = FLAWS[name], time.monotonic(), self._counted()
        self.show(flaw, seed=seed)
        self._revision += 1
        path = flawed_bundle(self._folder / f"{self._revision}.bundle", flaw, self._revision, self._rounds)
        self._fleet.assign(self._fleet.publish(self._revision, path.read_bytes()), gates=self._gates)
        if error := self._service.ask():
            raise error
        is_shown, challenged_s = not flaw.until, 0.0
        while not (update := self._newest()) or update.progress.state.value != "IDLE":
            self._service.look()
            is_there = self._newest().progress.state.value == flaw.until
            if is_there and not is_shown:
                self.show(flaw, flaw.until, seed)
                is_shown = True
            if is_there and flaw.is_challenged and time.monotonic() - challenged_s > CHALLENGE_EVERY_S:
                self.challenge()  # again, too: beside the line the release may not be loaded yet
                challenged_s = time.monotonic()
            if time.monotonic() - began > limit_s:
                raise AssertionError(f"{name}: not over within {limit_s:g} s: {self._newest()}; {self.plant.log()}")
            self._stopped.wait(0.05)
        caught_at, reason = self._caught(update)
        seconds = round(time.monotonic() - began, 1)
        self._take_back(update)
        until(self._is_calm, f"nothing of {name} is at work any more", LONGEST_WORK_S)
        counted = self._counted()
        faults = counted.faults - before.faults
        return Trial(
            name, flaw.words, flaw.kind, seed, caught_at, update.progress.outcome, update.parts, reason, seconds,
            counted.restarts - before.restarts, faults.total(), dict(faults), counted.back - before.back,
            self._rollback_s(update), counted.announced - before.announced,
            counted.without_one_verdict - before.without_one_verdict,
        )  # fmt: skip

    def in_force(self) -> str:
        """Digest of what judges and of what the station would start; fails if they differ."""
        at_the_line, on_disk = self._device.line.in_force(NAME), self._device.kind.in_force(NAME)
        assert at_the_line == on_disk
        return on_disk

    def _product(self, folder: Path) -> dict[str, Any]:
        return {
            "bundle": str(self._models / NAME / "current.bundle"), "recipe": "recipe.yaml",
            "releases": str(self._models),
        }  # fmt: skip

    def _set_up(self, place: Path) -> None:
        folder = self._folder / "device"
        folder.mkdir()
        (folder / "root.json").write_bytes(self._fleet.repository.root_bytes())
        station = place / "config.yaml"
        write_whole(station, yaml.safe_dump(self.plant.config).encode())  # others read it meanwhile
        workshop = ChildWorkshop(
            station, lambda name: self._models / name / "current.bundle", WorkSection(memory_mb=MOST_MB, prove_s=60),
            lambda: False,
        )  # fmt: skip
        self._device = Device(
            folder, self._server.url, line_folder=self._folder, make_judge=make_judge, workshop=workshop
        )
        self._device.station = station
        slots = self._device.kind.slots(NAME)
        slots.folder.mkdir(parents=True)
        first = flawed_bundle(self._folder / "1.bundle", FLAWS["good"], 1)
        slots.stage(first)
        workshop.prove(NAME, slots.candidate)
        self.good = read_bundle(first).digest
        slots.commit(self.good)
        slots.forget_candidate()

    def _newest(self) -> Update:
        return self._service.journal.latest()[0]

    def _caught(self, update: Update) -> tuple[str, str]:
        """The state from which it went back, and why it went first."""
        steps = self._service.journal.steps(update.number)
        states = [step.state for step in steps]
        if "ROLLBACK" not in states:
            return "success", update.reason
        back = states.index("ROLLBACK")
        return states[back - 1], steps[back].reason

    def _take_back(self, update: Update) -> None:
        if update.progress.outcome == "success":
            self._service.journal.wish("model", NAME, "Ann")
            while not (self._newest().progress.state.value == "IDLE" and self._newest().number > update.number):
                self._service.look()

    def _paint(self, number: int, pixels: Pixels) -> None:
        self._replace(number, cv2.imencode(".png", pixels)[1].tobytes())

    def _replace(self, number: int, content: bytes) -> None:
        path = self.plant.folder / "pictures" / f"{number:02}.png"
        draft = path.with_suffix(".draft")
        draft.write_bytes(content)
        draft.replace(path)

    def _put_in(self) -> None:
        """Let the camera see a glint for one known part.

        The camera has read one picture ahead: another part comes before it, and one part after it is a glint, too.
        """
        pictures = [path.read_bytes() for path in sorted((self.plant.folder / "pictures").glob("*.png"))]
        for number in range(PICTURES):
            self._paint(number, picture(GLINT))
        for known_as in (None, Challenge.BAD):
            self._announced_part(known_as)[1].result(2 * DEADLINE_MS / 1000)
        for number, content in enumerate(pictures):
            self._replace(number, content)

    def _announced_part(self, known_as: Challenge | None = None) -> "tuple[str, Future[Outcome]]":
        self._announced += 1
        part = f"part-{self._announced}"
        return part, self.plant.consumer.announce(part, DEADLINE_MS, f"t-{self._announced}", REPEAT_MS, known_as)

    def _counted(self) -> "_Counted":
        """Count, at a moment at which no part is on its way."""
        done, found = threading.Event(), [_Counted()]

        def count() -> None:
            faults = self.plant.query("SELECT reason, count(*) FROM inspection WHERE verdict = 'FAULT' GROUP BY reason")
            with_one = self.plant.query(
                "SELECT count(*) FROM (SELECT 1 FROM inspection GROUP BY trigger_id HAVING count(*) = 1)"
            )
            back = self.plant.query(f"SELECT count(*) FROM {BUNDLES} WHERE to_digest = '{self.good}'")
            found[0] = _Counted(
                self.restarts, self._announced, self._announced - int(with_one[0][0]), int(back[0][0]),
                Counter({str(reason): int(count) for reason, count in faults}),
            )  # fmt: skip

        self._calls.put((count, done))
        assert done.wait(2 * DEADLINE_MS / 1000), "the parts on their way do not come to an end"
        return found[0]

    def _is_calm(self) -> bool:
        """Whether the station has let go of the release, which may still be at work on a part that is late."""
        try:
            told = ask(Station.read(self._device.station).mqtt(), "status", {}, 5.0).result
        except DeliveryError:  # it starts again
            return False
        return told.get("former_releases") == 0

    def _rollback_s(self, update: Update) -> float | None:
        """How long it took from the agent's decision until the line judged by the release before."""
        steps = [step for step in self._service.journal.steps(update.number) if step.state == "ROLLBACK"]
        changes = self.plant.query(
            f"SELECT at FROM {BUNDLES} WHERE to_digest = '{self.good}' AND is_rollback = 1 ORDER BY id DESC LIMIT 1"
        )
        if not steps or not changes or (decided := moment_of(steps[0].at)) > (changed := moment_of(changes[0][0])):
            return None
        return round((changed - decided).total_seconds(), 3)

    def _announce(self) -> None:
        """Announce parts at a steady rate, never more than AT_ONCE that have neither an answer nor a record.

        A part that a restart cost has its record soon, and its line hears nothing of it until its deadline.
        """
        waiting: deque[tuple[str, Future[Outcome]]] = deque()
        while not self._stopped.wait(1 / self._rate_hz):
            while waiting and (waiting[0][1].done() or waiting[0][0] in self.plant.recorded):
                waiting.popleft()
            if not self._calls.empty():  # waits until every part has its answer; meanwhile none is announced
                if not waiting:
                    call, done = self._calls.get()
                    call()
                    done.set()
            elif len(waiting) < AT_ONCE and self.plant.consumer.station_state == "online":
                waiting.append(self._announced_part())

    def _starve(self) -> None:
        """End the station as the kernel does when memory is short."""
        while not self._stopped.wait(0.01):
            assert self.plant.process is not None
            if _most_mb(self.plant.process.pid) > MOST_MB:
                self.plant.process.send_signal(signal.SIGKILL)

    def _restart(self) -> None:
        """Start the station again whenever it ends, as systemd does."""
        while not self._stopped.wait(0.2):
            assert self.plant.process is not None
            if self.plant.process.poll() is not None and not self._stopped.is_set():
                self.restarts += 1
                self.plant.start()


@dataclass(frozen=True, slots=True)
class _Counted:
    """What has been so far."""

    restarts: int = 0
    announced: int = 0
    without_one_verdict: int = 0
    back: int = 0
    faults: Counter[str] = field(default_factory=Counter)


def _most_mb(process: int) -> float:
    """Return the most memory that a process has had; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


def as_rows(trials: list[Trial]) -> list[dict[str, Any]]:
    """Return trials as they are written down."""
    return [asdict(each) for each in trials]
