"""XML with the line of each element, which the standard library's tree does not keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from appliance.errors import ConfigError


@dataclass(slots=True)
class Element:
    """One element: text is what stands directly in it."""

    name: str
    where: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Return the children of this name."""
        return [child for child in self.children if child.name == name]

    def only(self, name: str) -> Element:
        """Return the one child of this name.

        Raises:
            ConfigError: There is none, or there are several.
        """
        found = self.all(name)
        if len(found) != 1:
            raise ConfigError(f"{self.where}: <{self.name}> needs one <{name}>, found {len(found)}; repair the entry")
        return found[0]


def read_xml(path: Path) -> Element:
    """Read a file whole.

    Args:
        path: XML without entities of its own, which could make it endless.

    Returns:
        The outermost element.

    Raises:
        ConfigError: It cannot be read or is no such XML; the message names file and line.
    """
    outermost = Element("", f"{path}:1")
    open_ones = [outermost]
    parser = expat.ParserCreate()

    def begin(name: str, _attributes: dict[str, str]) -> None:
        element = Element(name, f"{path}:{parser.CurrentLineNumber}")
        open_ones[-1].children.append(element)
        open_ones.append(element)

    def end(_name: str) -> None:
        open_ones.pop()

    def add_text(text: str) -> None:
        open_ones[-1].text += text

    def refuse_entity(*_declaration: object) -> NoReturn:
        raise ConfigError(f"{path}:{parser.CurrentLineNumber}: declares an entity; export the file without")

    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = add_text, refuse_entity
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except expat.ExpatError as error:
        raise ConfigError(f"{path}:{error.lineno}: not XML ({error}); repair it or export it again") from error
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise ConfigError(f"{path}:1: not XML ({error}); export it as UTF-8") from error
    return outermost.children[0]
