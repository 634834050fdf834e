"""Configuration -> adapters -> station; the only file that knows both sides."""

import gc
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel

from appliance.activation import Engine
from appliance.cameras.folder import FolderCamera
from appliance.cameras.opencv import OpenCvCamera
from appliance.cameras.settings import FolderCameraSettings, OpenCvCameraSettings
from appliance.certification.certificate import Certificate
from appliance.changeover import Products
from appliance.clock import SystemClock
from appliance.config import Config, load_config
from appliance.device_watch import DeviceWatch
from appliance.documents import Document
from appliance.engine_faults import EngineFaults
from appliance.errors import RuntimeFault, StorageError
from appliance.events import Changeover, Inspection, Record, Versions, new_id
from appliance.health import EXIT_HUNG, StageWatchdog, end_process_when_a_thread_crashes
from appliance.latency_watch import LatencyWatch
from appliance.links.announcements import StationDescription, StationState
from appliance.links.mqtt import MqttLink
from appliance.links.settings import MqttSettings
from appliance.parts import Product
from appliance.ports import Camera, Clock
from appliance.processor import Wakefulness
from appliance.products import WarmProducts, first_product, load_products
from appliance.release import Place
from appliance.simulator.camera import SimulatedCamera, SimulatedCameraSettings
from appliance.stages.deliver import Delivery
from appliance.stages.record import Recorder
from appliance.station import Station, StationSettings
from appliance.stop_wish import StopWish
from appliance.stores.images import FolderImageStore, ImagePolicy
from appliance.stores.ledger import SqliteLedger
from appliance.stores.queries import last_changeover_in
from appliance.stores.retention import Retention
from appliance.updates import Updates, note_releases
from appliance.verdicts import Verdicts

log = logging.getLogger(__name__)

