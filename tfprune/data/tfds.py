"""tensorflow-datasets, an optional package."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.backend import tf
from tfprune.data.digests import digest_files
from tfprune.data.keras_datasets import network_timeout
from tfprune.data.labels import class_indices
from tfprune.data.splits import is_tokens, scaled
from tfprune.data.streams import Stream, data_from_streams
from tfprune.errors import DataError, DependencyError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import TfdsData

_TIMEOUT = 30.0
_HOST = "https://storage.googleapis.com"  # where tfds looks first for every data set


def load_tfds(section: TfdsData, seed: int) -> Data:
    """Return a data set of tensorflow-datasets; its parts train, validation and test are used as far as it has them.

    Raises:
        DependencyError: the package is not installed.
        DataError: an unknown name, no (input, label) pairs, or the data set is not on this machine and cannot be
            fetched.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DependencyError("data source tfds needs a package: pip install tensorflow-datasets") from error
    builder = _builder(tfds, section)
    keys = builder.info.supervised_keys
    if not keys or len(keys) != 2 or not isinstance(builder.info.features[keys[1]], tfds.features.ClassLabel):
        raise DataError(f"tfds data set {section.name!r} has no pairs of input and class; use another one")
    found = [part for part in ("train", "validation", "test") if part in builder.info.splits]
    parts = {part: _stream(tfds, builder, part, section) for part in found}
    digest = "".join(digest_files(sorted(builder.info.splits[part].filepaths)) for part in found)
    return data_from_streams(parts, section, seed, builder.info.features[keys[1]].names, digest=digest)


def _builder(tfds: Any, section: TfdsData) -> Any:
    """The builder of a data set that lies on this machine, fetched where it did not."""
    directory = section.directory and str(section.directory)
    try:
        builder = tfds.builder(section.name, data_dir=directory)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        known = tfds.list_builders()
        raise DataError(f"data.name: no tfds data set {section.name!r}{nearest(section.name, known)}") from error
    try:
        with network_timeout(_TIMEOUT):
            if not Path(builder.data_dir).exists():
                _check_network()
            builder.download_and_prepare()
    except Exception as error:  # each data set fetches in a way of its own
        raise DataError(
            f"tfds data set {section.name!r} is not on this machine, and its first use needs a network: connect once, "
            f"or name the folder that holds it in data.directory ({type(error).__name__})"
        ) from error
    return builder


def _check_network() -> None:
    """Raise OSError when there is no network; left to itself, tfds retries for minutes before it says so."""
    try:
        urllib.request.urlopen(_HOST).close()
    except urllib.error.HTTPError:
        return  # whoever refuses is there


def _stream(tfds: Any, builder: Any, part: str, section: TfdsData) -> Stream:
    x_key, y_key = builder.info.supervised_keys
    feature = builder.info.features[x_key]
    if None in feature.shape:
        raise DataError(f"tfds data set {section.name!r} has examples of different shapes {feature.shape}; use another")
    # Images stay encoded until after the split is chosen.
    skips = isinstance(feature, tfds.features.Image)
    only_labels = builder.as_dataset(split=part, decoders=tfds.decode.PartialDecoding({y_key: True}))
    labels = [np.zeros(0, np.int64), *(batch[y_key].numpy() for batch in only_labels.batch(1024))]

    def records(_: np.random.Generator | None) -> tf.data.Dataset:
        decoders = {x_key: tfds.decode.SkipDecoding()} if skips else None
        dataset = builder.as_dataset(split=part, shuffle_files=False, decoders=decoders)
        return dataset.map(lambda example: example[x_key]).enumerate()

    def to_input(record: tf.Tensor) -> tf.Tensor:
        x = feature.decode_example(record) if skips else record
        keeps_ids = is_tokens(np.dtype(x.dtype.as_numpy_dtype), x.shape.rank) and section.divide_by == 1.0
        return tf.cast(x, tf.int64) if keeps_ids else scaled(x, section.divide_by)

    return Stream(class_indices(np.concatenate(labels), part), records, to_input, window=section.shuffle_buffer)
