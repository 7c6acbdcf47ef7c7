"""Searches on record: a parent run a search, a nested child a trial, written by whichever process ran it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfprune.errors import TrackingError
from tfprune.recipe import Recipe, TrackSection
from tfprune.results import Evaluation, SearchResult, Trial
from tfprune.tracking.about import log_about
from tfprune.tracking.metrics import epoch_metrics, metrics_on_test, trial_metrics
from tfprune.tracking.params import safe_params
from tfprune.tracking.server import shown
from tfprune.tracking.store import Store
from tfprune.tracking.view import run_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOUND = "found.yaml"
"""Name of the file that holds the recipe found; ``recipe.yaml`` is the one that was asked for."""

_SHADES = 8  # of a search's colour, over and over


class SearchTracker:
    """Records searches in one MLflow experiment.

    The process that drives a search begins it and finishes it. Those that run trials attach to it, and write nothing
    but their own trials.

    Args:
        section: URI and experiment.

    Attributes:
        uri: of the store.
        experiment_id: in the store.

    Raises:
        TrackingError: the store does not answer or refuses the experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self._store = Store(section)
        self.uri, self.experiment_id = self._store.uri, self._store.experiment_id
        self._parent = ""
        self._begun = False

    def begin(self, name: str, identity: str, recipe: Recipe, about: Mapping[str, Any]) -> None:
        """Open the parent run, or find the one that an earlier process opened.

        Args:
            name: of the search, e.g. ``digits-1``.
            identity: the search's unique id.
            recipe: logged as parameters and as a file.
            about: further parameters, ``data.digest`` among them.
        """
        self._name, self._identity = name, identity
        with self._store.speaking():
            found = self._store.find(id=identity, label="search")
            self._place = self._store.place("search", found)
            self._parent = self._store.take_up(found) if found is not None else self._make_parent()
            self._begun = True
            log_about(self._store, self._parent, recipe, about)

    def attach(self, name: str, identity: str) -> None:
        """Find the parent run that another process opened, and leave it as it is.

        Raises:
            TrackingError: there is none.
        """
        self._name, self._identity = name, identity
        with self._store.speaking():
            found = self._store.find(id=identity, label="search")
            if found is None:
                raise TrackingError(f"search {name!r} has no run at {shown(self.uri)}; begin it before its trials")
            self._place, self._parent = self._store.place("search", found), str(found.info.run_id)

    def record_trial(self, trial: Trial, dense: Evaluation, *, again: bool = False) -> None:
        """Write a trial into a child run of its own.

        Args:
            trial: as it ended.
            dense: the dense model on the same split.
            again: it may have been recorded before, so look for its run. One that was begun several times is looked
                for anyway; others are not, which would cost more than all else.
        """
        self._record(trial, dense, trial.label, "trial", again)

    def record_final(self, trial: Trial, dense: Evaluation, *, again: bool = False) -> None:
        """Write a fully fine-tuned trial, as `record_trial` does, into another run than the short one's."""
        self._record(trial, dense, f"{trial.label} final", "final", again)

    def record_files(self, files: Mapping[str, str], figures: Mapping[str, Figure]) -> None:
        """Write texts by file name, and pictures by name, into the parent run; what was there of these is replaced."""
        with self._store.speaking():
            if files:
                self._store.log_files(self._parent, files)
            self._store.log_figures(self._parent, figures)

    def finish(
        self,
        result: SearchResult,
        note: str,
        files: Mapping[str, str] | None = None,
        figures: Mapping[str, Figure] | None = None,
    ) -> None:
        """Write the winner, the test split's figures and the outcome, and close the parent run.

        Args:
            result: of the search.
            note: Markdown that describes it.
            files: texts by file name; the recipe found joins them as `FOUND`.
            figures: by name.
        """
        when = max(each.finished for each in (*result.trials, *result.finals))
        metrics = {**trial_metrics(result.winner, result.dense), **metrics_on_test(result.test_dense, result.test)}
        tags = {
            "tfprune.outcome": result.outcome[:5000],
            "tfprune.best": result.winner.label,
            "tfprune.objective": result.objective,
            "mlflow.note.content": note,
        }
        with self._store.speaking():
            self._store.log(
                self._parent,
                # Single slices of the winner are in its own run; seconds are no matter of the whole search.
                [(key, value, when, 0) for key, value in metrics.items() if _is_of_whole(key)],
                tags=tags,
            )
            found = result.recipe.read_text(encoding="utf-8")
            self._store.log_files(self._parent, {**(files or {}), FOUND: found})
            self._store.log_figures(self._parent, figures or {})
            self._store.end(self._parent, "FINISHED", when)

    def leave_open(self, status: str) -> None:
        """Mark a search that this process began as ``KILLED`` by the user or ``FAILED``, if the store still answers."""
        if self._begun:
            self._store.leave_open([self._parent], status)

    # --- inside

    def _make_parent(self) -> str:
        return self._store.make(
            f"{self._name} search",
            {
                "tfprune.id": self._identity,
                "tfprune.label": "search",
                "tfprune.search": self._name,
                "tfprune.kind": "search",
                "tfprune.place": str(self._place),
                "mlflow.runColor": run_colour(self._place),
            },
        )

    def _record(self, trial: Trial, dense: Evaluation, label: str, kind: str, again: bool) -> None:
        when = trial.finished
        points = [(key, value, when, 0) for key, value in trial_metrics(trial, dense).items()]
        points += epoch_metrics(trial.history, finished=when)
        with self._store.speaking():
            known = self._store.find(id=self._identity, label=label) if again or trial.attempts > 1 else None
            if known is None:
                run_id = self._store.make(
                    f"{self._name} {label}",
                    {**self._constant_tags(trial, label, kind), **_outcome_tags(trial)},
                    when - round(1000 * trial.seconds),
                )
                self._store.log(run_id, points, _trial_params(trial))
            else:
                run_id = str(known.info.run_id)
                new = {key: value for key, value in _trial_params(trial).items() if key not in known.data.params}
                there = self._store.steps(run_id, known.data.metrics)
                missing = [point for point in points if (point[0], point[3]) not in there]
                self._store.log(run_id, missing, new, _outcome_tags(trial))
            self._store.end(run_id, "FAILED" if trial.status == "failed" else "FINISHED", when)

    def _constant_tags(self, trial: Trial, label: str, kind: str) -> dict[str, str]:
        return {
            "mlflow.parentRunId": self._parent,
            "mlflow.runColor": run_colour(self._place, trial.number % _SHADES),
            "tfprune.id": self._identity,
            "tfprune.label": label,
            "tfprune.search": self._name,
            "tfprune.kind": kind,
            "tfprune.origin": trial.origin,
        }


def _outcome_tags(trial: Trial) -> dict[str, str]:
    """How a trial ended; empty texts take the place of those of an attempt that failed."""
    return {
        "tfprune.status": trial.status,
        "tfprune.message": trial.message[:5000],
        "mlflow.note.content": trial.message if trial.status == "failed" else "",
    }


def _trial_params(trial: Trial) -> dict[str, Any]:
    """What a trial tried, as numbers that the UI can draw an axis of."""
    start = {} if trial.warm_start is None else {"warm_start": trial.warm_start}
    return safe_params(
        {
            "trial": trial.number,
            "origin": trial.origin,
            "epochs": trial.epochs,
            **start,
            **{f"ratio/{name}": round(float(ratio), 4) for name, ratio in trial.ratios.items()},
            **{f"knob/{name}": round(float(value), 4) for name, value in trial.knobs.items()},
        }
    )


def _is_of_whole(name: str) -> bool:
    return name != "seconds" and ("/" not in name or name.startswith("test/"))
