"""A YAML file that a person wrote -> frozen models; each mistake is reported with file, line, key and remedy."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from appliance.documents.mistakes import describe
from appliance.documents.yaml_reader import KeyPath, YamlMistake, read_yaml
from appliance.errors import ConfigError

MAX_BYTES = 256 * 1024
MAX_MISTAKES = 10


SectionT = TypeVar("SectionT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as read: digest is the SHA-256 (hex) of the file's bytes, lines the line of each key.

    packed: SHA-256 -> content of the files that came in one file with it; None where they lie in its folder.
    """

    path: Path
    digest: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]
    packed: Mapping[str, bytes] | None = None

    def into(self, model: type[SectionT]) -> SectionT:
        """Validate the whole document.

        Args:
            model: a strict model, usually a Section.

        Returns:
            The frozen model.

        Raises:
            ConfigError: a person must correct the file; up to 10 mistakes, one per line of the message.
        """
        return self.section((), model)

    def section(self, at: KeyPath, model: type[SectionT], given: Mapping[str, Any] | None = None) -> SectionT:
        """Validate one mapping of the document, with the settings model of the adapter that it is for.

        Args:
            at: keys from the top, such as ("cameras", "top").
            model: a strict model, usually a Section.
            given: keys that the program adds from elsewhere, JSON values only; the person may not write them here.

        Returns:
            The frozen model.

        Raises:
            ConfigError: a person must correct the file; up to 10 mistakes, one per line of the message.
        """
        value: Any = self.data
        for key in at:
            if not isinstance(value, dict) or key not in value:
                raise self.error(at, "the key is missing", f"add `{key}:` to the file")
            value = value[key]
        if given and isinstance(value, dict):
            for key in given.keys() & value.keys():
                raise self.error((*at, key), f"`{key}` is set elsewhere in the configuration", "delete it here")
            value = {**value, **given}
        try:
            return model.model_validate_json(json.dumps(value), context={"folder": self.path.parent})
        except ValidationError as error:
            found = sorted(error.errors(include_url=False), key=lambda item: item["type"] == "missing")
            mistakes = [describe(item, model) for item in found]
            shown = [self._place((*at, *mistake.at), mistake.text) for mistake in mistakes[:MAX_MISTAKES]]
            if len(mistakes) > MAX_MISTAKES:
                shown.append(f"and {len(mistakes) - MAX_MISTAKES} more mistakes; correct these first")
            raise ConfigError("\n".join(shown)) from error

    def error(self, at: KeyPath, problem: str, remedy: str) -> ConfigError:
        """Make the error for a mistake that only shows beside other files, such as a class that no bundle knows.

        Args:
            at: keys from the top; the deepest one that the file has gives the line.
            problem: what is wrong.
            remedy: what the person does next.

        Returns:
            The error, to be raised by the caller.
        """
        return ConfigError(self._place(at, f"{problem}; {remedy}"))

    def _place(self, at: KeyPath, text: str) -> str:
        known = tuple(at)
        while known and known not in self.lines:
            known = known[:-1]
        name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")
        return f"{self.path}:{self.lines.get(known, 1)}: {name + ': ' if name else ''}{text}"


def read_document(path: Path, most_bytes: int = MAX_BYTES) -> Document:
    """Read a YAML document without running anything in it.

    Only plain mappings, lists and scalars: anchors, aliases, tags and repeated keys are refused, because
    they hide what is in force (and a few lines of aliases can fill the memory).

    Args:
        path: the file; UTF-8.
        most_bytes: a bigger file is refused unread.

    Returns:
        The document with its digest.

    Raises:
        ConfigError: not readable, not UTF-8, too large, or not such YAML; the message has the line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); check the path and the file's permissions"
        ) from error
    return parse_document(path, content, most_bytes)


def parse_document(path: Path, content: bytes, most_bytes: int = MAX_BYTES) -> Document:
    """Read a YAML document from bytes; see read_document.

    Args:
        path: where the bytes come from, for messages and relative paths.
        content: UTF-8.
        most_bytes: more is refused unread.

    Returns:
        The document with its digest.

    Raises:
        ConfigError: not UTF-8, too large, or not plain YAML; the message has the line.
    """
    if len(content) > most_bytes:
        raise ConfigError(f"{path}: more than {most_bytes} bytes; this is not the file that is meant, check the path")
    try:
        data, lines = read_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}; save the file as UTF-8") from error
    except YamlMistake as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from error
    return Document(path, hashlib.sha256(content).hexdigest(), data, lines)
