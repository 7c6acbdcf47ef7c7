"""Frozen values that one room hands to the next.

Accuracies and drops are fractions in [0, 1]; a drop is dense minus pruned, so positive means worse.
Sparsity is always the share of zeros among *prunable* weights (the kernels that masks may touch); where zeros are
counted among all weights, biases and normalization included, it is called overall sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


History = list[dict[str, float]]
"""One dict of training figures an epoch."""


@dataclass(frozen=True)
class SliceScore:
    """Accuracy of one slice.

    Attributes:
        name: as in the recipe or derived from it, e.g. ``class/8``.
        support: number of examples.
        accuracy: share answered rightly, in [0, 1].
        drop: dense accuracy minus this accuracy; None for the dense model itself.
    """

    name: str
    support: int
    accuracy: float
    drop: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """One model on one split, whole and by slice.

    Attributes:
        accuracy: over all examples, in [0, 1].
        loss: mean cross-entropy in nats.
        support: number of examples.
        drop: against the baseline; None without one.
        slices: in the order they were asked for.
    """

    accuracy: float
    loss: float
    support: int
    drop: float | None = None
    slices: tuple[SliceScore, ...] = ()

    def slice(self, name: str) -> SliceScore:
        """Return one slice's score by name.

        Raises:
            KeyError: no such slice.
        """
        for each in self.slices:
            if each.name == name:
                return each
        raise KeyError(name)

    @property
    def worst(self) -> SliceScore | None:
        """The slice with the largest drop, or the lowest accuracy where there is no baseline."""
        if not self.slices:
            return None
        return min(self.slices, key=lambda s: s.accuracy if s.drop is None else -s.drop)


@dataclass(frozen=True)
class LayerCost:
    """What one layer holds and does.

    Attributes:
        name: with the names of the models around it, ``outer/inner/dense``.
        kind: the layer's class name.
        output_shape: without the batch axis; empty where unknown.
        parameters: all weights, trainable or not.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, dense.
        reason: why nothing in it can be pruned; empty where something can.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    reason: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a model weighs.

    Attributes:
        parameters: all weights.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, as if dense.
        bytes: the weights in their own dtype.
        gzipped_bytes: the same after gzip, what a download or a flash image costs.
        layers: layer by layer, in the order of the model.
    """

    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    bytes: int
    gzipped_bytes: int
    layers: tuple[LayerCost, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights, in [0, 1]."""
        return self.zeros / self.prunable if self.prunable else 0.0

    @property
    def overall_sparsity(self) -> float:
        """Share of zeros among all weights, in [0, 1]."""
        return 1 - self.nonzero / self.parameters if self.parameters else 0.0


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
class Round:
    """One score-prune-fine-tune-evaluate round; number 0 is the dense model.

    Attributes:
        number: 1, 2, … in the order they were tried, failed ones included.
        parent: the round whose weights it started from.
        target: sparsity asked for.
        sparsity: sparsity reached.
        share: share of the parent's remaining weights that was pruned.
        evaluation: on the validation split, against the dense model.
        measurement: what the model weighs, layers left out.
        verdict: of the gates.
        history: one dict of training figures an epoch.
        seconds: wall time.
        finished: milliseconds since 1970, fixed once, so that recording twice is recording once.
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

    @property
    def label(self) -> str:
        """``dense`` or ``r01``, ``r02`` …."""
        return f"r{self.number:02d}" if self.number else "dense"


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

    @property
    def best_round(self) -> Round:
        """The furthest round that passed; the dense model where none did."""
        return self.rounds[self.best]
