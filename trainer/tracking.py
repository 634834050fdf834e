"""A run, told to MLflow while it goes: dials, curves, origin, pictures; and its bundle, registered as a model.

What a server does not take is in the run's folder anyway; a run never waits for one, and never ends because of one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from appliance.bundle.archive import Bundle
from appliance.errors import ConfigError, DeliveryError
from trainer.checkpoint import Checkpoint
from trainer.curves import draw_precision
from trainer.datasets.sample import Dataset, load_picture, spread
from trainer.environment import environment
from trainer.evaluate import Report
from trainer.files import make_folder, write_json
from trainer.metrics import Judged, rank
from trainer.model import Net
from trainer.observer import Observer
from trainer.page import GREEN, RED
from trainer.progress import console
from trainer.validate import Figures, judge

if TYPE_CHECKING:
    from trainer.mlflow_store import Store

NOTE = "tracking.json"
"""In a run's folder: which run of which server it is, and up to which epoch that was told."""

SHOWN_PICTURES = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs are told: MLflow's address, and where files go (a URI; None: where the server says)."""

    address: str
    files: str | None = None


def place_of(told: str, run: Path) -> Place:
    """Find out where to tell a run.

    Args:
        told: an address, a folder, or nothing: then MLFLOW_TRACKING_URI, and without that the folder around the run's.
        run: its folder.

    Returns:
        The place.

    Raises:
        ConfigError: The address holds a password.
    """
    told = told or os.environ.get("MLFLOW_TRACKING_URI", "") or str(run.resolve().parent)
    scheme, separator, rest = told.partition("://")
    if not separator:
        return _local(Path(told).resolve() / "mlflow.db")
    if scheme == "sqlite":
        return _local(Path(rest.removeprefix("/")).resolve())
    if scheme in ("http", "https") and "@" in rest.split("/")[0]:
        raise ConfigError(
            "--track: the address holds a name or password; give them as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    return Place(told)


def _local(database: Path) -> Place:
    return Place(f"sqlite:///{database}", (database.parent / "mlflow-files").as_uri())


class Tracking(Observer):
    """Tells a run to MLflow.

    Args:
        place: where.
        folder: of the run.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self._place = place
        self._folder = folder
        self._store: Store | None = None
        self._state: Checkpoint | None = None
        self._is_gone = False
        self._has_told_broken = False
        note = _read_note(folder)
        is_here = note.get("address") == _told(place)
        self._run_id: str | None = note.get("run_id") if is_here else None
        self._epoch: int = note.get("epoch", 0) if is_here else 0

    def begins(self, state: Checkpoint) -> None:
        """Begin a run there, or go on with the one that this was before a kill."""
        self._state = state
        self._attempt(self._catch_up)

    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        """Add to the curves what the log has and the server not yet."""
        self._attempt(self._catch_up)

    def ends(self, figures: Figures, net: Net, held_out: Dataset) -> None:
        """Add the figures and what people look at; a server that was gone is tried once more."""
        was_gone, self._is_gone = self._is_gone, False
        self._attempt(lambda: self._finish(figures, net, held_out), is_quiet=was_gone)

    def register(self, file: Path, bundle: Bundle, report: Report) -> str:
        """Register a bundle as the next version of its name.

        Args:
            file: the bundle's.
            bundle: its content.
            report: its figures on the held-out groups.

        Returns:
            The version.

        Raises:
            DeliveryError: The server cannot be reached or refuses; the bundle is written all the same.
        """
        from trainer.mlflow_store import Model

        manifest = bundle.manifest
        parts = report.parts
        tags = {
            "bundle_sha256": bundle.digest,
            "revision": str(manifest.revision),
            "dataset_digest": manifest.lineage.dataset_digest,
            "source_commit": manifest.lineage.source_commit,
            "released_by": manifest.lineage.released_by,
            "escapes": f"{parts.escapes} of {parts.bad}",
            "overkill": f"{parts.overkill} of {parts.good}",
        }
        tags |= {name: f"{value:g}" for name, value in manifest.lineage.metrics.items()}
        try:
            store, run_id = self._opened()
            with tempfile.TemporaryDirectory(prefix="trainer-card-") as place:
                card = Path(place) / "MODEL_CARD.md"
                card.write_text(bundle.model_card, encoding="utf-8")
                folder = f"bundle-{manifest.revision}"
                model = Model(manifest.name, (file, card), folder, bundle.model_card, tags)
                version = store.register(run_id, model)
            store.close_run(run_id)
            return version
        except DeliveryError as error:
            raise DeliveryError(
                f"{file} is written but not registered: {_told(self._place)}: {error}; see that the server answers and "
                "takes files, and export again"
            ) from error

    def about(self, state: Checkpoint) -> Tracking:
        """Say which run it is about, where none goes on; returns itself."""
        self._state = state
        return self

    def _attempt(self, work: Callable[[], None], *, is_quiet: bool = False) -> None:
        if self._is_gone:
            return
        try:
            work()
        except DeliveryError as error:
            self._is_gone = True
            if not is_quiet:
                console.print(
                    f"trainer: beware: {_told(self._place)} does not take the run ({error}); the training goes on, "
                    f"{self._folder / 'log.jsonl'} has it all, and it is told at the end or with --resume if it can be",
                    soft_wrap=True,
                )

    def _opened(self) -> tuple[Store, str]:
        """Return the store and the run's id there; on the way, tell what the run is made with."""
        assert self._state is not None
        if self._store is not None and self._run_id is not None:
            return self._store, self._run_id
        if self._place.address.startswith("sqlite:///"):
            make_folder(Path(self._place.address.removeprefix("sqlite:///")).parent)
        store = open_store(self._place)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "trainer")
        run_id = store.open_run(experiment, self._folder.resolve().name, self._run_id)
        if run_id != self._run_id:
            self._run_id, self._epoch = run_id, 0
        store.describe(run_id, *_origin(self._state))
        self._store = store
        self._remember()
        return store, run_id

    def _catch_up(self) -> None:
        store, run_id = self._opened()
        values, last = [], self._epoch
        entries, broken = _entries(self._folder / "log.jsonl")
        if broken and not self._has_told_broken:
            self._has_told_broken = True
            console.print(
                f"trainer: beware: {self._folder / 'log.jsonl'}: {broken} line{'s are' if broken > 1 else ' is'} no "
                "JSON (the power went meanwhile?) and left out",
                soft_wrap=True,
            )
        for entry in entries:
            if entry["epoch"] > last:  # an epoch that a kill made the run repeat is there twice, and the same
                last = entry["epoch"]
                names = entry.keys() - {"step"}
                values += [(name, float(entry[name]), entry["step"]) for name in names if entry[name] is not None]
        if last > self._epoch:
            store.add_values(run_id, values)
            self._epoch = last
            self._remember()

    def _finish(self, figures: Figures, net: Net, held_out: Dataset) -> None:
        self._catch_up()
        store, run_id = self._opened()
        found: dict[str, float] = {"final_ap_pooled": figures.ap_pooled, "final_f_best": figures.best.f}
        found |= {f"final_ap_{name}": value for name, value in figures.ap_classes.items()}
        if figures.parts is not None:
            found |= {"final_escapes": figures.parts.escapes, "final_overkill": figures.parts.overkill}
        assert self._state is not None
        values = [(name, float(value), self._state.step) for name, value in found.items() if np.isfinite(value)]
        store.add_values(run_id, values)
        judged = list(judge(net, held_out))
        with tempfile.TemporaryDirectory(prefix="trainer-pictures-") as place:
            curve = Path(place) / "precision_recall.svg"
            curve.write_text(draw_precision(rank([part for part in judged if len(part.true_labels)])), encoding="utf-8")
            store.add_files(run_id, [curve, self._folder / "figures.json", self._folder / "log.jsonl"])
            store.add_files(run_id, _overlays(judged, held_out, figures.best.limit, Path(place)), "pictures")
        store.close_run(run_id)

    def _remember(self) -> None:
        note = {"address": _told(self._place), "run_id": self._run_id, "epoch": self._epoch}
        write_json(self._folder / NOTE, note)


