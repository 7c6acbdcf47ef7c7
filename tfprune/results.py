"""Frozen values that one room hands to the next.

Accuracies and drops are fractions in [0, 1]; a drop is dense minus pruned, so positive means worse.
Sparsity is always the share of zeros among *prunable* weights (the kernels that masks may touch); where zeros are
counted among all weights, biases and normalization included, it is called overall sparsity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import SurgeryError
from tfprune.storage import replacing

History = list[dict[str, float]]
"""One dict of training figures an epoch."""


Interval = tuple[float, float]
"""Lower and upper end, 95% confidence."""


@dataclass(frozen=True)
class SliceScore:
    """How a model answers one group of examples.

    Attributes:
        name: as in the recipe or derived from it, e.g. ``class_8``.
        support: number of examples.
        score: accuracy in [0, 1], weighted where examples have weights; of a regression the mean absolute error.
        drop: how much worse than the dense model: accuracy lost, or error gained; None without one.
        measure: ``accuracy`` or ``error``.
        interval: of the score.
        drop_interval: of the drop, over pairs of answers to the same examples.
        lost: examples that the dense model answers rightly and this one does not; None for regressions and weights.
        gained: the reverse.
        p_value: of the exact McNemar test against the dense model, two-sided.
        p_adjusted: the same after Holm's correction over the slices of the evaluation.
        calibration_error: expected calibration error, in [0, 1]; None where there is no confidence in one answer.
        churn: share of examples whose answer is another than the dense model's.
        metrics: of the compiled model, by name, where they were asked for.
        variant: the corruption under which the examples were answered, e.g. ``blur_3``; empty for none.
        rule: what a discovered slice has in common, e.g. ``age > 60 and site = b``.
        selected: its examples were chosen by answers of pruned models, so that the drop says how they were chosen.
    """

    name: str
    support: int
    score: float
    drop: float | None = None
    measure: str = "accuracy"
    interval: Interval | None = None
    drop_interval: Interval | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    calibration_error: float | None = None
    churn: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    variant: str = ""
    rule: str = ""
    selected: bool = False

    def is_judged(self, min_support: int) -> bool:
        """Whether it counts for worst, gap and `max_slice_drop`: it is large enough, and no answer has chosen it."""
        return self.support >= min_support and not self.selected

    @property
    def accuracy(self) -> float:
        """Share answered rightly, in [0, 1]; AttributeError for a regression, which has an `error`."""
        return self._named("accuracy")

    @property
    def error(self) -> float:
        """Mean absolute error of a regression; AttributeError for a classifier, which has an `accuracy`."""
        return self._named("error")

    def _named(self, measure: str) -> float:
        if self.measure != measure:
            raise AttributeError(f"there is no {measure} here, but {self.measure}")
        return self.score


@dataclass(frozen=True)
class Evaluation:
    """One model on one split, whole and by slice.

    Attributes:
        whole: over all examples; named ``all``.
        loss: mean cross-entropy in nats; of a regression the mean squared error.
        slices: in the order they were asked for.
        min_support: slices with fewer examples are shown, but gate nothing and are nobody's worst; nor are those whose
            examples answers of pruned models have chosen.
    """

    whole: SliceScore
    loss: float
    slices: tuple[SliceScore, ...] = ()
    min_support: int = 1

    @property
    def measure(self) -> str:
        """``accuracy`` or ``error``."""
        return self.whole.measure

    @property
    def score(self) -> float:
        """Of all examples."""
        return self.whole.score

    @property
    def accuracy(self) -> float:
        """Over all examples, in [0, 1]; AttributeError for a regression."""
        return self.whole.accuracy

    @property
    def error(self) -> float:
        """Mean absolute error over all examples; AttributeError for a classifier."""
        return self.whole.error

    @property
    def support(self) -> int:
        """Number of examples."""
        return self.whole.support

    @property
    def drop(self) -> float | None:
        """How much worse than the dense model over all examples; None without one."""
        return self.whole.drop

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
    def judged(self) -> tuple[SliceScore, ...]:
        """The slices with at least `min_support` examples that no answer of a pruned model has chosen."""
        return tuple(each for each in self.slices if each.is_judged(self.min_support))

    @property
    def worst(self) -> SliceScore | None:
        """Of the judged slices the one with the largest drop, or the worst score where there is no baseline."""
        by_drop = [each for each in self.judged if each.drop is not None]
        return max(by_drop, key=lambda each: each.drop or 0.0) if by_drop else self.worst_scored

    @property
    def worst_scored(self) -> SliceScore | None:
        """Of the judged slices the one with the lowest accuracy, or the highest error."""
        sign = 1 if self.measure == "accuracy" else -1
        return min(self.judged, key=lambda each: sign * each.score, default=None)

    @property
    def gap(self) -> float | None:
        """Between the best and the worst score of the judged slices."""
        scores = [each.score for each in self.judged]
        return max(scores) - min(scores) if scores else None


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
        gzipped_bytes: the same after gzip, what a download or a flash image costs; None where that was left out.
        layers: layer by layer, in the order of the model.
    """

    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    bytes: int
    gzipped_bytes: int | None
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


