"""Examples for scores that need gradients: the same batches each time they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import ImportanceError

Batch = tuple[Any, Any, Any]
"""Inputs, labels, sample weights or None."""


@dataclass(frozen=True)
class Batches:
    """Labelled examples that can be read again.

    Attributes:
        x: arrays (any nesting), or a batched tf.data.Dataset, or a keras.utils.Sequence of (x, y[, sample_weight]).
        y: labels, where x is arrays.
        sample_weight: where x is arrays.
        batch_size: where x is arrays.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    batch_size: int = 32

    def first(self, count: int, seed: int) -> Iterator[Batch]:
        """So many batches: of arrays those of a shuffle by `seed`, else the first ones.

        Raises:
            ImportanceError: nothing that can be read again, or no labels.
        """
        self.check()
        if isinstance(self.x, tf.data.Dataset | keras.utils.Sequence):
            # A Sequence is indexed: iterating over one never ends.
            source = self.x if isinstance(self.x, tf.data.Dataset) else map(self.x.__getitem__, range(len(self.x)))
            for each in islice(source, count):
                yield _labelled(each)
            return
        whole = (self.x, self.y, self.sample_weight)
        order = np.random.default_rng(seed).permutation(len(tf.nest.flatten(self.x)[0]))[: count * self.batch_size]
        for start in range(0, order.size, self.batch_size):
            rows = order[start : start + self.batch_size]
            yield tf.nest.map_structure(lambda array, rows=rows: None if array is None else _take(array, rows), whole)

    def check(self) -> None:
        """Raise an ImportanceError for what cannot be read again or has no labels, as far as that can be seen."""
        if isinstance(self.x, tf.data.Dataset | keras.utils.Sequence):
            return
        if not _are_arrays(self.x):
            raise ImportanceError(
                "scores need examples that can be read again: arrays, a tf.data.Dataset or a keras.utils.Sequence, but "
                f"got {type(self.x).__name__}; pass data=(x, y)"
            )
        if self.y is None:
            raise ImportanceError("scores need labels: give data=(x, y), or a tf.data.Dataset of (x, y)")
        given = [each for each in tf.nest.flatten((self.x, self.y, self.sample_weight)) if each is not None]
        if not _are_arrays(given) or len({len(each) for each in given}) > 1:
            raise ImportanceError(
                "scores need arrays of as many labels, and sample weights, as examples, but got "
                + ", ".join(f"{type(each).__name__}{list(getattr(each, 'shape', ()))}" for each in given[:4])
            )

    def without_last(self, share: float) -> Batches:
        """The same without the last share of arrays, which is what `fit` holds back for validation."""
        if not share or not _are_arrays(self.x):
            return self
        stay = int(len(tf.nest.flatten(self.x)[0]) * (1 - share))
        x, y, sample_weight = tf.nest.map_structure(
            lambda array: None if array is None else array[:stay], (self.x, self.y, self.sample_weight)
        )
        return Batches(x, y, sample_weight, self.batch_size)


def batches_of(data: Any) -> Batches:
    """Take what a user calls data: a tf.data.Dataset, a Sequence, or arrays as (x, y) or (x, y, sample_weight).

    Raises:
        ImportanceError: nothing of these.
    """
    batches = Batches(*data) if isinstance(data, tuple) and 2 <= len(data) <= 3 else Batches(data)
    batches.check()
    return batches


def _labelled(batch: Any) -> Batch:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is None:
        raise ImportanceError("scores need labels, but the data has none; give batches of (x, y)")
    return x, y, sample_weight


def _are_arrays(given: Any) -> bool:
    arrays = tf.nest.flatten(given)
    return bool(arrays) and all(isinstance(each, np.ndarray | tf.Tensor) and len(each.shape) > 0 for each in arrays)


def _take(array: Any, rows: np.ndarray) -> Any:
    return array[rows] if isinstance(array, np.ndarray) else tf.gather(array, rows)
