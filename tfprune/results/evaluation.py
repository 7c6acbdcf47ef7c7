"""How a model answers, over all examples and by slice."""

from __future__ import annotations

from dataclasses import dataclass, field

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
