"""Answers to numbers: whole and by slice, against the dense model, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfprune.errors import DataError, SliceError
from tfprune.results import Evaluation, SliceScore
from tfprune.slices.answers import OTHER_ORDER, Answers
from tfprune.slices.define import Slice
from tfprune.slices.metrics import Metrics, value_over
from tfprune.slices.statistics import (
    accuracy_interval,
    drop_interval,
    expected_calibration_error,
    holm,
    mcnemar,
    mean_interval,
    weighted_accuracy_interval,
)

Sitting = Mapping[str, Answers]
"""A model's answers by variant; the clean examples under the empty name."""


def score(
    now: Sitting,
    slices: Sequence[Slice] = (),
    before: Sitting | None = None,
    *,
    min_support: int = 1,
    metrics: Metrics | None = None,
    tests: bool = True,
) -> Evaluation:
    """Score a model whole and by slice.

    Args:
        now: its answers.
        slices: of the same examples.
        before: the dense model's answers to them.
        min_support: slices with fewer examples take no part in Holm's correction.
        metrics: of the compiled model; the answers must hold the outputs.
        tests: False leaves out intervals and p-values, which take most of the time.

    Raises:
        DataError: the dense model answered other examples, or is read as one for another task.
        SliceError: all examples of a slice have weight 0.
    """
    clean = now[""]
    if before is not None:
        _check_same(now, before)
    everything = Slice("all", np.ones(len(clean.score), bool))
    whole = _of_slice(everything, now, before, metrics or {}, tests)
    scores = [_of_slice(each, now, before, metrics or {}, tests) for each in slices]
    tested = [place for place, each in enumerate(scores) if each.is_judged(min_support) and each.p_value is not None]
    adjusted = holm([scores[place].p_value or 0.0 for place in tested])
    for place, p_value in zip(tested, adjusted, strict=True):
        scores[place] = replace(scores[place], p_adjusted=p_value)
    loss = _mean(clean.loss, clean.weights)
    return Evaluation(whole, loss, tuple(scores), min_support)


def _check_same(now: Sitting, before: Sitting) -> None:
    """Raise DataError unless two models were asked the same."""
    tasks = [each[""].task for each in (before, now)]
    if len(set(tasks)) > 1:
        raise DataError(f"the dense model is read as {tasks[0]}, and this one as {tasks[1]}; name the task")
    if not all(np.array_equal(before[name].labels, now[name].labels) for name in now):
        raise DataError(OTHER_ORDER)


def _of_slice(which: Slice, now: Sitting, before: Sitting | None, metrics: Metrics, tests: bool) -> SliceScore:
    answers = now[which.variant]
    dense = None if before is None else before[which.variant]
    rows = np.flatnonzero(which.members)
    weights = None if answers.weights is None else answers.weights[rows]
    if weights is not None and not weights.any():
        raise SliceError(f"slice {which.name!r} holds only examples of weight 0; leave it out, or weigh some of them")
    values = answers.score[rows]
    is_error = answers.measure == "error"
    found = SliceScore(
        name=which.name,
        support=len(rows),
        score=_mean(values, weights),
        measure=answers.measure,
        variant=which.variant,
        rule=which.rule,
        selected=which.selected,
        metrics={name: value_over(each, answers, rows) for name, each in metrics.items()},
    )
    if not is_error and answers.task != "multilabel":
        error = expected_calibration_error(answers.confidence[rows], values, weights)
        found = replace(found, calibration_error=error)
    if not tests:
        return found if dense is None else _against(found, answers, dense, rows, weights)
    if is_error:
        found = replace(found, interval=mean_interval(values, weights))
    elif weights is not None:
        found = replace(found, interval=weighted_accuracy_interval(values, weights))
    else:
        found = replace(found, interval=accuracy_interval(int(values.sum()), len(rows)))
    return found if dense is None else _tested(_against(found, answers, dense, rows, weights), answers, dense, rows)


def _against(
    found: SliceScore, answers: Answers, dense: Answers, rows: np.ndarray, weights: np.ndarray | None
) -> SliceScore:
    """The score with what sets it apart from the dense model's."""
    now, before = answers.score[rows], dense.score[rows]
    if answers.measure == "error":
        return replace(found, drop=_mean(now.astype(np.float64) - before, weights))
    changed = answers.answer[rows] != dense.answer[rows]
    found = replace(found, churn=_mean(changed, weights))
    if weights is not None:
        return replace(found, drop=_mean(before.astype(np.float64) - now, weights))
    lost, gained = int(np.count_nonzero(before > now)), int(np.count_nonzero(now > before))
    return replace(found, drop=_mean(before, None) - _mean(now, None), lost=lost, gained=gained)


def _tested(found: SliceScore, answers: Answers, dense: Answers, rows: np.ndarray) -> SliceScore:
    """The drop with its interval, and with how likely chance alone gives such a one."""
    if found.lost is not None and found.gained is not None:
        interval = drop_interval(found.lost, found.gained, len(rows))
        return replace(found, drop_interval=interval, p_value=mcnemar(found.lost, found.gained))
    worse = answers.score[rows].astype(np.float64) - dense.score[rows]
    weights = None if answers.weights is None else answers.weights[rows]
    return replace(found, drop_interval=mean_interval(worse if answers.measure == "error" else -worse, weights))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(np.average(values.astype(np.float64), weights=weights))
