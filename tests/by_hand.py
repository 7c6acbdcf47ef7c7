"""Rounds that never ran, and their records in a real store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import tiny_workflow
from mlflow import MlflowClient

from tfprune.recipe import TrackSection, parse
from tfprune.results import Evaluation, Measurement, Round, SliceScore, Verdict
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.workflows import Tracker

EXAMPLE = np.zeros((1, 8), np.float32)


def an_evaluation(
    accuracy: float = 0.9, drop: float | None = None, slices: Sequence[SliceScore] = (), support: int = 100
) -> Evaluation:
    return Evaluation(SliceScore("all", support, accuracy, drop), 0.3, tuple(slices))


def a_round(
    number: int, passed: bool = True, slices: int | Sequence[SliceScore] = 2, epochs: int = 2, **more: Any
) -> Round:
    drop = 0.01 * number if number else None
    if isinstance(slices, int):
        slices = [SliceScore(f"class_{index}", 30, 0.9, drop) for index in range(slices)]
    return Round(
        number=number,
        parent=max(0, number - 1),
        target=0.1 * number,
        sparsity=0.1 * number,
        share=0.1,
        evaluation=an_evaluation(0.9, 0.01 if number else None, slices),
        measurement=Measurement(100, 100 - 10 * number, 100, 10 * number, 50, 400, 300),
        verdict=Verdict(passed, () if passed else ("accuracy fell by 9.0 points (at most 1.0 points)",)),
        history=tuple({"loss": 1 / (1 + e), "seconds": 0.1, "ended": 1_700_000_000_000 + e} for e in range(epochs)),
        finished=1_700_000_000_000 + epochs,
        **more,
    )


def begin(section: TrackSection, name: str = "hand-1", identity: str = "unique", **more: Any) -> Tracker:
    """A tracker that knows nothing of earlier ones, like a process after a kill."""
    tracker = Tracker(section)
    recipe = parse(tiny_workflow.recipe(track=section.model_dump()))
    tracker.begin(name, identity, recipe, {"data.digest": "d", **more})
    return tracker


def tiny_model() -> Any:
    return tiny_workflow.build((8,), 3)


def record_all(tracker: Tracker, rounds: list[Round], model: Any = None, examples: Path | None = None) -> None:
    for each in rounds:
        tracker.open_round(each.label)
        tracker.record_epochs(each.label, each.history)
        passed = model if each.verdict.passed else None
        tracker.record_round(rounds[: each.number + 1], passed, EXAMPLE, "a note", examples)


def client_of(section: TrackSection) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri(section))
    return client, client.get_experiment_by_name(section.experiment).experiment_id


def runs_of(client: MlflowClient, experiment: str) -> dict[str, mlflow.entities.Run]:
    return {run.data.tags["tfprune.label"]: run for run in client.search_runs([experiment])}


def history(client: MlflowClient, run: mlflow.entities.Run, key: str) -> list[tuple[int, float]]:
    return sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, key))


def place_of(run: mlflow.entities.Run) -> Path:
    """Where a run's artifacts are."""
    return Path(run.info.artifact_uri.removeprefix("file://"))
