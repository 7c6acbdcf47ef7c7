"""A workflow on disk: what has been finished, so that nothing of it is done twice.

    mlruns/workflows/digits-1/
        recipe.yaml         the recipe, overrides included
        ledger.json         finished rounds and everything that is fixed once
        progress.npz        weights and optimizer after the last finished epoch of the current stretch
        rewind.npz          weights early in dense training, where the recipe rewinds to them
        round-00.npz …      weights of each finished round (00 is the dense model)
        round-01.plan.json … which units a structured round removes, there before its training begins
        model.keras         the best round, once all is done
        lock                held while a process works here

Every file is replaced whole, so a kill at any moment leaves the state before or after a step.
"""

from __future__ import annotations

import json
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from tfprune.errors import RecipeError, StorageError, SurgeryError, nearest
from tfprune.recipe import Recipe
from tfprune.results import History, Plan, Round
from tfprune.rounds.stop import Halt
from tfprune.storage import home, replacing, sweep
from tfprune.storage.folders import begin, held_if_well, hold, is_held, latest_first, looking_around

if TYPE_CHECKING:
    from tfprune.backend import keras


@dataclass
class Begun:
    """A phase that has begun: one section of the recipe's `prune`.

    Attributes:
        origin: number of the round it starts from.
        amount: what its target counts, in the model of that round; 1 where that is weights or units.
        halt: why it ended, once it has.
        times: milliseconds that the models of its rounds take, where latency is what counts.
    """

    origin: int
    amount: float = 1.0
    halt: Halt | None = None
    times: dict[int, float] = field(default_factory=dict)


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
        outcome: one sentence, once finished.
        phases: those that have begun.
    """

    name: str
    id: str
    digest: str
    fingerprint: str
    created: int
    rounds: tuple[Round, ...] = ()
    outcome: str = ""
    phases: tuple[Begun, ...] = ()


PROGRESS = "progress.npz"
_LEDGER = TypeAdapter(Ledger)
_UNREADABLE = "is missing or damaged; remove {folder} and run the recipe again"


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

    def keep_rewind(self, model: keras.Model) -> None:
        """Write the weights of the dense model that rounds will be rewound to."""
        _write_arrays(self._rewind, _weights(model))

    def restore_rewind(self, model: keras.Model) -> None:
        """Set a dense model to the weights that rounds are rewound to."""
        with _arrays(self._rewind) as arrays:
            set_variables(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])

    def keep_round(self, number: int, model: keras.Model) -> None:
        """Write the weights of a finished round."""
        _write_arrays(self._round(number), _weights(model))

    def restore_round(self, number: int, model: keras.Model) -> None:
        """Set a model to the weights of a finished round."""
        with _arrays(self._round(number)) as arrays:
            set_variables(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])

    def keep_plan(self, number: int, plan: Plan) -> None:
        """Write which units a round removes, for a later process to remove the same ones."""
        plan.save(self._plan(number))

    def has_plan(self, number: int) -> bool:
        """Whether it is settled which units a round removes."""
        return self._plan(number).exists()

    def restore_plan(self, number: int) -> Plan:
        """Which units a round removes."""
        try:
            return Plan.load(self._plan(number))
        except SurgeryError as error:
            raise StorageError(f"{self._plan(number)}: {_UNREADABLE.format(folder=self.folder)}") from error

    def drop_plan(self, number: int) -> None:
        """Forget the plan of a round that came to nothing."""
        self._plan(number).unlink(missing_ok=True)

    def keep_progress(self, stretch: str, model: keras.Model, history: History) -> None:
        """Write weights, optimizer and history after an epoch of a stretch (``dense``, ``r01`` …)."""
        write_progress(self._progress, stretch, model, history)

    def restore_progress(self, stretch: str, model: keras.Model) -> History:
        """Set a model and its optimizer to the last finished epoch of a stretch; its history is empty if none is."""
        return read_progress(self._progress, stretch, model)

    def close(self) -> None:
        """Let another process in."""
        self._lock.release()

    @property
    def _progress(self) -> Path:
        return self.folder / PROGRESS

    @property
    def _rewind(self) -> Path:
        return self.folder / "rewind.npz"

    def _round(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}.npz"

    def _plan(self, number: int) -> Path:
        return self.folder / f"round-{number:02d}.plan.json"


def open_workflow(
    recipe: Recipe, fingerprint: str, created: int, *, resume: bool = True, only: str | None = None
) -> Workflow:
    """Take up the latest unfinished workflow of this recipe, or begin a new one.

    Args:
        recipe: what to run.
        fingerprint: of data and model; an unfinished workflow on others is left alone.
        created: milliseconds since 1970, for a new one.
        resume: False always begins a new one.
        only: take up this workflow and no other.

    Raises:
        StorageError: the home cannot be written, or a workflow in it cannot be read.
        RecipeError: `only` cannot be taken up: it is finished, at work elsewhere, or was about other data.
    """
    room = home() / "workflows"
    with looking_around(room):
        if only is not None:
            return _take_up(room / only, recipe.digest, fingerprint)
        for folder in latest_first(room, recipe.name, "ledger.json") if resume else []:
            with suppress(RecipeError):
                return _take_up(folder, recipe.digest, fingerprint)
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
            raise RecipeError(f"workflow {name!r}: not in {room}; there: {known}{nearest(name, known.split(', '))}")
        return room / name
    waiting = []
    for folder in folders:
        with suppress(RecipeError):  # an older one
            if not (_read_ledger(folder).outcome or is_held(folder)):
                waiting.append(folder)
    if not waiting:
        raise RecipeError(f"nothing to resume: no unfinished workflow in {room}; start one with tfprune run RECIPE")
    return max(waiting, key=lambda folder: (folder / "ledger.json").stat().st_mtime)


def _take_up(folder: Path, digest: str, fingerprint: str) -> Workflow:
    with held_if_well(hold(folder, "workflow")) as lock:
        workflow = Workflow(folder, lock)
        ledger = workflow.ledger
        if ledger.outcome:
            raise RecipeError(f"workflow {folder.name!r} is finished; see it with tfprune compare {folder.name}")
        if ledger.digest != digest or ledger.fingerprint != fingerprint:
            raise RecipeError(
                f"workflow {folder.name!r}: its data, model or recipe has changed since; begin anew with tfprune run"
            )
        sweep(folder)
        return workflow


def _begin(room: Path, recipe: Recipe, fingerprint: str, created: int) -> Workflow:
    def fill(path: Path) -> None:
        (path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        ledger = Ledger(path.name, uuid.uuid4().hex, recipe.digest, fingerprint, created)
        (path / "ledger.json").write_bytes(_LEDGER.dump_json(ledger, indent=1))

    folder = begin(room, recipe.name, fill)
    return Workflow(folder, hold(folder, "workflow"))


def _read_ledger(folder: Path) -> Ledger:
    path = folder / "ledger.json"
    try:
        content = path.read_bytes()
        return _LEDGER.validate_json(content)
    except (OSError, ValidationError) as error:
        if isinstance(error, ValidationError) and _is_older(content):
            raise RecipeError(f"workflow {folder.name!r} was begun by an older tfprune; run the recipe anew") from error
        raise StorageError(f"{path}: {_UNREADABLE.format(folder=folder)}") from error


def _is_older(content: bytes) -> bool:
    """Whether a ledger is of before evaluations held the whole as a score."""
    try:
        return any("whole" not in each["evaluation"] for each in json.loads(content)["rounds"])
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Arrays as they were written; whatever is wrong with their file becomes one line."""
    try:
        with np.load(path) as arrays:
            yield arrays
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StorageError(f"{path}: {_UNREADABLE.format(folder=path.parent)}") from error


