"""Taking a version to a store, and bringing it back through a cache whose every file is held against its digest."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from appliance.annotations.pictures import Annotations, LabelledPicture, TruthBox
from appliance.bundle.strict_json import dump
from appliance.errors import ConfigError, StorageError
from trainer.datasets.address import VersionAddress
from trainer.datasets.store import Store
from trainer.datasets.version import Version, parse_version
from trainer.files import make_folder
from trainer.progress import tracked

AT_ONCE = 16
"""Files on their way at the same time: hides the latency of an object store, and bounds the memory."""

MOST_NAMED = 5
"""Files that a message names."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lacks:
    """What is wrong with a stored version: files, by name and place, that are not there, or are not as stored."""

    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @classmethod
    def of(cls, version: Version, found: Mapping[str, object]) -> Lacks:
        """Take what was found of each file: "missing", "damaged", or anything else if it is sound.

        Args:
            version: whose files.
            found: by digest.
        """
        files = version.files()
        kinds = (
            tuple(f"{files[it][0]} (objects/{it[:2]}/{it})" for it, said in found.items() if said == kind)
            for kind in ("missing", "damaged")
        )
        return cls(*kinds)

    def __bool__(self) -> bool:
        return bool(self.missing or self.damaged)

    def remedy(self, version: VersionAddress) -> str:
        """Say how many of a version's files these are, which are the first, and what to do."""
        both = (("missing", self.missing), ("damaged", self.damaged))
        said = "; ".join(
            f"{len(names)} {kind}: {', '.join(names[:MOST_NAMED])}" + (" ..." if len(names) > MOST_NAMED else "")
            for kind, names in both
            if names
        )
        return (
            f"{version}: {said}; remove damaged ones from {version.address}, and store the same data there "
            "again: what is missing is put back"
        )


def usual_cache() -> Path:
    """Return where files are kept that were brought from a store."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inspection-trainer"


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A data set that is a version in a store.

    Args:
        version: which, and where.
        cache: folder for what is brought from there.
    """

    version: VersionAddress
    cache: Path = field(default_factory=usual_cache)

    def as_dict(self) -> dict[str, str | None]:
        """Return plain values for a run's source.json."""
        return {"data": str(self.version), "cache": str(self.cache.resolve())}

    def root(self) -> Path:
        """Return the folder that its pictures are named from."""
        which = hashlib.sha256(f"{self.version.address}@{self.version.name[:16]}".encode()).hexdigest()
        return self.cache.resolve() / "views" / which[:16]

    def folder(self) -> Path:
        """Return the folder that the data lie in."""
        return self.root()

    def places(self) -> list[Path]:
        """Return the folder that a list beside it may lie in, and name pictures from."""
        return [self.root()]

    def annotations(self) -> Annotations:
        """Bring what is not here yet, and read.

        Raises:
            ConfigError: There is no such version, or some of its files are missing or damaged.
            StorageError: The address or the disk refuses.
        """
        store = Store(self.version.address)
        version = stored_version(store, self.version.name)
        files, lacks = bring(store, version, self.cache.resolve())
        if lacks:
            raise ConfigError(lacks.remedy(self.version))
        places = _view(version, files, self.root())
        return Annotations(
            version.layout,
            {name: str(self.version) for name in version.classes},
            tuple(
                LabelledPicture(
                    places[entry.name],
                    entry.group,
                    tuple(
                        TruthBox(item.label, item.box, f"{self.version}: {entry.name}", outlines=item.outlines)
                        for item in entry.labels
                    ),
                    f"{self.version}: {entry.name}",
                    reference=places[entry.reference] if entry.reference else None,
                    camera=entry.camera,
                    origin=entry.origin,
                )
                for entry in version.pictures
            ),
        )


def stored_version(store: Store, name: str) -> Version:
    """Read a version from a store.

    Args:
        store: where.
        name: 16 hex digits, or the whole digest of the data.

    Raises:
        ConfigError: There is none, it is something else, or was changed.
        StorageError: The address refuses.
    """
    text = store.version(name[:16])
    if text is None:
        known = ", ".join(store.names()[-MOST_NAMED:]) or "none"
        raise ConfigError(f"{store.address}@{name}: no such version; the ones there are {known}")
    version = parse_version(text, f"{store.address}@{name}")
    if not version.data_digest.startswith(name):
        raise ConfigError(f"{store.address}@{name}: holds other data, {version.data_digest}; correct the name")
    return version


