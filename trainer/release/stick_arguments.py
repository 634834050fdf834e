"""Arguments of `trainer publish stick`."""

from __future__ import annotations

from pathlib import Path

from trainer.release.arguments import Commands, add_repository, add_signers, add_task


def add_stick(tasks: Commands, epilog: str) -> None:
    """Declare the task."""
    words = "write a USB stick for devices without a network"
    stick = add_task(tasks, "stick", words, epilog, "stick_command", "write_stick")
    add_repository(stick)
    stick.add_argument(
        "--sticks", required=True, metavar="ADDRESS", help="the repository that `trainer keys ceremony --sticks` began"
    )
    stick.add_argument(
        "--stick-root", type=Path, required=True, metavar="FILE", help="its root.json, stick_root of the devices' image"
    )
    stick.add_argument("--site", required=True, help="the devices' site")
    stick.add_argument(
        "--device", action="append", default=[], metavar="ID",
        help="a device that the stick is for; repeat it for more (default: all of the site)",
    )  # fmt: skip
    stick.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the stick, or a folder to be copied")
    add_signers(stick)
