"""Who goes where, for any labels, shares and seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.data.assign import SPLITS, assign, plan
from tfprune.recipe import DataSection

LABELS = st.lists(st.integers(0, 5), max_size=200).map(np.array)
SHARES = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)).filter(lambda shares: sum(shares) < 0.95)


@settings(deadline=None, max_examples=100)
@given(labels=LABELS, shares=SHARES, seed=st.integers(0, 2**31 - 1))
def test_sizes_are_exact_and_the_seed_decides(labels, shares, seed):
    validation, test = shares
    splits = assign(labels, validation=validation, test=test, seed=seed)
    n = len(labels)
    held_out = min(round(n * validation), n), min(round(n * test), n - round(n * validation))
    assert splits.shape == (n,)
    assert np.bincount(splits, minlength=3).tolist() == [n - sum(held_out), *held_out]
    np.testing.assert_array_equal(splits, assign(labels, validation=validation, test=test, seed=seed))


@settings(deadline=None, max_examples=100)
@given(labels=LABELS.filter(len), seed=st.integers(0, 2**31 - 1))
def test_every_class_is_divided_in_proportion(labels, seed):
    splits = assign(labels, validation=0.2, test=0.2, seed=seed)
    classes, counts = np.unique(labels, return_counts=True)
    room = (splits == 0).sum() >= len(classes)
    for label, count in zip(classes, counts, strict=True):
        held = [int(((splits == index) & (labels == label)).sum()) for index in (1, 2)]
        # One example for the rounding of the class, one for the rounding of the whole split, one for the tie.
        assert all(abs(number - 0.2 * count) <= 3 for number in held)
        if room and len(labels) >= 5 * len(classes):
            assert sum(held) < count, "a class lost its last training example"


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.tuples(st.integers(20, 80), st.integers(4, 20), st.integers(4, 20)),
    has=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_part_that_the_source_has_is_left_alone(sizes, has, seed):
    labels = {"train": np.arange(sizes[0]) % 2}
    labels |= {name: np.arange(size) % 2 for name, size, yes in zip(SPLITS[1:], sizes[1:], has, strict=True) if yes}
    _, places = plan(labels, DataSection(), seed)
    for name in SPLITS[1:]:
        if name in labels:
            assert (places[name].part, len(places[name].ordinals)) == (name, len(labels[name]))
        else:
            assert (places[name].part, len(places[name].ordinals)) == ("train", round(0.15 * sizes[0]))
    from_train = np.concatenate([place.ordinals for place in places.values() if place.part == "train"])
    assert sorted(from_train) == list(range(sizes[0]))


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_balanced_classes_stay_balanced(count):
    labels = np.arange(count * 4) % 4
    splits = assign(labels, validation=0.1, test=0.2, seed=3)
    for index, share in enumerate((0.7, 0.1, 0.2)):
        assert np.bincount(labels[splits == index]).tolist() == [share * count] * 4


def test_another_seed_is_another_split():
    labels = np.arange(200) % 2
    one, two = (assign(labels, validation=0.2, test=0.2, seed=seed) for seed in (0, 1))
    assert (one != two).any()
