"""A device that knows one repository, with a clock that a test sets."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from appliance.events import utc_now
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.https import HttpsSource
from appliance.update.lock import nothing
from appliance.update.pace import TransferLimits
from appliance.update.repository import TrustedRepository
from appliance.update.transport import Transport
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_server import UpdateServer

BUILT_AT = datetime(2020, 1, 1, tzinfo=timezone.utc)


@dataclass
class SetClock:
    """A `ports.Clock` that says what a test wants; now: None for the right time."""

    now: datetime | None = None
    synchronised: bool | None = None

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc(self) -> datetime:
        return self.now or utc_now()

    def is_synchronised(self) -> bool | None:
        return self.synchronised


@dataclass
class Device:
    """What an appliance has on disk, and how it asks: metadata, floor and files in folders of their own."""

    folder: Path
    server: UpdateServer
    root: bytes
    clock: SetClock = field(default_factory=SetClock)
    limits: TransferLimits = field(default_factory=TransferLimits)
    not_before: datetime = BUILT_AT
    reserve_bytes: int = 0
    meanwhile: Callable[[], None] = nothing

    @property
    def metadata(self) -> Path:
        return self.folder / "metadata"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def floor(self) -> Floor:
        return Floor(self.folder / "floor.json", self.not_before, self.meanwhile)

    @property
    def transport(self) -> Transport:
        return Transport(self.limits, allows_plain_loopback=True)

    @property
    def repository(self) -> TrustedRepository:
        return TrustedRepository(
            "online", HttpsSource(self.server.metadata_url, self.transport), self.metadata, root=self.root,
            floor=self.floor, clock=self.clock, elsewhere=[self.files], meanwhile=self.meanwhile,
        )  # fmt: skip

    @property
    def store(self) -> TargetStore:
        return TargetStore(self.files, HttpsSource(self.server.targets_url, self.transport), self.reserve_bytes)

    def download(self, name: str) -> bytes:
        """Everything a device does for one target."""
        return self.store.fetch(self.repository.find(name)).read_bytes()


class Line:
    """A repository, its server and a device."""

    def __init__(self, folder: Path, server: UpdateServer, repository: Repository) -> None:
        self.repository, self.server = repository, server
        self.device = Device(folder, server, repository.root_bytes())

    def publish_all(self) -> None:
        self.repository.publish("root", *ALL_BUT_ROOT)
