"""A line in this process that judges pictures with the real models of real bundles, as the agent sees `appliance run`.

What it has in force, and its ledger, are on disk: it outlives an agent that is killed. A restart takes `current`, as
the station does. Nothing of it is patched: `behaves` gives a release a flaw that a real one could have.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.engine import make_runtime
from appliance.errors import DeliveryError
from appliance.events import Detection
from appliance.optics.detector import Detector
from appliance.update.line import Beside, Candidate, Gate, LineRefusedError, SeenPart
from tests.models import spot_picture

Flaw = Literal["refused", "faults", "late", "ends the line", "ends beside"]
LIMIT = 0.5
PICTURES = (spot_picture(64, 64), spot_picture(64, 64, [(1, 1, 200)]))


def judge(found: tuple[Detection, ...]) -> tuple[str, str, float | None]:
    worst = max(found, key=lambda item: item.score, default=None)
    if worst is None or worst.score < LIMIT:
        return "ACCEPT", "complete", None
    return "REJECT", "defect", worst.score


@dataclass
class SimulatedLine:
    """Implements update.line.Line; models: the agent's folder of slots.

    parts_per_look: what passes by itself whenever somebody looks at the parts. is_away: nobody answers. is_busy: what
    judges beside the line gets through the first part only.
    """

    models: Path
    folder: Path
    parts_per_look: int = 5
    behaves: dict[str, Flaw] = field(default_factory=dict)
    is_away: bool = False
    is_busy: bool = False
    told: list[Mapping[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    _detectors: dict[str, Detector] = field(default_factory=dict)

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
        state = self.state
        state |= {"in_force": {}, "beside": {}, "problem": "", "skipped": 0}
        for folder in self.models.iterdir():
            state["in_force"][folder.name] = read_bundle(folder / "current.bundle").digest
        self.keep(state)

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
        return Beside(state["beside"].get(name, ""), state["problem"], state["skipped"])

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
            elif seq > since_seq and gate != "shadow" and judged_by == sha256:
                yield SeenPart(seq, *part[:3], 1500, part[3])

    def tell(self, event: Mapping[str, Any]) -> None:
        self._answer("tell", event["state"])
        self.told.append(event)

    def pass_parts(self, count: int) -> None:
        """Let parts pass, each judged by what is in force and by what judges beside."""
        state = self.state
        for _ in range(count):
            for name, digest in state["in_force"].items():
                if self.behaves.get(digest) == "ends the line":
                    self.restart()
                    return
                acted = self._judged(name, digest, len(state["parts"]))
                beside = state["beside"].get(name)
                if beside and self.behaves.get(beside) == "ends beside":
                    state["problem"], beside = "the child process crashed (SIGSEGV)", None
                if beside and self.is_busy and state["parts"]:
                    state["skipped"], beside = state["skipped"] + 1, None
                said = [beside, *self._judged(name, beside, len(state["parts"]))] if beside else None
                state["parts"].append([digest, [*acted, self.behaves.get(digest) == "late"], said])
        self.keep(state)

    def _judged(self, name: str, digest: str, number: int) -> tuple[str, str, float | None]:
        if self.behaves.get(digest) == "faults":
            return "FAULT", "runtime", None
        detector = self._detectors.get(digest) or self._find(name, digest)
        return judge(detector.detect(PICTURES[number % len(PICTURES)]))

    def _find(self, name: str, digest: str) -> Detector:
        for path in sorted((self.models / name).glob("*.bundle")):
            if read_bundle(path).digest == digest:
                return self._load(Candidate(name, path, digest))
        raise AssertionError(f"the line judges with {digest}, which is nowhere")

    def _load(self, candidate: Candidate) -> Detector:
        bundle = read_bundle(candidate.path)
        if bundle.digest != candidate.sha256 or self.behaves.get(candidate.sha256) == "refused":
            raise LineRefusedError(f"{candidate.path} is not acceptable here")
        detector = Detector(make_runtime(RuntimeSection(threads=1), bundle, "f32"), bundle.manifest)
        self._detectors[candidate.sha256] = detector
        return detector

    def _answer(self, what: str, about: str) -> None:
        if self.is_away:
            raise DeliveryError("no station answered within 10 s")
        self.asked.append((what, about))
