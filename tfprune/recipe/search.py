"""How `tfprune search` looks for the share that each layer loses; `tfprune run` takes no notice of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from tfprune.recipe.base import NUMBER, Count, OpenShare, Section

Weight = Annotated[float, Field(ge=0), NUMBER]
Factor = Annotated[int, Field(ge=2), NUMBER]
OracleName = Literal["random", "bayesian", "hyperband", "grid"]

_TRIALS = 24


class WeightedObjective(Section):
    """A weighted sum; weights need not add up to 1.

    Attributes:
        accuracy: weight of the accuracy over all examples.
        worst_slice: weight of the lowest accuracy of any slice with at least `stop.min_slice_size` examples.
    """

    accuracy: Weight = 0.0
    worst_slice: Weight = 0.0

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not self.accuracy + self.worst_slice:
            raise ValueError("objective needs a weight over 0 for accuracy or for worst_slice")
        return self


def _form(objective: Any) -> str:
    return "weights" if isinstance(objective, dict | WeightedObjective) else "name"


Objective = Annotated[
    Annotated[Literal["accuracy", "worst_slice"], Tag("name")] | Annotated[WeightedObjective, Tag("weights")],
    Discriminator(_form),
]


class SearchSection(Section):
    """A search for per-layer ratios under the budget that `prune.target` states.

    Attributes:
        oracle: of keras-tuner; ``hyperband`` begins with short trials and goes on with the better ones, ``grid`` tries
            three levels of every knob.
        trials: asked of the oracle, the starting allocations aside; by default 24, and with ``hyperband`` as many as
            its brackets have.
        epochs: of fine-tuning in a trial, with ``hyperband`` in its longest.
        steps: batches in each of these epochs; by default all.
        factor: with ``hyperband``, how many times longer, and fewer, the trials of the next rung are.
        objective: ``accuracy``, ``worst_slice``, or weights for both.
        knobs: how many ratios the oracle sets at most; layers share them.
        sensitivity: shares of one layer alone that are tried without training, before any trial.
        examples: of the validation part that these tries look at, at most.
        stop_hopeless: cut a trial short that after an epoch is worse than half of the earlier ones after it.
        finalists: how many of the best are fine-tuned as a round is, as long and with the teacher of
            `finetune.distill`; trials have none.
    """

    oracle: OracleName = "bayesian"
    trials: Count | None = None
    epochs: Count = 1
    steps: Count | None = None
    factor: Factor = 3
    objective: Objective = "accuracy"
    knobs: Count = 8
    sensitivity: tuple[OpenShare, ...] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    examples: Count = 1000
    stop_hopeless: bool = True
    finalists: Count = 3

    @model_validator(mode="after")
    def _ratios_rise(self) -> Self:
        if len(self.sensitivity) < 2 or list(self.sensitivity) != sorted(set(self.sensitivity)):
            raise ValueError("sensitivity needs two shares or more, each above the one before")
        return self

    @model_validator(mode="after")
    def _has_rungs(self) -> Self:
        if self.oracle == "hyperband" and self.epochs < self.factor:
            raise ValueError(
                f"oracle hyperband needs epochs of at least its factor {self.factor}, but epochs is {self.epochs}"
            )
        return self

    @property
    def most_trials(self) -> int | None:
        """How many trials the oracle is asked for; None leaves it to the brackets of hyperband."""
        return self.trials or (None if self.oracle == "hyperband" else _TRIALS)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each part of the objective."""
        if isinstance(self.objective, str):
            return {self.objective: 1.0}
        given = {"accuracy": self.objective.accuracy, "worst_slice": self.objective.worst_slice}
        return {name: weight for name, weight in given.items() if weight}

    @property
    def said(self) -> str:
        """The objective in a few words."""
        if isinstance(self.objective, str):
            return self.objective.replace("_", " ")
        return " + ".join(f"{weight:g} {name.replace('_', ' ')}" for name, weight in self.weights.items())
