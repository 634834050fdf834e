"""Configuration -> adapters -> station; the only file that knows both sides."""

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel

from appliance import __version__
from appliance.bundle.archive import Bundle, read_bundle
from appliance.cameras.folder import FolderCamera
from appliance.cameras.opencv import OpenCvCamera
from appliance.cameras.settings import FolderCameraSettings, OpenCvCameraSettings
from appliance.changeover import Products
from appliance.clock import SystemClock
from appliance.config import Config, load_config
from appliance.documents import Document
from appliance.engine import prove_engine
from appliance.errors import ConfigError
from appliance.events import Inspection, Record, Versions, new_id
from appliance.health import StageWatchdog, end_process_when_a_thread_crashes
from appliance.inspection import PartInspection
from appliance.links.announcements import StationDescription, StationState
from appliance.links.mqtt import MqttLink
from appliance.links.settings import MqttSettings
from appliance.optics.reference import lay_ms
from appliance.parts import Product
from appliance.ports import Camera, Clock
from appliance.processor import Wakefulness
from appliance.recipe import BoundRecipe, load_recipe
from appliance.simulator.camera import SimulatedCamera, SimulatedCameraSettings
from appliance.stages.deliver import Delivery
from appliance.stages.infer import Inference
from appliance.stages.record import Recorder
from appliance.station import Station, StationSettings
from appliance.stores.images import FolderImageStore, ImagePolicy
from appliance.stores.ledger import SqliteLedger
from appliance.stores.retention import Retention
from appliance.verdicts import Verdicts

log = logging.getLogger(__name__)

RESEND_AFTER_S = 5.0
MEGABYTE = 10**6
STOPS = (signal.SIGTERM, signal.SIGINT)

CAMERAS: dict[str, tuple[type[BaseModel], Callable[[str, Any, Clock], Camera]]] = {
    "folder": (FolderCameraSettings, lambda view, settings, _: FolderCamera(view, settings)),
    "opencv": (OpenCvCameraSettings, lambda view, settings, _: OpenCvCamera(view, settings)),
    "simulated": (SimulatedCameraSettings, SimulatedCamera),
}
"""type in the configuration -> its settings, and how to make the camera."""


