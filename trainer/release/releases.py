"""A release: a numbered file, and what lies beside it, among those that a kind's own role vouches for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from appliance.errors import ConfigError
from trainer.release.ceremony import Said
from trainer.release.request import Request, request_of
from trainer.release.roles import KINDS, Kind, delegated_roles, expires, kind_of, seq_of
from trainer.release.shelf import Shelf, target_path
from trainer.release.standing import Standing, check_is_no_copy

LARGEST_SEQ = 2**53 - 1
FIGURES, PAGE = ".report.json", ".report.html"
"""Endings of what an evaluation found, for programs and for people."""

_BESIDE = (".card.md", FIGURES, PAGE)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_ENDING = re.compile(r"\.[a-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Release:
    """What is to be released.

    Args:
        kind: of it.
        name: of the model, recipe or program.
        ending: of the file's name, such as .bundle.
        content: the file.
        beside: ending -> content of what people read about it.
        marks: what is signed of the file beside its kind and number.
    """

    kind: Kind
    name: str
    ending: str
    content: bytes
    beside: Mapping[str, bytes]
    marks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def path(self, seq: int, ending: str = "") -> str:
        """Return the name under which a release is signed."""
        return f"{KINDS[self.kind]}/{self.name}/{self.name}-{seq}{ending or self.ending}"

    def check(self) -> None:
        """Refuse names that have no place in a path.

        Raises:
            ConfigError: It is one.
        """
        if not _NAME.fullmatch(self.name) or not _ENDING.fullmatch(self.ending):
            raise ConfigError(
                f"{self.name}{self.ending}: no name of a release; write a-z, 0-9, -, _ and ., and an ending"
            )


def check_may_release(shelf: Shelf, standing: Standing, kind: Kind) -> None:
    """Refuse a kind that nobody may release in a repository, as in one that is older than the kind.

    Raises:
        ConfigError: It is such a kind, says what adds it; or the repository is a copy.
    """
    check_is_no_copy(shelf, standing, "`trainer publish release`")
    role = KINDS[kind]
    if role not in delegated_roles(standing.targets.signed):
        raise ConfigError(
            f"{shelf.address}: nobody may release {role} there yet; `trainer keys delegate {role}` asks those who sign "
            "targets for it"
        )


def is_release(kind: Kind, path: str) -> bool:
    """Tell whether a signed name is a release itself, and not what people read about one."""
    return path.endswith(".recipe") if kind == "recipe" else not path.endswith(_BESIDE)


def nobody_signed(standing: Standing, path: str) -> ConfigError:
    """Return the error for a name that is no release, with some that are.

    Args:
        standing: what stands in the repository.
        path: the name.
    """
    kind = kind_of(path)
    known = sorted(name for name in standing.releases(kind) if is_release(kind, name))[-5:] if kind else []
    return ConfigError(f"{path}: nobody signed such a release; there are {', '.join(known) or 'none of this kind'}")


def next_seq(standing: Standing, kind: Kind, name: str, asked: int | None) -> int:
    """Return a release's number: above all of its kind and name, as devices count.

    Raises:
        ConfigError: The one that was asked for is not, or there is none left.
    """
    begin, targets = f"{KINDS[kind]}/{name}/", standing.releases(kind)
    given = {path: seq_of(target) for path, target in targets.items()}
    given |= {path: about["seq"] for path, about in standing.withdrawn(kind).items()}
    highest = max((seq for path, seq in given.items() if path.startswith(begin)), default=0)
    if highest >= LARGEST_SEQ:
        raise ConfigError(f"{kind} {name} has the number {highest}, and there is none above it; give it another name")
    if asked is not None and not highest < asked <= LARGEST_SEQ:
        raise ConfigError(
            f"--seq {asked}: the highest release of {kind} {name} is {highest}, and devices never go back; take "
            f"{highest + 1} or more, or leave it out. An old content becomes new again under a new number"
        )
    return highest + 1 if asked is None else asked


def is_newest(standing: Standing, release: Release) -> str:
    """Return the name under which this very content is its name's newest release already, empty if it is not."""
    begin = f"{KINDS[release.kind]}/{release.name}/"
    targets: Mapping[str, Any] = standing.releases(release.kind)
    named = [name for name in targets if name.startswith(begin) and name.endswith(release.ending)]
    newest = max(named, key=lambda name: seq_of(targets[name]), default="")
    return newest if newest and targets[newest].hashes.get("sha256") == release.digest else ""


def other_beside(standing: Standing, release: Release, there: str) -> list[str]:
    """Return what shall lie beside a release and does not, or not with this content; there: as which it is released."""
    targets = standing.releases(release.kind)
    wanted = {
        release.path(seq_of(targets[there]), ending): hashlib.sha256(data).hexdigest()
        for ending, data in release.beside.items()
    }
    return [name for name, digest in wanted.items() if name not in targets or targets[name].hashes["sha256"] != digest]


def bring(shelf: Shelf, standing: Standing, release: Release, seq: int, said: Said) -> Request:
    """Store a release's files, which nobody sees yet, and ask for the signatures.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        release: what is released.
        seq: its number.
        said: who releases it.

    Raises:
        StorageError: The address does not answer or refuses.
    """
    role, lists = KINDS[release.kind], standing.targets.signed
    held, until = standing.delegated.get(role), expires(role, standing.root.signed)
    content = deepcopy(held.signed) if held else Targets()
    content.version, content.expires = shelf.next_version(role, standing.version(role)), until
    for ending, data in {release.ending: release.content, **release.beside}.items():
        name = release.path(seq, ending)
        target = TargetFile.from_data(name, data, ["sha256"])
        marks = release.marks if ending == release.ending else {}
        target.unrecognized_fields["custom"] = {"kind": release.kind, "seq": seq, **marks}
        content.targets[name] = target
        shelf.add_target(target_path(name, target.hashes["sha256"]), data)
    by = [(f"targets {lists.version}", lists)]
    return request_of(
        role, content, by, base=standing.version(role), by=said.by, why=said.why,
        brings=release.path(seq),
    )  # fmt: skip
