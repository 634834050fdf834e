"""The calibration's commands."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from appliance.arguments import new_file, whole
from appliance.bundle.strict_json import in_words
from appliance.errors import EXIT_INTERRUPTED, ApplianceError, ConfigError, end
from appliance.optics.placement import cut_patch
from appliance.optics.tiles import Region
from calibration.baseline import Outlier, baseline_of, image_limits, measure_all, outliers, pictures_in, read_picture
from calibration.reference import check_pictures

EPILOG = (
    "exit codes: 0 done; 2 wrong usage; 74 disk refused; 78 a folder or picture is not as it must be; 130 interrupted"
)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(prog="calibrate", description=__doc__, epilog=EPILOG)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = "measure pictures of good parts; print the image limits that a recipe can take from them"
    command = commands.add_parser("baseline", help=words, description=words, epilog=EPILOG)
    command.add_argument("directory", type=Path, help="folder with pictures of good parts under normal light")
    command.add_argument("--channels", type=int, choices=(1, 3), default=1, help="1 grey (default), 3 RGB")
    command.add_argument(
        "--crop", type=_crop, metavar="X,Y,WIDTH,HEIGHT", help="the recipe's crop in pixels (default: whole pictures)"
    )
    command.add_argument("--out", type=new_file, metavar="FILE", help="write the baseline (JSON) here")
    command.add_argument("--json", action="store_true", help="print baseline and limits as JSON")
    command.set_defaults(execute=_baseline)
    words = "cut a mark out of a good part's picture; print it as a patch for the recipe's placement"
    command = commands.add_parser("patch", help=words, description=words, epilog=EPILOG)
    command.add_argument("picture", type=Path, help="a whole picture of a good part in its right place")
    command.add_argument("--x", type=whole, required=True, metavar="PX", help="left edge of the mark")
    command.add_argument("--y", type=whole, required=True, metavar="PX", help="upper edge of the mark")
    command.add_argument("--side", type=whole, default=48, metavar="PX", help="width and height, 8..128 (default 48)")
    command.set_defaults(execute=_patch)
    words = "check pictures of good parts against each other; print them as a view's reference for the recipe"
    command = commands.add_parser("reference", help=words, description=words, epilog=EPILOG)
    command.add_argument(
        "pictures", type=Path, nargs="+", metavar="PICTURE", help="whole picture of a good part; several are variants"
    )
    command.add_argument(
        "--recipe", type=Path, metavar="FILE", help="name the pictures as seen from this recipe (default: from here)"
    )
    command.set_defaults(execute=_reference)
    return top


def _crop(text: str) -> Region:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and number.isascii() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no crop; write X,Y,WIDTH,HEIGHT in pixels, such as 200,100,640,640"
        )
    crop = Region(*map(int, numbers))
    if not (crop.width_px and crop.height_px):
        raise argparse.ArgumentTypeError(f"{text!r} is empty; width and height are 1 or more")
    return crop


def _baseline(arguments: argparse.Namespace) -> int:
    paths = pictures_in(arguments.directory)
    progress = track(
        measure_all(paths, arguments.channels, arguments.crop),
        description="measuring",
        total=len(paths),
        console=Console(stderr=True),
        transient=True,
    )
    measured = list(progress)
    baseline, limits, odd = baseline_of(measured), image_limits(measured), outliers(paths, measured)
    document = json.dumps(
        {
            "baseline": baseline.model_dump(by_alias=True),
            "image_limits": limits,
            "outliers": [asdict(item) for item in odd],
        },
        indent=2,
        default=str,
    )
    if arguments.out is not None:
        arguments.out.write(document + "\n")
    if arguments.json:
        sys.stdout.write(document + "\n")
        return 0
    sys.stdout.write(f"# {len(paths)} pictures of {arguments.directory}: mean and standard deviation\n")
    for name, item in baseline.statistics.items():
        sys.stdout.write(f"#   {name:20} {item.mean:12.4f} {item.spread:12.4f}\n")
    _name(odd)
    sys.stdout.write("image_limits:\n" + "".join(f"  {name}: {value}\n" for name, value in limits.items()))
    return 0


def _name(odd: list[Outlier]) -> None:
    if odd:
        sys.stdout.write("# unlike the others; the limits hold these too: remove what is not in order, measure again\n")
    for item in odd:
        sys.stdout.write(f"#   {str(item.path)!r}: {item.measure} {item.value:.4g}, median {item.median:.4g}\n")


def _patch(arguments: argparse.Namespace) -> int:
    pixels = read_picture(arguments.picture, 1)
    try:
        patch = cut_patch(pixels, arguments.x, arguments.y, arguments.side)
    except ValidationError as error:
        raise ConfigError(f"{arguments.picture}: {in_words(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{arguments.picture}: {error}; choose another place") from error
    sys.stdout.write(f"- x_px: {patch.x_px}\n  y_px: {patch.y_px}\n  png: {patch.png}\n")
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    folder = arguments.recipe.parent if arguments.recipe else Path()
    sys.stdout.write(check_pictures(arguments.pictures, folder).in_yaml())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake gets words and an exit code, never a traceback."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.execute(arguments))
    except (ApplianceError, OSError) as error:
        return end("calibrate", error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
