"""A search small enough to run many times: the tiny workflow's points and model, trials of one epoch."""

from __future__ import annotations

import functools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tiny_workflow
import yaml
from mlflow import MlflowClient

STARTS = ["uniform", "erk", "lamp", "global", "sensitivity"]
STRUCTURED = {"method": "structured", "target": {"params": 0.5}, "batches": 1}
# Wall time differs from run to run; everything else is the same.
CLOCK = {"seconds", "finished", "ended", "latency_ms", "finetune/seconds"}


def recipe(**changes: Any) -> dict[str, Any]:
    """Two dense epochs, three questions after the starting allocations, two finals; `section__key=value` changes it."""
    content = tiny_workflow.recipe(
        name="small",
        train={"epochs": 2, "batch_size": 32, "learning_rate": 0.02},
        prune={"target": {"sparsity": 0.8}, "rounds": 1, "schedule": {"frequency": 2}},
        finetune={"epochs": 2},
        stop={"max_drop": 0.9, "max_slice_drop": 0.99},
        search={"oracle": "random", "trials": 3, "epochs": 1, "sensitivity": [0.5, 0.9], "finalists": 2},
    )
    for path, value in changes.items():
        *sections, key = path.split("__")
        functools.reduce(lambda place, section: place.setdefault(section, {}), sections, content)[key] = value
    return content


def deep(input_shape: tuple[int, ...], classes: int, depth: int = 11) -> Any:
    """Many layers of few weights."""
    from tfprune.backend import keras

    x = inputs = keras.layers.Input(input_shape)
    for number in range(depth):
        x = keras.layers.Dense(6, activation="relu", name=f"d{number}")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax", name="last")(x), name="deep")


def write(path: Path, **changes: Any) -> Path:
    """The recipe as a file."""
    path.write_text(yaml.safe_dump(recipe(**changes)))
    return path


def plain(value: Any) -> Any:
    """A trial, or what is in it, as plain values without the clock."""
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key not in CLOCK}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def found(result: Any) -> dict[str, Any]:
    """All that two searches of the same recipe have in common."""
    return {
        "trials": [plain(each) for each in result.trials],
        "finals": [plain(each) for each in result.finals],
        "best": result.best,
        "test": plain(result.test),
        "recipe": Path(result.recipe).read_text("utf-8").split("\n", 1)[1],  # the first line names the search
    }


def recorded(uri: str, search: str) -> dict[str, Any]:
    """Runs of a search by their label; asserts that each is there once, and has one point a step."""
    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`tfprune.search` = '{search}'", max_results=1000)
    labels = Counter(run.data.tags["tfprune.label"] for run in runs)
    assert set(labels.values()) <= {1}, f"recorded twice: {labels}"
    for run in runs:
        for key in run.data.metrics:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, key)]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key} has two points on a step: {steps}"
    return {run.data.tags["tfprune.label"]: run for run in runs}


# ----------------------------------------------------------------------------------- workers that die


class Deadly(tuple):
    """Arrays that arm the worker they are sent to: it kills itself at given moments of given trials.

    The process that made them is never harmed, as nothing is pickled there.

    Attributes:
        folder: where a death leaves its mark.
        deaths: how many times at which moment: ``trained t001`` or ``recorded t001``.
    """

    folder: Path
    deaths: dict[str, int]

    def __reduce__(self) -> Any:
        return _arm, (tuple(self), self.folder, self.deaths)


def deadly(folder: Path, **deaths: int) -> Deadly:
    """The tiny workflow's examples; ``t001_trained=1`` kills once after the training of trial 1."""
    armed = Deadly(tiny_workflow.examples())
    armed.folder, armed.deaths = folder, deaths
    return armed


def _arm(arrays: tuple[np.ndarray, np.ndarray], folder: Path, deaths: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    from tfprune.tracking.searches import SearchTracker
    from tfprune.tuning.trial import TrialWorker

    def die(label: str, moment: str) -> None:
        name = f"{label}_{moment}"
        died = len(list(folder.glob(f"{name}-*")))
        if died < deaths.get(name, 0):
            (folder / f"{name}-{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    train, record = TrialWorker._train, SearchTracker.record_trial

    def train_and_die(self: Any, model: Any, task: Any, history: Any) -> Any:
        done = train(self, model, task, history)
        if not task.is_final:
            die(task.trial.label, "trained")
        return done

    def record_and_die(self: Any, trial: Any, *arguments: Any, **named: Any) -> None:
        record(self, trial, *arguments, **named)
        die(trial.label, "recorded")

    TrialWorker._train, SearchTracker.record_trial = train_and_die, record_and_die
    return arrays
