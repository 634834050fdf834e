"""A line in this process that judges pictures with real bundles and recipes, as the agent sees `appliance run`.

What it has in force, and its ledger, are on disk: it outlives an agent that is killed. A restart takes what its
configuration names, as the station does. Nothing of it is patched: `behaves` gives a release a flaw that a real one
could have.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from appliance.agent_station import Station
from appliance.bundle.archive import read_bundle
from appliance.certification.folder import CertificateFolder
from appliance.config import RuntimeSection
from appliance.engine import make_runtime
from appliance.errors import BundleError, ConfigError, DeliveryError
from appliance.events import Detection
from appliance.optics.detector import Detector
from appliance.recipe import load_recipe
from appliance.update.line import Beside, Candidate, Gate, LineRefusedError, SeenPart
from tests.models import spot_picture

Flaw = Literal["refused", "faults", "late", "ends the line", "ends beside", "answers NaN beside"]

ENDS: dict[Flaw, str] = {
    "ends beside": "the child process crashed (SIGSEGV)",
    "answers NaN beside": "the candidate answered with scores that are NaN",
}
"""What a candidate's process beside the line ends by, and what the line then says."""
Pair: TypeAlias = dict[str, str]
"""Name -> digest, of the model that judges, then of the recipe."""

LIMIT = 0.5
PICTURES = (spot_picture(64, 64), spot_picture(64, 64, [(1, 1, 200)]))


def judge(found: tuple[Detection, ...], limit: float) -> tuple[str, str, float | None]:
    worst = max(found, key=lambda item: item.score, default=None)
    if worst is None or worst.score < limit:
        return "ACCEPT", "complete", None
    return "REJECT", "defect", worst.score


def named_files(station: Path) -> tuple[Path, Path]:
    """Return the bundle and the recipe that a configuration names."""
    (files,) = Station.read(station).config.product_files().values()
    return files.bundle, files.recipe


def would_start(station: Path) -> Pair:
    """Return what a station would judge with if it started now; fails as it would."""
    (bundle_file, recipe_file) = named_files(station)
    bundle, (recipe, document) = read_bundle(bundle_file), load_recipe(recipe_file)
    return {bundle.manifest.name: bundle.digest, recipe.name: document.digest}


def is_proved(station: Path, pair: Pair) -> bool:
    """Whether this device has a certificate of a model and a recipe together."""
    (model, bundle), (name, recipe) = pair.items()
    kept = CertificateFolder(Station.read(station).config.certificates).newest_first(name, model)
    return (bundle, recipe) in {(each.subject.bundle_digest, each.subject.recipe_digest) for each in kept}


