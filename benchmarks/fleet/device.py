"""One simulated device: the appliance's own client asks, downloads and believes; what judges parts is played."""

import http.client
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.clock import SystemClock
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.https import HttpsSource
from appliance.update.pace import TransferLimits
from appliance.update.repository import TrustedRepository
from appliance.update.transport import Transport
from trainer.release.report import signed_part

Nature = Literal["healthy", "failing", "silent", "lying", "forging", "replaying"]
"""What a device is, whatever it is given; failing: it cannot take any release (its disk, its engine)."""

SHADOW_H, TRIAL_H = 4.0, 1.0
"""Hours until a release judges parts there, and from then until one that is bad is noticed by the device."""

BUILT_AT = datetime(2020, 1, 1, tzinfo=timezone.utc)


@dataclass
class SimulatedDevice:
    """A device; `bad`: digests of releases that are bad for it.

    ran: digests that have judged parts here. told: what its report says of the newest update. victim: the device in
    whose name a forging one reports.
    """

    device_id: str
    site: str
    nature: Nature
    folder: Path
    port: int
    root: bytes
    bad: frozenset[str] = frozenset()
    victim: str = ""
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    in_force: str = ""
    assignment_seq: int = 0
    number: int = 0
    ran: set[str] = field(default_factory=set)
    told: dict[str, Any] | None = None
    began_h: float = 0.0
    watch_h: float = 0.0
    reports: list[bytes] = field(default_factory=list)

    @property
    def public(self) -> str:
        """Its key, as the fleet file has it."""
        return self.private.public_key().public_bytes_raw().hex()

    def poll(self, now_h: float) -> bool:
        """Ask as a device does; returns whether there was something new."""
        url = f"http://127.0.0.1:{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        transport = Transport(TransferLimits(), allows_plain_loopback=True)
        floor = Floor(self.folder / "floor.json", BUILT_AT)
        repository = TrustedRepository(
            "online", HttpsSource(f"{url}/metadata/", transport), self.folder / "metadata", root=self.root,
            floor=floor, clock=SystemClock(), elsewhere=[self.folder / "files"],
        )  # fmt: skip
        (self.folder / "orders").mkdir(exist_ok=True)
        targets = HttpsSource(f"{url}/targets/", transport)
        orders = TargetStore(self.folder / "orders", targets)
        assignment = json.loads(orders.fetch(repository.find(f"assign/{self.site}/{self.device_id}.json")).read_bytes())
        if assignment["seq"] == self.assignment_seq:
            return False
        self.assignment_seq = assignment["seq"]
        (release,) = assignment["releases"]
        self._give_up_other(release["sha256"])
        if release["sha256"] != self.in_force:
            store = TargetStore(self.folder / "files", targets)
            (self.folder / "files").mkdir(exist_ok=True)
            target = repository.find(release["path"])
            assert target.digests["sha256"] == release["sha256"]
            store.fetch(target).unlink()
            floor.rise_to_releases(target.releases)
            self._begin(release, now_h, assignment["gates"]["watch_h"])
        self.report()
        return True

    def go_on(self, now_h: float) -> None:
        """Let time pass for the update that is under way, and report what is new."""
        if self.told is None or self.told["outcome"] != "running":
            return
        since, digest = now_h - self.began_h, self.told["sha256"]
        if self.nature == "failing":
            self._end("failed", "its disk is full")
        elif since >= SHADOW_H + TRIAL_H and digest in self.bad:
            self.ran.add(digest)
            self._end("rolled_back", "more rejects than the release before")
        elif since >= SHADOW_H + self.watch_h:
            self.ran.add(digest)
            self.in_force = digest
            self._end("success", "watched")
        elif since >= SHADOW_H and self.told["state"] == "SHADOW":
            self.ran.add(digest)
            self.told |= {"state": "WATCH", "parts": 1000}
            self.report()

    def report(self) -> None:
        """Say it, or what a liar says."""
        if self.nature == "silent":
            return
        said = dict(self.told) if self.told else None
        if said and self.nature == "lying":
            said |= {"state": "IDLE", "outcome": "success", "parts": 10**6}
        self.put(self.device_id, self.signed(said))
        if said and self.nature == "forging":
            self.put(self.victim, self.signed(said | {"outcome": "success", "state": "IDLE"}, device_id=self.victim))
        if self.nature == "replaying" and len(self.reports) > 2:
            self.put(self.device_id, self.reports[0])

    def signed(self, said: dict[str, Any] | None, **changes: object) -> bytes:
        """Return the next report."""
        self.number += 1
        document: dict[str, Any] = {
            "schema": "vi.update-report/1", "device_id": self.device_id, "site": self.site, "boot_id": "simulated",
            "seq": self.number, "at": "2026-11-27T12:00:00.000Z", "assignment_seq": self.assignment_seq, "rollout": "",
            "problem": "", "held_by": "", "releases": [said] if said else [], "public_key": self.public, **changes,
        }  # fmt: skip
        content = json.dumps(
            document | {"signature": self.private.sign(signed_part(document)).hex()}, indent=1
        ).encode()
        self.reports.append(content)
        return content

    def put(self, device_id: str, content: bytes) -> None:
        """Send a report; this server lets everybody write everything, which a real one must not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/reports/{device_id}.json", content, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 204
        connection.close()

    def _begin(self, release: dict[str, Any], now_h: float, watch_h: float) -> None:
        self.began_h, self.watch_h = now_h, watch_h
        self.told = {
            "kind": release["kind"], "name": release["name"], "seq": release["seq"], "sha256": release["sha256"],
            "assignment_seq": self.assignment_seq, "rollout": "", "state": "SHADOW", "outcome": "running", "reason": "",
            "by": "", "waits_for": "", "parts": 0, "p99_ms": None,
        }  # fmt: skip

    def _give_up_other(self, digest: str) -> None:
        if self.told and self.told["outcome"] == "running" and self.told["sha256"] != digest:
            has_judged = self.told["sha256"] in self.ran
            self.told |= {
                "state": "IDLE",
                "outcome": "rolled_back" if has_judged else "failed",
                "reason": "called back",
            }

    def _end(self, outcome: str, reason: str) -> None:
        assert self.told is not None
        self.told |= {"state": "IDLE", "outcome": outcome, "reason": reason, "parts": 2000}
        self.report()
