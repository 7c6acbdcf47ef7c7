"""Scores without intervals and tests, for trials: everything else is the same number."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from tfprune.results import Evaluation, SliceScore
from tfprune.slices.answers import Answers
from tfprune.slices.define import Slice
from tfprune.slices.score import score

DRAW = np.random.default_rng(4)
COUNT = 120
TESTED = ("interval", "drop_interval", "p_value", "p_adjusted")
SLICES = [
    Slice("first", np.arange(COUNT) < 70),
    Slice("few", np.arange(COUNT) % 40 == 0),
    Slice("empty-ish", np.arange(COUNT) == 5),
]


def answers(seed: int, task: str, weighted: bool = False, measure: str = "accuracy") -> Answers:
    rng = np.random.default_rng(seed)
    labels, given = rng.integers(0, 3, (2, COUNT))
    correct = (labels == given).astype(np.float32) if measure == "accuracy" else rng.random(COUNT, np.float32)
    loss, confidence, margin, entropy = rng.random((4, COUNT), np.float32)
    weights = DRAW.random(COUNT).astype(np.float32) if weighted else None
    made: dict[str, Any] = {"task": task, "weights": weights}
    names = [each.name for each in fields(Answers)]
    values = {"labels": np.arange(COUNT) % 3, "answer": given, "score": correct, "loss": loss}
    values |= {"confidence": confidence, "margin": margin, "entropy": entropy}
    return Answers(**{name: value for name, value in {**values, **made}.items() if name in names})


def without_tests(given: SliceScore) -> SliceScore:
    return replace(given, **dict.fromkeys(TESTED))


def check_same(given: Evaluation, untested: Evaluation) -> None:
    assert (untested.loss, untested.min_support) == (given.loss, given.min_support)
    assert untested.whole == without_tests(given.whole)
    assert untested.slices == tuple(map(without_tests, given.slices))
    for each in (untested.whole, *untested.slices):
        assert all(getattr(each, name) is None for name in TESTED)


@pytest.mark.parametrize("against", [False, True], ids=["alone", "against-dense"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("task", "measure"), [("multiclass", "accuracy"), ("multilabel", "accuracy"), ("regression", "error")]
)
def test_all_but_tests_is_the_same(task: str, measure: str, weighted: bool, against: bool) -> None:
    now, dense = ({"": answers(seed, task, weighted, measure)} for seed in (1, 2))
    before = dense if against else None
    tested, plain = (score(now, SLICES, before, min_support=10, tests=tests) for tests in (True, False))
    assert tested.whole.interval is not None
    check_same(tested, plain)
    assert (plain.whole.drop is not None) == against
    assert plain.worst_scored == (None if tested.worst_scored is None else without_tests(tested.worst_scored))


def test_tests_are_made_where_nothing_is_said() -> None:
    now, before = {"": answers(1, "multiclass")}, {"": answers(2, "multiclass")}
    found = score(now, SLICES, before, min_support=10)
    assert found == score(now, SLICES, before, min_support=10, tests=True)
    judged = found.slices[0]
    assert None not in (judged.interval, judged.drop_interval, judged.p_value, judged.p_adjusted)
    assert judged.lost is not None and judged.gained is not None
