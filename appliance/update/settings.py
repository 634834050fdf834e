"""The agent's configuration: where updates come from, where trust begins, and where things lie (docs/updates.md)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field

from appliance.documents import Document, LocatedPath, Section, read_document
from appliance.errors import ConfigError
from appliance.update.app_settings import AppLimits, AppWork
from appliance.update.assignment import Word
from appliance.update.doors import Window
from appliance.update.floor import Floor, Moment, as_moment
from appliance.update.https import HttpsSource
from appliance.update.lock import nothing
from appliance.update.pace import TransferLimits
from appliance.update.places import Places
from appliance.update.proxy import Proxy
from appliance.update.slots import SUFFIXES
from appliance.update.source import NoSource, Source
from appliance.update.transport import Transport

T = TypeVar("T")

MEGABYTE = 10**6
MAX_ROOT_BYTES = 512_000
SILENCE_S = 900.0
"""Longer than the disk takes to read and write the largest release."""


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

    metadata_url, targets_url, root: where the server's repository lies, and the root.json for it that the device's
    image brings; all None in a plant that has sticks only.
    floor: another place than state, if possible another partition.
    built_at: when the image was built; no time before it is believed. stick_root: as root, for the repository of USB
    sticks. reserve_mb: what downloads leave free.
    station: the configuration of the line beside, and assignment: what this device is called; both None on a device
    that only fetches files. poll_min, look_s: minutes between questions to the repository, seconds between looks at
    the line. silence_s: seconds in which the agent at work must get further, or it is taken as hung; see must_get_on_s.
    apps: None where the application is not updated.
    """

    metadata_url: str | None = None
    targets_url: str | None = None
    root: LocatedPath | None = None
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
    silence_s: Annotated[float, Field(gt=0, le=100_000)] | None = None
    work: WorkSection = WorkSection()
    apps: AppsSection | None = None

    @property
    def reserve_bytes(self) -> int:
        """What downloads leave free on the disk."""
        return self.reserve_mb * MEGABYTE

    @property
    def must_get_on_s(self) -> float:
        """Seconds in which the agent at work must get further; where nobody says, as many as `limits` ask for."""
        return max(SILENCE_S, self.limits.longest_s) if self.silence_s is None else self.silence_s

    def make_floor(self, meanwhile: Callable[[], None] = nothing) -> Floor:
        """Return what this device never goes back behind; meanwhile: called often while another process writes it."""
        return Floor(self.floor, as_moment(self.built_at), meanwhile)

    def make_transport(self) -> Transport:
        """Return how files get here."""
        return Transport(self.limits, self.ca_file, proxy=self.proxy)

    @property
    def has_server(self) -> bool:
        """Whether there is a repository that can be asked at any time."""
        return self.metadata_url is not None

    def make_metadata_source(self) -> HttpsSource:
        """Return the folder of the server's metadata.

        Raises:
            ConfigError: no server is named.
        """
        return HttpsSource(_of_a_server(self.metadata_url), self.make_transport())

    def make_targets_source(self) -> Source:
        """Return the folder of the server's files; where none is named, one that has nothing."""
        return (
            NoSource(self.limits) if self.targets_url is None else HttpsSource(self.targets_url, self.make_transport())
        )

    def read_root(self) -> bytes:
        """Return the root of the device's image.

        Raises:
            ConfigError: no server is named, or the file cannot be read or is none.
        """
        return _read_root(_of_a_server(self.root))

    def allowed(self) -> list[tuple[str, str]]:
        """Return kind and name of all that this device may be told to run."""
        app = [("app", self.apps.name)] if self.apps else []
        return [(kind, name) for kind in SUFFIXES for name in self.names(kind)] + app

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


def _of_a_server(said: T | None) -> T:
    if said is None:
        raise ConfigError(
            "agent.yaml names no server of updates; name `metadata_url`, `targets_url` and `root`, or bring a stick "
            "(`appliance agent import`)"
        )
    return said


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
    _check_sources(config, document)
    transport = config.make_transport()
    urls = {"metadata_url": config.metadata_url, "targets_url": config.targets_url, "reports_url": config.reports_url}
    checks: dict[str, Callable[[], object]] = {
        key: partial(transport.check_address, url) for key, url in urls.items() if url is not None
    }
    checks["ca_file"] = transport.check_authority
    for key, check in checks.items():
        try:
            check()
        except ConfigError as error:
            problem, _, remedy = str(error).rpartition("; ")
            raise document.error((key,), problem, remedy) from error
    given_s, needed_s = config.must_get_on_s, config.limits.longest_s
    if given_s < needed_s:
        problem = f"{given_s:g} s are less than the {needed_s:g} s that `limits` leave the network"
        raise document.error(("silence_s",), problem, "raise it, or leave it out")
    if config.state in (config.floor, *config.floor.parents):
        problem = f"{config.floor} lies in the state folder"
        raise document.error(("floor",), problem, "put it elsewhere, so that both are not lost at once")
    return config


def _check_sources(config: AgentConfig, document: Document) -> None:
    """A server is named with all that it takes, or not at all; then there are sticks."""
    of_a_server = {key: getattr(config, key) for key in ("metadata_url", "targets_url", "root")}
    lacks = [key for key, value in of_a_server.items() if value is None]
    if lacks and len(lacks) < len(of_a_server):
        there = next(key for key in of_a_server if key not in lacks)
        problem = f"a server takes `metadata_url`, `targets_url` and `root`, and {' and '.join(lacks)} is missing"
        raise document.error((there,), problem, "add it; or name none of the three where updates come by stick only")
    if lacks and config.stick_root is None:
        problem = "names neither a server of updates (`metadata_url`) nor the root of sticks (`stick_root`)"
        raise document.error((), problem, "name one of both, so that there is something that can be believed")
