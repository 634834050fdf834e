"""appliance check: what is wrong with this station, and what to do about it."""

import argparse
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.limits import Limits, golden_lacks, move_limits
from appliance.clock import SystemClock
from appliance.config import Config, ProductSection, load_config
from appliance.device_state import describe, read_device_state
from appliance.documents import Document
from appliance.engine import instances
from appliance.errors import ApplianceError, CameraError, refused_path
from appliance.events import Frame, Trigger
from appliance.links.broker_trial import try_broker
from appliance.ports import Camera
from appliance.processor import Wakefulness
from appliance.products import activate_configured, first_product, load_bound_recipe
from appliance.recipe import BoundRecipe
from appliance.runtimes.accelerator.binding import describe_bindings
from appliance.runtimes.tensorrt import describe_accelerator
from appliance.stages.infer import Inference
from appliance.stores.queries import LedgerReader, last_changeover_in
from appliance.wiring import make_cameras, mqtt_settings

CAMERA_TIMEOUT_S = 5.0
CAMERA_PAUSE_S = 0.2
LEDGER_MIN_FREE_MB = 500
CHECKED_RECORDS = 10_000
MEGABYTE = 10**6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: is_ok, what was seen, and what to do if it is not as it must be."""

    what: str
    is_ok: bool
    seen: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--software",
        action="store_true",
        help="only what another version of the software may judge otherwise: for one installed beside a running "
        "line, whose cameras, broker and ledger are left alone",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Look at everything and tell each finding at once; 0 if all is well, 1 if something must be done."""
    console = Console(stderr=arguments.json, soft_wrap=True, highlight=False, markup=False)
    findings = []
    with console.status("looking") as status:
        look_at = look_at_software if arguments.software else look
        for finding in look_at(arguments.config, lambda what: status.update(f"looking at the {what}")):
            findings.append(finding)
            if not arguments.json:
                _tell(console, finding)
    if arguments.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    return 0 if all(finding.is_ok for finding in findings) else 1


def _tell(console: Console, finding: Finding) -> None:
    word, colour = ("ok", "green") if finding.is_ok else ("NOT OK", "bold red")
    console.print(Text.assemble((f"{word:8}", colour), f"{finding.what:18}  {finding.seen}"))
    if finding.remedy:
        console.print(f"{'':8}{'to do':18}  {finding.remedy}")


def look(config_path: Path, begin: Callable[[str], object] = lambda what: None) -> Iterator[Finding]:
    """Look at one thing after the other; what cannot be looked at because of an earlier finding is left out.

    Args:
        config_path: the station's configuration.
        begin: told what is looked at next, where that may take seconds.
    """
    yield _clock()
    try:
        config, document = load_config(config_path)
    except ApplianceError as error:
        yield _not_ok("configuration", error)
        return
    yield Finding("configuration", True, f"{config_path}, SHA-256 {document.digest[:12]}")
    yield _guarded("ledger's disk", lambda: _disk("ledger's disk", config.ledger.path.parent, LEDGER_MIN_FREE_MB))
    yield _guarded("ledger", lambda: _ledger(config.ledger.path))
    images = config.images
    yield _guarded("image store's disk", lambda: _disk("image store's disk", images.directory, images.min_free_mb))
    if config.releases is not None:
        yield _releases(config.releases)
    yield Finding("device", True, describe(read_device_state()))
    yield _processor(config)
    yield _accelerator(config)
    begin("broker")
    yield _guarded("broker", lambda: _broker(config, document))
    if config.products is not None:
        yield _guarded("product", lambda: _product_in_force(config, document))
    recipes: list[BoundRecipe] = []
    for name, files in config.product_files().items():
        yield from _product(config, f"{name}: " if name else "", files, recipes, begin, tells_golden=True)
    if recipes:
        yield from _cameras(config, document, recipes, begin)


def look_at_software(config_path: Path, begin: Callable[[str], object] = lambda what: None) -> Iterator[Finding]:
    """Look at what this version of the software makes of a station's files; nothing that a running line holds.

    Args:
        config_path: the station's configuration.
        begin: told what is looked at next, where that may take seconds.
    """
    try:
        config, document = load_config(config_path)
    except ApplianceError as error:
        yield _not_ok("configuration", error)
        return
    yield Finding("configuration", True, f"{config_path}, SHA-256 {document.digest[:12]}")
    yield _accelerator(config)
    for name, files in config.product_files().items():
        yield from _product(config, f"{name}: " if name else "", files, [], begin)


def _product_in_force(config: Config, document: Document) -> Finding:
    last = last_changeover_in(config.ledger.path)
    name = first_product(config, document, last)
    if last is None or not last.to_product:
        return Finding("product", True, f"the first start puts {name} in force")
    return Finding("product", True, f"{name} is in force since {last.at:%Y-%m-%d %H:%M} UTC, by {last.who}")


