"""The way in from Python: a model, its data, its slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.columns import typed
from tfprune.errors import DataError, ModelError
from tfprune.keras3.bridged import arrived
from tfprune.results import Evaluation
from tfprune.slices.answers import Question, first_of, parts_of
from tfprune.slices.asking import ArrayBatches
from tfprune.slices.define import needs_embedding, parse_slices
from tfprune.slices.exam import Examination
from tfprune.slices.facts import Facts
from tfprune.slices.metrics import compiled_metrics
from tfprune.slices.tasks import check_task


def evaluate(
    model: keras.Model,
    data: Any,
    *,
    slices: Sequence[Any] = (),
    baseline: keras.Model | None = None,
    metadata: Any = None,
    classes: Sequence[str] = (),
    task: str | None = None,
    output: str | None = None,
    metrics: bool | Sequence[str] = False,
    min_support: int = 20,
    batch_size: int = 256,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model whole and by slice, in one pass over the data, and one more for each corruption.

    Args:
        model: its outputs are probabilities, logits or numbers; of tf_keras or Keras 3.
        data: arrays ``(x, y)`` or ``(x, y, sample_weight)``, or a batched tf.data.Dataset of them that repeats in the
            same order. y holds class indices, one-hot rows, 0 and 1 for one or several labels, or numbers.
        slices: as a recipe writes them, ``"classes"``, ``{"hardest": 0.1}``, or as objects of `tfprune.recipe`, which
            ``&``, ``|`` and ``~`` combine: ``Column("age", range=(60, None)) & Label("cat")``. Rare classes and
            quantiles are judged on this data.
        baseline: the dense model: drops are measured against it, and ``hardest`` is hard for it
            (for `model` where there is none).
        metadata: columns of as many values as examples, by name, for slices by column.
        classes: names of the classes; numbers by default.
        task: ``multiclass``, ``binary``, ``multilabel`` or ``regression``; by default told by the loss that the model
            is compiled with, or by the shapes and values of the first batch.
        output: name of one of several outputs.
        metrics: True for all metrics that the model is compiled with, or names of some; each is taken by slice.
        min_support: slices with fewer examples are shown, but count for no correction and are nobody's worst.
        batch_size: of arrays.
        seed: of corruptions and discovery.

    Returns:
        Accuracies in [0, 1], or errors of a regression, with support, intervals, calibration, and drops, tests and
        churn where there is a baseline.

    Raises:
        DataError: no example, labels that do not fit the outputs, or data in another order for the baseline.
        ModelError: outputs of another shape than the task has.
        SliceError: an unknown slice, or one that this data has no example or no column for.

    Example:
        >>> import numpy as np, tfprune
        >>> from tfprune.backend import keras
        >>> model = keras.Sequential([keras.layers.Softmax(input_shape=(2,))])
        >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
        >>> scores = tfprune.evaluate(model, (x, y), slices=["classes"])
        >>> scores.slice("class_1").accuracy, scores.slice("class_1").support
        (0.5, 2)
    """
    model, baseline = arrived(model), arrived(baseline)
    for given in (model, baseline):
        if given is not None and not isinstance(given, keras.Model):
            kind = type(given).__name__
            raise ModelError(f"expected a tf_keras model, but got {kind}; read a file with tfprune.load(path)")
    batches = as_batches(data, batch_size)
    wanted = compiled_metrics(model, metrics, output, parts_of(first_of(batches))) if metrics else {}
    question = Question(check_task(task), output, keep_outputs=bool(wanted))
    exam = examine(
        batches, slices, metadata=metadata, question=question, classes=classes, min_support=min_support, seed=seed
    )
    if baseline is not None:
        exam.compare_with(exam.sit(baseline, keep_outputs=False))
    return exam.evaluate(exam.sit(model), wanted)


def examine(
    batches: Iterable[Any],
    slices: Sequence[Any],
    *,
    split: str = "given",
    metadata: Any = None,
    question: Question | None = None,
    classes: Sequence[str] = (),
    min_support: int = 20,
    seed: int = 0,
) -> Examination:
    """Slices of batches that are given in Python; the rest as `evaluate` takes it.

    Raises:
        SliceError: slices that are none.
    """
    specs = parse_slices(slices)
    facts = Facts(
        split,
        lambda: batches,
        classes=tuple(classes),
        metadata=columns_of(metadata),
        question=replace(question or Question(), embed=needs_embedding(specs)),
        min_support=min_support,
        seed=seed,
    )
    return Examination(facts, specs)


def as_batches(data: Any, batch_size: int = 256) -> Iterable[Any]:
    """Arrays as batches; a dataset as it is.

    Raises:
        DataError: neither, or arrays of different length.
    """
    if batch_size < 1:
        raise DataError(f"batch_size: got {batch_size}, expected at least 1")
    if isinstance(data, tf.data.Dataset):
        spec = data.element_spec
        labels = tf.nest.flatten(spec[1])[0] if isinstance(spec, tuple) and len(spec) > 1 else None
        if labels is not None and labels.shape.rank == 0:  # TensorFlow might abort the process
            raise DataError("the data comes example by example; give batches: dataset.batch(256)")
    if isinstance(data, tf.data.Dataset | ArrayBatches):
        return data
    if not (isinstance(data, tuple) and len(data) in (2, 3)):
        raise DataError(f"expected arrays (x, y) or a batched tf.data.Dataset, but got {type(data).__name__}")
    data = tuple(map(_arrays, data))
    lengths = [len(each) for each in tf.nest.flatten(data)]
    if len(set(lengths)) > 1:
        some = " and ".join(map(str, dict.fromkeys(lengths)))
        raise DataError(f"x and y must be of one length, but got {some}")
    return ArrayBatches(data, batch_size)


def _arrays(given: Any) -> Any:
    """Arrays, by name or several; tf.data would stack a list of them to one."""
    if isinstance(given, Mapping):
        return {key: _arrays(each) for key, each in given.items()}
    if isinstance(given, tuple | list) and any(isinstance(each, Mapping) or np.ndim(each) for each in given):
        is_several = isinstance(given, tuple) or any(hasattr(each, "shape") for each in given)
        return tuple(map(_arrays, given)) if is_several else np.asarray(given)
    if np.ndim(given) == 0:
        raise DataError(f"expected arrays of one entry an example, but got {type(given).__name__}")
    return given if hasattr(given, "shape") else np.asarray(given)


def columns_of(metadata: Any) -> dict[str, np.ndarray]:
    """Metadata that was given in Python, a mapping or a DataFrame, as columns.

    Raises:
        DataError: something else, or columns that are none.
    """
    if metadata is None:
        return {}
    if not hasattr(metadata, "items"):
        raise DataError(f"metadata: got {type(metadata).__name__}, expected columns by name, or a DataFrame")
    return {
        str(name): typed(str(name), {"given": values}, {"given": np.size(values)})["given"]
        for name, values in metadata.items()
    }
