"""The layouts by the names that the command line gives them."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import ConfigError
from trainer.datasets.layouts.coco_file import found_in
from trainer.datasets.layouts.feedback import read_stations_feedback
from trainer.datasets.layouts.found import Found, Wishes
from trainer.datasets.layouts.masks import read_folders, read_masks
from trainer.datasets.layouts.voc import read_voc
from trainer.datasets.layouts.yolo import read_yolo
from trainer.datasets.source import Source

_FOLDER_READERS = {
    "yolo": read_yolo,
    "voc": read_voc,
    "masks": read_masks,
    "folders": read_folders,
    "feedback": read_stations_feedback,
}
NAMES = (*_FOLDER_READERS, "deeppcb", "coco")


def read_layout(name: str, source: Path, wishes: Wishes, listing: Path | None = None) -> Found:
    """Read a source in a named layout.

    Args:
        name: one of NAMES.
        source: folder; of DeepPCB and COCO a list or annotation file too.
        wishes: classes and groups.
        listing: of DeepPCB and COCO, where the source is the folder of the pictures: which list or annotation file.

    Returns:
        At least one picture; every label lies inside its picture.

    Raises:
        ConfigError: Nothing readable is there, or something in it is broken; the message names file and line.
    """
    if not source.exists():
        raise ConfigError(f"{source}: does not exist; name the folder that holds the pictures")
    if name == "coco":
        return found_in(Source(source, listing, layout="coco").annotations(), wishes)
    if name == "deeppcb":
        return found_in(Source(source, listing, layout="deeppcb").annotations(), wishes)
    if listing is not None:
        raise ConfigError(f"--list {listing}: belongs to --from coco or deeppcb; leave it out, --from {name} reads all")
    if not source.is_dir():
        raise ConfigError(f"{source}: is a file; --from {name} reads the folder that holds it")
    return _FOLDER_READERS[name](source, wishes)
