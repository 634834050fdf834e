"""A line at which releases are tried one after another: a real agent, `appliance run`, a broker, signed releases."""

import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import yaml

from appliance.agent_line import MqttLine
from appliance.agent_station import Station
from appliance.agent_workshop import ChildWorkshop
from appliance.bundle.archive import read_bundle
from appliance.links.awaited_parts import Outcome
from appliance.update.kinds import Update
from appliance.update.service import Service
from appliance.update.settings import WorkSection
from appliance.update.statistical import make_judge
from tests.bad_releases import FLAWS, GLINT, SPOT, TRAP_GREY, Flaw, flawed_bundle, picture
from tests.plant import Plant
from tests.slow_model import rounds_for
from tests.stations import until
from tests.tiny_releases import NAME
from tests.update_agent import Device, Fleet
from tests.update_server import UpdateServer

BUDGET_MS, SLOW_S = 900, 4.0
"""What a part may take in a model, and what a slow one takes at least."""

PICTURES, TRAPS = 20, (2, 7, 12, 17)
"""Pictures in a row, and which of them have the trap; two others have defects."""

MOST_MB = 1500
AT_ONCE = 8
"""Parts that are announced and not yet answered."""

DEADLINE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one release: caught_at a state, or `success`; parts that its last gate judged by."""

    model: str
    mistake: str
    caught_at: str
    outcome: str
    parts: int
    reason: str
    seconds: float
    station_restarts: int
    faults: int
    fault_reasons: dict[str, int]


class TrialLine:
    """A station with the good release in force, and the agent beside it; use it as a context."""

    def __init__(self, folder: Path, gates: dict[str, Any], rate_hz: float = 80.0) -> None:
        self._folder, self._gates, self._rate_hz = folder, gates, rate_hz
        self._revision, self.restarts, self.good = 1, 0, ""
        self._stopped = threading.Event()
        self._rounds = 0
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
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._announce, self._restart)]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()
        self.plant.__exit__()
        self._server.__exit__(None, None, None)

    def show(self, flaw: Flaw, state: str = "") -> None:
        """Replace the pictures: those with the trap come from the flaw's state on."""
        has_traps = not flaw.until or state == flaw.until
        for number in range(PICTURES):
            is_trap = has_traps and number in TRAPS
            second = GLINT if flaw.line_has_glints else SPOT
            grey = {5: SPOT, 15: second}.get(number, 0)
            path = self.plant.folder / "pictures" / f"{number:02}.png"
            draft = path.with_suffix(".draft")
            _, content = cv2.imencode(".png", picture(grey, background=TRAP_GREY if is_trap else 60))
            draft.write_bytes(content.tobytes())
            draft.replace(path)

    def wait_for_parts(self, count: int) -> None:
        """Let so many parts pass with what is in force."""
        until(lambda: self.plant.query("SELECT count(*) FROM inspection")[0][0] >= count, f"{count} parts", 300.0)

    def try_out(self, name: str, limit_s: float = 600.0) -> Trial:
        """Publish and assign a release, let the agent take it as far as it comes, and take it back if it stays."""
        flaw, began, restarts, faults = FLAWS[name], time.monotonic(), self.restarts, self._faults()
        self.show(flaw)
        self._revision += 1
        path = flawed_bundle(self._folder / f"{self._revision}.bundle", flaw, self._revision, self._rounds)
        self._fleet.assign(self._fleet.publish(self._revision, path.read_bytes()), gates=self._gates)
        if error := self._service.ask():
            raise error
        has_traps = not flaw.until
        while not (update := self._newest()) or update.progress.state.value != "IDLE":
            self._service.look()
            if not has_traps and self._newest().progress.state.value == flaw.until:
                self.show(flaw, flaw.until)
                has_traps = True
            if time.monotonic() - began > limit_s:
                raise AssertionError(f"{name}: not over within {limit_s:g} s: {self._newest()}; {self.plant.log()}")
            self._stopped.wait(0.05)
        caught_at, reason = self._caught(update)
        seconds = round(time.monotonic() - began, 1)
        self._take_back(update)
        return Trial(
            name, flaw.words, caught_at, update.progress.outcome, update.parts, reason, seconds,
            self.restarts - restarts, (new := self._faults() - faults).total(), dict(new),
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
        station.write_text(yaml.safe_dump(self.plant.config))
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

    def _faults(self) -> Counter[str]:
        found = self.plant.query("SELECT reason, count(*) FROM inspection WHERE verdict = 'FAULT' GROUP BY reason")
        return Counter({str(reason): int(count) for reason, count in found})

    def _announce(self) -> None:
        """Announce parts at a steady rate, never more than AT_ONCE that nobody has answered."""
        waiting: deque[Future[Outcome]] = deque()
        number = 0
        while not self._stopped.wait(1 / self._rate_hz):
            while waiting and waiting[0].done():
                waiting.popleft()
            if len(waiting) < AT_ONCE and self.plant.consumer.station_state == "online":
                number += 1
                waiting.append(self.plant.consumer.announce(f"part-{number}", DEADLINE_MS, f"t-{number}", None))

    def _restart(self) -> None:
        """Start the station again whenever it ends, as systemd does."""
        while not self._stopped.wait(0.2):
            assert self.plant.process is not None
            if self.plant.process.poll() is not None and not self._stopped.is_set():
                self.restarts += 1
                self.plant.start()


def as_rows(trials: list[Trial]) -> list[dict[str, Any]]:
    """Return trials as they are written down."""
    return [asdict(each) for each in trials]
