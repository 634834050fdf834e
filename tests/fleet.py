"""A fleet beside a publisher's desk: devices with real keys that report what a test wants, as files or else."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import Signer

from appliance.events import utc_now
from tests.begun_once import begun_once
from tests.release_desk import Desk
from trainer.__main__ import main as trainer
from trainer.release.assignment import Assignment, Chosen, choose
from trainer.release.keys import open_signer
from trainer.release.orders import assignment_of
from trainer.release.passphrases import Secrets
from trainer.release.report import signed_part
from trainer.release.shelf import Shelf
from trainer.rollout.fleet import read_fleet
from trainer.rollout.steering import Steering

OLD, NEW, BACK = (f"models/boards/boards-{seq}.bundle" for seq in (1, 2, 3))
SITES = {"ulm": {"bench": ["lab-1"], "a": ["ulm-a1", "ulm-a2"], "b": ["ulm-b1", "ulm-b2"]},
         "oslo": {"a": ["oslo-a1", "oslo-a2"], "b": ["oslo-b1", "oslo-b2"]}}  # fmt: skip
AT_ONCE = {"lab": {"least_h": 0}, "line": {"least_h": 0, "least_parts": 100}, "quarter": {"least_h": 0, "percent": 60}}
"""Rings without waiting; 60 % because the two lines are half of so small a fleet."""


@dataclass
class Reporter:
    """A device as far as the fleet sees it."""

    device_id: str
    site: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    number: int = 0

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes_raw().hex()

    def report(self, *releases: dict[str, Any], **changes: Any) -> bytes:
        """The next report; `changes` are made before it is signed."""
        self.number += 1
        document = {
            "schema": "vi.update-report/1", "device_id": self.device_id, "site": self.site, "boot_id": "boot-1",
            "seq": self.number, "at": "2026-11-27T12:00:00.000Z", "assignment_seq": 1, "rollout": "r1", "problem": "",
            "held_by": "", "releases": list(releases), "public_key": self.public, **changes,
        }  # fmt: skip
        return self.signed(document)

    def signed(self, document: dict[str, Any]) -> bytes:
        signature = self.private.sign(signed_part(document)).hex()
        return json.dumps({**document, "signature": signature}, indent=1).encode()


def told(chosen: Chosen, outcome: str, state: str = "IDLE", parts: int = 2000, **changes: Any) -> dict[str, Any]:
    """What a report says of one release."""
    return {
        "kind": chosen.kind, "name": chosen.name, "seq": chosen.seq, "sha256": chosen.sha256, "assignment_seq": 1,
        "rollout": "r1", "state": state, "outcome": outcome, "reason": f"{outcome} in {state}", "by": "",
        "waits_for": "", "parts": parts, "p99_ms": 12.5, **changes,
    }  # fmt: skip


def _release_old(desk: Desk) -> None:
    assert desk.release(desk.folder / "old.bundle") == 0


def _begin_at(desk: Desk, has_back: bool) -> None:
    desk.make_keys()
    assert trainer([*desk.ceremony_words(), f"--site=oslo={desk.public('ulm')}"]) == 0
    for name in ("anna", "ben"):
        assert desk.sign(name, *desk.requests("ceremony")) == 0
    assert desk.publish_signed(desk.requests("ceremony")) == 0
    (desk.folder / "old.bundle").write_bytes(desk.bundle(revision=1).read_bytes())
    assert desk.release(desk.folder / "boards.bundle") == 0
    for site, lines in SITES.items():
        devices = [word for names in lines.values() for name in names for word in ("--device", name)]
        assert desk.assign(*devices, "--release", OLD, "--rollout", "before", site=site) == 0
    assert desk.release(desk.bundle(revision=2)) == 0
    if has_back:
        _release_old(desk)


def _begin(folder: Path, has_back: bool) -> None:
    _begin_at(Desk(folder, str(folder / "updates")), has_back)


class FleetDesk:
    """Two sites, and a repository with what runs, what is new, and what ran once more under a new number."""

    def __init__(
        self, folder: Path, rings: dict[str, Any] | None = None, *, has_back: bool = True, address: str = ""
    ) -> None:
        self.desk = Desk(folder, address or str(folder / "updates"))
        self.reports = folder / "reports"
        self.reports.mkdir()
        self.reporters = {name: Reporter(name, site) for site, lines in SITES.items()
                          for names in lines.values() for name in names}  # fmt: skip
        self.fleet = folder / "fleet.yaml"
        self.write_fleet(AT_ONCE if rings is None else rings)
        self.now = utc_now()
        if address:
            _begin_at(self.desk, has_back)
        else:
            begun_once(folder, _begin, has_back)
        self.chosen = {path: self.signed(path) for path in (OLD, NEW, BACK)[: 3 if has_back else 2]}

    def write_fleet(self, rings: dict[str, Any], **changes: Any) -> None:
        sites: dict[str, Any] = {
            site: {
                line: {name: {"key": self.reporters[name].public} for name in names} for line, names in lines.items()
            }
            for site, lines in SITES.items()
        }
        sites["ulm"]["bench"]["lab-1"]["ring"] = "lab"
        self.fleet.write_text(yaml.safe_dump({"reports": str(self.reports), "sites": sites, "rings": rings, **changes}))

    def release_old(self) -> None:
        """What ran before, once more, under a new number."""
        _release_old(self.desk)

    def signed(self, path: str) -> Chosen:
        return choose(self.desk.standing(), [path])[0]

    def run(self, task: str, *words: str, keys: tuple[str, ...] = ("ulm", "online"), name: str = "r1") -> int:
        """`trainer rollout TASK`, as a person types it."""
        signers = [] if task == "status" else self.desk.keyed(*keys)
        by = [] if task in ("status", "advance") else ["--by", "Anna"]
        return trainer(["rollout", task, name, "--fleet", str(self.fleet), *self.desk.at(), *signers, *by, *words])

    def start(self, *words: str) -> int:
        return self.run("start", "--release", NEW, "--back", BACK, *words)

    def status(self) -> dict[str, Any]:
        out = self.desk.folder / "status.json"
        assert self.run("status", "--json", str(out)) == 0
        return json.loads(out.read_text())  # type: ignore[no-any-return]

    def steering(self) -> Steering:
        """The same, at a time that a test sets by `now` and `later`."""
        secrets = Secrets(passphrases=(self.desk.folder / "passphrase",))
        signers: list[Signer] = [open_signer(str(self.desk.key(name)), secrets) for name in ("ulm", "online")]
        return Steering(self.desk.address, self.desk.root, read_fleet(self.fleet), signers, lambda: self.now)

    def later(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    def put(self, device: str, content: bytes) -> None:
        (self.reports / f"{device}.json").write_bytes(content)

    def say(self, device: str, outcome: str, state: str = "IDLE", path: str = NEW, **changes: Any) -> None:
        """Let a device report of a release, under the assignment that it has."""
        entry = told(self.chosen[path], outcome, state, **changes)
        self.put(device, self.reporters[device].report(entry, assignment_seq=self.assignment(device).seq))

    def assignment(self, device: str) -> Assignment:
        found = assignment_of(Shelf(self.desk.address), self.desk.standing(), self.reporters[device].site, device)
        assert found is not None
        return found

    def told(self, path: str = NEW) -> list[str]:
        """Devices whose assignment names a release, in order."""
        return sorted(name for name in self.reporters if self.assignment(name).releases[0].path == path)

    def ring(self, name: str) -> list[str]:
        """A ring's devices, as the assignments of those that were told say."""
        return sorted(device for device in self.told() if self.assignment(device).ring == name)

    def status_log(self) -> list[str]:
        """What was done, as it is written down."""
        document = json.loads((Path(self.desk.address) / "rollouts" / "r1.json").read_text())
        return [entry["what"] for entry in document["record"]["log"]]
