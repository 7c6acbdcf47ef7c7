"""One pass over a split answers for every slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError
from tfprune.results import Evaluation, SliceScore
from tfprune.slices.define import Slice, define_slices, parse_slices


@dataclass(frozen=True)
class Answers:
    """What a model answered, one entry an example.

    Attributes:
        labels: int64 (n,).
        correct: bool (n,).
        margin: float32 (n,), probability of the true class minus the highest other one, in [-1, 1].
        loss: float32 (n,), cross-entropy in nats.
    """

    labels: np.ndarray
    correct: np.ndarray
    margin: np.ndarray
    loss: np.ndarray


def answer(model: keras.Model, batches: tf.data.Dataset) -> Answers:
    """Run a model over batches once.

    Args:
        model: a classifier with one output of shape (batch, classes), probabilities or logits.
        batches: of (x, y), y int (batch,).

    Returns:
        Small arrays in the order of the batches; the outputs themselves are not kept.

    Raises:
        DataError: no example, or outputs that are not numbers.
    """
    parts = [_answer_batch(model.predict_on_batch(x), np.asarray(y)) for x, y in batches]
    if not parts:
        raise DataError("there is no example to evaluate on")
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _answer_batch(outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    outputs = np.asarray(outputs, np.float64)
    if not np.isfinite(outputs).all():
        raise DataError("the model answers NaN or infinity; check the data for NaN and the training for divergence")
    labels = labels.astype(np.int64).reshape(-1)
    probabilities = outputs if looks_like_probabilities(outputs) else _softmax(outputs)
    rows = np.arange(len(labels))
    true = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    margin = (true - others.max(axis=1)).astype(np.float32)
    loss = -np.log(np.clip(true, 1e-7, 1.0)).astype(np.float32)
    return labels, outputs.argmax(axis=1) == labels, margin, loss


def looks_like_probabilities(outputs: np.ndarray) -> bool:
    """Whether each row is non-negative and sums to one, to the precision of 16-bit outputs."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-2))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def score(answers: Answers, slices: Sequence[Slice] = (), baseline: Answers | None = None) -> Evaluation:
    """Accuracy, whole and by slice, and the drop against a baseline on the same examples."""
    drop = None if baseline is None else _accuracy(baseline.correct) - _accuracy(answers.correct)
    scores = []
    for each in slices:
        accuracy = _accuracy(answers.correct[each.members])
        before = None if baseline is None else _accuracy(baseline.correct[each.members])
        slice_drop = None if before is None else before - accuracy
        scores.append(SliceScore(each.name, int(each.members.sum()), accuracy, slice_drop))
    loss = float(answers.loss.mean(dtype=np.float64))
    return Evaluation(_accuracy(answers.correct), loss, len(answers.labels), drop, tuple(scores))


def _accuracy(correct: np.ndarray) -> float:
    return float(correct.mean())


def evaluate(
    model: keras.Model, data: Any, *, slices: Sequence[Any] = (), baseline: keras.Model | None = None
) -> Evaluation:
    """Evaluate a classifier whole and by slice, in one pass over the data.

    Args:
        model: one output of shape (batch, classes), probabilities or logits.
        data: arrays ``(x, y)``, or a batched tf.data.Dataset of (x, y) that repeats in the same order; y holds
            class indices.
        slices: ``"classes"``, ``{"rarest": share}``, ``{"hardest": share}``; rare is judged on this data.
        baseline: the dense model: drops are measured against it, and ``hardest`` is hard for it
            (for `model` where there is none).

    Returns:
        Accuracies in [0, 1], with support, and drops where there is a baseline.

    Raises:
        DataError: no example.
        SliceError: an unknown slice or one without an example.

    Example:
        >>> import numpy as np, tfprune
        >>> from tfprune.backend import keras
        >>> model = keras.Sequential([keras.layers.Softmax(input_shape=(2,))])
        >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), np.array([0, 1, 1])
        >>> scores = tfprune.evaluate(model, (x, y), slices=["classes"])
        >>> scores.slice("class_1").accuracy, scores.slice("class_1").support
        (0.5, 2)
    """
    specs = parse_slices(slices)
    batches = as_batches(data)
    answers = answer(model, batches)
    reference = answer(baseline, batches) if baseline is not None else None
    classes = [str(index) for index in range(int(answers.labels.max()) + 1)]
    defined = define_slices(
        specs,
        classes=classes,
        labels=answers.labels,
        train_labels=answers.labels,
        margins=(reference or answers).margin,
        split="given",
    )
    return score(answers, defined, reference)


def as_batches(data: Any, batch_size: int = 256) -> tf.data.Dataset:
    """Arrays ``(x, y)`` as batches; a dataset as it is.

    Raises:
        DataError: neither, or arrays of different length.
    """
    if isinstance(data, tf.data.Dataset):
        return data
    if not (isinstance(data, tuple) and len(data) == 2):
        raise DataError(f"expected arrays (x, y) or a batched tf.data.Dataset, but got {type(data).__name__}")
    if len(data[0]) != len(data[1]):
        raise DataError(f"x and y must be of one length, but got {len(data[0])} and {len(data[1])}")
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
