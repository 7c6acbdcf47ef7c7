"""What every data source becomes: three splits in a fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from tfprune.backend import tf


class Split(ABC):
    """One part of the data, in a fixed order.

    Attributes:
        name: ``train``, ``validation`` or ``test``.
        labels: int64 class indices, shape (size,), in that order.
        metadata: columns by name, each of shape (size,) and in that order: float64, where a value that is missing is
            NaN; bool; or str objects, where it is empty. Read-only; without columns where the source has none.
    """

    metadata: Mapping[str, np.ndarray]

    def __init__(self, name: str, labels: np.ndarray, metadata: Mapping[str, np.ndarray] | None = None) -> None:
        self.name = name
        self.labels = labels.astype(np.int64)
        self.labels.setflags(write=False)
        columns = {key: values.view() for key, values in (metadata or {}).items()}
        for values in columns.values():
            values.setflags(write=False)
        self.metadata = MappingProxyType(columns)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.size} examples>"

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.labels)

    @abstractmethod
    def examples(self) -> tf.data.Dataset:
        """Unbatched (x, y) in the fixed order: x float32, or int64 for token ids; y an int64 scalar."""

    @abstractmethod
    def epoch(self, batch_size: int, *, seed: int, epoch: int) -> tf.data.Dataset:
        """All examples once, shuffled, in batches of (x, y); the last batch may be smaller.

        The order follows from `seed` and `epoch` alone (both from 0), in any process, so an epoch that was cut short
        can be repeated exactly.
        """

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """All examples once in the fixed order, in batches of (x, y); the last batch may be smaller."""
        return self.examples().batch(batch_size).prefetch(tf.data.AUTOTUNE)


class ArraySplit(Split):
    """A split that lies in memory as one array.

    `x` has shape (size, ...) and keeps its dtype; examples are cast (and divided by `divide_by`) batch by batch.
    """

    def __init__(
        self,
        name: str,
        x: np.ndarray,
        labels: np.ndarray,
        *,
        divide_by: float = 1.0,
        metadata: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__(name, labels, metadata)
        self._divide_by = divide_by
        self._is_tokens = is_tokens(x.dtype, x.ndim - 1) and divide_by == 1.0
        with tf.device("CPU"):
            self._x, self._y = tf.constant(x), tf.constant(self.labels)

    def examples(self) -> tf.data.Dataset:
        """See `Split.examples`."""
        return tf.data.Dataset.range(self.size).map(self._take, tf.data.AUTOTUNE, deterministic=True)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """See `Split.batches`; gathers whole batches, which is faster than one example at a time."""
        return self._in_order(np.arange(self.size), batch_size)

    def epoch(self, batch_size: int, *, seed: int, epoch: int) -> tf.data.Dataset:
        """See `Split.epoch`; every order is possible."""
        return self._in_order(np.random.default_rng([seed, epoch]).permutation(self.size), batch_size)

    def _in_order(self, ordinals: np.ndarray, batch_size: int) -> tf.data.Dataset:
        batches = tf.data.Dataset.from_tensor_slices(ordinals.astype(np.int64)).batch(batch_size)
        return batches.map(self._take, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    def _take(self, ordinals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = tf.gather(self._x, ordinals), tf.gather(self._y, ordinals)
        return (tf.cast(x, tf.int64) if self._is_tokens else scaled(x, self._divide_by)), y


class Remembering(Split):
    """A split whose datasets are made once, for whoever reads the same epochs again and again.

    Making one traces its functions, which takes longer than reading a small one.

    Args:
        split: what it gives.
    """

    def __init__(self, split: Split) -> None:
        super().__init__(split.name, split.labels, split.metadata)
        self._split = split
        self._made: dict[tuple[int, ...], tf.data.Dataset] = {}

    def examples(self) -> tf.data.Dataset:
        """See `Split.examples`."""
        return self._split.examples()

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """See `Split.batches`."""
        return self._once((batch_size,), lambda: self._split.batches(batch_size))

    def epoch(self, batch_size: int, *, seed: int, epoch: int) -> tf.data.Dataset:
        """See `Split.epoch`."""
        make = partial(self._split.epoch, batch_size, seed=seed, epoch=epoch)
        return self._once((batch_size, seed, epoch), make)

    def _once(self, key: tuple[int, ...], make: Callable[[], tf.data.Dataset]) -> tf.data.Dataset:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@dataclass(frozen=True)
class Data:
    """A data source, split and ready to use.

    Attributes:
        train: what weights are fitted to.
        validation: what decisions are made with.
        test: for one look at the end.
        classes: names of the classes, by class index.
        digest: hex, over the content of the source, metadata included.
        vocabulary: of a text source, by token id; None for others.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    digest: str
    vocabulary: tuple[str, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one x, without batch axis."""
        return tuple(self.train.examples().element_spec[0].shape)

    @property
    def input_dtype(self) -> str:
        """``float32``, or ``int64`` for token ids."""
        return self.train.examples().element_spec[0].dtype.name


def is_tokens(dtype: np.dtype, rank: int) -> bool:
    """Whether examples of this dtype and rank are rows of token ids: int32 or int64, in one axis."""
    return dtype in (np.int32, np.int64) and rank == 1


def scaled(x: tf.Tensor, divide_by: float) -> tf.Tensor:
    """Return x as float32, divided."""
    x = tf.cast(x, tf.float32)
    return x if divide_by == 1.0 else x / divide_by