def track_address(run: Path) -> str:
    """Return where a run was told, empty if nowhere.

    Args:
        run: its folder.
    """
    return str(_read_note(run).get("address", ""))


def open_store(place: Place) -> Store:
    """Open MLflow's store.

    Args:
        place: where runs are told.

    Returns:
        The store, open.

    Raises:
        ConfigError: MLflow is not installed.
        DeliveryError: The address is none that it takes.
    """
    try:
        from trainer.mlflow_store import Store
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track needs {error.name}: pip install 'inspection-appliance[trainer]', or leave it out"
        ) from error
    return Store(place.address, place.files)


def _origin(state: Checkpoint) -> tuple[dict[str, object], dict[str, str]]:
    """Return what a run is made with: dials, and where it comes from."""
    params = dict(state.plan) | {"classes": ", ".join(state.classes)}
    tags = {
        "dataset_digest": state.dataset_digest,
        "source_commit": state.source_commit,
        "holdout": ", ".join(state.holdout),
    }
    return params, tags | environment()


def _entries(log: Path) -> tuple[list[dict[str, Any]], int]:
    """Return a log's entries, and how many of its lines are none."""
    lines = log.read_bytes().splitlines() if log.is_file() else []
    entries = []
    for line in lines:
        try:
            entries.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries, len(lines) - len(entries)


def _read_note(folder: Path) -> dict[str, Any]:
    file = folder / NOTE
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); remove it, and the run is told as a new one") from error


def _told(place: Place) -> str:
    """Return an address as it may be shown and kept: without what may be a password."""
    scheme, _, rest = place.address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _overlays(judged: list[Judged], dataset: Dataset, limit: float, folder: Path) -> list[Path]:
    """Draw a few pictures with what is there (green) and what is found (red)."""
    of = {id(sample): part for sample, part in zip(dataset.samples, judged, strict=True)}
    files: list[Path] = []
    for sample in spread([s for s in dataset.samples if not s.is_good], SHOWN_PICTURES):
        part = of[id(sample)]
        picture = np.ascontiguousarray(load_picture(sample.image, 3)[:, :, ::-1])
        shown = part.take(part.scores >= limit)
        for boxes, colour in ((part.true_boxes, GREEN), (shown.boxes, RED)):
            for box in boxes:
                x1, y1, x2, y2 = (round(float(edge)) for edge in box)
                cv2.rectangle(picture, (x1, y1), (x2, y2), colour[::-1], 1)
        file = folder / f"{len(files)}-{sample.image.stem}.png"
        file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        files.append(file)
    return files
