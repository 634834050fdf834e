"""What `trainer publish withdraw` does, and how its result is shown."""

from __future__ import annotations

import argparse

from trainer.progress import results as _out
from trainer.release.ceremony import Said
from trainer.release.memory import remembered
from trainer.release.publish_commands import check_request, publish_or_ask, signers_of
from trainer.release.shelf import Shelf
from trainer.release.standing import check_is_no_copy
from trainer.release.withdrawal import is_withdrawn, names_with, withdraw
from trainer.rollout.uses import check_unused


def withdraw_release(arguments: argparse.Namespace) -> int:
    """Take a release out of its role's list, or write down what is to be signed for it.

    Args:
        arguments: of `trainer publish withdraw`.

    Returns:
        The exit code.
    """
    signers, shelf, path = signers_of(arguments), Shelf(arguments.repository), arguments.release
    with shelf.alone():
        standing = remembered(shelf, arguments.root)
        check_is_no_copy(shelf, standing, "`trainer publish withdraw`")
        if is_withdrawn(standing, path):
            _out.print(f"{path}: is withdrawn already", soft_wrap=True)
            return 0
        check_unused(shelf, arguments.root, standing, names_with(standing, path))
        check_request(arguments, standing, signers, path.partition("/")[0])
        request = withdraw(shelf, standing, path, Said(arguments.by, arguments.why))
        if not publish_or_ask(arguments, shelf, standing, request, signers, "withdrawn"):
            return 0
        remembered(shelf, arguments.root)
    _out.print(f"{path}: withdrawn; devices that have it go on with it until another is assigned", soft_wrap=True)
    return 0