RESEND_AFTER_S = 5.0
MEGABYTE = 10**6
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter that another one waits for (Python's own: ten times that): at 100 parts/s
with 8-bit OpenVINO on two cores, p99 from picture to action 15.8 and 19.1 ms against 17.8 and 21.1."""

STOPS = (signal.SIGTERM, signal.SIGINT)

CAMERAS: dict[str, tuple[type[BaseModel], Callable[[str, Any, Clock], Camera]]] = {
    "folder": (FolderCameraSettings, lambda view, settings, _: FolderCamera(view, settings)),
    "opencv": (OpenCvCameraSettings, lambda view, settings, _: OpenCvCamera(view, settings)),
    "simulated": (SimulatedCameraSettings, SimulatedCamera),
}
"""type in the configuration -> its settings, and how to make the camera."""


class Appliance:
    """A wired station with its stores and links; a `with` block runs it."""

    def __init__(
        self,
        config: Config,
        document: Document,
        on_record: Callable[[Inspection, Record, int], None] | None,
        device_root: Path = Path("/"),
        *,
        ends_when_lost: bool = False,
    ):
        """Load, prove and wire everything; nothing runs yet. With ends_when_lost it wants_to_end with its engine.

        Raises:
            ConfigError: the configuration, or the recipe of the product in force, must change.
            BundleError: that product's bundle is damaged, or this device does not get the trainer's detections from it.
            StorageError: the ledger or the image folder cannot be used.
        """
        self.boot_id = new_id()
        self.wants_to_end = StopWish()
        self.lost_because = ""
        self.clock = SystemClock()
        cameras = make_cameras(config, document, self.clock)
        settings = mqtt_settings(config, document)
        last = last_changeover_in(config.ledger.path)
        self._latency = LatencyWatch()
        in_force = first_product(config, document, last)
        self._warm = load_products(config, document, in_force, device_root, self._latency.add)
        self.ledger = open_ledger(config, settings, self.boot_id)
        self._products = _put_in_force(self._warm, config, last, self.ledger, self.clock, self._note_change)
        note_releases(self._warm.ready.values(), self.ledger.updates, self.clock)
        self.images = FolderImageStore(
            config.images.directory, image_policy(config), self.ledger.note_image, self.ledger.forget_image
        )
        place, log = Place(config, document, device_root), self.ledger.updates
        self.updates = Updates(
            place, self._warm, self._products, log, self.images, self.clock,
            note_inference_ms=self._latency.add, on_change=self._note_change,
        )  # fmt: skip
        keep_days = config.ledger.keep_days
        self._retention = Retention(self.ledger, keep_days, self.clock) if keep_days else None
        self.watchdog = StageWatchdog(self.clock)
        self.links: list[MqttLink] = [self._link(settings)] if settings else []
        delivery = Delivery(self.links, self.ledger, self.clock, self.watchdog, resend_after_s=RESEND_AFTER_S)
        self.station = Station(
            cameras=cameras,
            products=self._products,
            ledger=self.ledger,
            verdicts=self._verdicts(delivery, self.updates.after(on_record)),
            delivery=delivery,
            clock=self.clock,
            watchdog=self.watchdog,
            settings=StationSettings(config.max_capture_delay_ms, config.queue_size),
            status=self._status,
            commands=self.updates.commands,
            inspecting=self.updates.rest,
            engine_faults=EngineFaults(self._end) if ends_when_lost else None,
        )
        self.device_watch = DeviceWatch(
            lambda: self.certificate.device, self._latency, alarm=self._alarm, hold=self.station.hold, root=device_root
        )

    def __enter__(self) -> "Appliance":
        """Answer for parts left open, then take triggers."""
        self.station.start()
        for link in self.links:
            link.open(self.station)
        if self._retention is not None:
            self._retention.start()
        self.device_watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the open parts come to their verdict, then close everything."""
        self.device_watch.stop()
        self.station.stop()
        self.updates.close()
        for link in self.links:
            link.over_because = self.lost_because or link.over_because
            link.close()
        if self._retention is not None:
            self._retention.stop()
        self.images.close()
        self.ledger.close()
        try:
            self._warm.close()
        except RuntimeFault as fault:  # of a device that is lost not even the memory can be freed
            if not self.lost_because:
                raise
            log.error("%s", fault)

    @property
    def versions(self) -> Versions:
        """Return what judges the product in force."""
        return self._products.in_force.versions

    @property
    def certificate(self) -> Certificate:
        """Return what the product in force may judge by."""
        return self._in_force()[1].certificate

    def _in_force(self) -> tuple[Product, Engine]:
        warm = self._warm.ready[self._products.in_force.name]  # once: another thread may change it at any time
        return warm.product, warm.engine

    def _verdicts(self, delivery: Delivery, on_record: Callable[[Inspection, Record, int], None] | None) -> Verdicts:
        return Verdicts(
            Recorder(self.ledger, self.images, self.clock),
            delivery,
            self.clock,
            note_late=self.ledger.note_late,
            probe=self.ledger.probe,
            on_record=on_record,
        )

    def _link(self, settings: MqttSettings) -> MqttLink:
        return MqttLink(settings, boot_id=self.boot_id, state=self._state, describe=self._describe)

    def _describe(self) -> StationDescription:
        product, engine = self._in_force()
        return describe(product.versions, engine.certificate)

    def _alarm(self, name: str, text: str) -> None:
        for link in self.links:
            link.send_alarm(name, text)
        if not self.links:
            log.warning("%s", text)

    def _end(self, because: str) -> None:
        """Take no more parts, say so, and wish to end: a process that systemd starts anew opens the device anew."""
        self.lost_because = f"{because}; the station ends, to be started anew"
        self.station.end(self.lost_because)
        log.critical("%s", self.lost_because)
        remedy = "if that does not help, see the device's driver and `appliance check`"
        self._alarm("engine_lost", f"{self.lost_because}; {remedy}")
        self.wants_to_end.set()

    def _note_change(self) -> None:
        self._latency.turn()
        self.updates.look()
        for link in self.links:
            link.describe_anew()

    def _state(self) -> StationState:
        reason = self.station.stopped_because
        state: Literal["online", "stopped"] = "stopped" if reason else "online"
        synchronised = self.clock.is_synchronised()
        return StationState(self.ledger.last_seq(), self.ledger.depth(), state, reason, synchronised)

    def _status(self) -> dict[str, Any]:
        images, (product, engine) = self.images, self._in_force()
        return {
            "product": product.name,
            "last_seq": self.ledger.last_seq(),
            "outbox_depth": self.ledger.depth(),
            "acknowledged": self.ledger.acknowledged(),
            "runtime": {"engine": engine.describe(), "refused": engine.refused},
            "certificate": engine.certificate.summary().model_dump(mode="json"),
            "images": {
                "written": images.written,
                "dropped": images.dropped,
                "removed": images.removed,
                "problem": images.problem,
            },
            "device": self.device_watch.status(),
            **self.updates.status(),
            "links": [link.status() for link in self.links],
        }


def build(
    config_path: Path,
    on_record: Callable[[Inspection, Record, int], None] | None = None,
    device_root: Path = Path("/"),
) -> Appliance:
    """Wire the appliance that a configuration file describes.

    Args:
        config_path: the YAML file.
        on_record: told of each committed inspection and the microseconds that the commit took.
        device_root: the folder that stands for "/" where the device tells about itself.

    Raises:
        ConfigError, BundleError, StorageError: see Appliance.
    """
    config, document = load_config(config_path)
    return Appliance(config, document, on_record, device_root)


def run_until_signalled(config_path: Path, log_level: str | None = None) -> int:
    """Run the station until SIGTERM or SIGINT; 0 after an orderly stop. log_level overrules the configuration.

    Returns:
        70 if it ended by itself, because the model's engine was lost.
    """
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(0))  # a start may build an engine for minutes
    config, document = load_config(config_path)
    logging.getLogger().setLevel((log_level or config.log_level).upper())
    appliance = Appliance(config, document, None, ends_when_lost=True)
    for number in STOPS:
        signal.signal(number, lambda *_: appliance.wants_to_end.set())
    end_process_when_a_thread_crashes()
    with appliance, Wakefulness(config.processor.wake_up_us) as processor:
        appliance.watchdog.start()
        settle()
        log.info(
            "station %s takes parts: product %s, bundle %s, recipe %s, %s; the processor %s",
            config.device.device_id, appliance.versions.product, appliance.versions.bundle, appliance.versions.recipe,
            appliance.versions.runtime, processor.seen,
        )  # fmt: skip
        if processor.remedy:
            log.warning("the processor %s; %s", processor.seen, processor.remedy)
        appliance.wants_to_end.wait()
        log.info("asked to stop" if not appliance.lost_because else "ending, to be started anew")
        appliance.watchdog.stop()
    return EXIT_HUNG if appliance.lost_because else 0


