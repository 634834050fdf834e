"""What the commands that fit a net can be asked for: train, tune and crossval."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from typing import Any

from appliance.arguments import count, group_names, names, new_file, rate, ratio, whole
from trainer.datasets import source
from trainer.plan import (
    ENOUGH_STEPS_COMPARING,
    LEAST_USUAL_STEPS,
    STEPS_PER_DEFECTIVE,
    STEPS_PER_DEFECTIVE_COMPARING,
    USUAL_STEPS,
    Plan,
)
from trainer.sizes import SIZES
from trainer.strengths import Strengths


def add_length(command: argparse.ArgumentParser) -> None:
    """Declare how long to learn.

    Args:
        command: train or crossval.
    """
    length = command.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs",
        type=count,
        help="passes over the pictures; exactly repeatable (default: "
        f"{STEPS_PER_DEFECTIVE} steps for each defective one, {LEAST_USUAL_STEPS} to {USUAL_STEPS}, beside references "
        f"{ENOUGH_STEPS_COMPARING} or {STEPS_PER_DEFECTIVE_COMPARING} for each at most)",
    )
    length.add_argument("--budget-minutes", type=float, help="end after this long, whatever the machine does meanwhile")
    length.add_argument(
        "--budget",
        action=_Budget,
        metavar="LENGTH",
        help="either of these in one word: 40min (or 40) or 60epochs",
    )


class _Budget(argparse.Action):
    """Sets the minutes or the epochs."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Read a number with its unit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(min|minutes|epochs?)?", values)
        if found is None or ((found[2] or "").startswith("epoch") and not found[1].isdecimal()):
            parser.error(f"argument {option}: {values!r} is no length; give minutes as in 40min, or 60epochs")
        if (found[2] or "").startswith("epoch"):
            namespace.epochs = int(found[1])
        else:
            namespace.budget_minutes = float(found[1])


def add_patience(command: argparse.ArgumentParser) -> None:
    """Declare when to end early; not for crossval, whose figures would choose the weights that they are of."""
    command.add_argument(
        "--patience",
        type=count,
        metavar="N",
        help="end after N judgements (one every 10 epochs, or more often) without a better one, with the best weights; "
        "the rate then has not fallen to its end (default: train to the end)",
    )


def add_holdout(command: argparse.ArgumentParser, help_text: str) -> None:
    """Declare which groups are held out."""
    command.add_argument(
        "--holdout", type=group_names, default=(), metavar="A,B", help=f"{help_text}; or @FILE with one a line"
    )
    command.add_argument(
        "--allow-leakage",
        action="store_true",
        help="go on although held-out pictures are copies of training pictures; the figures then flatter",
    )


def add_net(command: argparse.ArgumentParser) -> None:
    """Declare what net learns, on what, by how many processes."""
    command.add_argument("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    command.add_argument("--batch", type=count, help="crops per step (default: 16 of 320 pixels, or as many pixels)")
    command.add_argument(
        "--size",
        choices=SIZES,
        help="of the net: 0.2, 0.5 or 1.2 M parameters (default: nano; small for many single pictures)",
    )
    command.add_argument("--width", type=count, help="of the net at stride 8 instead of its size's, a multiple of 8")
    add_input(command)
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what the arithmetic runs on (default: a GPU if there is one)",
    )
    command.add_argument(
        "--weights",
        default="auto",
        metavar="auto|none|ADDRESS",
        help="what the net begins with: the shipped file if it fits, random numbers, or a .safetensors file or torch "
        "state dict (default %(default)s)",
    )
    command.add_argument(
        "--weights-digest", type=digest, metavar="sha256:HEX", help="of that file; needed if it is not on this computer"
    )
    command.add_argument(
        "--threads",
        type=count,
        default=1,
        help="processor threads for the arithmetic; another process prepares the pictures, and held-out ones are "
        "judged with all cores (default %(default)s)",
    )
    command.add_argument(
        "--workers",
        type=count,
        help="processes that divide each step among them (default: one a GPU, or one a core, at most 4; "
        "with --resume as before)",
    )


def add_input(command: argparse.ArgumentParser) -> None:
    """Declare what a net is shown."""
    command.add_argument(
        "--crop", type=count, metavar="PX", help="side of a crop (default: 320, more for large defects)"
    )
    command.add_argument("--channels", type=int, choices=(1, 3), default=1, help="1 grey, 3 RGB (default %(default)s)")
    command.add_argument(
        "--reference",
        choices=("auto", "yes", "no"),
        default="auto",
        help="compare each picture with that of a good part (default: if every picture names one)",
    )


def add_dials(command: argparse.ArgumentParser) -> None:
    """Declare what `tune` searches."""
    usual = Plan()
    command.add_argument("--rate", type=rate, default=usual.rate, help="peak learning rate (default %(default)s)")
    command.add_argument(
        "--good-share",
        type=ratio,
        default=usual.good_share,
        metavar="SHARE",
        help="of the crops, that show good parts, 0..1 (default %(default)s)",
    )
    add_vary(command)


def add_vary(command: argparse.ArgumentParser) -> None:
    """Declare how strongly crops are disturbed."""
    command.add_argument(
        "--variation",
        type=float,
        default=Plan().variation,
        metavar="FACTOR",
        help="of scale, light, blur and noise: 0 none, 1 as usual, at most 3 (default %(default)s)",
    )
    each = ", ".join(f"{name} {value:g}" for name, value in asdict(Strengths()).items())
    command.add_argument(
        "--vary", type=strengths, default={}, metavar="NAME=VALUE,...", help=f"the most of each (default: {each})"
    )


def strengths(text: str) -> dict[str, float]:
    """Read strengths by name, each with a number."""
    found = {}
    for item in names(text):
        name, _, value = item.partition("=")
        if name not in Strengths.__dataclass_fields__:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(Strengths.__dataclass_fields__)}")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{item!r} is not {name}=NUMBER") from error
    return found


def digest(text: str) -> str:
    """Read the digest of a file, sha256: and 64 hexadecimal digits."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r} is not sha256: and 64 hexadecimal digits, as sha256sum tells them")
    return text.lower()


def add_augment(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    """Declare `trainer augment`.

    Args:
        commands: of the trainer.
        epilog: the exit codes.
    """
    words = "show crops as training would show them to a net, with what is painted, transplanted and disturbed"
    sheet = commands.add_parser("augment", help=words, description=words, epilog=epilog)
    source.add_arguments(sheet)
    sheet.add_argument("--preview", type=new_file, required=True, metavar="FILE.png", help="gets the picture")
    sheet.add_argument("--seed", type=whole, default=0, help="of everything random (default %(default)s)")
    add_input(sheet)
    add_vary(sheet)
    sheet.set_defaults(module="trainer.augment_command", execute="augment")
