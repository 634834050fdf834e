"""Writes the messages' JSON Schemas: python -m appliance.links.schemas docs/schemas."""

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from appliance.messages import (
    AcknowledgeMessage,
    ActionMessage,
    AlarmMessage,
    CommandMessage,
    CommandReply,
    HeartbeatMessage,
    MetaMessage,
    RecordMessage,
    StatusMessage,
    TriggerMessage,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"

MODELS: dict[str, type[BaseModel]] = {
    "trigger": TriggerMessage,
    "action": ActionMessage,
    "record": RecordMessage,
    "ack": AcknowledgeMessage,
    "status": StatusMessage,
    "heartbeat": HeartbeatMessage,
    "meta": MetaMessage,
    "alarm": AlarmMessage,
    "command": CommandMessage,
    "reply": CommandReply,
}
"""Topic (its last level, or the one before a name) -> message."""


INCOMING = {"trigger", "ack", "command"}
"""What others write: here a key with a default may be left out; the device itself never leaves one out."""


def schema_of(topic: str) -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of a topic's message as it stands on the wire."""
    is_incoming = topic in INCOMING
    body = MODELS[topic].model_json_schema(by_alias=True, mode="validation" if is_incoming else "serialization")
    if not is_incoming:
        for part in (body, *body.get("$defs", {}).values()):
            part["required"] = list(part["properties"])
    name = body["properties"]["schema"]["const"]
    return {"$schema": DIALECT, "$id": f"urn:{name.replace('/', ':')}"} | body


def write_schemas(folder: Path) -> list[Path]:
    """Write one file per topic into the folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for topic in MODELS:
        path = folder / f"{topic}.json"
        path.write_text(json.dumps(schema_of(topic), indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
        written.append(path)
    return written


def main() -> None:
    """Write the schemas into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the JSON Schema of every message.")
    parser.add_argument("folder", type=Path, help="where to write, such as docs/schemas")
    write_schemas(parser.parse_args().folder)


if __name__ == "__main__":
    main()
