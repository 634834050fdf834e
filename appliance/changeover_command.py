"""appliance changeover: put another product in force, as the line's control software would, from a terminal."""

import argparse
import sys
from pathlib import Path

from appliance.command_messages import CommandReply
from appliance.config import Config, load_config
from appliance.documents import Document
from appliance.errors import EXIT_REFUSED, ConfigError
from appliance.events import Changeover, new_id, utc_now
from appliance.links.question import ask
from appliance.requests import MOST_CHARACTERS
from appliance.wiring import mqtt_settings, open_ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument("--product", required=True, metavar="NAME", help="one of its `products`")
    parser.add_argument("--by", required=True, metavar="WHO", help="who wants it; written down")
    parser.add_argument(
        "--stopped", action="store_true", help="the station does not run: write it into the ledger, for the next start"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Change over and tell from when on; 0, or 1 if the station does not."""
    config, document = load_config(arguments.config)
    who = arguments.by.strip()
    if not 0 < len(who) <= MOST_CHARACTERS:
        raise ConfigError(f"--by is {arguments.by[:80]!r}; say who wants it, in 1 to {MOST_CHARACTERS} characters")
    if arguments.stopped:
        return _tell(_write_down(config, document, arguments.product, who))
    settings = mqtt_settings(config, document)
    if settings is None:
        raise ConfigError(f"{arguments.config}: a station without `mqtt` hears no command; add it, or use --stopped")
    reply = ask(settings, "changeover", {"product": arguments.product, "by": who})
    if not reply.ok:
        sys.stderr.write(f"appliance: {reply.error}\n")
        return EXIT_REFUSED
    return _tell(_in_words(reply))


def _tell(words: str) -> int:
    sys.stdout.write(f"{words}\n")
    return 0


def _in_words(reply: CommandReply) -> str:
    told = reply.result
    if not told.get("changed"):
        return f"{told.get('product')} was in force already"
    last = told.get("last_trigger_id")
    since = f"for every part after trigger {last}" if last else "from the first part on"
    return (
        f"{told.get('product')} is in force {since}, in place of {told.get('previous')} "
        f"({told.get('at')}, {told.get('took_ms')} ms)"
    )


def _write_down(config: Config, document: Document, product: str, who: str) -> str:
    """Put a product in force for the next start.

    Raises:
        ConfigError: the configuration does not have it.
        StorageError: the station runs, or the ledger cannot be used.
    """
    if product not in (config.products or {}):
        known = ", ".join(config.products or {}) or "none: the file has `bundle` and `recipe`"
        raise document.error(("products",), f"there is no product {product[:80]!r}", f"there are {known}")
    with open_ledger(config, mqtt_settings(config, document), new_id()) as ledger:
        last = ledger.last_changeover()
        before = last.to_product if last else ""
        if before == product:
            return f"{product} was in force already"
        ledger.note_changeover(Changeover(utc_now(), who, before, product))
    return f"{product} is in force from the next start on, in place of {before or 'none'}"
