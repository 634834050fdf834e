"""What this device never goes back behind: versions of the repository, releases, and time.

It lies outside the repository's own folder, so that torn or restored metadata is no way back to an old release.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from appliance.bundle import strict_json
from appliance.bundle.section import Section
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleFormatError, ReplayError, StorageError
from appliance.update.lock import locked, nothing

log = logging.getLogger(__name__)

SCHEMA = "vi.update-floor/1"
MAX_BYTES = 4_000_000
"""More than the keys of any root that is accepted can fill."""
LARGEST_SEQ = 2**53 - 1
"""Every JSON reader holds it exactly."""
MOST_AHEAD = timedelta(days=1)
"""As much later than a plausible clock may a timestamp have been signed, to be noted as a time that has been."""
TIME_FORM = "%Y-%m-%dT%H:%M:%SZ"

Version = Annotated[int, Field(ge=0)]


def as_moment(text: str) -> datetime:
    """Read a moment such as 2026-01-31T12:00:00Z.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, TIME_FORM).replace(tzinfo=timezone.utc)


def as_text(moment: datetime) -> str:
    """Write a moment in whole seconds of UTC, in a form that as_moment reads for every year."""
    return moment.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


Moment = Annotated[str, AfterValidator(lambda text: as_text(as_moment(text)))]
"""A moment in a file; the same moment is always the same text."""


class Role(Section):
    """Who may sign for an online role: key ids, and how many of them must."""

    keyids: tuple[str, ...] = ()
    threshold: Annotated[int, Field(ge=1)] = 1

    def is_rotated_to(self, newer: "Role") -> bool:
        """Return whether a key was taken away, or these keys no longer suffice under the newer ones.

        A key that is taken away may have been stolen, so whatever it alone has signed must not bind the others.
        """
        seen, kept = set(self.keyids), set(self.keyids) & set(newer.keyids)
        return kept != seen or len(kept) < newer.threshold


class Versions(Section):
    """Verified metadata: the newest root, and what its timestamp says; 0: none yet."""

    root: Version
    timestamp: Version
    snapshot: Version
    timestamp_role: Role
    snapshot_role: Role


class Voucher(Section):
    """Who could vouch for a target when it was looked up.

    repository: where. root, targets: versions of its root.json and targets.json. targets_role: who signs the latter.
    delegated: all to whom it gives the target's path, None: nobody else.
    """

    repository: str = "online"
    root: Version
    targets: Version
    targets_role: Role
    delegated: Role | None = None

    def numbered(self, seq: int) -> "Release":
        """Return what these vouch for under this number."""
        return Release.model_validate({**self.model_dump(), "seq": seq})


class Release(Voucher):
    """A numbered target: what may not be followed by a lower number."""

    seq: Annotated[int, Field(ge=0, le=LARGEST_SEQ)]

    def begins_anew_with(self, newer: "Release") -> bool:
        """Return whether a key that could have signed this one was taken away since.

        Only the same repository can say so: versions and keys of two repositories have nothing to do with each other.
        """
        if newer.repository != self.repository:
            return False
        if newer.root > self.root and self.targets_role.is_rotated_to(newer.targets_role):
            return True
        if newer.targets <= self.targets or self.delegated is None:
            return False
        return newer.delegated is None or self.delegated.is_rotated_to(newer.delegated)

    def followed_by(self, newer: "Release") -> "Release":
        """Return what to note of two, neither of which is refused."""
        if newer.repository != self.repository:
            return newer if newer.seq > self.seq else self
        # a targets.json that is older than the noted one says nothing newer about keys
        return newer if newer.targets >= self.targets else self.model_copy(update={"seq": newer.seq})