@dataclass(frozen=True)
class Coupling:
    """Units of a model that can be removed one by one, and are ranked against each other.

    Attributes:
        name: of the layer that makes them first; what else hangs on them is in `layers`.
        kind: ``filters`` (filters and neurons), ``groups`` (of filters), ``heads``, ``key_size`` (places in the vectors
            that attention compares), ``hidden`` (inexact ones), or ``blocks`` (all branches of one model).
        size: how many units.
        layers: every layer with weights that lose something with a unit.
        parameters: that leave with one unit, on average.
        macs: multiply-accumulates that leave with one unit, on average.
        score: their mean importance.
        exact: to remove a unit equals ignoring it.
    """

    name: str
    kind: str
    size: int
    layers: tuple[str, ...]
    parameters: int
    macs: int
    score: float
    exact: bool


@dataclass(frozen=True)
class Plan:
    """Which units of a model are to be removed; says the same of every model of the same architecture.

    Attributes:
        removed: numbers of the units to remove in each coupling, counted from 0.
        sizes: how many units each of these couplings has.
        blocks: names of the merge layers that lose a branch.
        units: how many units of the kinds that were allowed the model has.

    Example:
        >>> print(Plan({"conv": (0, 3)}, {"conv": 8}, blocks=("add",)))
        conv: 2 of 8
        add: its branch
    """

    removed: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    blocks: tuple[str, ...] = ()
    units: int = 0

    def __str__(self) -> str:
        """One line a coupling: how many of how many fall."""
        lines = [f"{name}: {len(gone)} of {self.sizes[name]}" for name, gone in self.removed.items()]
        lines += [f"{name}: its branch" for name in self.blocks]
        return "\n".join(lines) or "nothing falls"

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            StorageError: the disk refuses.
        """
        with replacing(Path(path)) as file:
            content = {"format": 1, **asdict(self)}
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read what `save` wrote.

        Raises:
            SurgeryError: no such file, or no plan in it.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != 1:
                raise ValueError("of another version")
            removed = {str(name): tuple(sorted(set(map(int, gone)))) for name, gone in content["removed"].items()}
            sizes = {str(name): int(size) for name, size in content["sizes"].items()}
            return cls(removed, sizes, tuple(map(str, content["blocks"])), int(content["units"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or f"it is no plan ({error})"
            raise SurgeryError(f"{path}: {reason}; give a file that Plan.save or --save-plan wrote") from error


@dataclass(frozen=True, eq=False)
class LayerSurgery:
    """What one layer lost.

    Attributes:
        name: with the names of the models around it, ``outer/inner/dense``.
        kind: the layer's class name.
        kept_inputs: int (inputs kept,), indices into the original's input channels, of the first of several inputs;
            None where it has no such axis.
        kept_outputs: the same of its output channels, of the first of several outputs.
        kept: for each of the original layer's weights, for each of its axes, the kept indices.
        exact: what was removed equals ignoring it.
    """

    name: str
    kind: str
    kept_inputs: np.ndarray | None
    kept_outputs: np.ndarray | None
    kept: tuple[tuple[np.ndarray, ...], ...]
    exact: bool


@dataclass(frozen=True, eq=False)
class SurgeryReport:
    """What structured pruning did to a model.

    Attributes:
        plan: that was followed; replays on another copy of the model with `tfprune.apply`.
        before: cost of the original.
        after: cost of the result.
        layers: those that changed, by name.
        frozen: by layer, why what it touches was kept.
        blocks: names of the merge layers that lost a branch.
        removed: units removed.
        units: units that there were of the kinds that were allowed.
        latency_ms: of the result in LiteRT, where there was a budget of time.
    """

    plan: Plan
    before: Measurement
    after: Measurement
    layers: dict[str, LayerSurgery]
    frozen: dict[str, str]
    blocks: tuple[str, ...]
    removed: int
    units: int
    latency_ms: float | None = None

    def __repr__(self) -> str:
        """A few lines; the indices are in `layers` and in `plan`."""
        sizes = [
            f"{name}: {old:,} to {new:,}"
            for name, old, new in (
                ("parameters", self.before.parameters, self.after.parameters),
                ("multiply-accumulates", self.before.macs, self.after.macs),
                ("bytes", self.before.bytes, self.after.bytes),
            )
        ]
        frozen = [f"kept whole: {name} ({why})" for name, why in self.frozen.items()]
        return "\n".join([f"{self.removed} of {self.units} units removed", *sizes, str(self.plan), *frozen])

    @property
    def exact(self) -> bool:
        """Whether the result computes what the original does when it ignores the removed units."""
        return all(each.exact for each in self.layers.values())
