"""What changed between two versions of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.datasets.version import Entry, Version


@dataclass(frozen=True, slots=True)
class Change:
    """One picture that is not in both versions as it was.

    Args:
        kind: "added", "removed", "relabelled" (outlines too), "regrouped", "other camera", "other origin" or "other
            reference".
        before: as it was in the first version; None if added.
        after: as it is in the second; None if removed.
    """

    kind: str
    before: Entry | None
    after: Entry | None

    def name(self) -> str:
        """Return what the picture is called now, or was last."""
        entry = self.after or self.before
        return entry.name if entry else ""


def changes(before: Version, after: Version) -> list[Change]:
    """Compare two versions; a picture is the same if its file is, whatever it is called.

    Args:
        before: the first.
        after: the second.

    Returns:
        The changes, by kind and name; a picture with new labels and a new group gives two.
    """
    old, new = _by_content(before), _by_content(after)
    found = [Change("removed", old[key], None) for key in old.keys() - new.keys()]
    found += [Change("added", None, new[key]) for key in new.keys() - old.keys()]
    for key in old.keys() & new.keys():
        was, now = old[key], new[key]
        if was.labels_sha256 != now.labels_sha256:
            found.append(Change("relabelled", was, now))
        if was.group != now.group:
            found.append(Change("regrouped", was, now))
        if was.camera != now.camera:
            found.append(Change("other camera", was, now))
        if was.told_origin != now.told_origin:
            found.append(Change("other origin", was, now))
        if was.reference_sha256 != now.reference_sha256:
            found.append(Change("other reference", was, now))
    return sorted(found, key=lambda change: (change.kind, change.name()))


def as_dict(before: Version, after: Version) -> dict[str, Any]:
    """Return the changes as plain values for a JSON file."""
    return {
        "from": before.digest,
        "to": after.digest,
        "classes": {"from": list(before.classes), "to": list(after.classes)},
        "changes": [
            {
                "kind": change.kind,
                "name": change.name(),
                "from": change.before and change.before.model_dump(),
                "to": change.after and change.after.model_dump(),
            }
            for change in changes(before, after)
        ],
    }


def _by_content(version: Version) -> dict[tuple[str, int], Entry]:
    """Return the pictures by digest; the n-th copy of a file is that of the other version's n-th."""
    found: dict[tuple[str, int], Entry] = {}
    for entry in version.pictures:
        number = 0
        while (entry.sha256, number) in found:
            number += 1
        found[entry.sha256, number] = entry
    return found
