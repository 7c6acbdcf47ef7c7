"""The way in: a data section, or data in hand, becomes `Data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfprune.data.csv_files import load_csv
from tfprune.data.datasets import data_from_objects
from tfprune.data.digits import load_digits
from tfprune.data.function import load_function
from tfprune.data.images import load_images
from tfprune.data.keras_datasets import load_keras
from tfprune.data.npz import load_npz
from tfprune.data.splits import Data, Split
from tfprune.data.tfds import load_tfds
from tfprune.data.tfrecord import load_tfrecord
from tfprune.errors import DataError
from tfprune.recipe import AnyData, DataSection

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Data", "Split", "from_arrays", "load_data"]

_LOADERS: dict[str, Callable[[Any, int], Data]] = {
    "csv": load_csv,
    "digits": load_digits,
    "function": load_function,
    "images": load_images,
    "keras": load_keras,
    "npz": load_npz,
    "tfds": load_tfds,
    "tfrecord": load_tfrecord,
}


def load_data(section: AnyData, seed: int) -> Data:
    """Load, check and split the data of a recipe.

    Args:
        section: the recipe's data section, one of the classes that carry a ``source``.
        seed: decides the splits; the same seed and data give the same splits.

    Returns:
        Three disjoint splits that together hold every example.

    Raises:
        DataError: one line with the file, record, column or label that is wrong, and what was expected.
        DependencyError: the source needs a package that is not installed.

    Example:
        >>> from tfprune.recipe import DigitsData
        >>> data = load_data(DigitsData(source="digits"), seed=0)
        >>> data.train.size, data.validation.size, data.test.size, data.input_shape
        (1257, 270, 270, (8, 8, 1))
    """
    return _LOADERS[section.source](section, seed)


def from_arrays(
    x: Any, y: Any = None, section: DataSection | None = None, seed: int = 0, *, metadata: Any = None
) -> Data:
    """Check and split data in hand.

    Args:
        x: inputs of shape (n, ...); int32 or int64 of shape (n, length) are token ids and stay integers, everything
            else becomes float32. Or, without `y`, a pair (x, y) or a dict of such pairs with ``train`` and optionally
            ``validation`` and ``test``; a part that is given is not split off. Unbatched finite datasets of
            (x, label) may stand in place of the pairs. A third item in any of them is metadata, in a dataset a dict
            of scalars.
        y: class indices of shape (n,) or (n, 1), or one-hot rows of shape (n, classes).
        section: shares, class names, `divide_by` and the names of metadata to keep; by default those of a recipe that
            says nothing, which keeps all.
        seed: decides the splits.
        metadata: beside `y`, columns that travel with the examples: arrays of shape (n,) by name, or a DataFrame.

    Raises:
        DataError: one line with the part, example, label or column that is wrong.

    Example:
        >>> import numpy as np
        >>> from_arrays(np.zeros((20, 4)), np.arange(20) % 2).train.size
        14
        >>> ages = np.arange(20)
        >>> from_arrays(np.zeros((20, 4)), ages % 2, metadata={"age": ages}).test.metadata["age"].shape
        (3,)
    """
    if metadata is not None and y is None:
        raise DataError("metadata is given without y; give it beside y, or as the third item of (x, y, metadata)")
    given = x if y is None else (x, y) if metadata is None else (x, y, metadata)
    return data_from_objects(given, section or DataSection(), seed)
