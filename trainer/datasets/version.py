"""A version of a data set: what it holds, who says so and why, and which version it came from; never changed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from appliance.annotations.pictures import read_text
from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, in_words
from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError
from appliance.events import iso, utc_now
from trainer.datasets.sample import Dataset, Sample
from trainer.files import make_folder
from trainer.progress import tracked

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(min_length=1)]


class Entry(Section):
    """One picture: SHA-256 of its file, of its labels, and of its reference's file; boxes: class -> how many."""

    name: str
    sha256: Digest
    labels_sha256: Digest
    group: str
    boxes: dict[str, int]
    reference_sha256: Digest | None


class Version(Section):
    """A data set at one moment.

    data_digest: over pictures, labels, classes, groups and references; the same data has the same one wherever it lies.
    parent: digest of the version before, None for the first. digest: over all the rest of this file.
    """

    schema_: Literal["vi.dataset/1"] = Field(alias="schema")
    why: Words
    who: Words
    when: str
    parent: Digest | None
    classes: tuple[str, ...]
    pictures: tuple[Entry, ...]
    data_digest: Digest
    digest: Digest


def version_of(dataset: Dataset, root: Path, why: str, who: str, parent: Version | None) -> Version:
    """Take down what a data set holds now.

    Args:
        dataset: what was read; the order of its pictures does not matter.
        root: folder that the pictures are named from.
        why: what this version is for.
        who: who answers for it.
        parent: the version before, if there was one.

    Raises:
        ConfigError: A picture cannot be read.
    """
    entries = [_entry(sample, dataset.classes, root) for sample in tracked(dataset.samples, "digests")]
    entries.sort(key=lambda entry: (entry["sha256"], entry["name"]))
    content: dict[str, Any] = {
        "schema": "vi.dataset/1",
        "why": why,
        "who": who,
        "when": iso(utc_now(), "seconds"),
        "parent": parent and parent.digest,
        "classes": dataset.classes,
        "pictures": entries,
        "data_digest": _digest([dataset.classes, sorted(_digest({**entry, "name": ""}) for entry in entries)]),
    }
    return Version.model_validate_json(json.dumps({**content, "digest": _digest(content)}))


def write_version(version: Version, folder: Path) -> Path:
    """Write a version under a name that is made of its data's digest.

    Args:
        version: what was taken down.
        folder: made if it is not there.

    Returns:
        The file, which nobody may write to.

    Raises:
        ConfigError: This data has a version there already.
        StorageError: The disk is full or refuses.
    """
    make_folder(folder)
    path = folder / f"{version.data_digest[:16]}.json"
    if path.exists():
        raise ConfigError(f"{path}: this data has this version already, which stays as it is; name another folder")
    write_whole(path, dump(version))
    path.chmod(0o444)
    return path


def read_version(path: Path) -> Version:
    """Read a version, and find out whether it is as it was written.

    Args:
        path: what write_version wrote.

    Raises:
        ConfigError: It cannot be read, is something else, or was changed.
    """
    text = read_text(path)
    try:
        version = Version.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: no version of a data set: {in_words(error)}; take what `data version` wrote"
        ) from error
    content = json.loads(text)
    if content.pop("digest") != _digest(content):
        raise ConfigError(f"{path}: was changed after it was written; restore the file")
    return version


def _entry(sample: Sample, classes: tuple[str, ...], root: Path) -> dict[str, Any]:
    names = [classes[label] for label in sample.labels.tolist()]
    is_own = sample.reference is None or sample.reference == sample.image
    inner = sample.image.is_relative_to(root)
    return {
        "name": (sample.image.relative_to(root) if inner else sample.image).as_posix(),
        "sha256": _file_digest(sample.image),
        "labels_sha256": _digest(sorted(zip(names, sample.boxes.tolist(), strict=True))),
        "group": sample.group,
        "boxes": dict(sorted(Counter(names).items())),
        "reference_sha256": None if is_own or sample.reference is None else _file_digest(sample.reference),
    }


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; restore or unlist it") from error


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
