"""appliance prove: the proof of the configured bundle on this device, and its certificate, beside the running line."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from appliance.activation import Engine, few_golden
from appliance.arguments import OutputFile, new_file
from appliance.bundle import strict_json
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.limits import Limits
from appliance.certification.certificate import Certificate, Computed, Result
from appliance.certification.refusal import Refusal, refuse
from appliance.config import Config, ProductSection, load_config
from appliance.device_state import WORDS
from appliance.errors import ApplianceError, ConfigError, end, refused_path
from appliance.events import iso, utc_now
from appliance.products import activate_configured, load_bound_recipe

_SHOWN_OF_A_DIGEST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument("--again", action="store_true", help="prove even though a certificate is valid")
    parser.add_argument("--product", metavar="NAME", help="of several products (default: each of them)")
    parser.add_argument(
        "--json",
        type=new_file,
        metavar="FILE",
        help="write the certificate of one product here, too, or why there is none",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Prove, or find that a certificate is valid, and print it; a product that is refused does not stop the next one.

    Returns:
        0, or the first refusal's own exit code.
    """
    try:
        config, _ = load_config(arguments.config)
        chosen = _chosen(config, arguments.product)
        if arguments.json and len(chosen) > 1:
            raise ConfigError(f"--json: one certificate goes into a file; name a --product, one of {', '.join(chosen)}")
    except ApplianceError as error:
        _write(arguments.json, _Attempt().refusal(error))
        raise
    out = Console(soft_wrap=True, highlight=False, markup=False)
    codes = []
    for name, files in chosen.items():
        if name:
            out.print(f"product {name}")
        attempt = _Attempt(name)
        try:
            certificate = _prove(out, config, files, attempt, again=arguments.again)
        except (ApplianceError, OSError) as error:
            codes.append(end(f"appliance: product {name}" if name else "appliance", error))
            _write(arguments.json, attempt.refusal(error))
        else:
            _write(arguments.json, certificate)
    return codes[0] if codes else 0


@dataclass(slots=True)
class _Attempt:
    """What is known of an attempt if it ends in a refusal."""

    product: str = ""
    bundle: Bundle | None = None
    tried: list[tuple[Computed, ApplianceError]] = field(default_factory=list)

    def note(self, precision: Computed, error: ApplianceError) -> None:
        self.tried.append((precision, error))

    def refusal(self, error: ApplianceError | OSError) -> Refusal:
        error = refused_path(error) if isinstance(error, OSError) else error
        return refuse(error, product=self.product, bundle=self.bundle, tried=self.tried, refused_at=iso(utc_now()))


def _prove(out: Console, config: Config, files: ProductSection, attempt: _Attempt, *, again: bool) -> Certificate:
    bundle = attempt.bundle = read_bundle(files.bundle)
    recipe = load_bound_recipe(config, files, bundle)
    with Console(stderr=True).status("proving the bundle on this device"):
        engine = activate_configured(config, bundle, recipe, again=again, on_refused=attempt.note)
    engine.close()
    tell(out, engine, bundle)
    return engine.certificate


def _chosen(config: Config, product: str | None) -> dict[str, ProductSection]:
    files = config.product_files()
    if product is None:
        return files
    if product not in files:
        there = ", ".join(name for name in files if name) or "one only, without a name"
        raise ConfigError(f"--product {product}: the configuration has no such product; there is {there}")
    return {product: files[product]}


def tell(out: Console, engine: Engine, bundle: Bundle) -> None:
    """Print a certificate for people: what, with what, on what, how near, how fast.

    Args:
        out: where to.
        engine: with its certificate.
        bundle: that was proved.
    """
    certificate = engine.certificate
    if engine.why_proved:
        out.print(f"proved now: {'; '.join(engine.why_proved)}")
    else:
        out.print(
            "the certificate is valid, and each golden image came out as at the trainer once more; --again proves"
        )
    for table in (_what(certificate), _where(certificate), _found(certificate, bundle)):
        out.print(table)
    for why in certificate.refused:
        out.print(f"refused {why}")
    if certificate.beware:
        out.print(certificate.beware)
    subject = certificate.subject
    if few := few_golden(bundle, Limits(subject.reject_limits, subject.accept_limits)):
        out.print(few)


def _what(certificate: Certificate) -> Table:
    subject, means = certificate.subject, certificate.means
    rows = {
        "certificate": f"{certificate.id[:_SHOWN_OF_A_DIGEST]} of {certificate.proved_at}",
        "bundle": f"{subject.bundle} revision {subject.bundle_revision}, {subject.bundle_digest[:_SHOWN_OF_A_DIGEST]}",
        "recipe": f"{subject.recipe} version {subject.recipe_version}, {subject.recipe_digest[:_SHOWN_OF_A_DIGEST]}",
        "rejected from": _scores(subject.reject_limits),
        "reviewed from": _scores(subject.accept_limits) if subject.accept_limits != subject.reject_limits else "",
        "software": means.software,
        "runtime": means.runtime,
        "at once": "" if means.instances is None else f"{means.instances} parts",
        "precision": means.precision,
        "model file": means.model_digest[:_SHOWN_OF_A_DIGEST],
    }
    if means.engine_key is not None:
        rows["engine"] = means.engine_key[:_SHOWN_OF_A_DIGEST]
    return _table("what and with what", rows)


def _scores(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {limit:g}" for label, limit in sorted(limits.items()))


def _where(certificate: Certificate) -> Table:
    told = {words: getattr(certificate.device, name) for name, words in WORDS.items()}
    rows = {words: str(value) for words, value in told.items() if value is not None}
    return _table("on what", rows | {"not understood": "; ".join(certificate.device.unread)})


def _found(certificate: Certificate, bundle: Bundle) -> Table:
    result, growth = certificate.result, certificate.result.memory_growth_bytes
    times = result.latency_ms
    rows = {
        "golden images": f"{result.images}, {result.detections} detections",
        "of which": ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(result.kinds.items())),
        "least overlap": f"{result.worst_iou:.4f}",
        "scores": f"at most {result.worst_score_difference:.1e} off",
        **_nearness(result),
        "agreement": f"AP {result.agreement_ap:.4f} against the trainer's detections",
        "one picture": f"p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f}, max {times.max:.1f} ms",
        "budget": f"p99 at most {result.budget_ms:.1f} ms, {result.runs} runs, round {result.attempts}",
        "memory": "not told by this system" if growth is None else f"{growth / 1024:+.0f} KiB over the runs",
    }
    return _table("how near, how fast", rows)


def _nearness(result: Result) -> dict[str, str]:
    """Return what was tolerated, and of it what decides a verdict; nothing for a certificate that does not tell."""
    most, deciding = result.tolerated, result.deciding
    if most is None or deciding is None:
        return {}
    edge = f", or no edge more than {most.deciding_max_edge_px:g} pixels off" if most.deciding_max_edge_px else ""
    displaced = f"; {deciding.displaced} by less, {deciding.worst_edge_px:.1f} pixels off" if deciding.displaced else ""
    return {
        "tolerated": f"overlap from {most.min_iou:.3f}, scores {most.max_score_difference:.3f} off",
        "what decides": f"{deciding.detections} detections: overlap from {deciding.worst_iou:.4f}{displaced}; "
        f"scores at most {deciding.worst_score_difference:.1e} off",
        "tolerated of it": f"overlap from {most.deciding_min_iou:g}{edge}; "
        f"scores {most.deciding_max_score_difference:g} off",
    }


def _table(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _write(file: OutputFile | None, result: Certificate | Refusal) -> None:
    if file is not None:
        file.write(strict_json.dump(result).decode("ascii"))
