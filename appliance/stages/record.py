"""record: the verdict becomes durable before anybody may see it."""

from dataclasses import replace

from appliance.events import Decision, Inspection, Record, Trigger, Versions, ViewResult, new_id
from appliance.ports import Clock, ImageStore, Ledger


class Recorder:
    """Puts finished inspections together and commits them."""

    def __init__(self, ledger: Ledger, images: ImageStore, clock: Clock) -> None:
        """Record into this ledger."""
        self._ledger = ledger
        self._images = images
        self._clock = clock

    def assemble(
        self,
        trigger: Trigger,
        versions: Versions,
        decision: Decision,
        views: tuple[ViewResult, ...],
        stage_us: dict[str, int],
        *,
        keeps_images: bool = True,
    ) -> Inspection:
        """Put together everything known about the part at this moment, which is the moment of the decision.

        Args:
            trigger: the part's.
            versions: what judged it.
            decision: the verdict.
            views: what each view showed.
            stage_us: stage -> microseconds spent.
            keeps_images: whether the image store may keep this part's pictures.

        Returns:
            The inspection, ready to be committed.
        """
        decided_at = self._clock.utc()
        inspection_id = new_id(decided_at)
        captured = [result.view for result in views if result.frame is not None] if keeps_images else []
        return Inspection(
            inspection_id=inspection_id,
            trigger=trigger,
            decision=decision,
            views=views,
            decided_at=decided_at,
            decided_ns=self._clock.monotonic_ns(),
            stage_us=stage_us,
            versions=versions,
            images=self._images.plan(inspection_id, decision.verdict.value, captured, decided_at) if captured else {},
            clock_synchronised=self._clock.is_synchronised(),
        )

    def renew(self, inspection: Inspection) -> Inspection:
        """Return an inspection that the disk refused as it is now: late, if its deadline has passed meanwhile."""
        now_ns = self._clock.monotonic_ns()
        if inspection.is_late or now_ns <= inspection.trigger.deadline_ns:
            return inspection
        return replace(inspection, decided_ns=now_ns, decided_at=self._clock.utc())

    def record(self, inspection: Inspection) -> Record:
        """Commit the inspection, then hand its pictures to the image store.

        Raises:
            StorageError: nothing was written; the station must stop taking parts and try again.
        """
        record = self._ledger.record(inspection)
        if inspection.images:
            frames = [result.frame for result in inspection.views if result.frame is not None]
            self._images.keep(frames, inspection.images)
        return record
