"""The trusted client of a repository of signed updates: what it says, as far as it may be believed."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, ExpiredMetadataError, RepositoryError
from tuf.api.metadata import TargetFile

from appliance.errors import BundleTrustError, ConfigError, DeliveryError, ReplayError, StorageError
from appliance.update.conventions import OURS, Conventions
from appliance.update.floor import MOST_AHEAD, Floor, Release, Versions, Voucher
from appliance.update.lock import locked, nothing
from appliance.update.source import Source
from appliance.update.tuf_client import Client, Fetcher

if TYPE_CHECKING:
    from appliance.ports import Clock  # which brings numpy into a process that needs none of it

log = logging.getLogger(__name__)

LITTER = re.compile(r"tmp[a-z0-9_]{8}")
"""What python-tuf leaves in its folder when it is killed between writing and renaming."""

CHECKED_HASHES = {"sha256": 64, "sha512": 128}
"""Algorithm -> hex digits; a target has at least one of them, and no other."""

URL_SAFE = "/%!$&'()*+,;=:@~"
"""What stays as it is in a target's path, which TUF writes as in an address already."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file that the repository vouches for.

    name: its TUF path. path: where it lies under the targets' address. digests: algorithm -> hex, all are checked.
    releases: kind, or kind/name -> release, what is counted against older ones; empty where the target is not counted.
    voucher: who could vouch for it; None: not said. issued_at: when what lists it was signed; None: not said.
    """

    name: str
    path: str
    length: int
    digests: Mapping[str, str]
    releases: Mapping[str, Release] = field(default_factory=dict)
    voucher: Voucher | None = None
    issued_at: datetime | None = None


def _traces(folder: Path) -> list[Path]:
    """What a new device does not have there: metadata beside the image's root, or files."""
    newer_roots = sorted(folder.glob("root_history/*.root.json"))[1:]
    found = [path for path in sorted(folder.glob("[!.]*")) if path.name not in ("root.json", "root_history")]
    return [*(path for path in found if not LITTER.fullmatch(path.name)), *newer_roots]


@dataclass(frozen=True, slots=True)
class UpToDate:
    """A repository at one moment; see TrustedRepository.up_to_date.

    repository: its name. client: which has verified it. floor, conventions: see TrustedRepository.
    """

    repository: str
    client: Client
    floor: Floor
    conventions: Conventions

    def find(self, name: str) -> Target:
        """Look a target up; see TrustedRepository.find."""
        target = self._look_up(name)
        if target is None:
            raise BundleTrustError(f"{name}: nobody whom this device trusts vouches for it; check the name")
        self.floor.check_releases(target.releases)
        return target

    def offers(self, name: str) -> bool:
        """Tell whether anybody vouches for a target."""
        return self.client.is_listed(name)

    def find_all(self, may_expire: str = "") -> list[Target]:
        """Look everything up that it offers; old releases, too.

        Args:
            may_expire: lists of names that all begin so are left out if they have expired.

        Raises:
            BundleTrustError: something is offered in a way that cannot be checked here.
        """
        found = [self._look_up(name) for name in self.client.offered(may_expire)]
        return [target for target in found if target is not None]

    def issued_at(self) -> datetime | None:
        """Return when it was signed; None if it does not say."""
        return self.conventions.issued_at(self.client.said_beyond_tuf(), self.client.expires())

    def _look_up(self, name: str) -> Target | None:
        found = self.client.get_targetinfo(name)
        return None if found is None else self._as_target(found)

    def _as_target(self, found: TargetFile) -> Target:
        """Take over what python-tuf found, as far as it can be checked and asked for here."""
        name = found.path
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise BundleTrustError(f"{name!r}: no path below the targets' address; publish it under another name")
        for algorithm, digest in found.hashes.items():
            if not re.fullmatch(rf"[0-9a-f]{{{CHECKED_HASHES.get(algorithm, 0)}}}", digest):
                raise BundleTrustError(
                    f"{name}: its {algorithm} cannot be checked here; publish it with sha256 or sha512"
                )
        voucher = self.client.voucher(self.repository, name)
        numbered = self.conventions.numbered(name, found.custom)
        releases = {counted: voucher.numbered(sequence) for counted, sequence in numbered.items()}
        path = quote(self.client.where(found), safe=URL_SAFE)
        return Target(name, path, found.length, found.hashes, releases, voucher, self.issued_at())


