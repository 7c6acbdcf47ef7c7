"""The door to MLflow: one experiment of a store, its runs, and what goes into them. The one module that imports it.

Whatever is recorded may be recorded again after a kill: runs are found by tags before they are made, metrics carry
timestamps that were fixed once, and a model is logged only where none is yet.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.types import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from tfprune.errors import DependencyError, StorageError, TfpruneError, TrackingError
from tfprune.recipe import TrackSection
from tfprune.storage import home
from tfprune.tracking.files import log_figures, log_files
from tfprune.tracking.locks import SQLITE, schema_lock, server_of, with_driver
from tfprune.tracking.server import check_server, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

for _logger in ("mlflow", "alembic"):  # after the import, which sets levels of its own
    # Errors come to us as exceptions; MLflow would print their tracebacks besides.
    logging.getLogger(_logger).setLevel(logging.CRITICAL)

Points = Iterable[tuple[str, float, int, int]]
"""Metrics: name, value, milliseconds since 1970, step."""

# Where the package that brings a driver has another name than its module.
_DRIVERS = {"MySQLdb": "mysqlclient", "psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary"}


def tracking_uri(section: TrackSection | None = None) -> str:
    """Where rounds are recorded: the recipe's URI, MLFLOW_TRACKING_URI, or SQLite in the tracking home."""
    given = (section.uri if section else None) or os.environ.get("MLFLOW_TRACKING_URI")
    return with_driver(given or f"{SQLITE}{home() / 'mlflow.db'}")


class Store:
    """One experiment of an MLflow store. Calls belong inside `speaking`.

    Args:
        section: URI and experiment.
        make: make database and experiment where they are missing; else they have to be there.

    Attributes:
        uri: of the store.
        client: of MLflow.
        experiment_id: in the store.

    Raises:
        TrackingError: the store does not answer, or there is no such experiment and none can be.
    """

    def __init__(self, section: TrackSection, *, make: bool = True) -> None:
        self.uri = tracking_uri(section)
        check_server(self.uri)
        if not make and self.uri.startswith(SQLITE) and not Path(self.uri[len(SQLITE) :]).exists():
            raise TrackingError(
                f"nothing is recorded yet: there is no {self.uri[len(SQLITE) :]}; start with tfprune run RECIPE"
            )
        with self.speaking(), schema_lock(self.uri, _make_tables):
            self.client = mlflow.MlflowClient(self.uri)
            self.experiment_id = _experiment(self.client, self.uri, section.experiment, make)

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """Turn MLflow's errors into one line of ours."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot write records to {shown(self.uri)}: {error.strerror or error}; free some space"
            ) from error
        except ImportError as error:
            package = _DRIVERS.get(error.name or "", error.name)
            raise DependencyError(
                f"the tracking store {shown(self.uri)} needs a driver: pip install {package}"
            ) from error
        except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
            text = " ".join(re.split(r"\[SQL:|\(Background", str(error))[0].split())  # without the statement and a link
            if "disk is full" in text or "readonly database" in text:
                raise StorageError(
                    f"cannot write records to {shown(self.uri)}: {text[:120]}; free some space"
                ) from error
            raise TrackingError(f"the tracking store {shown(self.uri)} refuses: {text[:300]}") from error

    # --- runs

    def runs(self, most: int = 1000, **tags: str) -> list[Any]:
        """Runs by tags of ours, written without ``tfprune.``; the latest first."""
        clauses = " and ".join(f"tags.`tfprune.{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment_id], clauses, max_results=most))

    def find(self, **tags: str) -> Any | None:
        """The latest run with these tags."""
        return next(iter(self.runs(1, **tags)), None)

    def make(self, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        """Make a run and return its id; it starts now, or at a time in milliseconds since 1970."""
        run = self.client.create_run(self.experiment_id, start_time=started, run_name=name, tags=dict(tags))
        return str(run.info.run_id)

    def take_up(self, run: Any) -> str:
        """Let a run that has ended go on, and return its id."""
        if run.info.status != "RUNNING":
            self.client.update_run(run.info.run_id, "RUNNING")
        return str(run.info.run_id)

    def place(self, kind: str, parent: Any | None) -> int:
        """How many runs of a kind were begun before a parent run, or before one yet to be made; decides on colours."""
        if parent is not None:
            return int(parent.data.tags.get("tfprune.place", 0))
        last = self.find(kind=kind)
        return int(last.data.tags.get("tfprune.place", 0)) + 1 if last is not None else 0

    def end(self, run_id: str, status: str = "FINISHED", when: int | None = None) -> None:
        """End a run, now or at a time in milliseconds since 1970."""
        self.client.set_terminated(run_id, status, when)

    def leave_open(self, run_ids: Iterable[str], status: str) -> None:
        """Mark runs that have not ended as ``KILLED`` by the user or ``FAILED``, as far as the store still answers."""
        with suppress(TfpruneError), self.speaking():
            for run_id in run_ids:
                if self.client.get_run(run_id).info.status == "RUNNING":
                    self.client.set_terminated(run_id, status)

    def join_active(self) -> str | None:
        """Id of the caller's active run, wherever that is recorded; None where there is none."""
        active = mlflow.active_run()
        if active is None:
            return None
        self.client = mlflow.MlflowClient()
        return str(active.info.run_id)

    # --- what is logged into them

    def log(
        self,
        run_id: str,
        metrics: Points = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, parameters and tags at once; names are what MLflow takes."""
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, round(float(value), 6), when, step) for key, value, when, step in metrics],
            params=[Param(key, str(value)[:6000]) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )

    def steps(self, run_id: str, names: Iterable[str]) -> set[tuple[str, int]]:
        """Which metrics of a run have a point at which step: what is done again ends at another time of day."""
        histories = ((name, self.client.get_metric_history(run_id, name)) for name in names)
        return {(name, point.step) for name, history in histories for point in history}

    def log_new_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log the parameters that a run does not have yet: MLflow refuses another value."""
        known = self.client.get_run(run_id).data.params
        self.log(run_id, params={key: value for key, value in params.items() if key not in known})

    def log_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Log which data a run is about."""
        data = Dataset(name, digest, "tfprune", source)
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "all splits")])])

    def log_files(self, run_id: str, texts: Mapping[str, str], examples: Path | None = None) -> None:
        """Log texts by name, and a Parquet file of examples."""
        log_files(self.client, run_id, texts, examples)

    def log_path(self, run_id: str, path: Path, folder: str) -> None:
        """Write a file, or a folder with all that is in it, into a folder of a run's artifacts."""
        if path.is_dir():
            self.client.log_artifacts(run_id, str(path), f"{folder}/{path.name}")
        else:
            self.client.log_artifact(run_id, str(path), folder)

    def fetch(self, name: str, folder: str) -> Path:
        """Bring the model that a ``runs:/`` or ``models:/`` URI names into a folder.

        By its place, not by that URI, which MLflow would look up in the store that the caller's process uses.
        """
        kind, _, rest = name.partition(":/")
        if kind == "runs":
            logged = self.logged_model(rest.partition("/")[0])
            place = None if logged is None else logged.artifact_location
        elif "@" in rest:
            place = self.client.get_model_version_by_alias(*rest.split("@", 1)).source
        elif "/" in rest:
            place = self.client.get_model_version(*rest.split("/", 1)).source
        else:
            place = self.client.get_logged_model(rest).artifact_location
        if place is None:
            raise TrackingError(f"{name}: no model is recorded there; give a round that passed, e.g. runs:/ID/model")
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=place, dst_path=folder, tracking_uri=self.uri))

    def log_figures(self, run_id: str, figures: Mapping[str, Figure]) -> None:
        """Log figures by name."""
        log_figures(self.client, run_id, figures)

    # --- models

    def logged_model(self, run_id: str) -> Any | None:
        """The model of a run, as far as it is logged."""
        found = self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'")
        return found[0] if found else None

    def log_model(self, run_id: str, model: Any, example: np.ndarray | Mapping[str, np.ndarray]) -> None:
        """Log a plain Keras model once, ready to be served; a logging that a kill cut short is finished.

        `mlflow.tensorflow.log_model` would use the tracking URI and active run of the process, which are the caller's.

        Args:
            run_id: of a round.
            model: one with a graph of layers.
            example: a batch of one; by name where the model has several inputs.
        """
        logged = self.logged_model(run_id) or self.client.create_logged_model(self.experiment_id, "model", run_id)
        if logged.status == "READY":
            return
        about = mlflow.models.Model(logged.artifact_location, run_id, model_id=logged.model_id)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, "model")
            _save_model(model, path, about, example)
            self.client.log_model_artifacts(logged.model_id, str(path))
        outputs = self.client.get_run(run_id).outputs
        if logged.model_id not in [each.model_id for each in (outputs.model_outputs if outputs else [])]:
            self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self.client.finalize_logged_model(logged.model_id, "READY")


