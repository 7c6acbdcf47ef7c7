"""Random changes of training images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import tf
from tfprune.data.augment import AUGMENTATIONS, augment
from tfprune.errors import DataError


def images(count: int = 6, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, (count, size, size, 3)).astype(np.float32)


def batches(x: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, np.arange(len(x)))).batch(4)


def changed(x: np.ndarray, kinds: tuple[str, ...], seed: int = 0, epoch: int = 0) -> np.ndarray:
    found = list(augment(batches(x), kinds, seed=seed, epoch=epoch))
    assert np.concatenate([y for _, y in found]).tolist() == list(range(len(x)))
    return np.concatenate([each for each, _ in found])


def test_each_image_is_mirrored_or_not() -> None:
    x = images(40)
    got = changed(x, ("flip",))
    mirrored = [np.array_equal(one, other[:, ::-1]) for one, other in zip(got, x, strict=True)]
    kept = [np.array_equal(one, other) for one, other in zip(got, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 8 < sum(mirrored) < 32


@given(st.integers(4, 20), st.integers(4, 20), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_each_image_is_moved_by_an_eighth_at_most(height: int, width: int, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(1, 2, (3, height, width, 1)).astype(np.float32)
    got = AUGMENTATIONS["shift"](tf.constant(x), tf.constant([seed, 0])).numpy()
    down, right = max(1, height // 8), max(1, width // 8)
    for before, after in zip(np.pad(x, [(0, 0), (down, down), (right, right), (0, 0)]), got, strict=True):
        places = [
            (i, j)
            for i in range(2 * down + 1)
            for j in range(2 * right + 1)
            if np.array_equal(before[i : i + height, j : j + width], after)
        ]
        assert len(places) == 1


def test_changes_follow_from_seed_and_epoch() -> None:
    x, kinds = images(), ("flip", "shift")
    np.testing.assert_array_equal(changed(x, kinds, 3, 1), changed(x, kinds, 3, 1))
    assert not np.array_equal(changed(x, kinds, 3, 1), changed(x, kinds, 3, 2))
    assert not np.array_equal(changed(x, kinds, 3, 1), changed(x, kinds, 4, 1))


def test_batches_of_an_epoch_are_changed_differently() -> None:
    x = np.repeat(images(1), 8, axis=0)
    got = changed(x, ("shift",))
    assert not np.array_equal(got[:4], got[4:])


def test_nothing_asked_is_nothing_changed() -> None:
    given_batches = batches(images())
    assert augment(given_batches, (), seed=0, epoch=0) is given_batches


def test_what_is_no_image_is_refused() -> None:
    data = tf.data.Dataset.from_tensor_slices((np.zeros((4, 5), np.float32), np.zeros(4))).batch(2)
    with pytest.raises(DataError, match=r"are of shape \(5,\); leave it out"):
        augment(data, ("flip",), seed=0, epoch=0)
