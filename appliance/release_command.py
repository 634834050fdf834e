"""appliance release: put another release of a bundle or recipe in force, from a terminal, while the line goes on."""

import argparse
import hashlib
import sys
from pathlib import Path

from appliance.command_messages import CommandReply
from appliance.config import load_config
from appliance.errors import EXIT_REFUSED, BundleFormatError, ConfigError
from appliance.links.question import ask
from appliance.requests import MOST_CHARACTERS
from appliance.wiring import mqtt_settings

ANSWER_S = 120.0
"""Loading a model and looking at each golden image takes a while on a small device."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument("--product", required=True, metavar="NAME", help="whose; if there is one, its recipe's name")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", type=Path, metavar="FILE", help="in the configuration's `releases`")
    what.add_argument("--recipe", type=Path, metavar="FILE", help="a package (.recipe), there too")
    parser.add_argument("--by", required=True, metavar="WHO", help="who wants it; written down")
    parser.add_argument(
        "--rollback", action="store_true", help="the release may be older than the one in force, if it has run here"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Put the release in force and tell from when on; 0, or 1 if the station does not."""
    config, document = load_config(arguments.config)
    who = arguments.by.strip()
    if not 0 < len(who) <= MOST_CHARACTERS:
        raise ConfigError(f"--by is {arguments.by[:80]!r}; say who wants it, in 1 to {MOST_CHARACTERS} characters")
    settings = mqtt_settings(config, document)
    if settings is None:
        raise ConfigError(
            f"{arguments.config}: a station without `mqtt` hears no command; add it, or name the bundle in the "
            "configuration and start the station again"
        )
    file: Path = arguments.bundle or arguments.recipe
    wanted = {
        "product": arguments.product,
        "bundle" if arguments.bundle else "recipe": str(file.absolute()),
        "sha256": _digest(file),
        "by": who,
        "rollback": arguments.rollback,
    }
    reply = ask(settings, "release", wanted, ANSWER_S)
    if not reply.ok:
        sys.stderr.write(f"appliance: {reply.error}\n")
        return EXIT_REFUSED
    sys.stdout.write(f"{_in_words(reply)}\n")
    return 0


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BundleFormatError(f"{path} cannot be read: {error.strerror}; check path and rights") from error


def _in_words(reply: CommandReply) -> str:
    told = reply.result
    word = "version" if told.get("kind") == "recipe" else "revision"
    release = f"{word} {told.get('revision')} ({str(told.get('digest'))[:12]})"
    if not told.get("changed"):
        return f"{told.get('product')} was judged by {release} already"
    last = told.get("last_trigger_id")
    since = f"for every part after trigger {last}" if last else "from the first part on"
    return (
        f"{told.get('product')} is judged by {release} {since}, in place of {str(told.get('previous_digest'))[:12]} "
        f"({told.get('at')}; loaded in {told.get('took_ms')} ms, changed in {told.get('switch_ms')} ms)"
    )
