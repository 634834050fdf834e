"""The agent's configuration: where updates come from, where trust begins, and where things lie (docs/updates.md)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from appliance.documents import LocatedPath, Section, read_document
from appliance.errors import ConfigError
from appliance.update.app_settings import AppLimits, AppWork
from appliance.update.assignment import Word
from appliance.update.doors import Window
from appliance.update.floor import Floor, Moment, as_moment
from appliance.update.https import HttpsSource
from appliance.update.pace import TransferLimits
from appliance.update.places import Places
from appliance.update.proxy import Proxy
from appliance.update.transport import Transport

MEGABYTE = 10**6
MAX_ROOT_BYTES = 512_000


def _as_proxy(said: object) -> object:
    return Proxy.of(said) if isinstance(said, str) else said


class AssignmentSection(Section):
    """Whose assignment is read: assign/SITE/DEVICE_ID.json."""

    site: Word
    device_id: Word


class WorkSection(Section):
    """What the child process that builds and proves may take.

    build_s, prove_s: seconds. memory_mb: of its data, in 10^6 bytes.
    """

    build_s: Annotated[int, Field(ge=1, le=100_000)] = 3600
    prove_s: Annotated[int, Field(ge=1, le=100_000)] = 900
    memory_mb: Annotated[int, Field(ge=16, le=10_000_000)] = 4000


class AppsSection(AppLimits):
    """The application: under which name its releases are assigned, and who starts it.

    units: name -> the file in which that unit's launcher counts. tries: starts that each has for a release on trial.
    """

    name: Word
    units: Annotated[dict[Word, LocatedPath], Field(min_length=1, max_length=20)]
    tries: Annotated[int, Field(ge=1, le=100)] = 3
    work: AppWork = AppWork()


class AgentConfig(Places, Section):
    """agent.yaml.

    root: the root.json that the device's image brings. floor: another place than state, if possible another partition.
    built_at: when the image was built; no time before it is believed. stick_root: as root, for the repository of USB
    sticks. reserve_mb: what downloads leave free.
    station: the configuration of the line beside, and assignment: what this device is called; both None on a device
    that only fetches files. poll_min, look_s: minutes between questions to the repository, seconds between looks at
    the line. silence_s: seconds in which the agent at work must get further, or it is taken as hung.
    apps: None where the application is not updated.
    """

    metadata_url: str
    targets_url: str
    root: LocatedPath
    state: LocatedPath
    floor: LocatedPath
    built_at: Moment
    ca_file: LocatedPath | None = None
    proxy: Annotated[Proxy | None, BeforeValidator(_as_proxy)] = None
    stick_root: LocatedPath | None = None
    reserve_mb: Annotated[int, Field(ge=0, le=100_000_000)] = 500
    limits: TransferLimits = TransferLimits()
    station: LocatedPath | None = None
    assignment: AssignmentSection | None = None
    window: Window = Window()
    reports_url: str | None = None
    poll_min: Annotated[float, Field(ge=0.01, le=10_000)] = 15.0
    look_s: Annotated[float, Field(ge=0.01, le=3600)] = 5.0
    silence_s: Annotated[float, Field(gt=0, le=100_000)] = 900.0
    work: WorkSection = WorkSection()
    apps: AppsSection | None = None

    @property
    def reserve_bytes(self) -> int:
        """What downloads leave free on the disk."""
        return self.reserve_mb * MEGABYTE

    def make_floor(self) -> Floor:
        """Return what this device never goes back behind."""
        return Floor(self.floor, as_moment(self.built_at))

    def make_transport(self) -> Transport:
        """Return how files get here."""
        return Transport(self.limits, self.ca_file, proxy=self.proxy)

    def make_source(self, url: str) -> HttpsSource:
        """Return a folder of the server."""
        return HttpsSource(url, self.make_transport())

    def read_root(self) -> bytes:
        """Return the root of the device's image.

        Raises:
            ConfigError: the file cannot be read or is none.
        """
        return _read_root(self.root)

    def read_stick_root(self) -> bytes:
        """Return the root of the repository of sticks.

        Raises:
            ConfigError: none is named, or the file cannot be read or is none.
        """
        if self.stick_root is None:
            raise ConfigError(
                "no stick is believed here; name the root.json of the sticks' repository as `stick_root` in the "
                "agent's configuration"
            )
        return _read_root(self.stick_root)


def _read_root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name the root.json that the image brings") from error
    if len(content) > MAX_ROOT_BYTES:
        raise ConfigError(f"{path}: more than {MAX_ROOT_BYTES} bytes; this is no root.json, check the path")
    return content


def load_agent_config(path: Path) -> AgentConfig:
    """Read agent.yaml.

    Raises:
        ConfigError: a person must correct the file, or one that it names.
    """
    document = read_document(path)
    config = document.into(AgentConfig)
    transport = config.make_transport()
    checks: dict[str, Callable[[], object]] = {
        "metadata_url": partial(transport.check_address, config.metadata_url),
        "targets_url": partial(transport.check_address, config.targets_url),
        "ca_file": transport.check_authority,
    }
    if config.reports_url is not None:
        checks["reports_url"] = partial(transport.check_address, config.reports_url)
    for key, check in checks.items():
        try:
            check()
        except ConfigError as error:
            problem, _, remedy = str(error).rpartition("; ")
            raise document.error((key,), problem, remedy) from error
    needed_s = config.limits.longest_s
    if config.silence_s < needed_s:
        problem = f"{config.silence_s:g} s are less than the {needed_s:g} s that `limits` leave the network"
        raise document.error(("silence_s",), problem, "raise it, or lower those")
    if config.state in (config.floor, *config.floor.parents):
        problem = f"{config.floor} lies in the state folder"
        raise document.error(("floor",), problem, "put it elsewhere, so that both are not lost at once")
    return config
