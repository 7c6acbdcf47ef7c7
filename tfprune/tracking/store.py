"""MLflow: a parent run a workflow, a nested child a round. The one module that imports it.

Whatever is recorded here may be recorded again after a kill: runs are found by tags before they are made,
metrics carry timestamps that were fixed once, and a model is logged only where none is yet.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
import numpy as np
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from tfprune.errors import DependencyError, StorageError, TfpruneError, TrackingError, nearest
from tfprune.recipe import Recipe, TrackSection
from tfprune.results import Round, RunResult
from tfprune.storage import home, replacing, sweep
from tfprune.tracking.files import log_figures, log_files
from tfprune.tracking.metrics import evaluation_metrics, round_metrics, safe_name
from tfprune.tracking.params import environment, recipe_params
from tfprune.tracking.registry import may_register, register
from tfprune.tracking.server import check_server
from tfprune.tracking.tables import TABLE, read_rounds, round_files, slices_of_round
from tfprune.tracking.view import run_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

for _logger in ("mlflow", "alembic"):  # after the import, which sets levels of its own
    # Errors come to us as exceptions; MLflow would print their tracebacks besides.
    logging.getLogger(_logger).setLevel(logging.CRITICAL)

_SHOWN = RunTag("mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))  # as a table, in the UI


def tracking_uri(section: TrackSection | None = None) -> str:
    """Where rounds are recorded: the recipe's URI, MLFLOW_TRACKING_URI, or SQLite in the tracking home."""
    given = (section.uri if section else None) or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{home() / 'mlflow.db'}"


