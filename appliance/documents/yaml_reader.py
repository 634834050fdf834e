"""YAML 1.2 text -> plain data with the line of every key; nothing in it is run, repeated or guessed."""

import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import yaml

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of a document."""

MAX_DEPTH = 16
_TAG = "tag:yaml.org,2002:"


class YamlMistake(Exception):
    """Text that is not plain YAML; line counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes nodes by the YAML 1.2 core schema, so that `no`, `on`, `0123` and `12:30` are what they look like."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (PyYAML's own attribute, filled below)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlMistake(line, "anchors (&) and aliases (*) are not taken; write the value out at each place")
        if getattr(event, "tag", None):
            raise YamlMistake(line, f"the tag {event.tag} is not taken; write a plain value")
        if self.depth >= MAX_DEPTH:
            raise YamlMistake(line, f"nested more than {MAX_DEPTH} deep; check brackets and indentation")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_CORE_SCHEMA = {
    "null": (r"~|null|", "~n"),
    "bool": (r"true|false", "tf"),
    "int": (r"[-+]?[0-9]{1,18}", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
}
for _name, (_pattern, _first) in _CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"(?:{_pattern})\Z"), ["", *_first] if _name == "null" else list(_first)
    )

_VALUES: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda _: None,
    _TAG + "bool": lambda text: text == "true",
    _TAG + "int": int,
    _TAG + "float": float,
    _TAG + "str": str,
}


def read_yaml(text: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Read one YAML document whose top is a mapping.

    Args:
        text: the document.

    Returns:
        Data made of dict, list, str, int, float (finite), bool and None; and the line (from 1) of each key.

    Raises:
        YamlMistake: not YAML, more than one document, or something that is refused; with the line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = "; ".join(part for part in (error.context, error.problem) if part)
        raise YamlMistake(mark.line + 1 if mark else 1, f"not YAML: {problem}; correct this line") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlMistake(line, "a control character that YAML does not take; delete it") from error
    if not isinstance(node, yaml.MappingNode):
        raise YamlMistake(1, "the file must hold `key: value` lines at its top; it is empty or holds something else")
    lines: dict[KeyPath, int] = {(): node.start_mark.line + 1}
    return _mapping(node, (), lines), lines


def _value(node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, at, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*at, position), lines) for position, item in enumerate(node.value)]
    value = _VALUES[node.tag](node.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlMistake(node.start_mark.line + 1, f"the number {node.value} is too large; write a smaller one")
    return value


def _mapping(node: yaml.MappingNode, at: KeyPath, lines: dict[KeyPath, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        if key.tag != _TAG + "str":
            raise YamlMistake(line, 'a key must be a word; put it in quotes if it is meant, such as "1":')
        here = (*at, key.value)
        if key.value in result:
            raise YamlMistake(line, f"the key `{key.value}` stands here and in line {lines[here]}; delete one of them")
        lines[here] = line
        result[key.value] = _value(item, here, lines)
    return result
