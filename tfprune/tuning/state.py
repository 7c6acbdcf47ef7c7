"""A search on disk: whatever is finished is there, whole, so that nothing of it is done twice.

    mlruns/searches/digits-1/
        recipe.yaml         the recipe, overrides included
        search.json         what the oracle was asked and told, in order, and what is fixed once
        dense.keras         the model that all trials start from
        progress.npz        dense training after its last finished epoch
        trials/t000.json …  finished trials; t000.npz what a longer one goes on from, t000.plan.json units that fall
        finals/t003.json …  the best ones, fully fine-tuned; t003.npz their weights
        found.yaml          the winner as a recipe
        model.keras         the winner's plain model
        lock                held while a driver works here

A trial that was asked for and has no file was in flight; it is done again.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from tfprune.errors import RecipeError, StorageError
from tfprune.recipe import Recipe
from tfprune.results import Plan, Trial
from tfprune.storage import home, replacing, sweep, write_text
from tfprune.storage.folders import begin, held_if_well, hold, latest_first, looking_around

MARKER = "search.json"
_UNREADABLE = "is missing or damaged; remove {folder} and search again"


@dataclass
class Asked:
    """A trial that was begun.

    Attributes:
        number: of the trial.
        key: in the oracle; empty for a starting allocation.
        origin: see `Trial`.
        knobs: as the oracle asked.
        ratios: see `Trial`.
        epochs: of fine-tuning in all.
        warm_start: number of the trial it goes on from.
    """

    number: int
    key: str
    origin: str
    knobs: dict[str, float]
    ratios: dict[str, float]
    epochs: int
    warm_start: int | None = None


@dataclass
class Log:
    """What a search has settled.

    Attributes:
        name: e.g. ``digits-1``.
        id: unique over all machines.
        digest: of the recipe, the search included.
        fingerprint: of the data and of the model it started from.
        created: milliseconds since 1970.
        asked: trials that were begun, in their order.
        events: what the oracle was asked and told: ``ask`` or ``tell``, key, objective.
        finals: numbers of the trials to be fine-tuned fully, once that is known.
        outcome: one sentence, once finished.
    """

    name: str
    id: str
    digest: str
    fingerprint: str
    created: int
    asked: list[Asked] = field(default_factory=list)
    events: list[tuple[str, str, float | None]] = field(default_factory=list)
    finals: list[int] = field(default_factory=list)
    outcome: str = ""


_LOG = TypeAdapter(Log)
_TRIAL = TypeAdapter(Trial)


class SearchFolder:
    """A search's folder, held by one driver at a time."""

    def __init__(self, folder: Path, lock: FileLock) -> None:
        self.folder = folder
        self._lock = lock
        self.log = _read_log(folder)

    @property
    def dense(self) -> Path:
        """Where the dense model is, once it is trained."""
        return self.folder / "dense.keras"

    def keep(self) -> None:
        """Write the log."""
        with replacing(self.folder / MARKER) as path:
            path.write_bytes(_LOG.dump_json(self.log))

    def keep_trial(self, trial: Trial, weights: bytes | None = None, *, kind: str = "trials") -> None:
        """Write a finished trial; its weights first, as without them it would have to be done again."""
        if weights is not None:
            self.keep_weights(trial.label, weights, kind=kind)
        text = json.dumps(_TRIAL.dump_python(trial))  # pydantic writes null for what is no number, and refuses it then
        write_text(self.folder / kind / f"{trial.label}.json", text)

    def keep_weights(self, label: str, weights: bytes, *, kind: str = "trials") -> None:
        """Write what a trial has left."""
        with replacing(self.folder / kind / f"{label}.npz") as path:
            path.write_bytes(weights)

    def keep_plan(self, number: int, plan: Plan) -> None:
        """Write which units fall in a trial."""
        plan.save(self._plan(number))

    def plan(self, number: int) -> Plan | None:
        """Which units fall in a trial; None for masks."""
        return Plan.load(self._plan(number)) if self._plan(number).exists() else None

    def _plan(self, number: int) -> Path:
        return self.folder / "trials" / f"t{number:03d}.plan.json"

    def weights(self, label: str, *, kind: str = "trials") -> bytes:
        """What a trial has left.

        Raises:
            StorageError: it is gone.
        """
        path = self.folder / kind / f"{label}.npz"
        try:
            return path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path}: {_UNREADABLE.format(folder=self.folder)}") from error

    def trials(self, *, kind: str = "trials") -> dict[int, Trial]:
        """Finished trials by number."""
        found = {}
        for path in sorted((self.folder / kind).glob("t*[0-9].json")):
            try:
                trial = _TRIAL.validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                raise StorageError(f"{path}: {_UNREADABLE.format(folder=self.folder)}") from error
            found[trial.number] = trial
        return found

    def close(self) -> None:
        """Let another process in."""
        self._lock.release()


