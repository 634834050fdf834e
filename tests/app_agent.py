"""A device whose application is updated: the agent's real parts, real launchers, and what systemd is to them."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from appliance import launch
from appliance.launch import BUILT, FAILED, SLOT, STARTS, Slot, Starts
from appliance.update.app_build import AppBuilder
from appliance.update.app_settings import AppLimits, AppWork
from appliance.update.app_slots import AppSlots
from appliance.update.apps import Apps
from appliance.update.conductor import Conductor
from appliance.update.device_key import open_device_key
from appliance.update.kinds import Update
from appliance.update.reports import Reports
from appliance.update.service import Service
from tests.app_releases import LAUNCHER, Wheels, make_environment
from tests.update_agent import DEVICE, SITE, Device, Fleet
from tests.update_server import UpdateServer

APP = "appliance"
PACE_S = 0.05
MOST_LOOKS = 3000


class Systemd:
    """Starts each unit's launcher, starts it again when it ends, and all of them when the restart file changes."""

    def __init__(self, slots: Path, image: Path, units: dict[str, Path], *, healthy_s: float = 0.1,
                 silence_s: float = 1.0, arguments: Callable[[Path], list[str]] | None = None) -> None:  # fmt: skip
        self._arguments = arguments or (lambda starts: ["run", str(starts.with_suffix(".out"))])
        self._silence_s = silence_s
        self._slots, self._image, self._units, self._healthy_s = slots, image, units, healthy_s
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stop, self.is_off = threading.Event(), False
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Systemd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for process in self._running.values():
            self._end(process, signal.SIGKILL)

    def _keep(self) -> None:
        asked = self._asked()
        while not self._stop.wait(PACE_S):
            if (now := self._asked()) != asked:
                asked = now
                for process in self._running.values():
                    self._end(process, signal.SIGTERM)
            for unit in self._units if not self.is_off else ():
                process = self._running.get(unit)
                if process is None or process.poll() is not None:
                    self._running[unit] = self._start(unit)

    def _asked(self) -> str:
        path = self._slots / "restart"
        return path.read_text() if path.exists() else ""

    def _start(self, unit: str) -> "subprocess.Popen[bytes]":
        starts = self._units[unit]
        command = [sys.executable, "-I", "-S", LAUNCHER, "--slots", self._slots, "--image", self._image, "--starts",
                   starts, "--silence-s", str(self._silence_s), "--ready-s", "30", "--healthy-s", str(self._healthy_s),
                   "--", *self._arguments(starts)]  # fmt: skip
        return subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stderr=subprocess.DEVNULL,
                                start_new_session=True)  # fmt: skip

    def _end(self, process: "subprocess.Popen[bytes]", number: int) -> None:
        if process.poll() is None:
            process.send_signal(number)
            process.wait(30)


class Paced(Service):
    """Looks as a running agent does, with a little time in between."""

    def look(self) -> None:
        super().look()
        threading.Event().wait(PACE_S)


@dataclass
class AppDevice(Device):
    """A device as in tests.update_agent, for the kind `app`."""

    units: tuple[str, ...] = ("run",)
    limits: AppLimits = field(default_factory=AppLimits)
    around_app: Callable[[Apps], Any] = lambda kind: kind

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slots = AppSlots(
            self.state / "slots" / "apps", {unit: self.folder / f"{unit}.starts.json" for unit in self.units}
        )

    def prepare(self, root: bytes) -> None:
        """What the image brings: its root, its program, a station's configuration."""
        self.slots.folder.mkdir(parents=True)
        self.models.mkdir()
        self.station.parent.mkdir()
        self.station.write_text("device: aoi-1\n")
        (self.folder / "root.json").write_bytes(root)
        make_environment(self.folder / "image", "0.1")

    def systemd(self, **given: float) -> Systemd:
        return Systemd(self.slots.folder, self.folder / "image", dict(self.slots.units), **given)

    @property
    def app(self) -> Apps:
        orders = replace(self.kind.source, allowed=lambda: [*self.kind.source.allowed(), ("app", APP)])
        return Apps(orders, AppBuilder(self.slots, AppWork()), self.limits, self.station, self.clock)

    def start(self) -> Service:
        journal, app = self.journal, self.app
        conductor = Conductor(self.around_journal(journal), {"app": self.around_app(app)}, self.clock, self.window)
        reports = Reports(
            journal, open_device_key(self.state / "device.key"), self.clock, site=SITE, device_id=DEVICE, boot_id="boot"
        )
        conductor.resume()
        orders = app.source
        return Paced(
            journal, conductor, self.line, reports, orders.read_assignment, self.deliver, poll_s=900, look_s=0.01
        )

    def update(self, looks: int = MOST_LOOKS) -> Update:
        return super().update(looks)

    def started(self, unit: str = "run") -> list[str]:
        """The versions that a unit started, in their order."""
        out = self.slots.units[unit].with_suffix(".out")
        return [line.split()[0] for line in out.read_text().splitlines()] if out.exists() else []

    def crashes(self, tries_left: int = 0, unit: str = "run") -> None:
        """What a launcher writes down of a program that crashed on trial, where one is."""
        if trial := self.slots.trial():
            launch.write_note(self.slots.units[unit], Starts(trial.id, tries_left, FAILED, "it crashed"), STARTS)

    def pid(self, unit: str = "run") -> int:
        """The process that a unit started last."""
        return int(self.slots.units[unit].with_suffix(".out").read_text().split()[-1])


class AppFleet(Fleet):
    """A repository whose apps' role signs the application."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.repository.delegate("apps", ["apps/*/*"], terminating=True)

    def package(self, seq: int, version: str, behaviour: str = "is well") -> Path:
        path = self.folder / f"{APP}-{version}.zip"
        if not path.exists():
            Wheels.write(self.folder / f"wheels-{version}", version, behaviour).pack(path, version, seq)
        return path

    def sign(self, seq: int, content: bytes) -> dict[str, Any]:
        """Sign a release of the application; returns what an assignment says of it."""
        path = f"apps/{APP}/{APP}-{seq}.zip"
        self.repository.add_target(path, content, role="apps", custom={"kind": "app", "seq": seq})
        self.repository.publish("apps")
        return {"kind": "app", "name": APP, "path": path, "sha256": hashlib.sha256(content).hexdigest(),
                "length": len(content), "seq": seq}  # fmt: skip

    def bring(self, device: AppDevice, seq: int, behaviour: str = "is well", **changes: Any) -> str:
        """Assign a release whose slot lies there built, as after a try that was broken off; returns its digest."""
        version = f"{seq}.0"
        release = self.sign(seq, self.package(seq, version, behaviour).read_bytes())
        sha256, name = str(release["sha256"]), device.slots.spare()
        make_environment(device.slots.folder / name, version, behaviour)
        launch.write_note(launch.slot_note(device.slots.folder, name), Slot(sha256, APP, version, seq, BUILT), SLOT)
        self.assign(release, **changes)
        return sha256

    def app_device(self, folder: Path, server: UpdateServer, **given: Any) -> AppDevice:
        """A device that runs what its image brings."""
        device = AppDevice(folder, server.url, **given)
        device.prepare(self.repository.root_bytes())
        return device