class TrustedRepository:
    """One repository as this device knows it; several processes may use the same folder."""

    def __init__(
        self,
        name: str,
        source: Source,
        folder: Path,
        *,
        root: bytes,
        floor: Floor,
        clock: "Clock",
        elsewhere: Sequence[Path] = (),
        conventions: Conventions = OURS,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Take the device's settings; nothing is read or asked yet.

        Args:
            name: under which the floor keeps this repository's versions.
            source: where its metadata lies.
            folder: on this device, for its metadata alone; made if it is not there.
            root: root.json of the device's image, where all trust begins; never one from the folder.
            floor: what this device never goes back behind.
            clock: what time it is, and whether something keeps it right.
            elsewhere: folders of fetched files and of other repositories' metadata; what lies there shows that the
                device is not new.
            conventions: what it says beyond TUF, and what is held against it.
            meanwhile: called often while another process uses the folder.
        """
        self._name, self._source, self._folder, self._root = name, source, folder, root
        self._floor, self._clock, self._elsewhere, self._conventions = floor, clock, elsewhere, conventions
        self._meanwhile = meanwhile

    def refresh(self) -> Versions:
        """Bring the metadata up to date.

        Returns:
            The versions that hold now.

        Raises:
            ReplayError: the repository is older than this device has seen.
            BundleTrustError: it is not signed as it must be, has expired, or contradicts itself.
            DeliveryError: the network or the server said no.
            StorageError: the disk said no.
            ConfigError: the image's own root is no valid root.
        """
        with self.up_to_date() as now:
            return now.client.verified()

    def find(self, name: str) -> Target:
        """Bring the metadata up to date and look a target up.

        Args:
            name: its TUF path, such as models/boards.bundle.

        Returns:
            What the repository vouches for.

        Raises:
            BundleTrustError: nobody vouches for it, or not in a way that can be checked here.
            ReplayError: it is an older release than this device has taken.
            DeliveryError, StorageError, ConfigError: see refresh.
        """
        with self.up_to_date() as now:
            return now.find(name)

    @contextmanager
    def up_to_date(self) -> Iterator[UpToDate]:
        """Bring the metadata up to date once, for as many targets as are looked up in it.

        Until its end, no other process can use the folder: what takes long comes after it.

        Yields:
            What holds now; what goes wrong there is told in words, as here.

        Raises:
            BundleTrustError, ReplayError, DeliveryError, StorageError, ConfigError: see refresh.
        """
        with self._in_words(), self._locked():
            self._clear_litter()
            traces = _traces(self._folder)
            client = self._open()
            elsewhere = [path for folder in self._elsewhere for path in _traces(folder)]
            self._floor.begin(self._name, client.verified(), traces, elsewhere)
            now = self._clock.utc()
            client.judge_at(self._floor.time(now))
            try:
                client.refresh()
            finally:
                self._rise(client)  # a failed refresh, too, may have verified something newer, or something older
            known = UpToDate(self._name, client, self._floor, self._conventions)
            self._rise_to_time(known.issued_at(), now)
            client.judge_at(self._floor.time(now))  # what is delegated is read from here on, and not by an older time
            yield known

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder.with_name(f".{self._folder.name}.lock")
        with locked(path, self._meanwhile, self._source.limits.longest_s):
            yield

    def _open(self) -> Client:
        try:
            return Client(str(self._folder), self._source.place, fetcher=Fetcher(self._source), bootstrap=self._root)
        except RepositoryError as error:
            raise ConfigError(
                f"the root.json of this device is no valid root ({error}); name the one that came with the repository"
            ) from error

    def _rise(self, client: Client) -> None:
        try:
            self._floor.rise(self._name, client.verified())
        except ReplayError:
            for path in self._folder.glob("*.json"):
                if path.name != "root.json":
                    path.unlink(missing_ok=True)  # signed once, and not what holds
            raise

    def _rise_to_time(self, issued_at: datetime | None, now: datetime) -> None:
        is_behind = self._floor.time(now) > now + MOST_AHEAD  # less is what an earlier one may have moved it
        if issued_at is not None and issued_at > now + MOST_AHEAD and not is_behind:
            log.warning("timestamp.json says that it was signed at %s, and it is %s here: not noted", issued_at, now)
        elif issued_at is not None:
            self._floor.rise_to_time(issued_at)
        if self._clock.is_synchronised():
            self._floor.rise_to_time(now)

    def _clear_litter(self) -> None:
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if LITTER.fullmatch(path.name):
                    path.unlink()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except ExpiredMetadataError as error:
            raise BundleTrustError(
                f"{self._source.place}: {error} (it is {self._floor.time(self._clock.utc()):%Y-%m-%d %H:%M} UTC "
                "here): the repository is no longer kept, or somebody holds newer metadata back; publish anew, or set "
                "the clock"
            ) from error
        except RepositoryError as error:
            raise BundleTrustError(f"{self._source.place}: {error}; look at who signs and publishes there") from error
        except DownloadError as error:
            raise DeliveryError(str(error)) from error
        except OSError as error:
            raise StorageError(
                f"{error.filename or self._folder}: {error.strerror}; check space, rights and the disk"
            ) from error