class FloorState(Section):
    """The file: per repository the highest versions, per kind and name the highest release, the latest time known."""

    schema_: Annotated[Literal["vi.update-floor/1"], Field(alias="schema")] = "vi.update-floor/1"
    time: Moment | None = None
    repositories: dict[str, Versions] = Field(default_factory=dict)
    releases: dict[str, Release] = Field(default_factory=dict)

    def risen_to(self, repository: str, offered: Versions) -> "FloorState":
        """Judge verified metadata; the pure core of the floor.

        Args:
            repository: its name.
            offered: what was verified by signature.

        Returns:
            The state with the floor at what was offered.

        Raises:
            ReplayError: it is older than what this device has seen.

        Source:
            TUF specification 1.0.34, sections 5.3.11 (keys of timestamp or snapshot rotated: their versions begin
            anew), 5.4.3 and 5.4.4 (rollback), 5.3.5 (root).
        """
        seen = self.repositories.get(repository)
        if seen is None:
            return self._with(repository, offered)
        _refuse_older(repository, "root", offered.root, seen.root)
        is_rotated = offered.root > seen.root and (
            seen.timestamp_role.is_rotated_to(offered.timestamp_role)
            or seen.snapshot_role.is_rotated_to(offered.snapshot_role)
        )
        if is_rotated:
            return self._with(repository, offered)
        if offered.timestamp == 0:  # only a newer root was verified
            kept = {"timestamp": seen.timestamp, "snapshot": seen.snapshot}
            return self._with(repository, offered.model_copy(update=kept))
        _refuse_older(repository, "timestamp", offered.timestamp, seen.timestamp)
        _refuse_older(repository, "snapshot", offered.snapshot, seen.snapshot)
        return self._with(repository, offered)

    def with_releases(self, offered: Mapping[str, Release]) -> "FloorState":
        """Judge releases, as risen_to judges metadata.

        Args:
            offered: kind, or kind/name -> release.

        Returns:
            The state with these releases taken.

        Raises:
            ReplayError: one is older than one of its kind that this device has taken.
        """
        taken = dict(self.releases)
        for kind, release in offered.items():
            seen = self.releases.get(kind)
            if seen is None or seen.begins_anew_with(release):
                taken[kind] = release
                continue
            if release.seq < seen.seq:
                raise ReplayError(
                    f"{kind} release {release.seq} is offered, and this device has taken {seen.seq}; to go back, "
                    f"publish the old content as release {seen.seq + 1}; if a stolen key ran it up, take the key away"
                )
            taken[kind] = seen.followed_by(release)
        return self.model_copy(update={"releases": taken})

    def _with(self, repository: str, versions: Versions) -> "FloorState":
        return self.model_copy(update={"repositories": {**self.repositories, repository: versions}})


