"""A workflow on disk: what has been finished, so that nothing of it is done twice.

    mlruns/workflows/digits-1/
        recipe.yaml         the recipe, overrides included
        ledger.json         finished rounds and everything that is fixed once
        progress.npz        weights and optimizer after the last finished epoch of the current stretch
        round-00.npz …      weights of each finished round (00 is the dense model)
        model.keras         the best round, once all is done
        lock                held while a process works here

Every file is replaced whole, so a kill at any moment leaves the state before or after a step.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from tfprune.backend import keras
from tfprune.errors import RecipeError, StorageError
from tfprune.recipe import Recipe
from tfprune.results import Evaluation, Round
from tfprune.rounds.finetune import History
from tfprune.storage import home, replacing


@dataclass
class Ledger:
    """What a workflow has settled.

    Attributes:
        name: e.g. ``digits-1``.
        id: unique over all machines.
        digest: of the recipe.
        fingerprint: of the data and of the model it started from.
        created: milliseconds since 1970.
        rounds: finished ones.
        test_dense, test: the one look at the test split.
        outcome: one sentence, once finished.
        target_met: with it.
    """

    name: str
    id: str
    digest: str
    fingerprint: str
    created: int
    rounds: tuple[Round, ...] = ()
    test_dense: Evaluation | None = None
    test: Evaluation | None = None
    outcome: str = ""
    target_met: bool = False


_LEDGER = TypeAdapter(Ledger)


class Workflow:
    """A workflow's folder, held by one process at a time."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder = folder
        self._lock = lock
        self.ledger = _read_ledger(folder)

    def keep(self) -> None:
        """Write the ledger."""
        with replacing(self.folder / "ledger.json") as path:
            path.write_bytes(_LEDGER.dump_json(self.ledger, indent=1))

    def keep_round(self, number: int, model: keras.Model) -> None:
        """Write the weights of a finished round."""
        _write_arrays(self._round(number), _weights(model))

    def restore_round(self, number: int, model: keras.Model) -> None:
        """Set a model to the weights of a finished round."""
        with np.load(self._round(number)) as arrays:
            _set(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])

    def keep_progress(self, stretch: str, model: keras.Model, history: History) -> None:
        """Write weights, optimizer and history after an epoch of a stretch (``dense``, ``r01`` …)."""
        arrays = _weights(model)
        arrays.update({f"o{index}": each.numpy() for index, each in enumerate(model.optimizer.variables)})
        arrays["about"] = np.array(json.dumps({"stretch": stretch, "history": history}))
        _write_arrays(self.folder / "progress.npz", arrays)

    def restore_progress(self, stretch: str, model: keras.Model) -> History:
        """Set a model and its optimizer to the last finished epoch of a stretch; its history is empty if none is."""
        path = self.folder / "progress.npz"
        if not path.exists():
            return []
        with np.load(path) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["stretch"] != stretch:
                return []
            _set(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])
            optimizer = model.optimizer.variables
            _set(optimizer, [arrays[f"o{index}"] for index in range(len(optimizer))])
            return about["history"]

    def close(self) -> None:
        """Let another process in."""
        self._lock.release()

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}.npz"


def open_workflow(recipe: Recipe, fingerprint: str, created: int, *, resume: bool = True) -> Workflow:
    """Take up the latest unfinished workflow of this recipe, or begin a new one.

    Args:
        recipe: what to run.
        fingerprint: of data and model; an unfinished workflow on others is left alone.
        created: milliseconds since 1970, for a new one.
        resume: False always begins a new one.

    Raises:
        StorageError: the home cannot be written.
    """
    room = home() / "workflows"
    if resume:
        for folder in sorted(_folders(room, recipe.name), key=_number, reverse=True):
            workflow = _take_up(folder, recipe.digest, fingerprint)
            if workflow is not None:
                return workflow
    return _begin(room, recipe, fingerprint, created)


def unfinished(name: str | None = None) -> Path:
    """The folder of the named workflow, or of the latest unfinished one.

    Raises:
        RecipeError: there is none.
    """
    room = home() / "workflows"
    folders = [path.parent for path in room.glob("*/ledger.json")]
    if name is not None:
        if room / name not in folders:
            known = ", ".join(sorted(folder.name for folder in folders)) or "none"
            raise RecipeError(f"workflow {name!r}: not in {room}; there: {known}")
        return room / name
    waiting = [folder for folder in folders if not _read_ledger(folder).outcome]
    if not waiting:
        raise RecipeError(f"nothing to resume: no unfinished workflow in {room}; start one with tfprune run RECIPE")
    return max(waiting, key=lambda folder: (folder / "ledger.json").stat().st_mtime)


def _folders(room: Path, name: str) -> list[Path]:
    return [path.parent for path in room.glob(f"{name}-*/ledger.json") if path.parent.name[len(name) + 1 :].isdigit()]


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _take_up(folder: Path, digest: str, fingerprint: str) -> Workflow | None:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None  # somebody is at work here
    ledger = _read_ledger(folder)
    if ledger.outcome or ledger.digest != digest or ledger.fingerprint != fingerprint:
        lock.release()
        return None
    return Workflow(folder, lock)


def _begin(room: Path, recipe: Recipe, fingerprint: str, created: int) -> Workflow:
    try:
        room.mkdir(parents=True, exist_ok=True)
        with FileLock(room / ".lock"):
            taken = [
                _number(path) for path in room.glob(f"{recipe.name}-*") if path.name[len(recipe.name) + 1 :].isdigit()
            ]
            folder = room / f"{recipe.name}-{max(taken, default=0) + 1}"
            with replacing(folder) as path:
                path.mkdir()
                ledger = Ledger(folder.name, uuid.uuid4().hex, recipe.digest, fingerprint, created)
                (path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
                (path / "ledger.json").write_bytes(_LEDGER.dump_json(ledger, indent=1))
            lock = FileLock(folder / "lock")
            lock.acquire(timeout=0)
    except OSError as error:
        raise StorageError(
            f"cannot write {room}: {error.strerror or error}; free some space or set TFPRUNE_HOME"
        ) from error
    return Workflow(folder, lock)


def _read_ledger(folder: Path) -> Ledger:
    return _LEDGER.validate_json((folder / "ledger.json").read_bytes())


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"w{index}": each.numpy() for index, each in enumerate(model.weights)}


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _set(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
