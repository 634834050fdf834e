"""Writes the JSON Schemas of messages, commands and certificates: python -m appliance.links.schemas docs/schemas."""

import argparse
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from appliance.certification.certificate import Certificate
from appliance.certification.refusal import Refusal
from appliance.command_messages import CommandMessage, CommandReply, UpdateStatusMessage
from appliance.messages import (
    AcknowledgeMessage,
    ActionMessage,
    AlarmMessage,
    HeartbeatMessage,
    MetaMessage,
    RecordMessage,
    StatusMessage,
    TriggerMessage,
)
from appliance.requests import REQUESTS

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
    "update": UpdateStatusMessage,
    "command": CommandMessage,
    "reply": CommandReply,
}
"""Topic (its last level, or the one before a name) -> message."""

COMMANDS: dict[str, type[BaseModel]] = {f"command-{name}": model for name, model in REQUESTS.items()}
"""The arguments of a command, whose envelope is CommandMessage."""

FILES: dict[str, type[BaseModel]] = {"certificate": Certificate, "refusal": Refusal}
"""What the device writes down as JSON."""

INCOMING = {"trigger", "ack", "command", *COMMANDS}
"""What others write: here a key with a default may be left out; the device itself never leaves one out."""


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of a topic's message on the wire, a command's arguments, or a file."""
    is_incoming = name in INCOMING
    body = (MODELS | COMMANDS | FILES)[name].model_json_schema(
        by_alias=True, mode="validation" if is_incoming else "serialization"
    )
    if not is_incoming:
        for part in (body, *body.get("$defs", {}).values()):
            part["required"] = list(part["properties"])
    format_name = f"vi.{name}/1" if name in COMMANDS else body["properties"]["schema"]["const"]
    return {"$schema": DIALECT, "$id": f"urn:{format_name.replace('/', ':')}"} | body


def write_schemas(folder: Path) -> list[Path]:
    """Write one file per topic and format into the folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in MODELS | COMMANDS | FILES:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema_of(name), indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
        written.append(path)
    return written


def main() -> None:
    """Write the schemas into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the JSON Schema of every message and certificate.")
    parser.add_argument("folder", type=Path, help="where to write, such as docs/schemas")
    write_schemas(parser.parse_args().folder)


if __name__ == "__main__":
    main()