class Appliance:
    """A wired station with its stores and links; a `with` block runs it."""

    def __init__(self, config: Config, document: Document, on_record: Callable[[Inspection, Record, int], None] | None):
        """Load, prove and wire everything; nothing runs yet.

        Raises:
            ConfigError: configuration or recipe must change.
            BundleError: the bundle is damaged, or this device does not get the trainer's detections from it.
            StorageError: the ledger or the image folder cannot be used.
        """
        self.boot_id = new_id()
        self.clock = SystemClock()
        bundle = read_bundle(config.bundle)
        recipe = load_bound_recipe(config, bundle)
        self._engine = prove_engine(
            config.runtime,
            bundle,
            lambda runtime: latency_budget_ms(recipe, Inference(recipe, bundle.manifest, runtime)),
            recipe.reject_limits(),
        )
        self.proof = self._engine.proof
        inference = Inference(recipe, bundle.manifest, self._engine.runtime)
        cameras = make_cameras(config, document, recipe, self.clock)
        settings = mqtt_settings(config, document)
        consumers = settings.consumers if settings else []
        self.ledger = SqliteLedger.open(config.ledger.path, config.device.device_id, self.boot_id, consumers)
        self.images = FolderImageStore(
            config.images.directory, image_policy(config), self.ledger.note_image, self.ledger.forget_image
        )
        keep_days = config.ledger.keep_days
        self._retention = Retention(self.ledger, keep_days, self.clock) if keep_days else None
        self.watchdog = StageWatchdog(self.clock)
        self.versions = versions(config, document, bundle, recipe, self._engine.describe())
        self.links: list[MqttLink] = [self._link(settings, bundle, recipe)] if settings else []
        delivery = Delivery(self.links, self.ledger, self.clock, self.watchdog, resend_after_s=RESEND_AFTER_S)
        verdicts = Verdicts(
            Recorder(self.ledger, self.images, self.clock),
            delivery,
            self.clock,
            note_late=self.ledger.note_late,
            probe=self.ledger.probe,
            on_record=on_record,
        )
        self._inspection = PartInspection(recipe, inference)
        product = Product(self._inspection, self.versions, recipe.deadline_ms, recipe.answer_reserve_ms)
        self.products = Products({product.name: product}, {}, product.name, self.ledger, self.clock)
        self.station = Station(
            cameras=cameras,
            products=self.products,
            ledger=self.ledger,
            verdicts=verdicts,
            delivery=delivery,
            clock=self.clock,
            watchdog=self.watchdog,
            settings=StationSettings(config.max_capture_delay_ms, config.queue_size),
            status=self._status,
        )

    def __enter__(self) -> "Appliance":
        """Answer for parts left open, then take triggers."""
        self.station.start()
        for link in self.links:
            link.open(self.station)
        if self._retention is not None:
            self._retention.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the open parts come to their verdict, then close everything."""
        self.station.stop()
        for link in self.links:
            link.close()
        if self._retention is not None:
            self._retention.stop()
        self._inspection.close()
        self.images.close()
        self.ledger.close()
        self._engine.runtime.close()

    def _link(self, settings: MqttSettings, bundle: Bundle, recipe: BoundRecipe) -> MqttLink:
        manifest = bundle.manifest
        description = StationDescription(
            software=__version__,
            runtime=self._engine.describe(),
            bundle={"name": manifest.name, "revision": manifest.revision, "digest": bundle.digest},
            recipe={"name": recipe.name, "version": recipe.version, "digest": recipe.digest},
        )
        return MqttLink(settings, boot_id=self.boot_id, state=self._state, describe=lambda: description)

    def _state(self) -> StationState:
        reason = self.station.stopped_because
        state: Literal["online", "stopped"] = "stopped" if reason else "online"
        synchronised = self.clock.is_synchronised()
        return StationState(self.ledger.last_seq(), self.ledger.depth(), state, reason, synchronised)

    def _status(self) -> dict[str, Any]:
        images = self.images
        return {
            "last_seq": self.ledger.last_seq(),
            "outbox_depth": self.ledger.depth(),
            "acknowledged": self.ledger.acknowledged(),
            "runtime": {"engine": self._engine.describe(), "refused": self._engine.refused},
            "images": {
                "written": images.written,
                "dropped": images.dropped,
                "removed": images.removed,
                "problem": images.problem,
            },
            "links": [link.status() for link in self.links],
        }


def build(config_path: Path, on_record: Callable[[Inspection, Record, int], None] | None = None) -> Appliance:
    """Wire the appliance that a configuration file describes.

    Args:
        config_path: the YAML file.
        on_record: told of each committed inspection and the microseconds that the commit took.

    Raises:
        ConfigError, BundleError, StorageError: see Appliance.
    """
    config, document = load_config(config_path)
    return Appliance(config, document, on_record)


def run_until_signalled(config_path: Path, log_level: str | None = None) -> int:
    """Run the station until SIGTERM or SIGINT; 0 after an orderly stop. log_level overrules the configuration."""
    stop = threading.Event()
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(0))  # a start may build an engine for minutes
    config, document = load_config(config_path)
    logging.getLogger().setLevel((log_level or config.log_level).upper())
    appliance = Appliance(config, document, None)
    for number in STOPS:
        signal.signal(number, lambda *_: stop.set())
    end_process_when_a_thread_crashes()
    with appliance, Wakefulness(config.processor.wake_up_us) as processor:
        appliance.watchdog.start()
        settle()
        log.info(
            "station %s takes parts: bundle %s, recipe %s, %s; the processor %s",
            config.device.device_id, appliance.versions.bundle, appliance.versions.recipe, appliance.versions.runtime,
            processor.seen,
        )  # fmt: skip
        if processor.remedy:
            log.warning("the processor %s; %s", processor.seen, processor.remedy)
        stop.wait()
        log.info("asked to stop")
        appliance.watchdog.stop()
    return 0


def settle() -> None:
    """Take what a start has made out of the garbage collector's sight.

    It stays until the end, and looking through it would stop a part for 40 ms now and then (60,000 objects).
    """
    gc.collect()
    gc.freeze()


def load_bound_recipe(config: Config, bundle: Bundle) -> BoundRecipe:
    """Read the recipe and bind it to the bundle; each view must have a camera.

    Raises:
        ConfigError: recipe, bundle and cameras do not fit each other.
    """
    recipe, document = load_recipe(config.recipe)
    wanted, given = {view.name for view in recipe.views}, set(config.cameras)
    if wanted != given:
        raise ConfigError(
            f"{config.recipe}: the recipe's views are {', '.join(sorted(wanted))}, the configuration has cameras for "
            f"{', '.join(sorted(given))}; give each view a camera of its name, and no other"
        )
    return recipe.bind(bundle.manifest, document)


def latency_budget_ms(recipe: BoundRecipe, inference: Inference) -> float:
    """Return how long one picture of the model's size may take, so that a part is done before the answer is due.

    What laying the references over the part takes is measured here, and is not the model's.
    """
    aligning_ms = sum(lay_ms(references) for references in recipe.references.values() if references)
    return max(0.0, recipe.deadline_ms - recipe.answer_reserve_ms - aligning_ms) / inference.tiles


def make_cameras(config: Config, document: Document, recipe: BoundRecipe, clock: Clock) -> dict[str, Camera]:
    """Make each view's closed camera.

    Raises:
        ConfigError: a camera's type or one of its keys is wrong.
    """
    cameras: dict[str, Camera] = {}
    for view, section in config.cameras.items():
        kind = section["type"]
        if kind not in CAMERAS:
            raise document.error(
                ("cameras", view, "type"), f"there is no camera type {kind!r}", f"use {', '.join(CAMERAS)}"
            )
        model, make = CAMERAS[kind]
        cameras[view] = make(view, document.section(("cameras", view), model), clock)
    return cameras


def mqtt_settings(config: Config, document: Document) -> MqttSettings | None:
    """Return the link's settings, or None if the configuration has none.

    Raises:
        ConfigError: one of its keys is wrong.
    """
    if config.mqtt is None:
        return None
    return document.section(("mqtt",), MqttSettings, given=config.device.model_dump())


def image_policy(config: Config) -> ImagePolicy:
    """Translate the configuration's images section."""
    images = config.images
    return ImagePolicy(
        accept_every=images.accept_one_in,
        encoding=images.format,
        quota_bytes=images.quota_mb * MEGABYTE,
        min_free_bytes=images.min_free_mb * MEGABYTE,
    )


def versions(config: Config, document: Document, bundle: Bundle, recipe: BoundRecipe, runtime: str) -> Versions:
    """Name everything that judges, for every record."""
    return Versions(
        software=__version__,
        bundle=bundle.manifest.name,
        bundle_revision=bundle.manifest.revision,
        bundle_digest=bundle.digest,
        recipe=recipe.name,
        recipe_version=recipe.version,
        recipe_digest=recipe.digest,
        config_digest=document.digest,
        runtime=runtime,
        product=recipe.name,
    )