@dataclass
class SimulatedLine:
    """Implements update.line.Line for the one product of a station; station: its configuration.

    parts_per_look: what passes by itself whenever somebody looks at the parts. is_away: nobody answers. is_busy: what
    judges beside the line gets through the first part only.
    """

    station: Path
    folder: Path
    parts_per_look: int = 5
    behaves: dict[str, Flaw] = field(default_factory=dict)
    is_away: bool = False
    is_busy: bool = False
    told: list[Mapping[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    _detectors: dict[str, Detector] = field(default_factory=dict)
    _limits: dict[str, float] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "line.json"

    @property
    def state(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {"in_force": {}, "beside": {}, "problem": "", "skipped": 0, "parts": []}
        return json.loads(self.file.read_text()) if self.file.exists() else fresh

    def keep(self, state: Mapping[str, Any]) -> None:
        draft = self.file.with_suffix(".part")
        draft.write_text(json.dumps(state))
        draft.replace(self.file)

    def restart(self) -> None:
        """What `appliance run` does at a start: it takes what the configuration names, and nothing beside."""
        self.keep(
            self.state | {"in_force": would_start(self.station), "beside": {}, "problem": "", "skipped": 0}
        )  # fmt: skip

    def shadow(self, candidate: Candidate) -> None:
        self._answer("shadow", candidate.sha256)
        self._load(candidate)
        self.keep(self.state | {"beside": {candidate.name: candidate.sha256}, "problem": "", "skipped": 0})

    def end_shadow(self, name: str) -> None:
        self._answer("end_shadow", name)
        self.keep(self.state | {"beside": {}, "problem": ""})

    def shadow_of(self, name: str) -> Beside:
        self._answer("shadow_of", name)
        state = self.state
        (digest,) = state["beside"].values() or ("",)
        is_unsound = state["problem"] == ENDS["answers NaN beside"]
        return Beside(digest, state["problem"], state["skipped"], is_unsound)

    def decide_with(self, candidate: Candidate, *, is_rollback: bool = False, is_trial: bool = False) -> None:
        self._answer("decide_with", candidate.sha256)
        self._load(candidate)
        state = self.state
        state["in_force"][candidate.name] = candidate.sha256
        self.keep(state)

    def in_force(self, name: str) -> str:
        self._answer("in_force", name)
        return str(self.state["in_force"].get(name, ""))

    def last_seq(self) -> int:
        self._answer("last_seq", "")
        return len(self.state["parts"])

    def observations(self, gate: Gate, sha256: str, since_seq: int) -> Iterator[SeenPart]:
        self._answer("observations", gate)
        self.pass_parts(self.parts_per_look)
        for seq, (judged_by, part, beside) in enumerate(self.state["parts"], 1):
            if seq > since_seq and gate == "shadow" and beside and beside[0] == sha256:
                yield SeenPart(seq, *part[:3], 1500, False, None, "", beside[1], beside[2], None, beside[3])
            elif seq > since_seq and gate != "shadow" and sha256 in judged_by:
                yield SeenPart(seq, *part[:3], 1500, part[3])

    def tell(self, event: Mapping[str, Any]) -> None:
        self._answer("tell", event["state"])
        self.told.append(event)

    def pass_parts(self, count: int) -> None:
        """Let parts pass, each judged by what is in force and by what judges beside."""
        state = self.state
        pair: Pair = state["in_force"]
        for _ in range(count):
            flaws, beside = self._flaws(pair), dict(state["beside"])
            if "ends the line" in flaws:
                self.restart()
                return
            acted = self._judged(pair, len(state["parts"]))
            if found := self._flaws(beside) & ENDS.keys():
                state["problem"], beside = ENDS[found.pop()], {}
            if beside and self.is_busy and state["parts"]:
                state["skipped"], beside = state["skipped"] + 1, {}
            said = [*beside.values(), *self._judged(pair | beside, len(state["parts"]))] if beside else None
            state["parts"].append([list(pair.values()), [*acted, "late" in flaws], said])
        self.keep(state)

    def _flaws(self, pair: Pair) -> set[Flaw]:
        return {self.behaves[digest] for digest in pair.values() if digest in self.behaves}

    def _judged(self, pair: Pair, number: int) -> tuple[str, str, float | None]:
        if "faults" in self._flaws(pair):
            return "FAULT", "runtime", None
        model, recipe = pair.values()
        if model not in self._detectors or recipe not in self._limits:
            self._find(pair)
        return judge(self._detectors[model].detect(PICTURES[number % len(PICTURES)]), self._limits[recipe])

    def _find(self, pair: Pair) -> None:
        """Load what a line that another process told to judge with it has in memory."""
        for file in named_files(self.station):
            for path in sorted(file.parent.glob(f"*{file.suffix}")):
                with suppress(ConfigError, BundleError):  # one of them is torn, or is no recipe
                    self._read(path)
        assert set(pair.values()) <= {*self._detectors, *self._limits}, f"the line judges with {pair}: nowhere there"

    def _load(self, candidate: Candidate) -> None:
        """Take a release, as the station does: the one that was named, beside what is on disk, and proved with it."""
        now: Pair = self.state["in_force"]
        digest = self._read(candidate.path)
        if digest != candidate.sha256 or self.behaves.get(digest) == "refused":
            raise LineRefusedError(f"{candidate.path} is not acceptable here")
        if digest == now.get(candidate.name):
            return
        others = {name: each for name, each in would_start(self.station).items() if name != candidate.name}
        if any(now[name] != each for name, each in others.items()):
            raise LineRefusedError(f"{', '.join(others)}: another one is on trial, and a release changes nothing else")
        if not is_proved(self.station, now | {candidate.name: digest}):
            raise LineRefusedError(f"{candidate.path} was never proved here with {', '.join(others)}")

    def _read(self, path: Path) -> str:
        """Load a bundle, or a recipe; returns its digest."""
        if path.suffix == ".bundle":
            bundle = read_bundle(path)
            if bundle.digest not in self._detectors:
                runtime = make_runtime(RuntimeSection(threads=1), bundle, "f32")
                self._detectors[bundle.digest] = Detector(runtime, bundle.manifest)
            return bundle.digest
        recipe, document = load_recipe(path)
        rule = recipe.classes.get("spot")
        self._limits[document.digest] = LIMIT if rule is None else rule.reject_limit or LIMIT
        return document.digest

    def _answer(self, what: str, about: str) -> None:
        if self.is_away:
            raise DeliveryError("no station answered within 10 s")
        self.asked.append((what, about))
