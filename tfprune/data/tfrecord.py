"""TFRecord files of tf.train.Example."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.backend import tf
from tfprune.data.digests import digest_files
from tfprune.data.labels import class_indices
from tfprune.data.metadata import Brought
from tfprune.data.pictures import FIRST_BYTES, decode, problem
from tfprune.data.splits import scaled
from tfprune.data.streams import Stream, data_from_streams
from tfprune.errors import DataError, nearest

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import TFRecordData

_SCAN = 1024
_TYPES = {"int64_list": tf.int64, "float_list": tf.float32, "bytes_list": tf.string}


def load_tfrecord(section: TFRecordData, seed: int) -> Data:
    """Return the examples of TFRecord files, in the order of their file names.

    One pass reads all labels and metadata and the first bytes of all images; images are decoded when asked for.

    Raises:
        DataError: no file matches, or a record is corrupt or lacks a feature; names file and record, from 0.
    """
    if section.image == section.label:
        raise DataError(f"data.image and data.label are both {section.image!r}; they are two features of a record")
    patterns = {"train": section.path} | ({"test": section.test_path} if section.test_path else {})
    files = {part: matching(pattern) for part, pattern in patterns.items()}
    parts = {part: _stream(found, section, part) for part, found in files.items()}
    digest = "".join(digest_files(found) for found in files.values())
    return data_from_streams(parts, section, seed, digest=digest)


def matching(pattern: str) -> list[Path]:
    """Return the files that a path or glob stands for, sorted.

    Raises:
        DataError: there is none.
    """
    exact = Path(pattern)
    found = [exact] if exact.is_file() else sorted(Path(p) for p in glob.glob(pattern, recursive=True))  # noqa: PTH207
    found = [path for path in found if path.is_file()]
    if not found:
        raise DataError(f"no file matches {pattern!r}")
    return found


def _stream(files: list[Path], section: TFRecordData, part: str) -> Stream:
    kinds = next(filter(None, (_kinds(file, section) for file in files)), {})
    extra = {name: kind for name, kind in kinds.items() if name in section.metadata}
    scanned = [_scan(file, section, extra) for file in files]
    counted = [labels for labels, _ in scanned]
    starts = np.cumsum([0, *map(len, counted[:-1])]).astype(np.int64)
    names = np.array([str(file) for file in files])

    def records(rng: np.random.Generator | None) -> tf.data.Dataset:
        order = np.arange(len(files)) if rng is None else rng.permutation(len(files))
        ordered = tf.data.Dataset.from_tensor_slices((names[order], starts[order]))
        # Reading several files in turn lets a window mix what lies far apart; the fixed order reads one by one.
        at_once = 1 if rng is None else min(len(files), 16)
        return ordered.interleave(
            lambda name, start: tf.data.TFRecordDataset(name).enumerate(start), cycle_length=at_once
        )

    def to_input(record: tf.Tensor) -> tf.Tensor:
        content = tf.io.parse_single_example(record, {section.image: tf.io.FixedLenFeature([], tf.string)})
        return scaled(_picture(content[section.image], section), section.divide_by)

    brought = Brought({name: np.concatenate([columns[name] for _, columns in scanned]) for name in extra}, list(kinds))
    labels = class_indices(np.concatenate(counted), part)
    return Stream(labels, records, to_input, window=section.shuffle_buffer, brought=brought)


def _picture(content: tf.Tensor, section: TFRecordData) -> tf.Tensor:
    if section.encoding == "raw":
        return tf.reshape(tf.io.decode_raw(content, tf.uint8), section.shape)
    return tf.ensure_shape(decode(content, section.shape[2]), section.shape)


def _kinds(file: Path, section: TFRecordData) -> dict[str, str]:
    """The features of the first record besides its image, with the field that holds each; only for metadata."""
    if not section.metadata:
        return {}
    try:
        for record in tf.data.TFRecordDataset(str(file)).take(1):
            if _problem(record.numpy(), section, {}):
                break
            features = tf.train.Example.FromString(record.numpy()).features.feature
            kinds = {name: features[name].WhichOneof("kind") for name in sorted(features) if name != section.image}
            return {name: kind for name, kind in kinds.items() if kind}
    except tf.errors.OpError as error:
        raise DataError(_first_problem(file, section, {})) from error
    return {}


def _scan(file: Path, section: TFRecordData, extra: Mapping[str, str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All labels and metadata of a file, after a look at the first bytes and the length of all images."""
    features = {
        section.image: tf.io.FixedLenFeature([], tf.string),
        section.label: tf.io.FixedLenFeature([], tf.int64),
        **{name: tf.io.FixedLenFeature([], _TYPES[kind]) for name, kind in extra.items()},
    }

    def scan(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        parsed = tf.io.parse_example(records, features)
        content = parsed[section.image]
        if section.encoding == "raw":
            is_sound = tf.strings.length(content) == int(np.prod(section.shape))
        else:
            first = tf.strings.substr(content, 0, 2)
            is_sound = tf.reduce_any(first[:, tf.newaxis] == tf.constant(FIRST_BYTES), axis=1)
        return parsed[section.label], is_sound, {name: parsed[name] for name in extra}

    labels = [np.zeros(0, np.int64)]
    columns = {name: [np.zeros(0, _TYPES[kind].as_numpy_dtype)] for name, kind in extra.items()}
    try:
        for values, is_sound, more in tf.data.TFRecordDataset(str(file)).batch(_SCAN).map(scan):
            if not np.all(is_sound):
                raise DataError(_first_problem(file, section, extra))
            labels.append(values.numpy())
            for name, column in more.items():
                columns[name].append(column.numpy())
    except tf.errors.OpError as error:
        raise DataError(_first_problem(file, section, extra)) from error
    return np.concatenate(labels), {name: np.concatenate(column) for name, column in columns.items()}


def _first_problem(file: Path, section: TFRecordData, extra: Mapping[str, str]) -> str:
    """Go through a file that has a bad record, one by one, and say which and why."""
    index = 0
    try:
        for index, record in enumerate(tf.data.TFRecordDataset(str(file))):
            complaint = _problem(record.numpy(), section, extra)
            if complaint:
                return f"{file}: record {index} {complaint}"
            index += 1
    except tf.errors.OpError as error:
        return f"{file}: record {index} is corrupt ({' '.join(error.message.split('[Op:')[0].split())})"
    return f"{file}: cannot be read as tf.train.Example"


def _problem(record: bytes, section: TFRecordData, extra: Mapping[str, str]) -> str | None:
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception:  # the class of protobuf's error depends on which of its implementations is installed
        return "is not a tf.train.Example"
    for name, kind in {section.image: "bytes_list", section.label: "int64_list", **extra}.items():
        if name not in features:
            known = sorted(features)
            return f"has no feature {name!r}; it has {', '.join(known) or 'none'}{nearest(name, known)}"
        values = features[name]
        if values.WhichOneof("kind") != kind or len(getattr(values, kind).value) != 1:
            return f"has a feature {name!r} that is not a single value of {kind.removesuffix('_list')}"
    content = features[section.image].bytes_list.value[0]
    if section.encoding == "image":
        complaint = problem(content)
        return complaint and f"has an image that {complaint}"
    needed = int(np.prod(section.shape))
    if len(content) != needed:
        return f"has an image of {len(content)} bytes, but shape {section.shape} needs {needed}"
    return None
