"""Data that does not fit in memory: labels and metadata are kept, examples are read and decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.backend import tf
from tfprune.data.arrays import check_finite
from tfprune.data.assign import plan
from tfprune.data.digests import with_columns
from tfprune.data.metadata import Brought, Columns, gather, rows
from tfprune.data.splits import Data, Split
from tfprune.errors import DataError

if TYPE_CHECKING:
    from tfprune.recipe import DataSection


@dataclass(frozen=True)
class Stream:
    """One part of a source that streams.

    Attributes:
        labels: class indices by ordinal, the position of an example in the source.
        records: gives (ordinal, record) of everything, undecoded; in the fixed order, or with a generator in an
            order drawn from it.
        decode: turns a record into x, inside a graph.
        window: examples to shuffle at a time; 0 where `records` draws a full permutation itself.
        brought: metadata of the source itself.
    """

    labels: np.ndarray
    records: Callable[[np.random.Generator | None], tf.data.Dataset]
    decode: Callable[[Any], tf.Tensor]
    window: int = 0
    brought: Brought = field(default_factory=Brought)

    def read(self, ordinals: np.ndarray, rng: np.random.Generator | None = None) -> tf.data.Dataset:
        """Return unbatched (x, y) of the examples at `ordinals`; in the fixed order unless `rng` draws another."""
        chosen = np.zeros(len(self.labels), bool)
        chosen[ordinals] = True
        is_chosen, labels = tf.constant(chosen), tf.constant(self.labels)
        records = self.records(rng).filter(lambda ordinal, _: tf.gather(is_chosen, ordinal))
        if rng is not None and self.window:
            records = shuffle_windows(records, min(self.window, len(ordinals)), int(rng.integers(2**31)))
        examples = records.map(
            lambda ordinal, record: (self.decode(record), tf.gather(labels, ordinal)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return examples.apply(tf.data.experimental.assert_cardinality(len(ordinals)))


class StreamSplit(Split):
    """A split whose examples are read from a stream each time."""

    def __init__(self, name: str, stream: Stream, ordinals: np.ndarray, metadata: Columns | None = None) -> None:
        super().__init__(name, stream.labels[ordinals], metadata)
        self._stream, self._ordinals = stream, ordinals

    def examples(self) -> tf.data.Dataset:
        """See `Split.examples`."""
        return self._stream.read(self._ordinals)

    def epoch(self, batch_size: int, *, seed: int, epoch: int) -> tf.data.Dataset:
        """See `Split.epoch`."""
        examples = self._stream.read(self._ordinals, np.random.default_rng([seed, epoch]))
        return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def shuffle_windows(dataset: tf.data.Dataset, window: int, seed: int) -> tf.data.Dataset:
    """Shuffle a dataset one window of elements after the other.

    ``Dataset.shuffle`` mixes TensorFlow's global seed into its own, and so may differ between two processes; this
    depends on `seed` alone.
    """

    def mix(number: tf.Tensor, elements: Any) -> Any:
        size = tf.shape(tf.nest.flatten(elements)[0], tf.int64)[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed=tf.stack([seed, number]))
        return tf.nest.map_structure(lambda values: tf.gather(values, order), elements)

    batches = dataset.batch(window).enumerate()
    return batches.map(lambda number, elements: mix(number, elements)).unbatch()


def data_from_streams(
    parts: Mapping[str, Stream],
    section: DataSection,
    seed: int,
    names: Sequence[str] | None = None,
    *,
    digest: str,
) -> Data:
    """Split streams, and try the first examples of each split.

    Args:
        parts: streams by part, as `plan` takes them.
        section: shares, class names and metadata.
        seed: decides the splits.
        names: class names that the source knows.
        digest: over the content of the source.

    Raises:
        DataError: labels or parts that cannot be, metadata that does not fit the examples, or first examples that
            cannot be read.
    """
    classes, places = plan({part: stream.labels for part, stream in parts.items()}, section, seed, names)
    brought = {part: stream.brought for part, stream in parts.items()}
    columns = gather(section, {part: len(stream.labels) for part, stream in parts.items()}, brought)
    splits = {
        name: StreamSplit(name, parts[place.part], place.ordinals, rows(columns[place.part], place.ordinals))
        for name, place in places.items()
    }
    shapes = {name: split.examples().element_spec[0].shape for name, split in splits.items()}
    for name, split in splits.items():
        if shapes[name] != shapes["train"]:
            raise DataError(
                f"examples of the {name} part have shape {shapes[name]}, but those of train {shapes['train']}"
            )
        _try_first(split)
    return Data(splits["train"], splits["validation"], splits["test"], classes, with_columns(digest, columns))


def _try_first(split: Split, count: int = 32) -> None:
    try:
        x, _ = next(iter(split.examples().batch(count).take(1)))
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())[:200]
        raise DataError(f"the first examples of the {split.name} split cannot be decoded: {reason}") from error
    if x.dtype.is_floating:
        check_finite(x.numpy(), split.name)
