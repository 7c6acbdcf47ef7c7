"""A workflow small enough to run many times: 240 points of three classes, a model with all that training can move."""

from __future__ import annotations

import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 3


def examples(count: int = 240, noise: float = 0.6, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points in eight dimensions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    centres = np.random.default_rng(7).normal(size=(CLASSES, 8))
    return (centres[labels] + rng.normal(scale=noise, size=(count, 8))).astype(np.float32), labels


def build(input_shape: tuple[int, ...], classes: int, width: int = 16, logits: bool = False) -> Any:
    """Dense layers with dropout and batch normalization."""
    from tfprune.backend import keras

    layers = keras.layers
    inputs = layers.Input(input_shape)
    x = layers.Dense(width, name="first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.3, name="dropout")(layers.ReLU(name="relu")(x))
    x = layers.Dense(width, activation="relu", name="second")(x)
    outputs = layers.Dense(classes, activation=None if logits else "softmax", name="last")(x)
    return keras.Model(inputs, outputs, name="tiny")


def recipe(**changes: Any) -> dict[str, Any]:
    """Two dense epochs, two rounds of two epochs; `section__key=value` changes a value."""
    content: dict[str, Any] = {
        "name": "tiny",
        "seed": 3,
        "model": {"function": "tiny_workflow:build"},
        "data": {"source": "function", "function": "tiny_workflow:examples"},
        "train": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01},
        "prune": {"target": {"sparsity": 0.6}, "rounds": 2, "schedule": {"frequency": 2}},
        "finetune": {"epochs": 2},
        "stop": {"max_drop": 0.9},
    }
    for path, value in changes.items():
        *sections, key = path.split("__")
        functools.reduce(lambda place, section: place.setdefault(section, {}), sections, content)[key] = value
    return content


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(recipe(**changes)))
    return path


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process of its own needs to find tfprune, this module and its home; nothing of the caller's MLflow."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "TFPRUNE_"))}
    return {**clean, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "TFPRUNE_HOME": str(home), **more}


def start(folder: Path, home: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start ``python -m tfprune`` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "tfprune", *arguments],
        cwd=folder,
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background hands down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def tfprune(folder: Path, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tfprune`` to its end."""
    process = start(folder, home, *arguments, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def warm_home(factory: Any) -> Path:
    """The one home that tests of a session share: making MLflow's tables takes seconds."""
    from tfprune.recipe import TrackSection
    from tfprune.tracking.workflows import Tracker

    home = factory.getbasetemp() / "home"
    if not home.exists():
        Tracker(TrackSection(uri=f"sqlite:///{home / 'mlflow.db'}"))
    return home


def empty_home(warm: Path, home: Path) -> Path:
    """Make a home whose MLflow tables are those of the warm one, with nothing in them."""
    home.mkdir()
    with closing(sqlite3.connect(warm / "mlflow.db")) as source, closing(sqlite3.connect(home / "mlflow.db")) as target:
        source.backup(target)
        for table in ("experiment_tags", "metrics", "params", "tags", "latest_metrics", "runs"):
            target.execute(f"DELETE FROM {table}")
        target.execute("DELETE FROM experiments WHERE name <> 'Default'")
        target.commit()
    return home


def finished(factory: Any) -> tuple[Path, dict[str, Any]]:
    """The folder and the printed result of a workflow that nobody disturbed, run once a session from a cold start."""
    folder = factory.getbasetemp() / "finished"
    if not folder.exists():
        folder.mkdir()
        done = tfprune(folder, folder / "home", "run", str(write(folder / "recipe.yaml")), "--json")
        assert done.returncode == 0, done.stderr
        (folder / "result.json").write_text(done.stdout)
    return folder, json.loads((folder / "result.json").read_text())