def store_version(version: Version, root: Path, store: Store) -> int:
    """Take a version and all of its files to a store; what is there already is not sent again.

    Killed at any moment it leaves files that the next one need not send, and no version.

    Args:
        version: what was taken down.
        root: folder that its pictures are named from.
        store: where to.

    Returns:
        How many files were sent.

    Raises:
        ConfigError: A file is no longer as it was taken down; or all of this is there already.
        StorageError: The address refuses.
    """
    there = store.sizes()
    wanted = [(digest, name) for digest, (name, size) in version.files().items() if there.get(digest) != size]

    def send(item: tuple[str, str]) -> None:
        content = _content(root / item[1])
        if hashlib.sha256(content).hexdigest() != item[0]:
            raise ConfigError(f"{root / item[1]}: has changed since it was read; repeat the command")
        store.put(item[0], content)

    is_known = store.version(version.name) is not None
    sent = sum(1 for _ in _together(send, wanted, "sending"))
    if is_known and not sent:
        raise ConfigError(
            f"{store.address}@{version.name}: this data has this version already, which stays as it is, and all of its "
            "files are there"
        )
    if not is_known:
        store.add_version(version.name, dump(version))
    return sent


def bring(store: Store, version: Version, cache: Path) -> tuple[dict[str, Path], Lacks]:
    """Have all files of a version here: those of the cache that are sound, the others from the store.

    Args:
        store: where they come from; files of a store on this machine are taken as they lie there.
        version: whose.
        cache: folder by digest.

    Returns:
        Digest -> file of what is sound, and what is not.

    Raises:
        StorageError: The address or the disk refuses.
    """
    folder = (store.local_folder or cache) / "objects"

    def one(digest: str) -> Path | str:
        path = folder / digest[:2] / digest
        if path.is_file() and _is(digest, path):
            return path
        if store.local_folder:
            return "damaged" if path.exists() else "missing"
        content = store.get(digest)
        if content is None:
            return "missing"
        if hashlib.sha256(content).hexdigest() != digest:
            return "damaged"
        make_folder(path.parent)
        _place(path, lambda draft: draft.write_bytes(content))
        return path

    wanted = version.files()
    found = dict(zip(wanted, _together(one, list(wanted), "files of the version"), strict=True))
    return {digest: path for digest, path in found.items() if isinstance(path, Path)}, Lacks.of(version, found)


def verify(store: Store, version: Version) -> Lacks:
    """Read every file of a version where it is stored, and hold it against its digest; nothing is kept.

    Raises:
        StorageError: The address refuses.
    """

    def state(digest: str) -> str:
        content = store.get(digest)
        if content is None:
            return "missing"
        return "sound" if hashlib.sha256(content).hexdigest() == digest else "damaged"

    wanted = version.files()
    found = dict(zip(wanted, _together(state, list(wanted), "verifying"), strict=True))
    return Lacks.of(version, found)


def _together(work: Callable[[Item], Result], items: Sequence[Item], name: str) -> Iterator[Result]:
    """Do the work for many items at once; the first failure ends what has not begun."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        results = pool.map(work, items)
        for _ in tracked(items, name):
            yield next(results)
    finally:
        pool.shutdown(cancel_futures=True)


def _view(version: Version, files: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Give the files their names again, as links, so that people know them."""
    wanted: dict[str, str] = {}
    for entry in version.pictures:
        for name, digest in ((entry.name, entry.sha256), (entry.reference, entry.reference_sha256)):
            if name and digest and wanted.setdefault(name, digest) != digest:
                raise ConfigError(f"version {version.name}: {name} is two different files; store the data again")
    places = {}
    for name, digest in wanted.items():
        path = folder / name
        places[name] = path
        if not (path.is_symlink() and path.readlink() == files[digest]):
            make_folder(path.parent)
            _place(path, partial(_link, target=files[digest]))
    return places


def _link(draft: Path, target: Path) -> None:
    draft.symlink_to(target)


def _place(path: Path, make: Callable[[Path], Any]) -> None:
    """Have a file there whole or not at all; not written through to the disk, since it is verified when it is read."""
    draft = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        make(draft)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {error.strerror}; check space and rights") from error


def _is(digest: str, path: Path) -> bool:
    return hashlib.sha256(_content(path)).hexdigest() == digest


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; restore the file") from error
