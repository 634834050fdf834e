"""A list of pictures, beside annotations of any layout: of the good parts, or of those that are asked for."""

from collections.abc import Sequence
from pathlib import Path

from appliance.annotations.deeppcb import numbered_lines
from appliance.annotations.pictures import Annotations, LabelledPicture, check_listed_once, existing
from appliance.errors import ConfigError


def read_picture_list(list_file: Path, folders: Sequence[Path], known: Annotations) -> tuple[LabelledPicture, ...]:
    """Read a list of pictures, one a line: the picture's path, or a line of DeepPCB's own lists.

    Args:
        list_file: text; a line is a path, blanks and all, or a line of DeepPCB's own, of which the first word counts.
        folders: that the paths start from, or their `images/`, in this order.
        known: what the annotations say; a picture of theirs may be named by its file's name alone.

    Returns:
        The pictures in the order of the list, as good parts; for a line that names a DeepPCB pair, its template, which
        is also its reference. The group is the first folder, beside COCO the whole one; without one the picture by
        itself.

    Raises:
        ConfigError: A picture is missing or listed twice; the message names file and line.
    """
    named: dict[str, list[Path]] = {}
    for picture in known.pictures:
        named.setdefault(picture.path.name, []).append(picture.path)
    found = []
    for where, line in numbered_lines(list_file):
        whole, ways = Path(line.strip()), _ways(line)
        if not ways or not whole.stem:
            raise ConfigError(f"{where}: {line!r} is no name of a picture; repair the line")
        if "\\" in line:
            ways += _ways(line.replace("\\", "/"))  # as Windows writes folders
        places = [folder / way for folder in folders for way in ways]
        same = named.get(str(whole), [])
        if len(same) > 1 and not any(place.is_file() for place in places):
            raise ConfigError(f"{where}: {len(same)} pictures are called {whole}; name the one with its folder")
        places += same
        path = existing(places, where)
        reference = path if path.stem.endswith("_temp") else None
        inside = next((path.relative_to(top) for top in folders if path.is_relative_to(top)), Path(path.name))
        group = inside.parts[0] if known.layout == "deeppcb" or len(inside.parts) == 1 else inside.parent.as_posix()
        found.append(LabelledPicture(path, group, (), where, reference=reference))
    if not found:
        raise ConfigError(f"{list_file}: lists no picture; is it the right file?")
    check_listed_once(found)
    return tuple(found)


def _ways(line: str) -> list[Path]:
    """Return where in a folder the picture of a line may lie; nowhere if it names none."""
    whole, name = Path(line.strip()), Path(line.split(maxsplit=1)[0])
    if not name.stem:
        return []
    template = name.with_name(f"{name.stem}_temp{name.suffix}")
    return [whole, "images" / whole, name, "images" / name, template]
