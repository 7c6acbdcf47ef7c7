"""What to try next, by a keras-tuner Oracle. The one module that imports it.

An oracle is asked and told by one thread, and what it was asked and told is all that is kept of it: after a restart the
same is done again, which leads to the same state without its own files, and so to the same next question.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tfprune.backend import quiet_stderr
from tfprune.errors import StorageError
from tfprune.recipe import SearchSection
from tfprune.tuning.knobs import Knob

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with warnings.catch_warnings(), quiet_stderr():
    warnings.simplefilter("ignore")
    import keras_tuner as kt

_OBJECTIVE = "objective"
_KNOB = "knob:"  # before the names of knobs, as Hyperband has values of its own among them
LEVELS = 3
_NOISE = 0.1  # of an objective after a short fine-tune, as a share of the variance between trials
_DIGITS = 9
WELL = 10
"""So many knobs a Gaussian process over a few dozen trials still tells apart, and is asked in a second or two."""


@dataclass(frozen=True)
class Question:
    """What the oracle wants to know.

    Attributes:
        key: of it, in the oracle.
        knobs: their values.
        epochs: of fine-tuning in all.
        goes_on_from: key of the shorter trial whose weights it starts from.
    """

    key: str
    knobs: dict[str, float]
    epochs: int
    goes_on_from: str | None = None


class Oracle:
    """A keras-tuner Oracle that keeps nothing on disk.

    Args:
        section: which one, and how many questions.
        knobs: what it may set.
        seed: of its choices.
        known: answers to questions that it has not asked, knobs and objective: a Gaussian process learns from them.
        recorded: what it has asked before a restart, by key.
    """

    def __init__(
        self,
        section: SearchSection,
        knobs: Sequence[Knob],
        seed: int,
        known: Sequence[tuple[Mapping[str, float], float]] = (),
        recorded: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self._section = section
        space = _space(knobs, section.oracle)
        self._oracle = _make(section, space, seed + 1, recorded or {})  # 0 stands for none there
        self._oracle.verbose = 0
        for number, (values, objective) in enumerate(known if section.oracle == "bayesian" else ()):
            self._add_known(f"start{number}", space, values, objective)
        self._left = section.most_trials
        self._stopped = False

    def ask(self) -> Question | None:
        """The next question; None where there is none now: `is_done` says whether there will be one."""
        if self._stopped or self._left == 0:
            self._stopped = True
            return None
        trial = self._oracle.create_trial(f"slot{len(self._oracle.trials)}")
        if trial.status != "RUNNING":
            self._stopped = trial.status == "STOPPED"
            return None
        if self._left is not None:
            self._left -= 1
        values = trial.hyperparameters.values
        for name in [each for each in values if each.startswith(_KNOB)]:
            values[name] = round(float(values[name]), _DIGITS)  # in the oracle too: what is written is all there is
        return Question(
            trial.trial_id,
            {name.removeprefix(_KNOB): value for name, value in values.items() if name.startswith(_KNOB)},
            int(values.get("tuner/epochs", self._section.epochs)),
            values.get("tuner/trial_id"),
        )

    def tell(self, key: str, objective: float | None) -> None:
        """Answer a question; None where the trial failed."""
        trial = self._oracle.trials[key]
        if objective is None or not math.isfinite(objective):
            trial.status = "FAILED"
        else:
            self._oracle.update_trial(key, {_OBJECTIVE: objective})
            trial.status = "COMPLETED"
        self._oracle.end_trial(trial)

    @property
    def is_done(self) -> bool:
        """Whether all that it wants to know is asked."""
        return self._stopped

    def replay(self, events: Sequence[tuple[str, str, float | None]]) -> None:
        """Ask and answer again what was asked and answered before a restart.

        Args:
            events: in their order: ``ask``, key, None; or ``tell``, key, objective.

        Raises:
            StorageError: the oracle asks something else than it did.
        """
        for what, key, objective in events:
            if what == "tell":
                self.tell(key, objective)
                continue
            question = self.ask()
            if question is None or question.key != key:
                asked = "nothing" if question is None else question.key
                raise StorageError(
                    f"the oracle was asked for trial {key} before, and now gives {asked}: the search was begun with "
                    "another version of keras-tuner; begin anew with --fresh"
                )

    def _add_known(self, key: str, space: Any, values: Mapping[str, float], objective: float) -> None:
        trial = kt.engine.trial.Trial(space.copy(), key, "COMPLETED")
        trial.hyperparameters.values = {f"{_KNOB}{name}": value for name, value in values.items()}
        trial.score = objective
        self._oracle.trials[key] = trial


# ----------------------------------------------------------------------------------- keras-tuner's own


def _space(knobs: Sequence[Knob], oracle: str) -> Any:
    """Knobs as hyperparameters; a grid has few levels of each, the reference among them."""
    space = kt.HyperParameters()
    for knob in knobs:
        name = f"{_KNOB}{knob.name}"
        if oracle == "grid":
            levels = sorted({*np.linspace(knob.low, knob.high, LEVELS - 1).round(_DIGITS).tolist(), 0.0})
            space.Choice(name, levels, default=0.0, ordered=True)
        else:
            space.Float(name, knob.low, knob.high, default=min(max(0.0, knob.low), knob.high))
    return space


def _make(section: SearchSection, space: Any, seed: int, recorded: Mapping[str, Mapping[str, float]]) -> Any:
    arguments: dict[str, Any] = {
        "objective": kt.Objective(_OBJECTIVE, "max"),
        "hyperparameters": space,
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": seed,
        "max_consecutive_failed_trials": 10**9,  # to go on or not is not the oracle's to say
    }
    if section.oracle == "hyperband":
        return _Hyperband(max_epochs=section.epochs, factor=section.factor, **arguments)
    arguments["max_trials"] = None
    if section.oracle == "bayesian":
        oracle = _Bayesian(num_initial_points=max(2, len(space.space)), alpha=_NOISE, **arguments)
        oracle.recorded = dict(recorded)
        return oracle
    return (_Random if section.oracle == "random" else _Grid)(**arguments)


class _InMemory:
    """Leaves out the files that keras-tuner writes at every step: what is kept is kept elsewhere."""

    def save(self, *given: Any, **named: Any) -> None:
        pass

    def _save_trial(self, trial: Any) -> None:
        pass


class _Random(_InMemory, kt.oracles.RandomSearchOracle):
    pass


class _Grid(_InMemory, kt.oracles.GridSearchOracle):
    pass


class _Hyperband(_InMemory, kt.oracles.HyperbandOracle):
    pass


class _Bayesian(_InMemory, kt.oracles.BayesianOptimizationOracle):
    """Draws anew for each trial by its number, so that a recorded answer may stand for seconds of asking."""

    recorded: dict[str, Mapping[str, float]]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        is_known = trial_id in self.recorded
        completed = sum(trial.status == "COMPLETED" for trial in self.trials.values())
        if is_known and completed >= self.num_initial_points:
            values = {f"{_KNOB}{name}": value for name, value in self.recorded[trial_id].items()}
            return {"status": "RUNNING", "values": values}
        with threadpool_limits(1), warnings.catch_warnings():  # matrices this small are slower on many threads
            warnings.simplefilter("ignore")  # of a fit at its bounds, which is still the best there is
            return super().populate_space(trial_id)
