"""What `trainer pretrain` can be asked for."""

from __future__ import annotations

import argparse

from appliance.arguments import count, new_file, whole
from trainer.sizes import SIZES

USUAL_STEPS, USUAL_BATCH, USUAL_SIDE_PX = 20_000, 64, 256


def add_pretrain(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    """Declare `trainer pretrain`.

    Args:
        commands: of the trainer.
        epilog: the exit codes.
    """
    words = "make the weights that training begins with, from generated pictures of surfaces; no data is needed"
    made = commands.add_parser("pretrain", help=words, description=words, epilog=epilog)
    result = made.add_mutually_exclusive_group(required=True)
    result.add_argument("--out", type=new_file, metavar="FILE.safetensors", help="gets the weights")
    result.add_argument("--preview", type=new_file, metavar="FILE.png", help="only draw 40 of the pictures there")
    made.add_argument("--size", choices=SIZES, default="nano", help="of the net (default %(default)s)")
    made.add_argument("--steps", type=count, default=USUAL_STEPS, help="default %(default)s")
    made.add_argument("--minutes", type=float, metavar="M", help="end after this long if the steps take longer")
    made.add_argument("--batch", type=count, default=USUAL_BATCH, help="pictures a step (default %(default)s)")
    made.add_argument("--side", type=count, default=USUAL_SIDE_PX, metavar="PX", help="default %(default)s")
    made.add_argument("--seed", type=whole, default=0, help="of everything random (default %(default)s)")
    made.add_argument(
        "--workers",
        type=whole,
        help="processes that make the pictures (default: two fifths of the cores; with a GPU all but one)",
    )
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: cuda if there is one")
    made.add_argument("--pictures", type=count, default=500, help="that the result is judged on (default %(default)s)")
    made.add_argument("--json", type=new_file, metavar="FILE", help="also write the figures there")
    made.set_defaults(module="trainer.pretrain_command", execute="pretrain")