class Tracker:
    """Records workflows in one MLflow experiment.

    Args:
        section: URI and experiment.

    Raises:
        TrackingError: the store does not answer or refuses the experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self.uri = tracking_uri(section)
        self._section = section
        self._runs: dict[str, str] = {}
        self._written: dict[str, int] = {}
        check_server(self.uri)
        with _speaking_of(self.uri), _schema_lock(self.uri):
            self._client = mlflow.MlflowClient(self.uri)
            self.experiment_id = _experiment(self._client, self.uri, section.experiment)

    # --- a workflow and its rounds

    def begin(self, name: str, identity: str, recipe: Recipe, about: dict[str, Any]) -> None:
        """Open the parent run, or find the one that an earlier process opened.

        Args:
            name: of the workflow.
            identity: the workflow's unique id.
            recipe: logged as parameters and as a file.
            about: further parameters, ``data.digest`` among them.
        """
        self._name, self._identity = name, identity
        with _speaking_of(self.uri):
            parent = self._open("workflow", name, {})
            params = recipe_params(recipe, about)
            known = self._client.get_run(parent).data.params
            new = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in known]
            self._client.log_batch(parent, params=new)
            source = recipe.data.model_dump_json(exclude_none=True) if recipe.data else "{}"
            name = recipe.data.source if recipe.data else "given arrays"
            data = Dataset(name, str(about.get("data.digest", "unknown"))[:16], "tfprune", source)
            self._client.log_inputs(parent, [DatasetInput(data, [InputTag("mlflow.data.context", "all splits")])])
            self._client.log_text(parent, recipe.to_yaml(), "recipe.yaml")
            self._client.log_dict(parent, environment(), "environment.json")

    def open_round(self, label: str) -> None:
        """Open the child run of a round, or find it."""
        with _speaking_of(self.uri):
            self._open(label, f"{self._name} {label}", {"mlflow.parentRunId": self._runs["workflow"]})

    def record_epochs(self, label: str, history: Sequence[dict[str, float]]) -> None:
        """Write the epochs of a round that this process has not written yet."""
        start = self._written.get(label, 0)
        metrics = [
            Metric(f"finetune/{key}", round(value, 6), int(row["ended"]), epoch)
            for epoch, row in enumerate(history[start:], start + 1)
            for key, value in row.items()
            if key != "ended"
        ]
        with _speaking_of(self.uri):
            self._client.log_batch(self._runs[label], metrics=metrics)
        self._written[label] = len(history)

    def record_round(
        self, rounds: Sequence[Round], model: Any, example: np.ndarray, note: str, examples: Path | None = None
    ) -> None:
        """Write the last of the finished rounds into the parent, at its number, and into its own child.

        Args:
            rounds: all finished ones.
            model: its plain Keras model, logged where it passed and the recipe wants models; or None.
            example: one input, for the model's signature.
            note: Markdown that describes the workflow so far.
            examples: the Parquet file of what it answered to each example.
        """
        finished = rounds[-1]
        label, parent, when = finished.label, self._runs["workflow"], finished.finished
        metrics = {key: round(float(value), 6) for key, value in round_metrics(finished, rounds[0]).items()}
        with _speaking_of(self.uri):
            child = self._runs[label]
            asked = "target_removed" if finished.method == "structured" and finished.number else "target_sparsity"
            params = {"round": finished.number, "parent": finished.parent, asked: round(finished.target, 6)}
            tags = {"tfprune.verdict": "; ".join(finished.verdict.reasons) or "passed"}
            self._client.log_batch(
                child,
                metrics=[Metric(key, value, when, 0) for key, value in metrics.items()],
                params=[Param(key, str(value)) for key, value in params.items()],
                tags=[*(RunTag(key, value[:5000]) for key, value in tags.items()), _SHOWN],
            )
            self._client.log_batch(
                parent,
                metrics=[Metric(key, value, when, finished.number) for key, value in metrics.items()],
                tags=[RunTag("mlflow.note.content", note), _SHOWN],
            )
            if model is not None and self._section.models:
                self._log_model(child, model, example)
            log_files(self._client, child, {TABLE: slices_of_round(finished.evaluation)}, examples)
            log_files(self._client, parent, round_files(rounds))
            self._client.set_terminated(child, "FINISHED", when)

    def record_figures(self, label: str, figures: Mapping[str, Figure]) -> None:
        """Write pictures into the child run of a round."""
        with _speaking_of(self.uri):
            log_figures(self._client, self._runs[label], figures)

    def begin_fit(self, name: str, params: dict[str, Any]) -> None:
        """Open a run for one `model.fit`: the active MLflow run where there is one, else a run of its own."""
        with _speaking_of(self.uri):
            active = mlflow.active_run()
            if active is not None:
                self._client = mlflow.MlflowClient()  # where the caller's run is may be elsewhere
                self._runs["fit"] = active.info.run_id
            else:
                tags = {"tfprune.kind": "fit"}
                self._runs["fit"] = self._client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
            self._ours = active is None
            known = self._client.get_run(self._runs["fit"]).data.params
            new = [Param(key, str(value)[:6000]) for key, value in params.items() if key not in known]
            self._client.log_batch(self._runs["fit"], params=new)

    def record_fit_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Write the figures of one epoch of a `model.fit`."""
        now = int(time.time() * 1000)
        entries = [Metric(safe_name(key), round(float(value), 6), now, epoch) for key, value in metrics.items()]
        with _speaking_of(self.uri):
            self._client.log_batch(self._runs["fit"], metrics=entries)

    def end_fit(self) -> None:
        """Close the run of a `model.fit`, unless it is the caller's."""
        if self._ours:
            with _speaking_of(self.uri):
                self._client.set_terminated(self._runs["fit"], "FINISHED")

    def finish(self, result: RunResult, note: str, figures: Mapping[str, Figure] | None = None) -> str | None:
        """Write the test split's figures and the outcome, register the best model, and close the parent run.

        Args:
            result: of the workflow.
            note: Markdown that describes it.
            figures: by name.

        Returns:
            The version that the best round's model has in the registry; None where it is not registered.
        """
        parent, when = self._runs["workflow"], result.rounds[-1].finished
        metrics = {
            **{
                f"test/dense_{key}": value
                for key, value in evaluation_metrics(result.test_dense).items()
                if "/" not in key
            },
            **{f"test/{key}": value for key, value in evaluation_metrics(result.test).items() if "/" not in key},
        }
        with _speaking_of(self.uri):
            self._client.log_batch(
                parent,
                metrics=[Metric(key, round(value, 6), when, 0) for key, value in metrics.items()],
                tags=[
                    RunTag("tfprune.outcome", result.outcome),
                    RunTag("tfprune.best", result.best_round.label),
                    RunTag("mlflow.note.content", note),
                ],
            )
            log_figures(self._client, parent, figures or {})
            version = self._register(result, note)
            self._client.set_terminated(parent, "FINISHED", when)
        return version

    def leave_open(self, status: str) -> None:
        """Mark what is not finished as ``KILLED`` by the user or ``FAILED``, as far as the store still answers."""
        with suppress(TfpruneError), _speaking_of(self.uri):
            for run_id in self._runs.values():
                if self._client.get_run(run_id).info.status == "RUNNING":
                    self._client.set_terminated(run_id, status)

    # --- inside

    def _open(self, label: str, name: str, tags: dict[str, str]) -> str:
        """Find the run of this workflow and label, or make it."""
        found = self._find(label)
        if label == "workflow":
            self._place = self._place_of(found)
        if found is not None:
            run_id = found.info.run_id
            if found.info.status in ("KILLED", "FAILED"):
                self._client.update_run(run_id, "RUNNING")
        else:
            number = None if label == "workflow" else int(label.removeprefix("r")) if label != "dense" else 0
            own = {
                "tfprune.id": self._identity,
                "tfprune.label": label,
                "tfprune.workflow": self._name,
                "tfprune.kind": "workflow" if label == "workflow" else "round",
                "tfprune.place": str(self._place),
                "mlflow.runColor": run_colour(self._place, number),
            }
            run_id = self._client.create_run(self.experiment_id, run_name=name, tags={**own, **tags}).info.run_id
        self._runs[label] = run_id
        return run_id

    def _find(self, label: str) -> mlflow.entities.Run | None:
        """The run of this workflow and label, by its tags."""
        clauses = f"tags.`tfprune.id` = '{self._identity}' and tags.`tfprune.label` = '{label}'"
        found = self._client.search_runs([self.experiment_id], clauses, max_results=1)
        return found[0] if found else None

    def _place_of(self, parent: mlflow.entities.Run | None) -> int:
        """How many workflows were begun before this one, which decides on its colours."""
        if parent is not None:
            return int(parent.data.tags.get("tfprune.place", 0))
        clauses = "tags.`tfprune.kind` = 'workflow'"
        last = self._client.search_runs([self.experiment_id], clauses, max_results=1)  # the latest comes first
        return int(last[0].data.tags.get("tfprune.place", 0)) + 1 if last else 0

    def _register(self, result: RunResult, note: str) -> str | None:
        """Register the best round's model, where it is wanted, earned and logged."""
        run = self._find(result.best_round.label) if may_register(self._section, result) else None
        logged = self._logged(run.info.run_id) if run is not None else None
        return register(self._client, self._section, logged, result, note) if logged is not None else None

    def _logged(self, run_id: str) -> mlflow.entities.LoggedModel | None:
        """The model of a round, as far as it is logged."""
        found = self._client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'")
        return found[0] if found else None

    def _log_model(self, run_id: str, model: Any, example: np.ndarray) -> None:
        """Log a plain Keras model once; a logging that a kill cut short is finished.

        `mlflow.tensorflow.log_model` would use the tracking URI and active run of the process, which are the caller's.
        """
        logged = self._logged(run_id) or self._client.create_logged_model(self.experiment_id, "model", run_id)
        if logged.status == "READY":
            return
        signature = mlflow.models.infer_signature(example, model.predict_on_batch(example))
        needs = [f"{name}=={metadata.version(name)}" for name in ("tensorflow", "tf_keras")]
        about = mlflow.models.Model(logged.artifact_location, run_id, model_id=logged.model_id)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, "model")
            mlflow.tensorflow.save_model(model, path, mlflow_model=about, signature=signature, pip_requirements=needs)
            self._client.log_model_artifacts(logged.model_id, str(path))
        outputs = self._client.get_run(run_id).outputs
        if logged.model_id not in [each.model_id for each in (outputs.model_outputs if outputs else [])]:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._client.finalize_logged_model(logged.model_id, "READY")