def _refuse_older(repository: str, role: str, offered: int, seen: int) -> None:
    if offered < seen:
        raise ReplayError(
            f"repository {repository}: {role} version {offered} is offered, and this device has seen {seen}: somebody "
            "replays an old state, or the repository was restored from a copy; nothing is taken from it. Find out "
            f"which, and publish {role} version {seen + 1} or newer"
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """The file with the floor; every change is on disk before it counts. Its folder is never made here.

    not_before: when the device's image was built; no time before it is believed. meanwhile: called often while another
    process writes it.
    """

    path: Path
    not_before: datetime
    meanwhile: Callable[[], None] = nothing

    def read(self) -> FloorState:
        """Return the floor; that of a new device if there is no file yet.

        Raises:
            StorageError: the file cannot be read or is damaged, or its folder is not there; that is never taken for
                a new device's.
        """
        self._check_folder()
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return FloorState()
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; check the disk and the rights") from error
        try:
            return self._parse(data)
        except BundleFormatError as error:
            raise StorageError(
                f"{self.path}: the floor against old releases is damaged, so nothing is installed; restore it from "
                "the device's backup, or let a person who may set up devices begin it anew"
            ) from error

    def time(self, clock_utc: datetime) -> datetime:
        """Return the moment at which validity is judged: the clock's, or the floor where the clock is behind it."""
        moment = max(clock_utc, self._known_time(self.read()))
        if moment > clock_utc:
            log.warning("the clock says %s, which is before %s: the latter is used", clock_utc, moment)
        return moment

    def begin(self, repository: str, first: Versions, traces: Sequence[Path], elsewhere: Sequence[Path] = ()) -> None:
        """Note where a repository begins on a new device; nothing changes where it is known already.

        Done before anything is asked, so that a new device is told from one whose floor was lost.

        Args:
            repository: its name.
            first: the image's root, and nothing of the others.
            traces: what only a device has that has used this repository.
            elsewhere: what only a device has that has used any; that means nothing where the floor knows another.

        Raises:
            StorageError: there are traces, and the floor knows nothing of the repository; or see rise.
        """
        with self._locked():
            before = self.read()
            if repository in before.repositories:
                return
            found = [*traces, *(() if before.repositories else elsewhere)]
            if found:
                raise StorageError(
                    f"{self.path}: the floor against old releases knows nothing of repository {repository}, and "
                    f"{found[0]} shows that it was used here; mount the floor's partition, restore the floor from "
                    "the device's backup, or let a person who may set up devices begin it anew and empty the state "
                    "folder as well"
                )
            self._write(before.risen_to(repository, first))

    def rise(self, repository: str, offered: Versions) -> None:
        """Raise the floor to verified metadata.

        Raises:
            ReplayError: the metadata is below the floor, which stays.
            StorageError: the floor cannot be read or written; the metadata must not be used.
        """
        with self._locked():
            before = self.read()
            after = before.risen_to(repository, offered)
            if after != before:
                self._write(after)

    def rise_to_time(self, moment: datetime) -> None:
        """Raise the time; only for a moment from signed metadata or of a synchronised clock, all verified at it.

        Raises:
            StorageError: see rise.
        """
        with self._locked():
            before = self.read()
            if moment.replace(microsecond=0) > self._known_time(before):
                self._write(before.model_copy(update={"time": as_text(moment)}))

    def check_releases(self, offered: Mapping[str, Release]) -> None:
        """Refuse a release with a lower sequence number than one of its kind that this device has taken.

        Args:
            offered: kind -> release.

        Raises:
            ReplayError: it is older; a way back is a new number for the old content.
        """
        self.read().with_releases(offered)

    def rise_to_releases(self, taken: Mapping[str, Release]) -> None:
        """Note releases that this device takes; they may be used only if this returns.

        Args:
            taken: kind -> release.

        Raises:
            ReplayError: a newer one was taken since they were checked; nothing is noted.
            StorageError: see rise.
        """
        with self._locked():
            before = self.read()
            after = before.with_releases(taken)
            if after != before:
                self._write(after)

    def _check_folder(self) -> None:
        if not self._file.parent.is_dir():
            raise StorageError(
                f"{self.path}: the floor's folder is not there; mount its partition, or make the folder when the "
                "device is set up"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._check_folder()
        with locked(self._file.with_name(self._file.name + ".lock"), self.meanwhile):
            yield

    @property
    def _file(self) -> Path:
        return Path(os.path.realpath(self.path))  # a link is followed, so that its target is replaced as a whole

    def _known_time(self, state: FloorState) -> datetime:
        return max(self.not_before, as_moment(state.time)) if state.time else self.not_before

    def _parse(self, data: bytes) -> FloorState:
        return strict_json.parse(data, FloorState, schema=SCHEMA, origin=str(self.path), max_bytes=MAX_BYTES)

    def _write(self, state: FloorState) -> None:
        content = strict_json.dump(state)
        try:
            self._parse(content)
        except BundleFormatError as error:
            raise StorageError(
                f"{self.path}: the floor could not be read again ({error}); it stays as it was, and nothing is taken"
            ) from error
        for draft in self._file.parent.glob(f".{self._file.name}.*.part"):
            draft.unlink(missing_ok=True)  # of a process that was killed; the lock is held
        write_whole(self._file, content)
