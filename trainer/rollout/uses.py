"""Who still needs a release that somebody wants to withdraw."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from appliance.errors import ConfigError
from trainer.release.assignment import assignments
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing
from trainer.rollout.book import Book
from trainer.rollout.phases import Phase
from trainer.rollout.views import sized


def check_unused(shelf: Shelf, root: Path, standing: Standing, paths: Collection[str]) -> None:
    """Refuse releases that a device is told to run, or that a rollout tells or calls back to.

    Args:
        shelf: where the repository lies.
        root: the file of the pinned root.
        standing: what stands in the repository.
        paths: of the releases.

    Raises:
        ConfigError: One is in use; says by whom.
        BundleTrustError: An assignment or a rollout cannot be believed.
        StorageError: The address does not answer or refuses.
    """
    using = {
        assignment.device_id: chosen.path
        for assignment in assignments(shelf, standing)
        for chosen in assignment.releases
        if chosen.path in paths
    }
    if using:
        device, path = min(using.items())
        raise ConfigError(
            f"{path}: {sized(len(using))} shall run it, such as {device}, and would be refused what they were told; "
            "assign another release (`trainer publish assign`, `trainer rollout recall`), then withdraw it"
        )
    for record in Book(shelf.address, root).going(standing):
        needed = [chosen.path for chosen in (*record.releases, *record.back) if chosen.path in paths]
        if needed and record.phase in (Phase.RUNNING, Phase.PAUSED):
            raise ConfigError(
                f"{needed[0]}: {record.name} is {record.phase.value} with it; wait for its end, or halt it"
            )
