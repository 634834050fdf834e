"""Choose the reader by what the path is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from appliance.errors import ConfigError
from trainer.datasets.coco import read_coco
from trainer.datasets.deeppcb import read_deeppcb
from trainer.datasets.sample import Dataset
from trainer.progress import tracked


def read_dataset(source: Path) -> Dataset:
    """Read a data set in any layout that the trainer knows.

    Args:
        source: a COCO file (`.json`) or a folder with `annotations.json`, or DeepPCB's folder or list file (`.txt`).

    Returns:
        Checked samples.

    Raises:
        ConfigError: Nothing readable is there, or something in it is broken.
    """
    if not source.exists():
        raise ConfigError(f"{source}: does not exist; give a COCO .json file, or DeepPCB's folder or list file")
    if source.suffix == ".json":
        return read_coco(source)
    if (source / "annotations.json").is_file():
        return read_coco(source / "annotations.json")
    return read_deeppcb(source)


def dataset_digest(dataset: Dataset) -> str:
    """Return one SHA-256 (hex) over all pictures and labels, in order.

    It goes into checkpoint and bundle: the same digest means the same data, wherever it lay.

    Args:
        dataset: all of it, in an order that does not change.

    Raises:
        ConfigError: A picture cannot be read.
    """
    total = hashlib.sha256(repr(dataset.classes).encode())
    for sample in tracked(dataset.samples, "digest of the data"):
        try:
            picture = sample.image.read_bytes()
        except OSError as error:
            raise ConfigError(f"{sample.image}: cannot be read: {error.strerror}; restore or unlist it") from error
        total.update(hashlib.sha256(picture).digest())
        total.update(sample.group.encode() + b"\0" + sample.boxes.tobytes() + sample.labels.tobytes())
    return total.hexdigest()
