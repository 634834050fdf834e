"""The command `shadow`: a candidate begins to judge beside the line, or ends; there is one at a time."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from appliance.changeover import Products
from appliance.errors import ApplianceError, ConfigError, StorageError
from appliance.events import Inspection, Record
from appliance.inspection_flag import InspectionFlag
from appliance.parts import Product
from appliance.ports import Answer, Clock, ShadowLog
from appliance.products import key_of
from appliance.recipe import load_recipe
from appliance.release import Place
from appliance.release_file import locate
from appliance.requests import ShadowRequest, read
from appliance.shadow.beside import Candidate, Pin, Shadow
from appliance.shadow.rest import Rest

MEGABYTE = 10**6
JOIN_S = 5.0
NONE = {"state": "none"}


class Shadows:
    """Knows the present shadow, and ends it when what it stands beside is no longer in force.

    rest: each inspection runs in it.
    """

    def __init__(
        self,
        place: Place,
        products: Products,
        ledger: ShadowLog,
        pin: Pin,
        clock: Clock,
        flag: InspectionFlag | None = None,
    ) -> None:
        """Begin with none: a shadow does not survive a restart, whoever wants it asks again.

        Args:
            place: where the station stands.
            products: what is in force.
            ledger: takes what a candidate judged.
            pin: keeps the pictures of a part on which a candidate differs.
            clock: UTC.
            flag: see Rest.
        """
        self._place = place
        self._products = products
        self._ledger = ledger
        self._pin = pin
        self._clock = clock
        self.rest = Rest(flag)
        self._asking = threading.Lock()
        self._present: Shadow | None = None
        self._is_closed = False

    def command(self, arguments: Mapping[str, Any]) -> Answer:
        """Carry out the command `shadow`.

        Args:
            arguments: see requests.ShadowRequest.

        Returns:
            `ok`; with it what `status` tells of the shadow, and `changed`, or `error` in words. A Future of it where
            the candidate has to be loaded first.
        """
        request = read(ShadowRequest, arguments)
        with self._asking:
            return self._stop(request) if request.stop else self._start(request)

    def offer(self, inspection: Inspection, record: Record) -> None:
        """Show a part whose action has left to the present shadow, if there is one; never waits."""
        if (present := self._present) is not None:
            present.offer(inspection, record)

    def look(self) -> None:
        """End a shadow whose product, or the release that it stands beside, is not in force any more; never waits."""
        present, in_force = self._present, self._products.in_force
        if present is not None and present.candidate.beside is not in_force.versions:
            present.end("changeover" if in_force.name != present.candidate.product else "release")

    def status(self) -> dict[str, Any]:
        """Return how the present or last shadow goes; state: none, loading, running or ended."""
        return self._present.status() if self._present is not None else NONE

    def close(self) -> None:
        """End it, and begin no other one; the station stops."""
        with self._asking:
            self._is_closed = True
        if self._present is not None:
            self._present.end("stop of the station")
            self._present.join(JOIN_S)

    def _stop(self, request: ShadowRequest) -> dict[str, Any]:
        present = self._present
        if present is None or present.has_ended:
            return {"ok": True, "changed": False, **self.status()}
        if present.candidate.product != request.product:
            raise ConfigError(f"the shadow is one of {present.candidate.product}, not of {request.product[:80]!r}")
        present.end(f"asked to by {request.by}")
        present.join(JOIN_S)
        return {"ok": True, "changed": True, **self.status()}

    def _start(self, request: ShadowRequest) -> Answer:
        if self._is_closed:
            raise StorageError("the station stops; ask again when it runs")
        product = self._products.ready(request.product)
        if product is not self._products.in_force:
            raise ConfigError(f"{product.name} is not in force, and a shadow sees the parts that are judged")
        assert request.sha256 is not None
        kind, name = request.release
        path = locate(self._place.config.releases, name)
        if self._present is not None and not self._present.has_ended:
            if self._present.candidate.digest == request.sha256:
                return {"ok": True, "changed": False, **self.status()}
            raise ConfigError("another candidate judges beside the line already; end it first (`stop`: true)")
        if request.sha256 == product.versions.released(kind)[2]:
            raise ConfigError(f"this release judges {product.name} already; a shadow would only agree with it")
        candidate = self._candidate(request, request.sha256, product, path)
        shadow = Shadow(candidate, self._ledger, self._pin, self._clock, rest=self.rest)
        self._present = shadow
        answer: Future[dict[str, Any]] = Future()
        shadow.ready.add_done_callback(lambda ready: answer.set_result(_told(shadow, ready)))
        shadow.start()
        return answer

    def _candidate(self, request: ShadowRequest, sha256: str, product: Product, path: Path) -> Candidate:
        config, now, (kind, _) = self._place.config, product.versions, request.release
        key = key_of(config, product.name)
        files = config.product_files()[key]
        views = load_recipe(files.recipe)[0].views
        return Candidate(
            product=product.name,
            digest=sha256,
            who=request.by,
            beside=now,
            views=frozenset(view.name for view in views),
            size_bytes=sum(view.width_px * view.height_px * view.channels for view in views),
            request={
                "config": str(self._place.document.path.absolute()),
                "config_digest": now.config_digest,
                "device_root": str(self._place.device_root.absolute()),
                "key": key,
                "kind": kind,
                "bundle": str(path if kind == "bundle" else files.bundle.resolve()),
                "bundle_digest": sha256 if kind == "bundle" else now.bundle_digest,
                "recipe": str(path if kind == "recipe" else files.recipe),
                "recipe_digest": sha256 if kind == "recipe" else now.recipe_digest,
            },
            memory_bytes=config.shadow.memory_mb * MEGABYTE,
            hang_s=config.shadow.hang_s,
        )


def _told(shadow: Shadow, ready: "Future[int]") -> dict[str, Any]:
    error = ready.exception()
    if isinstance(error, ApplianceError):
        return {"ok": False, "error": str(error)}
    return {"ok": True, "changed": True, "revision": ready.result(), **shadow.status()}
