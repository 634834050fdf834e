"""What `trainer pack-app` can be asked for."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from appliance.arguments import new_file, whole


def add_pack(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    """Declare the command.

    Args:
        commands: of the trainer.
        epilog: the exit codes.
    """
    words = "make one file of the appliance's wheels, from which devices make a slot without a network"
    pack = commands.add_parser("pack-app", help=words, description=words, epilog=epilog)
    pack.add_argument("wheels", type=Path, metavar="FOLDER", help="all wheels, and pip's own, which installs them")
    pack.add_argument(
        "--out", type=new_file, required=True, metavar="FILE", help="the package, such as appliance-7.zip"
    )
    pack.add_argument("--name", default="appliance", help="of the application, as it is signed (default %(default)s)")
    pack.add_argument("--seq", type=whole, required=True, metavar="N", help="the number under which it will be signed")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    pack.add_argument("--python", default=here, metavar="X.Y", help="of the devices (default: %(default)s, as here)")
    pack.add_argument(
        "--architecture",
        default=platform.machine(),
        help="of the devices, by `uname -m` (default: %(default)s, as here)",
    )
    pack.set_defaults(module="trainer.pack_app", execute="pack_app")
