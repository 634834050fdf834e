"""YAML files that a person writes, as frozen models; each mistake with file, line, key and remedy."""

from appliance.bundle.section import LocatedPath, Section
from appliance.documents.document import Document, parse_document, read_document
from appliance.documents.mistakes import closest
from appliance.documents.yaml_reader import KeyPath

__all__ = ["Document", "KeyPath", "LocatedPath", "Section", "closest", "parse_document", "read_document"]
