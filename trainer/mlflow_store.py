"""MLflow's store of runs and models, by its client: a database file of our own, or anybody's server."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import DeliveryError
from appliance.events import utc_now

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # else it tells its makers what is called
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # by default a training would wait four minutes for a server that is gone
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}.items():
    os.environ.setdefault(_name, _value)
logging.getLogger("alembic").setLevel(logging.WARNING)

from mlflow.entities import Metric, Param, RunTag  # noqa: E402 - what is set above is read when it is loaded
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402
from requests.exceptions import RequestException  # noqa: E402
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402

LONGEST_PARAM, LONGEST_TAG, LONGEST_DESCRIPTION = 6000, 5000, 5000
MOST_AT_ONCE = 900
"""Of values in one message; the protocol takes 1000."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model to register.

    Args:
        name: of the model.
        files: what is stored of it.
        folder: where, among the run's files.
        words: what a person reads about it.
        tags: name -> value.
    """

    name: str
    files: Sequence[Path]
    folder: str
    words: str
    tags: Mapping[str, str]


class Store:
    """A store; all that it refuses is a DeliveryError.

    Args:
        address: as MLflow takes it.
        files: where a new experiment's files go, as a URI; None: where the server says.
    """

    def __init__(self, address: str, files: str | None = None) -> None:
        self._files = files
        with _in_words():
            self._client = MlflowClient(tracking_uri=address, registry_uri=address)

    def open_run(self, experiment: str, name: str, run_id: str | None) -> str:
        """Begin a run, or go on with one.

        Args:
            experiment: its name; made if there is none.
            name: of the run.
            run_id: of the run that goes on; None begins one, and so does one that is not there any more.

        Returns:
            The run's id.

        Raises:
            DeliveryError: The store cannot be reached or refuses.
        """
        with _in_words():
            if run_id is not None and self._has(run_id):
                self._client.update_run(run_id, status="RUNNING")
                return run_id
            found = self._client.get_experiment_by_name(experiment)
            at = found.experiment_id if found else self._client.create_experiment(experiment, self._files)
            return str(self._client.create_run(at, run_name=name).info.run_id)

    def describe(self, run_id: str, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Write down what a run was made with.

        Raises:
            DeliveryError: as for `open_run`.
        """
        with _in_words():
            self._client.log_batch(
                run_id,
                params=[Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()],
                tags=[RunTag(name, value[:LONGEST_TAG]) for name, value in tags.items()],
            )

    def add_values(self, run_id: str, values: Sequence[tuple[str, float, int]]) -> None:
        """Add points to a run's curves: name, value, step.

        Raises:
            DeliveryError: as for `open_run`.
        """
        now = round(utc_now().timestamp() * 1000)
        with _in_words():
            for at in range(0, len(values), MOST_AT_ONCE):
                points = values[at : at + MOST_AT_ONCE]
                self._client.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value, step in points])

    def add_files(self, run_id: str, files: Sequence[Path], folder: str | None = None) -> None:
        """Add files to a run.

        Raises:
            DeliveryError: as for `open_run`.
        """
        with _in_words():
            for file in files:
                self._client.log_artifact(run_id, str(file), folder)

    def close_run(self, run_id: str) -> None:
        """Mark a run as finished.

        Raises:
            DeliveryError: as for `open_run`.
        """
        with _in_words():
            self._client.set_terminated(run_id)

    def register(self, run_id: str, model: Model) -> str:
        """Store a model with the run that it comes from, as the next version of its name.

        Returns:
            The version.

        Raises:
            DeliveryError: as for `open_run`.
        """
        self.add_files(run_id, model.files, model.folder)
        with _in_words():
            if not self._client.search_registered_models(filter_string=f"name = '{model.name}'"):
                self._client.create_registered_model(model.name)
            version = self._client.create_model_version(
                model.name,
                source=f"{self._client.get_run(run_id).info.artifact_uri}/{model.folder}",
                run_id=run_id,
                tags=dict(model.tags),
                description=model.words[:LONGEST_DESCRIPTION],
                await_creation_for=0,
            )
        return str(version.version)

    def tag_version(self, name: str, key: str, value: str, tags: Mapping[str, str]) -> str:
        """Add tags to the newest version of a model that has this value of a tag.

        Returns:
            The version.

        Raises:
            DeliveryError: as for `open_run`; or there is no such version.
        """
        with _in_words():
            found = self._client.search_model_versions(f"name = '{name}'")
            matching = [version for version in found if version.tags.get(key) == value]
            if not matching:
                raise DeliveryError(f"no version of {name} has {key} {value[:16]}")
            newest = max(matching, key=lambda version: int(version.version))
            for tag, text in tags.items():
                self._client.set_model_version_tag(name, newest.version, tag, text[:LONGEST_TAG])
        return str(newest.version)

    def _has(self, run_id: str) -> bool:
        try:
            self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DeliveryError(lines[0][:300]) from error