def write_progress(path: Path, stretch: str, model: keras.Model, history: History) -> None:
    """Write weights, optimizer and history after an epoch of a stretch of training."""
    arrays = _weights(model)
    arrays.update({f"o{index}": each.numpy() for index, each in enumerate(optimizer_state(model))})
    arrays["about"] = np.array(json.dumps({"stretch": stretch, "history": history}))
    _write_arrays(path, arrays)


def read_progress(path: Path, stretch: str, model: keras.Model) -> History:
    """Set a model and its optimizer to the last finished epoch of a stretch; its history is empty if none is."""
    if not path.exists():
        return []
    with _arrays(path) as arrays:
        about = json.loads(str(arrays["about"]))
        if about["stretch"] != stretch:
            return []
        set_variables(model.weights, [arrays[f"w{index}"] for index in range(len(model.weights))])
        optimizer = optimizer_state(model)
        set_variables(optimizer, [arrays[f"o{index}"] for index in range(len(optimizer))])
        return about["history"]


def optimizer_state(model: keras.Model) -> list[Any]:
    """All variables of a compiled model's optimizer, those of loss scaling included, which Keras does not list."""
    scaling = getattr(model.optimizer, "_loss_scale", None)
    return [*model.optimizer.variables, *getattr(scaling, "_weights", {}).values()]


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"w{index}": each.numpy() for index, each in enumerate(model.weights)}


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def set_variables(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Set variables one by one."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
