"""Pictures of parts on disk: chosen by policy, written beside the verdict's path, the oldest giving way."""

import hashlib
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import cv2

from appliance.errors import ApplianceError
from appliance.events import Frame, Pixels
from appliance.stores.picture_folder import PictureFolder

log = logging.getLogger(__name__)

NICER_BY = 5
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
"""Noise does not repeat: without the search for repetitions a picture is smaller by 16 % and done in 6 ms, not 8."""

REMEMBERED = 200
"""Pictures that were dropped lately, in case somebody wants one of them after all."""

PAUSE_NS = 1_000_000_000
"""How long nothing is tried after the disk refused."""


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Which pictures are kept, how, and how much room they may take.

    accept_every: every n-th accepted part's pictures are kept, 0 for none; those of all other parts always are.
    jpeg_quality: 1..100, for jpeg only; png is lossless.
    quota_bytes: of all pictures together. min_free_bytes: what pictures leave free on the disk, for the ledger.
    queue_length: pictures that may wait in memory; one more is dropped and counted.
    """

    accept_every: int = 100
    encoding: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = 92
    quota_bytes: int = 20 << 30
    min_free_bytes: int = 2 << 30
    queue_length: int = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: Frame
    name: str


class FolderImageStore:
    """`ports.ImageStore` in a folder: one folder per day (UTC), `INSPECTION_VIEW.png`, written by one thread.

    A picture is there whole or not at all. Whoever removes the oldest is this store alone; other files are left alone.
    """

    def __init__(
        self,
        folder: Path,
        policy: ImagePolicy,
        on_stored: Callable[[str, str, str, str, int], None] | None = None,
        on_removed: Callable[[str], None] | None = None,
    ) -> None:
        """Make the folder and start the writing thread, which first clears what a power cut left half-written.

        Args:
            folder: where; made if missing.
            policy: what is kept and how much.
            on_stored: told inspection_id, view, path (relative to folder), SHA-256 (hex) and size in bytes of each
                picture once it is on disk; from the writing thread.
            on_removed: told the path of each picture that made room; from the writing thread.

        Raises:
            StorageError: the folder cannot be made or written.
        """
        self._policy = policy
        self._on_stored = on_stored
        self._on_removed = on_removed
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(policy.queue_length)
        self._counts = threading.Lock()
        self._accepts = self._dropped = self._written = self._removed = 0
        self._problem: str | None = None
        self._lately_dropped: deque[str] = deque(maxlen=REMEMBERED)
        self._retry_ns = 0
        self._is_closed = False
        self._room = PictureFolder(folder, policy.quota_bytes, policy.min_free_bytes, self._note_removed)
        self._thread = threading.Thread(target=self._write_all, name="image-store", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """How many pictures are on disk since the start."""
        return self._written

    @property
    def dropped(self) -> int:
        """How many pictures were to be kept and are not: the queue or the disk was full, or the store closed."""
        return self._dropped

    @property
    def removed(self) -> int:
        """How many old pictures made room since the start."""
        return self._removed

    @property
    def problem(self) -> str | None:
        """Why no pictures are written at present, in words; None while all is well."""
        return self._problem

    def plan(self, inspection_id: str, verdict: str, views: Sequence[str], moment: datetime) -> dict[str, str]:
        """Decide which views' pictures are kept.

        Args:
            inspection_id: UUID of the inspection.
            verdict: of the part; of ACCEPT the first and then every accept_every-th is kept, of the others all.
            views: whose pictures exist.
            moment: UTC; gives the day's folder.

        Returns:
            View -> file name relative to the folder; empty if none.
        """
        if verdict == "ACCEPT":
            with self._counts:
                number, self._accepts = self._accepts, self._accepts + 1
            if self._policy.accept_every == 0 or number % self._policy.accept_every:
                return {}
        return {view: self._name(inspection_id, view, moment) for view in views}

    def pin(self, inspection_id: str, frames: Sequence[Frame], planned: Mapping[str, str], moment: datetime) -> int:
        """Keep all pictures of a part, whatever the policy says: also those that it left out, or that were dropped.

        They make room like all others when they are the oldest.

        Args:
            inspection_id: UUID of the inspection.
            frames: its pictures, whose pixels nobody changes any more.
            planned: from `plan`, what the policy keeps already.
            moment: UTC; gives the day's folder.

        Returns:
            How many of them are lost, because too many pictures wait already.
        """
        left_out = [frame.view for frame in frames if frame.view not in planned]
        names = {**planned, **{view: self._name(inspection_id, view, moment) for view in left_out}}
        with self._counts:
            missing = [each for each in frames if each.view in left_out or names[each.view] in self._lately_dropped]
        return sum(not self._queue(frame, names[frame.view]) for frame in missing)

    def _name(self, inspection_id: str, view: str, moment: datetime) -> str:
        day = moment.astimezone(timezone.utc).date().isoformat()
        suffix = {"png": "png", "jpeg": "jpg"}[self._policy.encoding]
        return f"{day}/{inspection_id}_{quote(view, safe='')}.{suffix}"

    def keep(self, frames: Sequence[Frame], names: dict[str, str]) -> None:
        """Queue the pictures for writing; returns at once and counts what it had to drop.

        Args:
            frames: pictures whose pixels nobody changes any more.
            names: from `plan`; frames of other views are passed over.
        """
        for frame in frames:
            if frame.view in names:
                self._queue(frame, names[frame.view])

    def _queue(self, frame: Frame, name: str) -> bool:
        if self._is_closed:
            self._drop("the image store is closed", name)
            return False
        try:
            self._waiting.put_nowait(_Waiting(frame, name))
        except queue.Full:
            why = f"more than {self._policy.queue_length} pictures wait: the disk is too slow for this policy"
            self._drop(why, name)
            return False
        return True

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, then stop; what is not written after timeout_s is lost. Harmless when done before."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(queue.Full):
                self._waiting.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _write_all(self) -> None:
        # Encoding takes as long as the inspection of a part, so the line goes first; but not by much, because this
        # thread also writes to the ledger, and must not be left without a processor while it holds that.
        niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICER_BY)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        try:
            self._room.take_stock()
        except OSError as error:
            self._set_problem(f"the pictures there cannot be counted: {error}; check the folder's rights and the disk")
        while True:
            try:
                item = self._waiting.get(timeout=1.0)
            except queue.Empty:
                item = None
                if self._is_closed:
                    return
            else:
                if item is None:
                    return
            try:
                if item is not None:
                    self._write(item)
                else:
                    self._room.make_room(0)
            except OSError as error:
                self._set_problem(f"no room can be made: {error}; check the folder and the disk")
            except Exception as error:  # noqa: BLE001 - the thread's guard: one bad picture must not end all others
                self._drop(f"a picture could not be written: {error!r}", item.name if item else "")

    def _write(self, item: _Waiting) -> None:
        if time.monotonic_ns() < self._retry_ns:
            self._drop(self._problem or "the disk refused a moment ago", item.name)
            return
        try:
            data = self._encode(item.frame.pixels)
        except cv2.error as error:
            self._drop(f"{item.name} cannot be encoded: {error}; look at what the camera sends", item.name)
            return
        try:
            if not self._room.make_room(len(data)):
                why = "the disk is too full or the quota too small; free disk space or change the quota"
                self._drop(why, item.name)
                return
            self._room.write(item.name, data)
        except OSError as error:
            self._retry_ns = time.monotonic_ns() + PAUSE_NS
            why = f"{item.name} could not be written: {error}; free disk space, check the folder and the disk"
            self._drop(why, item.name)
            return
        with self._counts:
            self._written += 1
            self._problem = None
        if self._on_stored is not None:
            inspection_id = Path(item.name).stem[: -len(quote(item.frame.view, safe="")) - 1]
            self._tell(self._on_stored, inspection_id, item.frame.view, item.name, _digest(data), len(data))

    def _note_removed(self, name: str) -> None:
        with self._counts:
            self._removed += 1
        if self._on_removed is not None:
            self._tell(self._on_removed, name)

    def _encode(self, pixels: Pixels) -> bytes:
        picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.shape[2] == 3 else pixels
        if self._policy.encoding == "png":
            is_encoded, data = cv2.imencode(".png", picture, PNG)
        else:
            is_encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._policy.jpeg_quality])
        if not is_encoded:
            raise cv2.error(f"shape {pixels.shape} is refused by {self._policy.encoding}")
        return data.tobytes()

    def _tell(self, listener: Callable[..., None], *what: str | int) -> None:
        try:
            listener(*what)
        except ApplianceError as error:
            log.warning("a picture's change could not be noted: %s", error)

    def _drop(self, why: str, name: str) -> None:
        with self._counts:
            self._dropped += 1
            self._lately_dropped.append(name)
        self._set_problem(why)

    def _set_problem(self, why: str) -> None:
        with self._counts:
            is_new, self._problem = self._problem is None, why
        if is_new:
            log.warning("pictures are being dropped: %s", why)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
