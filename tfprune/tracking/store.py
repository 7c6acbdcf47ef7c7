"""MLflow: a parent run a workflow, a nested child a round. The one module that imports it.

Whatever is recorded here may be recorded again after a kill: runs are found by tags before they are made,
metrics carry timestamps that were fixed once, and a model is logged only where none is yet.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
import numpy as np
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from tfprune.errors import DependencyError, StorageError, TfpruneError, TrackingError, nearest
from tfprune.recipe import Recipe, TrackSection
from tfprune.results import Round, RunResult
from tfprune.storage import home, replacing, sweep
from tfprune.tracking.metrics import evaluation_metrics, flatten, round_metrics, safe_name, safe_params

for _logger in ("mlflow", "alembic"):  # after the import, which sets levels of its own
    # Errors come to us as exceptions; MLflow would print their tracebacks besides.
    logging.getLogger(_logger).setLevel(logging.CRITICAL)

_COLOURS = (
    "#555555",
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#bcbd22",
    "#17becf",
)
_PACKAGES = ("tfprune", "tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy", "mlflow")
_ROUNDS = TypeAdapter(tuple[Round, ...])
_WAIT_FOR_SERVER = 5.0  # seconds


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
        self._models = section.models
        self._runs: dict[str, str] = {}
        self._written: dict[str, int] = {}
        _check_server(self.uri)
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
            params = safe_params({**flatten(_by_place(recipe.model_dump(mode="json", exclude_none=True))), **about})
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

    def record_round(self, rounds: Sequence[Round], model: Any, example: np.ndarray, note: str) -> None:
        """Write the last of the finished rounds into the parent, at its number, and into its own child.

        Args:
            rounds: all finished ones.
            model: its plain Keras model, logged where it passed and the recipe wants models; or None.
            example: one input, for the model's signature.
            note: Markdown that describes the workflow so far.
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
                tags=[RunTag(key, value[:5000]) for key, value in tags.items()],
            )
            self._client.log_batch(parent, metrics=[Metric(k, v, when, finished.number) for k, v in metrics.items()])
            if model is not None and self._models:
                self._log_model(child, model, example)
            self._client.log_text(parent, _ROUNDS.dump_json(tuple(rounds), indent=1).decode(), "rounds.json")
            self._client.set_tag(parent, "mlflow.note.content", note)
            self._client.set_terminated(child, "FINISHED", when)

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

    def finish(self, result: RunResult, note: str) -> None:
        """Write the test split's figures and the outcome, and close the parent run."""
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
            self._client.set_terminated(parent, "FINISHED", when)

    def leave_open(self, status: str) -> None:
        """Mark what is not finished as ``KILLED`` by the user or ``FAILED``, as far as the store still answers."""
        with suppress(TfpruneError), _speaking_of(self.uri):
            for run_id in self._runs.values():
                if self._client.get_run(run_id).info.status == "RUNNING":
                    self._client.set_terminated(run_id, status)

    # --- inside

    def _open(self, label: str, name: str, tags: dict[str, str]) -> str:
        """Find the run of this workflow and label by its tags, or make it."""
        clauses = f"tags.`tfprune.id` = '{self._identity}' and tags.`tfprune.label` = '{label}'"
        found = self._client.search_runs([self.experiment_id], clauses, max_results=1)
        if found:
            run_id = found[0].info.run_id
            if found[0].info.status in ("KILLED", "FAILED"):
                self._client.update_run(run_id, "RUNNING")
        else:
            # Workflows differ in colour from each other, and so do the rounds of one.
            count = re.search(r"\d+$", self._name if label == "workflow" else label)
            number = int(count.group()) if count else 0
            own = {
                "tfprune.id": self._identity,
                "tfprune.label": label,
                "tfprune.workflow": self._name,
                "tfprune.kind": "workflow" if label == "workflow" else "round",
                "mlflow.runColor": _COLOURS[number % len(_COLOURS)],
            }
            run_id = self._client.create_run(self.experiment_id, run_name=name, tags={**own, **tags}).info.run_id
        self._runs[label] = run_id
        return run_id

    def _log_model(self, run_id: str, model: Any, example: np.ndarray) -> None:
        """Log a plain Keras model once; a logging that a kill cut short is finished.

        `mlflow.tensorflow.log_model` would use the tracking URI and active run of the process, which are the caller's.
        """
        found = self._client.search_logged_models([self.experiment_id], f"source_run_id = '{run_id}'")
        logged = found[0] if found else self._client.create_logged_model(self.experiment_id, "model", run_id)
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
        _check_server(self.uri)
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
        return _ROUNDS.validate_json(text), run.data.tags.get("tfprune.outcome", "")


def environment() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


# ----------------------------------------------------------------------------------------- the store


def _by_place(content: dict[str, Any]) -> dict[str, Any]:
    """Several sections of `prune` by their place, so that each of their values is a parameter of its own."""
    prune = content["prune"]
    return {**content, "prune": dict(enumerate(prune))} if isinstance(prune, list) else content


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


def _check_server(uri: str) -> None:
    """Ask an HTTP server once, so that a wrong address is not found out after minutes of retries."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_WAIT_FOR_SERVER):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; whether it lets us in is told by the first call
    except (OSError, HTTPException, ValueError, OverflowError) as error:
        reason = getattr(error, "reason", None) or error
        raise TrackingError(
            f"the tracking server {uri} does not answer ({reason}); start it, or set track.uri or MLFLOW_TRACKING_URI"
        ) from error


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
