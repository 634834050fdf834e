"""The evaluation that travels with a model: its figures, and the page of them, both of this very bundle.

Figures are demanded, so that whoever signs and whoever audits can read how good the model was found, and on how much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from appliance.errors import BundleTrustError, ConfigError
from trainer.progress import console
from trainer.release.keys import printable
from trainer.release.releases import FIGURES, PAGE
from trainer.release.roles import KINDS, NO_REPORT, Kind, said_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing

MOST_BYTES = 64_000_000
BUNDLE = ".bundle"


@dataclass(frozen=True, slots=True)
class Told:
    """What a person says of how good a model is: files, or why there are none."""

    files: Sequence[Path] = ()
    why_none: str | None = None


def evaluation(told: Told, kind: Kind, file: Path, digest: str) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
    """Read the evaluation of what is to be released.

    Args:
        told: by whoever releases it.
        kind: of the release; only a model has figures, what people read may lie beside all.
        file: the release, named in messages.
        digest: its SHA-256.

    Returns:
        Ending -> content of what lies beside it, and what is signed with it.

    Raises:
        ConfigError: It is missing, cannot be read, or is of another bundle.
    """
    if kind != "model" and told.why_none is not None:
        raise ConfigError(
            f"--no-report: only a model has a report of figures, and this is of kind {kind}; leave it out"
        )
    if told.why_none is not None and (told.files or not told.why_none.strip()):
        raise ConfigError("--no-report: say in words why there is no report, and name none; or leave it out")
    found: dict[str, bytes] = {}
    for path in told.files:
        ending = FIGURES if path.suffix == ".json" else PAGE
        if ending in found:
            raise ConfigError(f"--report {path}: one {ending} is named already; name one JSON file and one page")
        found[ending] = _read(path)
    if kind != "model":
        if FIGURES in found:
            raise ConfigError(f"--report: figures are of a model, and this is of kind {kind}; leave them out")
        return found, {}
    if told.why_none is not None:
        return {}, {NO_REPORT: told.why_none.strip()}
    for path in told.files:
        _check(path, found, digest, file)
    if FIGURES not in found:
        raise ConfigError(
            f"{file}: a model is released with the figures of its evaluation, and none are named. Make them with "
            f"`trainer evaluate --bundle {file} --data DIR --list FILE --json report.json` and name them with "
            "--report report.json; or say with --no-report WHY why there are none"
        )
    return found, {}


def of_which_bundle(figures: bytes) -> str:
    """Return the SHA-256 of the bundle that figures are of; empty if they are no figures of `trainer evaluate`."""
    said = _figures(figures)
    digest, pictures = said.get("bundle_digest"), said.get("pictures")
    return digest if isinstance(digest, str) and type(pictures) is int and pictures > 0 else ""


def check_evaluated(shelf: Shelf, standing: Standing | None, newer: Targets) -> None:
    """Hold the models that a signed list brings against the rule for all of them; another tool may have made the list.

    Args:
        shelf: where the figures lie.
        standing: what stands there; what was released before the rule stays. None: nothing does.
        newer: the list.

    Raises:
        BundleTrustError: A model has neither the figures of this very bundle, nor a reason that is signed with it.
        StorageError: The address does not answer or refuses.
    """
    held = standing.releases("model") if standing else {}
    for name, target in newer.targets.items():
        beside = name.removesuffix(BUNDLE) + FIGURES
        figures = newer.targets.get(beside)
        if not name.endswith(BUNDLE) or (held.get(name), held.get(beside)) == (target, figures):
            continue
        if figures is None:
            why = said_of(target).get(NO_REPORT)
            if isinstance(why, str) and why.strip():
                continue
            problem = "is brought without the figures of its evaluation, and nobody signed why there are none"
        elif (content := _read_target(shelf, beside, figures)) is None:
            problem = "has figures that are missing or damaged there"
        elif of_which_bundle(content) != target.hashes.get("sha256"):
            problem = "has figures that are no evaluation of this bundle"
        else:
            continue
        raise BundleTrustError(
            f"{shelf.address}: {name} {problem}; nothing was published. Release it with `trainer publish release "
            "--report` (or --no-report WHY), and let that be signed"
        )


def without_report(standing: Standing) -> dict[str, str]:
    """Return the models that stand without figures, and why."""
    targets = standing.releases("model")
    bundles = [name for name in targets if name.startswith(f"{KINDS['model']}/") and name.endswith(".bundle")]
    return {
        name: str(said_of(targets[name]).get(NO_REPORT) or "nobody said why; released before reports were asked for")
        for name in sorted(bundles)
        if name.removesuffix(".bundle") + FIGURES not in targets
    }


def _read_target(shelf: Shelf, name: str, target: TargetFile) -> bytes | None:
    """Return what was signed under a name; None if it is missing, or another content is there."""
    try:
        return shelf.signed_target(name, target)
    except BundleTrustError:
        return None


def _check(path: Path, found: Mapping[str, bytes], digest: str, file: Path) -> None:
    """Refuse what is of another bundle: figures say their digest, and the page has it in its first lines."""
    if path.suffix != ".json":
        if digest.encode() not in found[PAGE]:
            raise ConfigError(
                f"--report {path}: is no page of {file} (sha256 {digest[:12]}...); make it with `trainer evaluate "
                f"--bundle {file} --report`"
            )
        return
    other = of_which_bundle(found[FIGURES])
    if not other:
        raise ConfigError(
            f"--report {path}: these are no figures of a bundle; make them with `trainer evaluate --json`"
        )
    if other != digest:
        raise ConfigError(
            f"--report {path}: is of a bundle with sha256 {other[:12]}..., and {file} has {digest[:12]}...; evaluate "
            f"this one: `trainer evaluate --bundle {file} --json`"
        )
    if refused := _figures(found[FIGURES]).get("refused"):
        console.print(
            f"trainer: beware: {path}: the evaluation refused this bundle: {printable(str(refused))}", soft_wrap=True
        )


def _figures(content: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"--report {path}: more than {MOST_BYTES} bytes; is it a report?")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}; check path and rights") from error
