"""What the kernel and its neighbours tell in files, read under one root, with a note of what could not be read."""

import re
from collections.abc import Iterator
from pathlib import Path


class DeviceFiles:
    """Reads files by their usual paths; a file that is not there is None, one that cannot be understood is told.

    unread: what was there and told nothing, in words, with the path.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Read nothing yet.

        Args:
            root: the folder that stands for "/".
        """
        self._root = root
        self.unread: list[str] = []

    def names(self, folder: str, pattern: str) -> Iterator[str]:
        """Yield the paths, below the root, of what a folder holds under a name; none if there is no such folder.

        Args:
            folder: such as "sys/class/hwmon".
            pattern: of the name, as in a shell.
        """
        yield from sorted((f"{folder}/{path.name}" for path in (self._root / folder).glob(pattern)), key=_by_number)

    def text(self, path: str) -> str | None:
        """Return a file's text without the white space and zeros around it; None if there is no such file."""
        try:
            content = (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.unread.append(f"/{path} cannot be read: {error.strerror}")
            return None
        return content.decode("utf-8", "replace").strip("\0 \t\r\n")

    def number(self, path: str) -> int | None:
        """Return a file's whole number; None if there is no such file, or something else in it, which is noted."""
        found = self.find(path, r"\A-?\d{1,19}\Z")
        return None if found is None else int(found[0])

    def find(self, path: str, form: str) -> "re.Match[str] | None":
        """Return where a file's text has a form; None if there is no such file, or no such text in it, which is noted.

        Args:
            path: below the root.
            form: a regular expression; ^ and $ are begin and end of a line.
        """
        text = self.text(path)
        if text is None:
            return None
        found = re.search(form, text, re.ASCII | re.MULTILINE)
        if found is None:
            self.unread.append(f"/{path} is not understood: {text[:60]!r}")
        return found


def _by_number(path: str) -> list[tuple[int, str]]:
    """cpu2 comes before cpu10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path)]