def settle() -> None:
    """Take what a start has made out of the garbage collector's sight, and let threads take turns sooner.

    It stays until the end, and looking through it would stop a part for 40 ms now and then (60,000 objects).
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def open_ledger(config: Config, settings: MqttSettings | None, boot_id: str) -> SqliteLedger:
    """Open the station's ledger with its consumers, as its only writer.

    Raises:
        StorageError: another process writes it, or it cannot be used.
    """
    consumers = settings.consumers if settings else []
    return SqliteLedger.open(config.ledger.path, config.device.device_id, boot_id, consumers)


def _put_in_force(
    warm: WarmProducts, config: Config, last: Changeover | None, ledger: SqliteLedger, clock: Clock,
    on_change: Callable[[], None],
) -> Products:  # fmt: skip
    """Write down what the configuration put in force, if it did: the first of several products, or the only one.

    Raises:
        StorageError: the disk refused, or somebody else put another product in force meanwhile.
    """
    if ledger.last_changeover() != last:
        raise StorageError("another product was put in force while this one was proved; start the station again")
    before = last.to_product if last else ""
    now = warm.in_force if config.products else ""
    if before != now:
        ledger.note_changeover(Changeover(clock.utc(), "configuration", before, now))
        log.warning("product %s is in force by the configuration; until now it was %s", warm.in_force, before or "none")
    ready = {name: each.product for name, each in warm.ready.items()}
    return Products(ready, warm.unavailable, warm.in_force, ledger, clock, on_change)


def describe(versions: Versions, certificate: Certificate) -> StationDescription:
    """Return what judges here, as `meta` tells it."""
    return StationDescription(
        software=versions.software,
        runtime=versions.runtime,
        bundle={"name": versions.bundle, "revision": versions.bundle_revision, "digest": versions.bundle_digest},
        recipe={"name": versions.recipe, "version": versions.recipe_version, "digest": versions.recipe_digest},
        product=versions.product,
        certificate=certificate.summary(),
    )


def make_cameras(config: Config, document: Document, clock: Clock) -> dict[str, Camera]:
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