def open_search(
    recipe: Recipe, digest: str, fingerprint: str, created: int, *, resume: bool = True, directory: Path | None = None
) -> SearchFolder:
    """Take up the latest unfinished search of this recipe, or begin a new one.

    Args:
        recipe: what to search.
        digest: of it, search and all.
        fingerprint: of data and model.
        created: milliseconds since 1970, for a new one.
        resume: False always begins a new one.
        directory: where it is kept, in place of the tracking home.

    Raises:
        StorageError: the place cannot be written, or what is there cannot be read.
        RecipeError: `directory` holds another search, a finished one, or other files.
    """
    if directory is not None:
        return _at(directory.absolute(), recipe, digest, fingerprint, created, resume)
    room = home() / "searches"
    with looking_around(room):
        for folder in latest_first(room, recipe.name, MARKER) if resume else []:
            with suppress(RecipeError):
                return _take_up(folder, digest, fingerprint)

        def fill(path: Path) -> None:
            _fill(path, path.name, recipe, digest, fingerprint, created)

        folder = begin(room, recipe.name, fill)
        return SearchFolder(folder, hold(folder, "search"))


def _at(folder: Path, recipe: Recipe, digest: str, fingerprint: str, created: int, resume: bool) -> SearchFolder:
    """A search in a folder of the user's own, beside which nothing is touched."""
    if folder.is_file():
        raise RecipeError(f"{folder} is a file; give a directory for the search")
    if (folder / MARKER).is_file():
        if not resume:
            raise RecipeError(f"{folder} holds a search already; give another directory for a new one")
        return _take_up(folder, digest, fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = {each.name for each in folder.iterdir() if not each.name.startswith(".tmp-")} - {"lock"}
        if (folder / "recipe.yaml").is_file() and (folder / "recipe.yaml").read_bytes() == recipe.to_yaml().encode():
            others.discard("recipe.yaml")  # ours, of a beginning that was cut off
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; choose another place") from error
    if others:
        raise RecipeError(f"{folder} holds other files; give an empty directory for the search, or a new one")
    with held_if_well(hold(folder, "search")) as lock:
        _fill(folder, folder.name, recipe, digest, fingerprint, created)
        return SearchFolder(folder, lock)


def _fill(path: Path, name: str, recipe: Recipe, digest: str, fingerprint: str, created: int) -> None:
    write_text(path / "recipe.yaml", recipe.to_yaml())
    # Last, as it makes a search of the folder.
    write_text(path / MARKER, _LOG.dump_json(Log(name, uuid.uuid4().hex, digest, fingerprint, created)).decode())


def _take_up(folder: Path, digest: str, fingerprint: str) -> SearchFolder:
    with held_if_well(hold(folder, "search")) as lock:
        found = SearchFolder(folder, lock)
        _check_same(found.log, folder, digest, fingerprint)
        for each in (folder, folder / "trials", folder / "finals"):
            sweep(each)
        return found


def _check_same(log: Log, folder: Path, digest: str, fingerprint: str) -> None:
    if log.digest != digest or log.fingerprint != fingerprint:
        raise RecipeError(
            f"{folder} holds a search of another recipe, model or data; give another --directory, or the recipe that "
            f"it was begun with: {folder / 'recipe.yaml'}"
        )
    if log.outcome:
        raise RecipeError(f"search {folder.name!r} is finished: {log.outcome}")


def _read_log(folder: Path) -> Log:
    path = folder / MARKER
    try:
        return _LOG.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(f"{path}: {_UNREADABLE.format(folder=folder)}") from error


def unfinished(asked: Sequence[Asked], trials: dict[int, Trial]) -> list[Asked]:
    """Trials that were in flight when a driver stopped, in their order."""
    return [each for each in asked if each.number not in trials]
