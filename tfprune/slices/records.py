"""What was answered to each example, as Parquet: the one module that imports PyArrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfprune.storage import replacing

if TYPE_CHECKING:
    from tfprune.slices.answers import Answers
    from tfprune.slices.define import Slice
    from tfprune.slices.score import Sitting

_ROWS = 65_536  # at once in memory, and in a row group


def examples_pieces(
    now: Sitting, dense: Sitting | None, slices: Sequence[Slice], classes: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """What a model answered, some tens of thousands of rows at a time.

    Args:
        now: its answers.
        dense: the dense model's answers to the same examples.
        slices: of them.
        classes: names of the classes; numbers stand for those without one.

    Yields:
        Batches with the columns ``variant`` (empty for clean examples), ``example`` (its place in the split),
        ``label`` and ``answer`` (names of classes; of several labels a list of names, and a number that stands for the
        set; numbers of a regression), ``correct`` or of a regression ``error``, ``margin``, ``confidence``, ``loss``,
        ``weight`` where examples have weights, ``changed`` (answered otherwise than by the dense model) and
        ``slice/<name>`` for each slice, false under other variants than its own. What is not known is null.

    Example:
        >>> from tfprune.slices.answers import Answers
        >>> label, known = np.array([0, 1]), np.array([1, 0.25], np.float32)
        >>> right = np.array([1, 0], np.float32)
        >>> now = Answers(label, np.array([0, 0]), right, known, known, known, known, "multiclass")
        >>> next(examples_pieces({"": now}, None, [], ["cat", "dog"])).to_pylist()[1]["answer"]
        'cat'
    """
    names = _class_names(now, classes)
    for place, (variant, answers) in enumerate(now.items()):
        before = None if dense is None else dense[variant]
        own = [(f"slice/{each.name}", each.members if each.variant == variant else None) for each in slices]
        for start in range(0, len(answers.score), _ROWS):
            rows = slice(start, min(start + _ROWS, len(answers.score)))
            count = rows.stop - rows.start
            columns = {
                "variant": _words(np.full(count, place), tuple(now)),
                "example": pa.array(np.arange(rows.start, rows.stop, dtype=np.int32)),
                **_answered(answers, before, rows, names),
                **{name: pa.array(np.zeros(count, bool) if all_ is None else all_[rows]) for name, all_ in own},
            }
            yield pa.RecordBatch.from_pydict(columns)


def write_examples(table: pa.Table | Iterable[pa.RecordBatch], path: Path) -> None:
    """Write a table, or pieces of one as they come, to a Parquet file.

    Raises:
        StorageError: the disk refuses.
    """
    pieces = iter(table.to_batches(_ROWS) if isinstance(table, pa.Table) else table)
    first = next(pieces)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for piece in pieces:
            writer.write_batch(piece)


def _answered(answers: Answers, dense: Answers | None, rows: slice, names: tuple[str, ...]) -> dict[str, Any]:
    """The columns that hold answers."""
    is_regression, is_several = answers.task == "regression", answers.task == "multilabel"
    labels, answer, score = answers.labels[rows], answers.answer[rows], answers.score[rows]
    if is_regression:
        asked, given, right = _numbers(labels), pa.array(answer), {"error": pa.array(score)}
    else:
        asked = _several(labels, names) if is_several else _words(labels, names)
        given = pa.array(answer) if is_several else _words(answer, names)
        right = {"correct": pa.array(score == 1)}
    if dense is None or is_regression:  # numbers always differ
        changed = pa.nulls(len(answer), pa.bool_())
    else:
        changed = pa.array(answer != dense.answer[rows])
    return {
        "label": asked,
        "answer": given,
        **right,
        **{name: _known(getattr(answers, name)[rows]) for name in ("margin", "confidence", "loss")},
        **({} if answers.weights is None else {"weight": pa.array(answers.weights[rows])}),
        "changed": changed,
    }


def _known(values: np.ndarray) -> pa.Array:
    """Numbers; NaN stands for what is not known."""
    return pa.array(values, mask=np.isnan(values))


def _words(places: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(words, pa.string()))


def _numbers(labels: np.ndarray) -> pa.Array:
    """Numbers, one or several an example."""
    flat = pa.array(labels.astype(np.float32).reshape(-1))
    return flat if labels.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, labels.shape[1])


def _several(labels: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    """The words of all labels that an example bears."""
    ends = np.concatenate([[0], np.count_nonzero(labels, axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), _words(np.nonzero(labels)[1], words))


def _class_names(now: Sitting, classes: Sequence[str]) -> tuple[str, ...]:
    """A name for each class that is a label or an answer."""
    count = len(classes)
    for each in now.values():
        if each.task == "multilabel":
            count = max(count, each.labels.shape[1])
        elif each.task != "regression":
            count = max(count, int(each.labels.max()) + 1, int(each.answer.max()) + 1)
    return (*classes, *map(str, range(len(classes), count)))
