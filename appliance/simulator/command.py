"""The command `appliance simulate`: write a data set of simulated boards."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console

from appliance.arguments import whole
from appliance.errors import ConfigError
from appliance.simulator.dataset import PICTURE_FORMATS, write_dataset
from appliance.simulator.defects import DefectStyle
from appliance.simulator.script import load_script


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT in px, such as 640x640")
    return int(found[1]), int(found[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments.

    Args:
        parser: of `appliance simulate`.
    """
    style = DefectStyle()
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write (new or empty)")
    parser.add_argument("--parts", type=int, default=100, help="number of pictures (default 100)")
    parser.add_argument("--seed", type=whole, default=0, help="same seed, same pictures (default 0)")
    parser.add_argument(
        "--defect-rate", type=float, default=0.5, help="part of the parts that are bad, 0..1 (default 0.5)"
    )
    parser.add_argument("--size", type=_size, default=(640, 640), metavar="WxH", help="px (default 640x640)")
    parser.add_argument("--colour", action="store_true", help="RGB instead of grey")
    parser.add_argument(
        "--parts-per-family", type=int, default=8, help="pictures per board layout, 0: one layout (default 8)"
    )
    parser.add_argument(
        "--defect-size",
        type=float,
        nargs=2,
        default=style.size_px,
        metavar=("LEAST", "MOST"),
        help="px (default 10 36)",
    )
    parser.add_argument(
        "--contrast", type=float, default=style.contrast, help="of defects, 0 invisible to 1 full (default 1)"
    )
    parser.add_argument("--optics", type=Path, metavar="FILE", help="YAML script that stages drift (default: none)")
    parser.add_argument(
        "--parts-per-second", type=float, help="of --optics: how the script's seconds count in parts (default 10)"
    )
    parser.add_argument(
        "--references", action="store_true", help="also write a good part of each layout, for a model that compares"
    )
    parser.add_argument("--format", choices=PICTURE_FORMATS, default="png", help="of the pictures (default png)")


def execute(args: argparse.Namespace) -> int:
    """Write the data set that the arguments ask for.

    Args:
        args: parsed by a parser that `add_arguments` prepared.

    Returns:
        Exit code 0.

    Raises:
        ConfigError: An argument or the optics script is wrong, or the folder is taken; the caller's to mend.
    """
    rate_hz = 10.0 if args.parts_per_second is None else args.parts_per_second
    if not rate_hz > 0:
        raise ConfigError(f"--parts-per-second {rate_hz:g} is not above 0; 10 is the default")
    if args.parts_per_second is not None and not args.optics:
        raise ConfigError("--parts-per-second counts the seconds of --optics; name a script too, or leave it out")
    optics = load_script(args.optics).by_part(rate_hz) if args.optics else None
    summary = write_dataset(
        args.directory,
        args.parts,
        args.seed,
        size=args.size,
        defect_rate=args.defect_rate,
        channels=3 if args.colour else 1,
        parts_per_family=args.parts_per_family,
        style=DefectStyle((args.defect_size[0], args.defect_size[1]), args.contrast),
        optics=optics,
        picture_format=args.format,
        has_references=args.references,
    )
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary.annotations.items())
    Console(soft_wrap=True, highlight=False).print(
        f"{summary.parts} parts, {summary.defective} of them defective ({kinds}): {summary.file}"
    )
    return 0
