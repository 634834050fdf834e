"""The trainer's commands: data set -> weights -> bundle -> figures."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from appliance.arguments import count, group_names, names, new_file, percent, rate, ratio
from appliance.errors import EXIT_INTERRUPTED, ApplianceError, end
from appliance.interrupts import deferred
from trainer.data_arguments import add_data
from trainer.datasets import source
from trainer.pack_arguments import add_pack
from trainer.pretrain_arguments import add_pretrain
from trainer.release.arguments import add_keys
from trainer.release.publish_arguments import add_publish
from trainer.rollout.arguments import add_rollout
from trainer.search_arguments import add_search
from trainer.train_arguments import add_augment, add_dials, add_holdout, add_length, add_net, add_patience

EPILOG = (
    "exit codes: 0 all is well; 1 the result is refused (evaluate: worse than asked for, data check: unfit, "
    "publish verify: expires soon); "
    "2 wrong usage; "
    "65 bundle not acceptable; 69 the runtime failed; 74 disk refused; 78 data set, run or options wrong; "
    "130 interrupted (train goes on with --resume)"
)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(prog="trainer", description=__doc__, epilog=EPILOG)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_report(commands)
    add_search(commands, EPILOG)
    add_augment(commands, EPILOG)
    add_data(commands, EPILOG)
    add_pretrain(commands, EPILOG)
    add_keys(commands, EPILOG)
    add_publish(commands, EPILOG)
    add_pack(commands, EPILOG)
    add_rollout(commands, EPILOG)
    return top


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "fit a detector; whole groups are held out and judged at the end"
    train = commands.add_parser("train", help=words, description=words, epilog=EPILOG)
    source.add_arguments(train)
    train.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for weights, log and figures")
    add_length(train)
    add_patience(train)
    add_holdout(train, "groups to hold out (default: a fifth, copies on one side)")
    add_dials(train)
    add_net(train)
    train.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="a finished run, such as one of --size base, whose answers are learned beside the labels",
    )
    _add_track(train, "tell the run to MLflow while it goes")
    train.add_argument("--resume", action="store_true", help="go on after a kill, from the last whole epoch")
    train.add_argument("--json", type=new_file, metavar="FILE", help="also write the figures there")
    train.set_defaults(module="trainer.commands", execute="train")


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "write a run's weights as a bundle that devices accept, calibrated and checked against torch"
    export = commands.add_parser("export", help=words, description=words, epilog=EPILOG)
    export.add_argument("run", type=Path, metavar="RUN", help="folder that `trainer train` wrote")
    export.add_argument("--out", type=new_file, required=True, metavar="BUNDLE", help="the bundle's file")
    export.add_argument("--name", help="name of the bundle, lower case (default: the run's folder)")
    export.add_argument(
        "--revision", type=count, metavar="N", help="grows with each release (default: the minute, as 202611261530)"
    )
    export.add_argument("--released-by", default="nobody yet", help="who answers for it")
    export.add_argument(
        "--intended-use", default="", metavar="WORDS", help="what it is for and where; stands in the model card"
    )
    export.add_argument(
        "--severity",
        type=_severities,
        default={},
        metavar="CLASS=LEVEL,...",
        help="critical, major or minor (default major)",
    )
    _add_wish(export)
    _add_track(export, "register the bundle in MLflow as the next version of its name")
    export.add_argument(
        "--precisions",
        type=_variants,
        default=("fp16", "int8"),
        metavar="f32,...",
        help="f32, and fp16 and int8 if they pass their gate (default: all)",
    )
    export.add_argument(
        "--golden", type=count, default=32, help="golden images, if the data have so many (default %(default)s)"
    )
    export.add_argument(
        "--few-golden",
        default="",
        type=str.strip,
        metavar="WHY",
        help="why fewer than 32 golden images, or none of some kind, will do; stands in the model card",
    )
    source.add_arguments(export, is_required=False, data_help="if the data has moved since the training")
    export.add_argument("--no-stress", action="store_true", help="do not measure what the model bears; saves minutes")
    export.add_argument("--threads", type=count, help="pictures judged at once (default: one a core, at most 8)")
    export.add_argument("--json", type=new_file, metavar="FILE", help="also write the figures there")
    export.set_defaults(module="trainer.commands", execute="export")


def _add_track(command: argparse.ArgumentParser, words: str) -> None:
    command.add_argument(
        "--track",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help=f"{words}: a server's address, or a folder (default: MLFLOW_TRACKING_URI, else beside the run's folder; "
        "with export where the run was told)",
    )


def _add_wish(export: argparse.ArgumentParser) -> None:
    wish = export.add_argument_group(
        "the limit", "chosen on the held-out groups; without a wish, furthest below 2 % escapes and 1 % overkill"
    )
    wish.add_argument("--cost-escape", type=rate, metavar="COST", help="of a bad part that is accepted")
    wish.add_argument("--cost-overkill", type=rate, metavar="COST", help="of a good part that is rejected")
    wish.add_argument(
        "--bad-share", type=percent, metavar="PERCENT", help="of bad parts on the line, to weigh the costs (default: "
        "as on the held-out groups)",
    )  # fmt: skip
    wish.add_argument(
        "--max-escapes", "--max-escape", type=percent, metavar="PERCENT", help="least overkill with no more escapes"
    )
    wish.add_argument("--max-overkill", type=percent, metavar="PERCENT", help="fewest escapes with no more overkill")


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "run a bundle as the appliance runs it, and judge it on labelled pictures"
    evaluate = commands.add_parser("evaluate", help=words, description=words, epilog=EPILOG)
    _add_judging(evaluate)
    evaluate.add_argument(
        "--precision",
        choices=("f32", "fp16", "int8"),
        help="judge this one of its models alone (default: f32 and, with --json or --report, the others beside it)",
    )
    evaluate.add_argument(
        "--parity", action="store_true", help="also judge its other models, and tell how far they differ"
    )
    evaluate.add_argument("--min-ap", type=ratio, help="refuse a pooled AP at IoU 0.33 below this, 0..1")
    evaluate.add_argument(
        "--max-escapes", "--max-escape", type=percent, metavar="PERCENT", help="refuse more escapes than this"
    )
    evaluate.add_argument("--max-overkill", type=percent, metavar="PERCENT", help="refuse more overkill than this")
    evaluate.add_argument(
        "--stress", action="store_true", help="also tell how much light, blur, noise and displacement the model bears"
    )
    evaluate.add_argument(
        "--report", type=new_file, metavar="FILE", help="write figures and cases as one HTML page that opens offline"
    )


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "judge all models of a bundle, and what they bear, and write a page for people that opens offline"
    page = commands.add_parser("report", help=words, description=words, epilog=EPILOG)
    _add_judging(page)
    page.add_argument("--out", dest="report", type=new_file, required=True, metavar="PAGE", help="the HTML file")
    page.set_defaults(precision=None, parity=True, stress=True, min_ap=None, max_escapes=None, max_overkill=None)


def _add_judging(command: argparse.ArgumentParser) -> None:
    command.add_argument("--bundle", type=Path, required=True, help="the bundle's file")
    source.add_arguments(command)
    command.add_argument(
        "--bad-list",
        type=Path,
        metavar="FILE",
        help="pictures of bad parts that nobody has marked, one a line; counted are those that are accepted",
    )
    command.add_argument(
        "--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime", help="default %(default)s"
    )
    command.add_argument("--weights", type=Path, metavar="RUN", help="judge in torch, too: the run that it is from")
    command.add_argument(
        "--groups",
        type=group_names,
        default=(),
        metavar="A,B",
        help="judge these only; or @FILE with one a line",
    )
    command.add_argument(
        "--overlap-px", type=int, help="of tiles on larger pictures (default 96, or a quarter of a small tile)"
    )
    command.add_argument("--threads", type=count, default=1, help="processor threads (default %(default)s)")
    command.add_argument("--json", type=new_file, metavar="FILE", help="write every figure there, with its bounds")
    command.set_defaults(module="trainer.evaluate_command", execute="evaluate")


def _variants(text: str) -> tuple[str, ...]:
    wanted = names(text)
    unknown = sorted(set(wanted) - {"f32", "fp16", "int8"})
    if unknown or "f32" not in wanted:
        raise argparse.ArgumentTypeError("name f32, which every bundle holds, and fp16 or int8 if they are wanted")
    return tuple(name for name in ("fp16", "int8") if name in wanted)


def _severities(text: str) -> dict[str, str]:
    found = {}
    for item in names(text):
        name, _, level = item.partition("=")
        if level not in ("critical", "major", "minor"):
            raise argparse.ArgumentTypeError(f"{item!r} is not CLASS=critical, CLASS=major or CLASS=minor")
        found[name] = level
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake gets words and an exit code, never a traceback."""
    arguments = parser().parse_args(argv)
    try:
        with deferred(signal.SIGINT):  # torch takes seconds to load, and help needs none of it
            commands = import_module(arguments.module)
        return int(getattr(commands, arguments.execute)(arguments))
    except (ApplianceError, OSError) as error:
        return end("trainer", error)
    except KeyboardInterrupt:
        sys.stderr.write("trainer: interrupted\n")
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