# ------------------------------------------------------------------------------------------- reading back


class Recorded:
    """Workflows as they are recorded in an experiment.

    Args:
        section: URI and experiment.

    Raises:
        TrackingError: the store does not answer, or there is no such experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self.uri = tracking_uri(section)
        check_server(self.uri)
        if self.uri.startswith("sqlite:///") and not Path(self.uri[10:]).exists():
            raise TrackingError(f"nothing is recorded yet: there is no {self.uri[10:]}; start with tfprune run RECIPE")
        with _speaking_of(self.uri), _schema_lock(self.uri):
            self._client = mlflow.MlflowClient(self.uri)
            found = self._client.get_experiment_by_name(section.experiment)
        if found is None:
            raise TrackingError(f"there is no experiment {section.experiment!r} at {self.uri}; see track.experiment")
        self.experiment_id = found.experiment_id

    def names(self) -> list[str]:
        """Workflows, the latest first."""
        with _speaking_of(self.uri):
            runs = self._client.search_runs([self.experiment_id], "tags.`tfprune.kind` = 'workflow'")
        self._runs: dict[str, mlflow.entities.Run] = {}
        for run in runs:
            self._runs.setdefault(run.info.run_name, run)
        return list(self._runs)

    def workflow(self, name: str) -> tuple[tuple[Round, ...], str]:
        """Rounds and outcome of a workflow; of several of a name, the latest.

        Raises:
            TrackingError: no such workflow, or none of its rounds is finished.
        """
        known = self.names()
        if name not in known:
            raise TrackingError(
                f"no workflow {name!r} is recorded at {self.uri}; there: {', '.join(known)}{nearest(name, known)}"
            )
        run = self._runs[name]
        with _speaking_of(self.uri):
            artifacts = [each.path for each in self._client.list_artifacts(run.info.run_id)]
            if "rounds.json" not in artifacts:
                raise TrackingError(f"workflow {name!r} has no finished round yet")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(self._client.download_artifacts(run.info.run_id, "rounds.json", folder))
                text = path.read_text(encoding="utf-8")
        return read_rounds(text, name), run.data.tags.get("tfprune.outcome", "")

    def save_views(self, views: Callable[[Sequence[Collection[str]], int], Mapping[str, str]]) -> Mapping[str, str]:
        """Keep views of the UI in tags of the experiment.

        Args:
            views: makes the tags, given the names of the metrics of each of the latest rounds and the time in
                milliseconds at which the experiment was made.

        Returns:
            The tags; none of a store that takes none, as the runs can be seen without.
        """
        with suppress(TrackingError, StorageError), _speaking_of(self.uri):
            experiment = self._client.get_experiment(self.experiment_id)
            rounds = self._client.search_runs([self.experiment_id], "tags.`tfprune.kind` = 'round'", max_results=200)
            tags = views([sorted(run.data.metrics) for run in rounds], experiment.creation_time)
            for key, value in tags.items():
                if experiment.tags.get(key) != value:
                    self._client.set_experiment_tag(self.experiment_id, key, value)
            return tags
        return {}


# ----------------------------------------------------------------------------------------- the store


def _experiment(client: mlflow.MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment, made where missing, with its artifacts beside the database.

    Left to itself MLflow puts them wherever the working directory is.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        location = Path(uri[10:]).absolute().parent / "artifacts" if uri.startswith("sqlite:///") else None
        return client.create_experiment(name, artifact_location=location.as_uri() if location else None)
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} is deleted at {uri}; restore it in MLflow or set another track.experiment"
        )
    return found.experiment_id


@contextmanager
def _schema_lock(uri: str) -> Iterator[None]:
    """Let one process at a time make the database: several at once leave it unusable for good."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    folder = Path(uri[10:]).absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".mlflow.lock")
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; choose another place with track.uri"
        ) from error
    try:
        sweep(folder)
        if not Path(uri[10:]).exists():
            # Tables that a kill or a full disk cut off halfway would be unusable for good.
            with replacing(Path(uri[10:]).absolute()) as temporary:
                mlflow.MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
        with closing(sqlite3.connect(Path(uri[10:]))) as database:
            database.execute("PRAGMA schema_version")  # of a file that cannot be read MLflow makes sure for 100 s
        yield
    finally:
        lock.release()


@contextmanager
def _speaking_of(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into one line of ours."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write records to {uri}: {error.strerror or error}; free some space") from error
    except ImportError as error:
        raise DependencyError(f"the tracking store {uri} needs a driver: pip install {error.name}") from error
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        text = " ".join(re.split(r"\[SQL:|\(Background", str(error))[0].split())  # without the statement and a link
        if "disk is full" in text or "readonly database" in text:
            raise StorageError(f"cannot write records to {uri}: {text[:120]}; free some space") from error
        raise TrackingError(f"the tracking store {uri} refuses: {text[:300]}") from error