def _product(
    config: Config, prefix: str, files: ProductSection, recipes: list[BoundRecipe], begin: Callable[[str], object], *,
    tells_golden: bool = False,
) -> Iterator[Finding]:  # fmt: skip
    """Look at what one product stands on; adds its recipe to recipes."""
    try:
        bundle = read_bundle(files.bundle)
    except ApplianceError as error:
        yield _not_ok(f"{prefix}bundle", error)
        return
    seen = f"{bundle.manifest.name} revision {bundle.manifest.revision}, {bundle.digest[:12]}"
    yield Finding(f"{prefix}bundle", True, seen)
    golden = f"{prefix}golden images"
    try:
        recipe = load_bound_recipe(config, files, bundle)
    except ApplianceError as error:
        if tells_golden:
            yield _golden(golden, bundle, None)
        yield _not_ok(f"{prefix}recipe", error)
        return
    if tells_golden:  # no version of the software judges that otherwise
        yield _golden(golden, bundle, recipe.verdict_limits())
    recipes.append(recipe)
    yield Finding(f"{prefix}recipe", True, f"{recipe.name} version {recipe.version}, deadline {recipe.deadline_ms} ms")
    yield from _light(prefix, bundle, recipe)
    begin(f"{prefix}runtime and the proof on it")
    what = f"{prefix}runtime and proof"
    yield _guarded(what, lambda: _proof(what, config, bundle, recipe))


def _golden(what: str, bundle: Bundle, limits: Limits | None) -> Finding:
    if few := golden_lacks(bundle, limits):
        remedy = "export the bundle anew with such pictures (trainer export), or know that its proof says little"
        return Finding(what, False, few, ", ".join(filter(None, [move_limits(bundle, limits), remedy])))
    return Finding(what, True, f"{len(bundle.golden)}, of every kind")


def _light(prefix: str, bundle: Bundle, recipe: BoundRecipe) -> Iterator[Finding]:
    """Hold the recipe's limits of brightness against what the trainer saw the model bear, where the bundle tells it."""
    borne, usual = bundle.manifest.lineage.metrics, bundle.baseline.statistics.get("brightness_mean")
    names = ("bears_darker_percent", "bears_brighter_percent")
    if usual is None or not set(names) <= borne.keys():
        return
    darker, brighter = (borne[name] for name in names)
    low, high = usual.mean * (1 - darker / 100), min(255.0, usual.mean * (1 + brighter / 100))
    for view in recipe.views:
        limits = view.image_limits
        is_wider = limits.brightness_min < math.floor(low) or limits.brightness_max > math.ceil(high)
        seen = (
            f"brightness {limits.brightness_min:g} to {limits.brightness_max:g} is inspected; the model was seen to "
            f"bear {low:.0f} to {high:.0f}"
        )
        remedy = (
            f"beyond that nobody has seen it find defects: narrow brightness_min and brightness_max in {recipe.name}"
        )
        yield Finding(f"{prefix}light of {view.name}", True, seen, remedy if is_wider else "")


def _guarded(what: str, look_at: Callable[[], Finding]) -> Finding:
    try:
        return look_at()
    except ApplianceError as error:
        return _not_ok(what, error)
    except OSError as error:  # such as a folder that this user may not enter
        return _not_ok(what, refused_path(error))


def _not_ok(what: str, error: ApplianceError) -> Finding:
    seen, _, remedy = str(error).rpartition("; ")
    return Finding(what, False, seen or remedy, remedy if seen else "")


def _proof(what: str, config: Config, bundle: Bundle, recipe: BoundRecipe) -> Finding:
    engine = activate_configured(config, bundle, recipe)
    engine.close()
    certificate, pictures = engine.certificate, Inference(recipe, bundle.manifest, engine.runtime).tiles
    result, proved = certificate.result, f"certificate {certificate.id[:12]} of {certificate.proved_at}"
    proved += f" (proved now: {'; '.join(engine.why_proved)})" if engine.why_proved else " is valid"
    seen = (
        f"{engine.describe()}, {instances(config.runtime)} at once; {result.images} golden images as at the trainer, "
        f"p99 {result.latency_ms.p99:.1f} ms of "
        f"{result.budget_ms:.1f} ms; {pictures * (engine.budget_ms - result.latency_ms.p99):.0f} ms of a part's "
        f"{recipe.deadline_ms} ms are left for taking its picture, waiting and the record; {proved}{_providers(config)}"
    )
    if not engine.refused:
        return Finding(what, True, seen)
    failed_on = ", ".join(certificate.put_aside)
    first = (
        f"the device failed on the {failed_on} model, give it what it lacked, then" if failed_on else "export again,"
    )
    remedy = (
        f"the station judges with the {engine.precision} model, which is slower: {first} try once more with "
        f"appliance prove --again, or configure precision: {engine.precision}"
    )
    return Finding(what, False, f"{seen}; refused {engine.refused}", remedy)


def _providers(config: Config) -> str:
    if config.runtime.kind != "onnx":
        return ""
    from appliance.runtimes.onnx import available_providers  # which another kind's station can do without

    return f"; providers here: {', '.join(available_providers())}"


