"""What updates ask of the running station: releases, shadows, and a place in the ledger for what the agent does."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from appliance.changeover import Products
from appliance.events import Frame, Inspection, Record, ReleaseChange, ReleaseKind, UpdateEvent, Versions, iso
from appliance.inspection_flag import InspectionFlag, flag_of
from appliance.live_latency import LatencyTerms
from appliance.ports import Answer, Clock
from appliance.products import WarmProduct, WarmProducts
from appliance.release import Place, Releases
from appliance.requests import UpdateEventRequest, read
from appliance.shadow.rest import Rest
from appliance.shadow.shadows import Shadows
from appliance.stores.images import FolderImageStore
from appliance.stores.update_log import UpdateLog

OnRecord = Callable[[Inspection, Record, int], None]
BY_CONFIGURATION = "configuration"


class Updates:
    """The commands `release`, `shadow` and `update-event`, and what they keep in hand between two of them."""

    def __init__(
        self,
        place: Place,
        warm: WarmProducts,
        products: Products,
        log: UpdateLog,
        images: FolderImageStore,
        clock: Clock,
        *,
        note_inference_ms: Callable[[LatencyTerms, float], None],
        on_change: Callable[[], None],
    ) -> None:
        """Wire both; nothing runs yet.

        Args:
            place: where the station stands.
            warm: what it can change to.
            products: which of them is in force.
            log: the ledger's.
            images: keeps the pictures on which a candidate differs.
            clock: UTC for the rows.
            note_inference_ms: see products.load_products.
            on_change: called after each release.
        """
        self._log = log
        self._images = images
        self._clock = clock
        self._releases = Releases(
            place, warm, products, log, clock, note_inference_ms=note_inference_ms, on_change=on_change
        )
        self._flag = InspectionFlag(flag_of(place.config.ledger.path))
        self._shadows = Shadows(place, products, log, self._pin, clock, self._flag)
        self.commands: Mapping[str, Callable[[dict[str, Any]], Answer]] = {
            "release": self._releases.command,
            "shadow": self._shadows.command,
            "update-event": self._note,
        }

    @property
    def rest(self) -> Rest:
        """Return what each inspection runs in, so that a candidate, and whoever sees the flag, rests meanwhile."""
        return self._shadows.rest

    def after(self, on_record: OnRecord | None) -> OnRecord:
        """Return what is told of each part whose action has left: the present shadow, then the given one."""

        def tell(inspection: Inspection, record: Record, record_us: int) -> None:
            self._shadows.offer(inspection, record)
            if on_record is not None:
                on_record(inspection, record, record_us)

        return tell

    def look(self) -> None:
        """End a shadow of what is no longer in force."""
        self._shadows.look()

    def status(self) -> dict[str, Any]:
        """Return how the shadow goes, how many former releases wait for their last part, and which are kept."""
        releases = self._releases
        return {
            "shadow": self._shadows.status(), "former_releases": releases.waiting, "kept_releases": releases.kept
        }  # fmt: skip

    def close(self) -> None:
        """End the shadow and free former releases; no part is on its way any more."""
        self._shadows.close()
        self._releases.close()
        self._flag.close()

    def _pin(self, inspection: Inspection, frames: Mapping[str, Frame]) -> int:
        decided_at = inspection.decided_at
        return self._images.pin(inspection.inspection_id, list(frames.values()), inspection.images, decided_at)

    def _note(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        asked, at = read(UpdateEventRequest, arguments), self._clock.utc()
        event = UpdateEvent(at, asked.by, asked.kind, asked.name, asked.seq, asked.sha256, asked.state, asked.reason)
        self._log.note_update(event)
        return {"ok": True, "at": iso(at)}


def note_releases(warm: Iterable[WarmProduct], log: UpdateLog, clock: Clock) -> None:
    """Write down which releases the start put in force, where they are others than before, and end open shadows.

    Raises:
        StorageError: the disk refused.
    """
    log.end_open_shadows(clock.utc())
    for each in warm:
        for kind in get_args(ReleaseKind):
            _note_release(each.product.versions, kind, log, clock)


def _note_release(now: Versions, kind: ReleaseKind, log: UpdateLog, clock: Clock) -> None:
    last, (name, number, digest) = log.last_release(now.product, kind), now.released(kind)
    if last is not None and last.to_digest == digest:
        return
    log.note_release(
        ReleaseChange(
            at=clock.utc(),
            who=BY_CONFIGURATION,
            product=now.product,
            kind=kind,
            name=name,
            from_digest=last.to_digest if last else "",
            from_revision=last.to_revision if last else 0,
            to_digest=digest,
            to_revision=number,
            is_rollback=False,
        )
    )
