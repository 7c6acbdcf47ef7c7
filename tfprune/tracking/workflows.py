"""Workflows on record: a parent run a workflow, a nested child a round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.recipe import Recipe, TrackSection
from tfprune.results import Round, RunResult
from tfprune.tracking.about import log_about
from tfprune.tracking.metrics import epoch_metrics, metrics_of_export, metrics_on_test, round_metrics
from tfprune.tracking.registry import may_register, register
from tfprune.tracking.store import Store
from tfprune.tracking.tables import TABLE, round_files, slices_of_round
from tfprune.tracking.view import run_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = {"mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}])}  # as a table, in the UI


class Tracker:
    """Records workflows in one MLflow experiment.

    Args:
        section: URI and experiment.

    Raises:
        TrackingError: the store does not answer or refuses the experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self._store = Store(section)
        self.uri, self.experiment_id = self._store.uri, self._store.experiment_id
        self._section = section
        self._runs: dict[str, str] = {}
        self._written: dict[str, int] = {}

    def begin(self, name: str, identity: str, recipe: Recipe, about: dict[str, Any]) -> None:
        """Open the parent run, or find the one that an earlier process opened.

        Args:
            name: of the workflow.
            identity: the workflow's unique id.
            recipe: logged as parameters and as a file.
            about: further parameters, ``data.digest`` among them.
        """
        self._name, self._identity = name, identity
        with self._store.speaking():
            log_about(self._store, self._open("workflow", name, {}), recipe, about)

    def open_round(self, label: str) -> None:
        """Open the child run of a round, or find it."""
        with self._store.speaking():
            self._open(label, f"{self._name} {label}", {"mlflow.parentRunId": self._runs["workflow"]})

    def record_epochs(self, label: str, history: Sequence[dict[str, float]]) -> None:
        """Write the epochs of a round that this process has not written yet."""
        start = self._written.get(label, 0)
        with self._store.speaking():
            self._store.log(self._runs[label], epoch_metrics(history[start:], start + 1))
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
        metrics = round_metrics(finished, rounds[0])
        asked = "target_removed" if finished.method == "structured" and finished.number else "target_sparsity"
        params = {"round": finished.number, "parent": finished.parent, asked: round(finished.target, 6)}
        verdict = "; ".join(finished.verdict.reasons) or "passed"
        with self._store.speaking():
            child = self._runs[label]
            points = [(key, value, when, 0) for key, value in metrics.items()]
            self._store.log(child, points, params, {"tfprune.verdict": verdict[:5000], **_SHOWN})
            points = [(key, value, when, finished.number) for key, value in metrics.items()]
            self._store.log(parent, points, tags={"mlflow.note.content": note, **_SHOWN})
            if model is not None and self._section.models:
                self._store.log_model(child, model, example)
            self._store.log_files(child, {TABLE: slices_of_round(finished.evaluation)}, examples)
            self._store.log_files(parent, round_files(rounds))
            self._store.end(child, "FINISHED", when)

    def record_figures(self, label: str, figures: Mapping[str, Figure]) -> None:
        """Write pictures into the child run of a round."""
        with self._store.speaking():
            self._store.log_figures(self._runs[label], figures)

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
        metrics = {**metrics_on_test(result.test_dense, result.test), **metrics_of_export(result.delivery)}
        tags = {
            "tfprune.outcome": result.outcome,
            "tfprune.best": result.best_round.label,
            "mlflow.note.content": note,
        }
        with self._store.speaking():
            self._store.log(parent, [(key, value, when, 0) for key, value in metrics.items()], tags=tags)
            self._store.log_figures(parent, figures or {})
            if result.delivery is not None and result.delivery.report is not None and not result.delivery.failure:
                self._store.log_path(parent, result.delivery.report.path, "export")
            version = self._register(result, note)
            self._store.end(parent, "FINISHED", when)
        return version

    def leave_open(self, status: str) -> None:
        """Mark what is not finished as ``KILLED`` by the user or ``FAILED``, as far as the store still answers."""
        self._store.leave_open(self._runs.values(), status)

    def _open(self, label: str, name: str, tags: dict[str, str]) -> str:
        """Find the run of this workflow and label, or make it."""
        found = self._store.find(id=self._identity, label=label)
        if label == "workflow":
            self._place = self._store.place("workflow", found)
        if found is not None:
            run_id = self._store.take_up(found)
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
            run_id = self._store.make(name, {**own, **tags})
        self._runs[label] = run_id
        return run_id

    def _register(self, result: RunResult, note: str) -> str | None:
        """Register the best round's model, where it is wanted, earned and logged."""
        wanted = may_register(self._section, result)
        run = self._store.find(id=self._identity, label=result.best_round.label) if wanted else None
        logged = self._store.logged_model(run.info.run_id) if run is not None else None
        return register(self._store.client, self._section, logged, result, note) if logged is not None else None
