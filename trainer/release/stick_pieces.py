"""The files of a stick, and where each comes from: lists of the sticks' repository, files of the server's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tuf.api.metadata import TargetFile

from appliance.errors import BundleTrustError
from trainer.release.assignment import Assignment
from trainer.release.roles import assign_role
from trainer.release.shelf import TIMESTAMP, Shelf, target_path
from trainer.release.standing import Standing
from trainer.release.stick_folder import Piece


def metadata_pieces(own: Shelf, sticks: Standing) -> dict[str, Piece]:
    """Return all lists that a device may ask for, from the root of the oldest image on.

    Args:
        own: where the sticks' repository lies.
        sticks: what stands there.

    Raises:
        BundleTrustError: One is missing.
    """
    names = [f"metadata/{version}.root.json" for version in range(1, sticks.version("root") + 1)]
    names.append(f"metadata/{sticks.snapshot.signed.version}.snapshot.json")
    names += [f"metadata/{meta.version}.{file}" for file, meta in sticks.snapshot.signed.meta.items()]
    found: dict[str, Piece] = {}
    for name in (*names, TIMESTAMP):
        content = own.read(name)
        if content is None:
            raise BundleTrustError(f"{own.address}: {name} is missing; restore it from a copy")
        found[name] = Piece.of(content)
    return found


def file_pieces(shelf: Shelf, sticks: Standing, site: str, assigned: Sequence[Assignment]) -> dict[str, Piece]:
    """Return the assignments, and the releases that they choose; what people read about these stays at the desk.

    Args:
        shelf: where these files lie.
        sticks: what stands in the sticks' repository.
        site: the devices' site.
        assigned: what is about to lie on the stick.
    """
    papers = sticks.delegated[assign_role(site)].signed.targets
    names = (f"assign/{site}/{assignment.device_id}.json" for assignment in assigned)
    wanted: dict[str, TargetFile] = {name: papers[name] for name in names}
    for assignment in assigned:
        wanted |= {chosen.path: sticks.releases(chosen.kind)[chosen.path] for chosen in assignment.releases}
    return {
        f"targets/{target_path(name, target.hashes['sha256'])}": Piece(
            target.length, target.hashes["sha256"], partial(shelf.signed_target, name, target)
        )
        for name, target in wanted.items()
    }
