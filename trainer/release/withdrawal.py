"""A release that nobody shall take any more: its role's list no longer names it, and says that it once did."""

from __future__ import annotations

from copy import deepcopy

from tuf.api.metadata import Targets

from trainer.release.ceremony import Said
from trainer.release.releases import is_release, nobody_signed
from trainer.release.request import Request, request_of
from trainer.release.roles import WITHDRAWN, expires, kind_of, seq_of, tombstone, withdrawals
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing


def is_withdrawn(standing: Standing, path: str) -> bool:
    """Tell whether a release was withdrawn already."""
    kind = kind_of(path)
    return kind is not None and path in standing.withdrawn(kind)


def names_with(standing: Standing, path: str) -> list[str]:
    """Return the signed names that make up a release: itself, and what people read about it.

    Raises:
        ConfigError: Nobody signed such a release.
    """
    kind = kind_of(path)
    targets = standing.releases(kind) if kind else {}
    if kind is None or path not in targets or not is_release(kind, path):
        raise nobody_signed(standing, path)
    folder, _, _ = path.rpartition("/")
    begin = f"{folder}/{path.split('/')[1]}-{seq_of(targets[path])}."
    return sorted({path, *(name for name in targets if name.startswith(begin))})


def withdraw(shelf: Shelf, standing: Standing, path: str, said: Said) -> Request:
    """Ask for the signatures that take a release out of its role's list.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        path: of the release.
        said: who asks for it, and why.

    Raises:
        ConfigError: Nobody signed such a release.
    """
    names, role = names_with(standing, path), path.partition("/")[0]
    content: Targets = deepcopy(standing.delegated[role].signed)
    content.version, content.expires = (
        shelf.next_version(role, standing.version(role)),
        expires(role, standing.root.signed),
    )
    gone = {name: {**tombstone(content.targets.pop(name)), "by": said.by, "why": said.why} for name in names}
    content.unrecognized_fields[WITHDRAWN] = {**withdrawals(content), **gone}
    lists = standing.targets.signed
    by = [(f"targets {lists.version}", lists)]
    return request_of(role, content, by, base=standing.version(role), by=said.by, why=said.why)


def newly_withdrawn(standing: Standing | None, newer: Targets, role: str) -> list[str]:
    """Return what a signed list withdraws that stands now."""
    held = standing.delegated.get(role) if standing else None
    return [name for name in held.signed.targets if name in withdrawals(newer)] if held else []
