"""A station that answers an agent's commands over a real broker and keeps a real ledger, as `appliance run` does."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.bundle.archive import read_bundle
from appliance.events import Decision, Verdict
from appliance.links.settings import MqttSettings
from appliance.stores.ledger import SqliteLedger
from tests.ledger_inspections import make_inspection, make_trigger
from tests.stations import SmallStation, until

PRODUCT = "spots"
PATIENCE_S = 60
SHADOW_TABLE = (
    "CREATE TABLE IF NOT EXISTS shadow (seq INTEGER, candidate_digest TEXT, verdict TEXT, reason TEXT, label TEXT,"
    " score REAL, latency_us INTEGER, at TEXT)"
)


class AnsweringStation(SmallStation):
    """In force is what it was told last, at first what `current` names; each look at its status lets parts pass.

    Every fourth part is rejected, by whatever judges and by whatever judges beside. busy: command -> how often whoever
    sends it is yet told to try again. may_answer: it thinks until that is set.
    """

    def __init__(self, current: Path, ledger: SqliteLedger, ledger_file: Path, parts_per_look: int = 8) -> None:
        super().__init__()
        self.current, self.ledger, self.ledger_file, self.parts_per_look = current, ledger, ledger_file, parts_per_look
        self.in_force = ""
        self.shadow: dict[str, Any] = {"state": "none"}
        self.refuses: dict[str, str] = {}
        self.busy: dict[str, int] = {}
        self._busy = threading.Lock()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def connect(self, settings: MqttSettings) -> None:
        """Come up; `disconnect` when done."""
        self._opened = self.link(settings)
        self._opened.open(self)
        until(lambda: self.connected, "the station is up")

    def disconnect(self) -> None:
        self._opened.close()
        self.ledger.close()

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.commands]

    def on_command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.commands.append((name, arguments))
        self.may_answer.wait(PATIENCE_S)
        if words := self.refuses.get(name):
            return {"ok": False, "error": words}
        if self.busy.get(name, 0) > 0:
            self.busy[name] -= 1
            return {"ok": False, "error": "another release is being loaded", "try_again": True}
        with self._busy:
            return {"ok": True} | getattr(self, f"_{name.replace('-', '_')}")(arguments)

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        self.in_force = self.in_force or read_bundle(self.current).digest
        self.pass_parts(self.parts_per_look)
        bundles = {PRODUCT: {"bundle": "tiny", "revision": 1, "digest": self.in_force}}
        return {"product": PRODUCT, "bundles": bundles, "shadow": self.shadow}

    def _release(self, arguments: dict[str, Any]) -> dict[str, Any]:
        bundle = read_bundle(Path(arguments["bundle"]))
        assert bundle.digest == arguments["sha256"]
        is_changed, self.in_force = bundle.digest != self.in_force, bundle.digest
        return {"product": arguments["product"], "digest": bundle.digest, "changed": is_changed}

    def _shadow(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("stop"):
            self.shadow = self.shadow | {"state": "ended"}
        else:
            self.shadow = {"state": "running", "product": PRODUCT, "candidate": arguments["sha256"], "problem": ""}
        return dict(self.shadow)

    def _update_event(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {}

    def pass_parts(self, count: int) -> None:
        for _ in range(count):
            number = self.ledger.last_seq() + 1
            trigger = make_trigger(f"t{number}")
            made = make_inspection(trigger, Verdict.ACCEPT if number % 4 else Verdict.REJECT)
            self.ledger.accept(trigger)
            self.ledger.record(replace(made, versions=replace(made.versions, bundle_digest=self.in_force)))
            if self.shadow["state"] == "running":
                self._note_shadow(number, made.decision)

    def _note_shadow(self, seq: int, said: Decision) -> None:
        row = (seq, self.shadow["candidate"], said.verdict.value, said.reason.value, said.label, said.score, 900, "now")
        with closing(sqlite3.connect(self.ledger_file, timeout=10)) as ledger:
            ledger.execute(SHADOW_TABLE)
            ledger.execute("INSERT INTO shadow VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            ledger.commit()
