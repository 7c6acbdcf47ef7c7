"""What Python code hands over: arrays, or tf.data.Datasets whose inside cannot be seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.backend import tf
from tfprune.data.arrays import as_numbers, data_from_arrays
from tfprune.data.assign import check_parts
from tfprune.data.labels import class_indices
from tfprune.data.metadata import Brought
from tfprune.data.splits import is_tokens, scaled
from tfprune.data.streams import Stream, data_from_streams
from tfprune.errors import DataError

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import DataSection

_EXPECTED = "expected arrays (x, y), or a dict with 'train' and optionally 'validation' and 'test'"
_SCAN = 256


def data_from_objects(given: Any, section: DataSection, seed: int) -> Data:
    """Split (x, y), or a dict of parts that are all (x, y) or all unbatched finite datasets of (x, label).

    Either may have a third item: metadata columns by name or a DataFrame, and in a dataset a dict of scalars.

    Raises:
        DataError: the object is something else, or its content cannot be used.
    """
    parts = given if isinstance(given, Mapping) else {"train": given}
    check_parts(parts)
    if all(isinstance(part, tf.data.Dataset) for part in parts.values()):
        return _data_from_datasets(parts, section, seed)
    for name, part in parts.items():
        if isinstance(part, tf.data.Dataset):
            raise DataError(f"the {name} part is a Dataset, but others are arrays; give all parts in the same way")
        if not isinstance(part, tuple | list) or len(part) not in (2, 3):
            raise DataError(f"the {name} part is of type {type(part).__name__}; {_EXPECTED}")
    brought = {name: Brought(_columns(part[2], name)) for name, part in parts.items() if len(part) == 3}
    return data_from_arrays({name: tuple(part[:2]) for name, part in parts.items()}, section, seed, brought=brought)


def _columns(metadata: Any, part: str) -> dict[Any, Any]:
    """Columns by name, of a mapping or of anything that has columns as a DataFrame has them."""
    if isinstance(metadata, Mapping):
        return dict(metadata)
    if hasattr(metadata, "columns") and hasattr(metadata, "to_numpy"):
        return {name: metadata[name] for name in metadata.columns}
    raise DataError(
        f"the metadata of the {part} part is of type {type(metadata).__name__}; expected columns by name or a DataFrame"
    )


@dataclass(frozen=True)
class _Scan:
    """What one pass over a dataset tells."""

    labels: np.ndarray
    shape: tuple[int, ...]
    digest: str
    columns: dict[str, np.ndarray]


def _data_from_datasets(parts: Mapping[str, tf.data.Dataset], section: DataSection, seed: int) -> Data:
    scans = {name: _scan(dataset, name) for name, dataset in parts.items()}
    streams = {name: _stream(dataset, scans[name], section) for name, dataset in parts.items()}
    total = "".join(f"{name} {scan.digest};" for name, scan in sorted(scans.items()))
    return data_from_streams(streams, section, seed, digest=hashlib.sha256(total.encode()).hexdigest())


def _stream(dataset: tf.data.Dataset, scan: _Scan, section: DataSection) -> Stream:
    dtype = np.dtype(dataset.element_spec[0].dtype.as_numpy_dtype)
    keeps_ids = is_tokens(dtype, len(scan.shape)) and section.divide_by == 1.0

    def to_input(x: tf.Tensor) -> tf.Tensor:
        x = tf.ensure_shape(x, scan.shape)
        return tf.cast(x, tf.int64) if keeps_ids else scaled(x, section.divide_by)

    return Stream(
        scan.labels,
        lambda _: dataset.map(lambda x, *_: x).enumerate(),
        to_input,
        window=section.shuffle_buffer,
        brought=Brought(scan.columns),
    )


def _scan(dataset: tf.data.Dataset, part: str) -> _Scan:
    """Read everything once, keep labels and metadata, and make sure that a second reading gives the same order."""
    _check_spec(dataset, part)
    labels: list[np.ndarray] = []
    hashes: list[str] = []
    shape: tuple[int, ...] = ()
    columns: dict[str, list[np.ndarray]] = {}
    try:
        for x, y, *more in dataset.batch(_SCAN):
            inputs = as_numbers(x.numpy(), part, start=len(hashes) * _SCAN)
            shape = inputs.shape[1:]
            hashes.append(_hash(inputs, y.numpy()))
            labels.append(y.numpy())
            for name, values in more[0].items() if more else ():
                columns.setdefault(name, []).append(values.numpy())
        if not labels:
            raise DataError(f"the {part} part of the data is empty; expected at least one example")
        x, y, *_ = next(iter(dataset.batch(_SCAN)))
        again = _hash(as_numbers(x.numpy(), part), y.numpy())
    except tf.errors.OpError as error:
        raise DataError(f"the Dataset of the {part} part fails: {' '.join(error.message.split())[:200]}") from error
    if again != hashes[0]:
        raise DataError(
            f"the Dataset of the {part} part gives another order each time; take out its shuffle (tfprune shuffles)"
        )
    digest = hashlib.sha256("".join(hashes).encode()).hexdigest()
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return _Scan(class_indices(np.concatenate(labels), part), shape, digest, joined)


def _check_spec(dataset: tf.data.Dataset, part: str) -> None:
    spec = dataset.element_spec
    x, y, *more = spec if isinstance(spec, tuple) and len(spec) in (2, 3) else (None, None)
    scalars = more[0].values() if more and isinstance(more[0], dict) else more
    if not all(isinstance(item, tf.TensorSpec) for item in (x, y, *scalars)):
        raise DataError(f"the Dataset of the {part} part gives {spec}; expected a pair of tensors (x, label)")
    if more and not isinstance(more[0], dict):
        raise DataError(
            f"the Dataset of the {part} part gives a third item {more[0]}; expected a dict of scalars, its metadata"
        )
    if y.shape.rank == 1 and y.shape[0] != 1 and x.shape.rank and x.shape[0] is None:
        raise DataError(f"the Dataset of the {part} part looks batched; call .unbatch() on it (tfprune batches)")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"the Dataset of the {part} part never ends; take out its repeat()")


def _hash(x: np.ndarray, y: np.ndarray) -> str:
    header = f"{x.dtype.str} {x.shape} {y.dtype.str} {y.shape};".encode()
    return hashlib.sha256(header + x.tobytes() + y.tobytes()).hexdigest()
