"""Rounds, and the workflow that they make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfprune.results.cost import Measurement
from tfprune.results.evaluation import Evaluation
from tfprune.results.export import Delivery

History = list[dict[str, float]]
"""One dict of training figures an epoch."""


@dataclass(frozen=True)
class Verdict:
    """Whether a round kept its promises.

    Attributes:
        passed: every gate held.
        reasons: one sentence for each gate that failed.
    """

    passed: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class TeacherCost:
    """What a teacher took of a fine-tuning.

    Attributes:
        macs: its multiply-accumulates for one example.
        seconds: that its answers took, by the time of a few batches.
        share: of the wall time of the fine-tuning, in [0, 1].
    """

    macs: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Round:
    """One score-prune-fine-tune-evaluate round; number 0 is the dense model.

    Attributes:
        number: 1, 2, … in the order they were tried, failed ones included.
        parent: the round whose weights it started from.
        target: sparsity asked for; of a structured round, the share asked for of what its target counts.
        sparsity: sparsity reached.
        share: share of the parent's remaining weights (or units, parameters, MACs …) that was pruned.
        evaluation: on the validation split, against the dense model.
        measurement: what the model weighs, layers left out.
        verdict: of the gates.
        history: one dict of training figures an epoch.
        seconds: wall time.
        finished: milliseconds since 1970, fixed once, so that recording twice is recording once.
        method: ``masking`` or ``structured``; of the dense model, the one that follows first.
        phase: which section of the recipe's `prune` it belongs to, from 0.
        removed: share of the dense model's prunable units that have left it, in [0, 1).
        reached: of a structured round, share of what its target counts that is gone since its phase began.
        teacher: what the dense model cost as a teacher; None where it did not teach.
    """

    number: int
    parent: int
    target: float
    sparsity: float
    share: float
    evaluation: Evaluation
    measurement: Measurement
    verdict: Verdict
    history: tuple[dict[str, float], ...] = ()
    seconds: float = 0.0
    finished: int = 0
    method: str = "masking"
    phase: int = 0
    removed: float = 0.0
    reached: float | None = None
    teacher: TeacherCost | None = None

    @property
    def label(self) -> str:
        """``dense`` or ``r01``, ``r02`` …."""
        return f"r{self.number:02d}" if self.number else "dense"


def best_round(rounds: Sequence[Round]) -> Round:
    """The furthest round that passed; the dense model passes by definition.

    A later phase starts at the best round of the one before, so whatever passed in it is further.
    """
    passed = [each for each in rounds if each.verdict.passed]
    return max(passed, key=lambda each: (each.phase, _reach(each), each.target, -each.number))


def _reach(finished: Round) -> float:
    return finished.sparsity if finished.method == "masking" else (finished.reached or 0.0)


@dataclass(frozen=True)
class RunResult:
    """What a workflow came to.

    Attributes:
        workflow: its name, e.g. ``digits-1``.
        outcome: one plain sentence.
        target_met: the target was reached with every gate held.
        rounds: all of them, the dense model first.
        best: number of the furthest round that passed.
        test_dense: the dense model on the test split.
        test: the best round on the test split, against the dense model.
        directory: where its weights and ledger are.
        tracking_uri: where its rounds are recorded.
        model: the best round's plain Keras model.
        delivery: what came of the recipe's export; None where it has none, or no round passed.
    """

    workflow: str
    outcome: str
    target_met: bool
    rounds: tuple[Round, ...]
    best: int
    test_dense: Evaluation
    test: Evaluation
    directory: Path
    tracking_uri: str
    model: Any = field(default=None, repr=False, compare=False)
    delivery: Delivery | None = None

    @property
    def best_round(self) -> Round:
        """The furthest round that passed; the dense model where none did."""
        return self.rounds[self.best]