def _cameras(
    config: Config, document: Document, recipes: list[BoundRecipe], begin: Callable[[str], object]
) -> Iterator[Finding]:
    clock = SystemClock()
    try:
        cameras = make_cameras(config, document, clock)
    except ApplianceError as error:
        yield _not_ok("cameras", error)
        return
    for view, camera in cameras.items():
        what = f"camera {view}"
        begin(what)
        now_ns = clock.monotonic_ns()
        trigger = Trigger("check", "check-000000", clock.utc(), now_ns, now_ns + int(CAMERA_TIMEOUT_S * 1e9))
        try:
            height, width, channels = _first_picture(camera, trigger, clock).pixels.shape
        except ApplianceError as error:
            yield _not_ok(what, error)
            continue
        finally:
            camera.close()
        others = sorted(
            f"recipe {recipe.name} says {each.width_px}x{each.height_px}x{each.channels}"
            for recipe in recipes
            for each in recipe.views
            if each.name == view and (each.width_px, each.height_px, each.channels) != (width, height, channels)
        )
        remedy = f"{', '.join(others)}: change one of them" if others else ""
        yield Finding(what, not others, f"{width}x{height}, {channels} channel(s)", remedy)


def _first_picture(camera: Camera, trigger: Trigger, clock: SystemClock) -> Frame:
    """Ask again until the trigger's deadline: a camera over the network may take seconds to connect."""
    pause = threading.Event()
    while True:
        try:
            camera.open()
            return camera.capture(trigger, CAMERA_TIMEOUT_S)
        except CameraError:
            if clock.monotonic_ns() >= trigger.deadline_ns:
                raise
            pause.wait(CAMERA_PAUSE_S)


def _disk(what: str, folder: Path, min_free_mb: int) -> Finding:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Finding(what, False, f"{existing} cannot be written", "give this user the right to write there")
    free_mb = shutil.disk_usage(existing).free // MEGABYTE
    remedy = "" if free_mb >= min_free_mb else f"free at least {min_free_mb} MB, or name another disk"
    return Finding(what, free_mb >= min_free_mb, f"{free_mb} MB free at {existing}", remedy)


def _releases(folder: Path) -> Finding:
    if not folder.is_dir():
        remedy = "make it, or correct `releases` in the configuration"
        return Finding("releases", False, f"{folder} is no folder", remedy)
    if not os.access(folder, os.R_OK | os.X_OK):
        return Finding("releases", False, f"{folder} cannot be read", "give this user the right to read there")
    return Finding("releases", True, f"{folder}; what lies there may be put in force while the station runs")


def _ledger(path: Path) -> Finding:
    if not path.exists():
        return Finding("ledger", True, "none yet: the first start makes it")
    reader = LedgerReader(path)
    try:
        last = reader.last_seq()
        broken = reader.verify_chain(max(1, last - CHECKED_RECORDS + 1))
        owed = reader.depth()
    finally:
        reader.close()
    if broken is None:
        return Finding("ledger", True, f"{last} records, {owed} not yet acknowledged; the newest are an unbroken chain")
    remedy = "keep the file as evidence, find out who wrote to it, and restore it from the plant's copy of the records"
    return Finding("ledger", False, f"record {broken} is missing or was altered", remedy)


def _broker(config: Config, document: Document) -> Finding:
    settings = mqtt_settings(config, document)
    if settings is None:
        return Finding("broker", True, "none configured: records stay in the ledger")
    protocol = try_broker(settings)
    limits = {"mqtt5": "MQTT 5", "mqtt311": "MQTT 3.1.1 only: it does not drop expired actions"}[protocol]
    return Finding("broker", True, f"{settings.host}:{settings.port} takes this station ({limits})")


def _processor(config: Config) -> Finding:
    with Wakefulness(config.processor.wake_up_us) as processor:
        return Finding("processor", not processor.remedy, processor.seen, processor.remedy)


def _accelerator(config: Config) -> Finding:
    try:
        seen = describe_accelerator()
    except ApplianceError as error:
        binding = f"binding of CUDA: {describe_bindings()}"
        if config.runtime.kind != "tensorrt":
            return Finding("accelerator", True, f"none for TensorRT, {binding}; runtime.kind is {config.runtime.kind}")
        finding = _not_ok("accelerator", error)
        return replace(finding, seen=f"{finding.seen}; {binding}")
    unused = "" if config.runtime.kind == "tensorrt" else f"; unused: runtime.kind is {config.runtime.kind}"
    return Finding("accelerator", True, seen + unused)


def _clock() -> Finding:
    remedy = "let systemd-timesyncd or chrony (with rtcsync) set the clock, or the records' times mean little"
    is_ok = SystemClock().is_synchronised()
    if is_ok is None:
        return Finding("clock", True, "the kernel does not tell here; durations do not depend on it")
    return Finding("clock", is_ok, "synchronised" if is_ok else "not synchronised", "" if is_ok else remedy)
