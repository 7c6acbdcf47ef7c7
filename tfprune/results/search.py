"""What a search tries, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfprune.results.cost import Measurement
from tfprune.results.evaluation import Evaluation
from tfprune.results.rounds import TeacherCost


@dataclass(frozen=True)
class SensitivityCurve:
    """How a model answers when one layer alone is pruned, without any training.

    Attributes:
        name: of the layer; of structured pruning, of the coupling.
        ratios: shares of its weights or units that were pruned, rising, each in (0, 1).
        scores: accuracy in [0, 1], one a ratio.
        losses: as in `Evaluation.loss`, one a ratio.
    """

    name: str
    ratios: tuple[float, ...]
    scores: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Sensitivity:
    """How much each part of a model matters.

    Attributes:
        method: ``masking`` or ``structured``.
        score: accuracy of the dense model on the same examples, in [0, 1].
        loss: of the dense model on the same examples.
        examples: how many were looked at.
        curves: in the model's order.
    """

    method: str
    score: float
    loss: float
    examples: int
    curves: tuple[SensitivityCurve, ...]


@dataclass(frozen=True)
class Trial:
    """One set of per-layer ratios, tried.

    Attributes:
        number: from 0, in the order they were proposed.
        origin: a starting allocation, ``uniform``, ``erk``, ``lamp``, ``global``, ``recipe`` (its own scope) or
            ``sensitivity``; or ``oracle``.
        knobs: by name, as the oracle asked; empty for a starting allocation.
        ratios: by layer or coupling, share of it that is pruned, in [0, 1), after projection onto the budget.
        epochs: of fine-tuning in all, those of the trial it went on from included.
        warm_start: number of the trial whose weights it went on from; None where it began at the warm model.
        status: ``completed``, ``stopped`` (hopeless, and cut short) or ``failed``.
        objective: higher is better; None where it failed.
        evaluation: on the validation split, against the dense model; None where it failed.
        sparsity: share of zeros among the prunable weights, in [0, 1].
        measurement: what the model weighs, layers left out.
        latency_ms: of one example in LiteRT, of structured trials; None where LiteRT does not take the model, and for
            masks, which leave it as it is.
        message: why it failed or was cut short; else empty.
        seconds: wall time.
        attempts: how many times it was begun, from 1.
        finished: milliseconds since 1970, fixed once, so that recording twice is recording once.
        history: one dict of training figures an epoch.
        teacher: of a final, what the dense model cost as a teacher; None where it did not teach.
    """

    number: int
    origin: str
    knobs: dict[str, float]
    ratios: dict[str, float]
    epochs: int
    warm_start: int | None = None
    status: str = "completed"
    objective: float | None = None
    evaluation: Evaluation | None = None
    sparsity: float | None = None
    measurement: Measurement | None = None
    latency_ms: float | None = None
    message: str = ""
    seconds: float = 0.0
    attempts: int = 1
    finished: int = 0
    history: tuple[dict[str, float], ...] = ()
    teacher: TeacherCost | None = None

    @property
    def label(self) -> str:
        """``t000``, ``t001`` …."""
        return f"t{self.number:03d}"


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Attributes:
        search: its name, e.g. ``digits-1``.
        outcome: one plain sentence.
        objective: in words, e.g. ``worst slice`` or ``0.7 accuracy + 0.3 worst slice``.
        dense: the dense model on the validation split.
        trials: all of them, by number.
        finals: the best few, fully fine-tuned, each with the number of the trial that it comes from.
        best: number of the winner, which is a final.
        test_dense: the dense model on the test split.
        test: the winner on the test split, against the dense model.
        sensitivity: of the dense model, layer by layer.
        directory: where trials and weights are.
        recipe: file of the recipe that runs the winner's ratios.
        tracking_uri: where its trials are recorded.
        model: the winner's plain Keras model.
    """

    search: str
    outcome: str
    objective: str
    dense: Evaluation
    trials: tuple[Trial, ...]
    finals: tuple[Trial, ...]
    best: int
    test_dense: Evaluation
    test: Evaluation
    sensitivity: Sensitivity
    directory: Path
    recipe: Path
    tracking_uri: str
    model: Any = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """A few lines; the trials are in `trials`, all ratios in `winner.ratios`."""
        winner, most = self.winner, 6
        ratios = [f"{name} {ratio:.3f}" for name, ratio in winner.ratios.items()]
        more = [f"and {len(ratios) - most} more"] * (len(ratios) > most)
        told = ((self.trials, "trial"), (self.finals, "final"))
        counts = [f"{len(each)} {word}{'s' * (len(each) != 1)}" for each, word in told]
        return "\n".join(
            [
                f"search {self.search}: {', '.join(counts)}",
                self.outcome or "no outcome",
                f"winner {winner.label} ({winner.origin}): {', '.join(ratios[:most] + more)}",
                f"recipe: {self.recipe}",
            ]
        )

    @property
    def winner(self) -> Trial:
        """The final that won."""
        return next(each for each in self.finals if each.number == self.best)