def _save_model(model: Any, path: Path, about: Any, example: Any) -> None:
    from tfprune.tracking import served  # loads TensorFlow, which reading records does without

    own = served.own_objects(model)
    schemas = [
        Schema([TensorSpec(*each) for each in side])
        for side in (served.inputs_of(model, example), served.outputs_of(model))
    ]
    needs = ["tensorflow", "tf_keras", *(["cloudpickle"] if own else [])]
    mlflow.tensorflow.save_model(
        model,
        path,
        mlflow_model=about,
        custom_objects=own or None,
        signature=mlflow.models.ModelSignature(*schemas),
        input_example=served.kept_example(example),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in needs],
        keras_model_kwargs={"save_format": "keras"},  # any other than "tf" is served without loss and optimizer
    )
    served.bind_to_tf_keras(path, about)


def _make_tables(uri: str) -> None:
    mlflow.MlflowClient(uri).search_experiments(max_results=1)


def _experiment(client: mlflow.MlflowClient, uri: str, name: str, make: bool) -> str:
    """Id of the experiment, made where missing, with its artifacts beside the database.

    Left to itself MLflow puts them wherever the working directory is.
    """
    found = client.get_experiment_by_name(name)
    if found is None and not make:
        raise TrackingError(f"there is no experiment {name!r} at {shown(uri)}; see track.experiment")
    if found is None:
        folder = Path(uri[len(SQLITE) :]).absolute().parent if uri.startswith(SQLITE) else home().absolute()
        local = uri.startswith(SQLITE) or server_of(uri)  # a tracking server has a place of its own
        try:
            made = client.create_experiment(name, artifact_location=(folder / "artifacts").as_uri() if local else None)
            return str(made)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process made it meanwhile
    if found.lifecycle_stage == "deleted" and make:
        raise TrackingError(
            f"experiment {name!r} is deleted at {shown(uri)}; restore it in MLflow or set another track.experiment"
        )
    return str(found.experiment_id)
