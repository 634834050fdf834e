"""Where a model was released, written beside its version in MLflow's registry."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import DeliveryError
from trainer.tracking import open_store, place_of


def note_release(told: str, near: Path, name: str, digest: str, tags: dict[str, str]) -> str:
    """Add tags to the registered version that is this very bundle.

    Args:
        told: as for `--track`: an address, a folder, or nothing.
        near: a file beside which the database lies if nothing is told.
        name: of the model.
        digest: SHA-256 of the bundle.
        tags: repository, path, seq, sha256.

    Returns:
        The version.

    Raises:
        DeliveryError: The registry cannot be reached, or has no such version.
        ConfigError: The address holds a password.
    """
    place = place_of(told, near)
    try:
        return open_store(place).tag_version(name, "bundle_sha256", digest, tags)
    except DeliveryError as error:
        raise DeliveryError(
            f"{name} is released, and that is not in the registry: {error}; see that the server answers and that the "
            "bundle was registered (`trainer export --track`), and repeat the command"
        ) from error
