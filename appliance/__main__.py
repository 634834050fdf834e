"""The appliance's commands."""

import argparse
import importlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from appliance import __version__
from appliance.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, ApplianceError, end
from appliance.interrupts import deferred
from appliance.log_pace import LogPace

EPILOG = (
    "exit codes: 0 all is well; 1 the answer is no (check found something, replay broke a limit); 2 wrong usage; "
    "65 bundle not acceptable; 69 device not available; 70 a stage hung, or the model's engine was lost; "
    "74 disk refused; 75 bundle too slow here now; 78 configuration wrong; 130 interrupted; 143 ended by SIGTERM"
)


class _Command(argparse.ArgumentParser):
    """One command, whose module is imported when it is called: what the others need takes seconds and memory."""

    module: str | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.module is not None:
            with deferred(signal.SIGINT, signal.SIGTERM):  # else it would come out as a library's failure to load
                found, self.module = importlib.import_module(f"appliance.{self.module}"), None
            found.add_arguments(self)
            self.set_defaults(execute=found.execute)
        return super().parse_known_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(prog="appliance", description=__doc__, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"inspection-appliance {__version__}")
    top.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="to stderr; overrules the configuration"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Command)
    for name, module, words in (
        ("run", None, "inspect parts at the line: triggers in, verdicts and records out"),
        ("demo", "demo.command", "a broker, a simulated line and the appliance in one command"),
        ("replay", "replay", "recorded pictures through the same line, with a report"),
        ("check", "check", "configuration, bundle, cameras, disk, clock: what is wrong and what to do"),
        ("prove", "prove", "prove the bundle on this device and keep the certificate, beside the running line"),
        ("changeover", "changeover_command", "put another product in force, between two parts"),
        ("release", "release_command", "put another release of a product's bundle in force, between two parts"),
        ("pack-recipe", "pack_recipe", "a recipe and its reference pictures as one file that can be released"),
        ("bench", "bench", "which runtime is the fastest here, each proved on the bundle's golden images first"),
        ("export", "export", "records and pictures out of the ledger, to be verified and learned from"),
        ("agent", "agent", "signed updates: what the repository says, and files that it vouches for"),
        ("simulate", "simulator.command", "write a data set of simulated circuit boards with exact truth"),
    ):
        command = commands.add_parser(name, help=words, description=words, epilog=EPILOG)
        if module is None:
            command.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
            command.set_defaults(execute=_run)
        else:
            command.module = module
    return top


def _run(arguments: argparse.Namespace) -> int:
    from appliance.wiring import run_until_signalled

    return run_until_signalled(arguments.config, arguments.log_level)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM came, which ends a command as Ctrl-C does: in order, with the processes that it has started."""


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM raise meanwhile; a command that ends in a way of its own, such as `run`, has its own handler."""

    def end_it(*_: object) -> NoReturn:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake gets words and an exit code, never a traceback."""
    try:
        with _ended_in_order():
            return _execute(parser().parse_args(argv))
    except (ApplianceError, OSError) as error:
        return end("appliance", error)
    except KeyboardInterrupt as error:
        is_asked = isinstance(error, _TerminatedError)
        by = "asked to end (SIGTERM)" if is_asked else "interrupted"
        sys.stderr.write(f"appliance: {by} before the work was done; call it again for that\n")
        return EXIT_TERMINATED if is_asked else EXIT_INTERRUPTED


def _execute(arguments: argparse.Namespace) -> int:
    logging.basicConfig(
        level=(arguments.log_level or "info").upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogPace())
    return int(arguments.execute(arguments))


if __name__ == "__main__":
    sys.exit(main())
