"""A data set of tiny boards to check: how a test changes it, and what `trainer data check` finds then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import split_by_group

Content = dict[str, Any]
Cases = dict[str, list[tuple[str, list[str]]]]


def sound_data(folder: Path) -> Path:
    """Write twelve pictures of three groups; group `family0` is the one that a split draws."""
    path = write_tiny_boards(folder)
    assert split_by_group(read_dataset(path)).validation.groups() == ("family0",)
    return path.parent


def change(data: Path, edit: Callable[[Content], object]) -> None:
    path = data / "annotations.json"
    content: Content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def add(data: Path, name: str, group: str, like: int | None = None) -> None:
    """List one picture more; with the labels of another if that is named."""

    def edit(content: Content) -> None:
        number = len(content["images"])
        content["images"].append({"id": number, "file_name": name, "group": group})
        content["annotations"] += [
            annotation | {"id": 1000 + annotation["id"], "image_id": number}
            for annotation in content["annotations"]
            if annotation["image_id"] == like
        ]

    change(data, edit)


def checked(data: Path, *words: str, code: int = 0) -> Cases:
    """Check, and return what is not well: by "verdict name" the cases, each with its words and files."""
    target = data.parent / "found.json"
    assert main(["data", "check", "--data", str(data), "--json", str(target), *words]) == code
    return {
        f"{finding['verdict']}: {finding['name']}": [
            (case["says"], [Path(path).name for path in case["pictures"]]) for case in finding["cases"]
        ]
        for finding in json.loads(target.read_text())["findings"]
        if finding["cases"]
    }
