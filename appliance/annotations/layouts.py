"""Choose the reader by what the path is."""

from pathlib import Path

from appliance.annotations.coco import read_coco
from appliance.annotations.deeppcb import read_deeppcb
from appliance.annotations.pictures import Annotations
from appliance.errors import ConfigError

LAYOUTS = "a COCO .json or a folder with annotations.json, or DeepPCB's folder or a list .txt of it"


def read_annotations(source: Path) -> Annotations | None:
    """Read what a source says about its pictures.

    Args:
        source: a COCO file (`.json`), a list file of DeepPCB's (`.txt`), or a folder with `annotations.json`, or with
            `trainval.txt` in it or in its `PCBData/`.

    Returns:
        Checked annotations; None for a folder without any.

    Raises:
        ConfigError: A file of another kind, or something in it is broken; the message names file and line.
        OSError: The folder cannot be looked into.
    """
    if source.is_file():
        readers = {".json": read_coco, ".txt": read_deeppcb}
        if source.suffix not in readers:
            raise ConfigError(f"{source}: no annotations; give {LAYOUTS}")
        return readers[source.suffix](source)
    if (source / "annotations.json").is_file():
        return read_coco(source / "annotations.json")
    for list_file in (source / "trainval.txt", source / "PCBData" / "trainval.txt"):
        if list_file.is_file():
            return read_deeppcb(list_file)
    return None
