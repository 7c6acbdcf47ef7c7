"""One pass over a split answers for every slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError
from tfprune.recipe import SliceSpec
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
        DataError: no example, outputs that are not numbers, or labels that are not the outputs' indices.
        ModelError: outputs of another shape.
    """
    parts = [_answer_batch(model.predict_on_batch(x), np.asarray(y)) for x, y in batches]
    if not parts:
        raise DataError("there is no example to evaluate on")
    labels, correct, as_given, as_logits, alike = (np.concatenate(column) for column in zip(*parts, strict=True))
    # Told by all batches together: a few rows of logits may look like probabilities by chance.
    true, other = (as_given if alike.all() else as_logits).T
    margin, loss = true - other, -np.log(np.clip(true, 1e-7, 1.0))
    return Answers(labels, correct, margin.astype(np.float32), loss.astype(np.float32))


def _answer_batch(answered: Any, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    shape: tuple[int, ...] = getattr(answered, "shape", ())
    if len(shape) != 2 or shape[1] < 2:
        raise ModelError(f"expected a model with one output of shape (batch, classes), but got {shape or 'several'}")
    outputs = np.asarray(answered, np.float64)
    if not np.isfinite(outputs).all():
        raise DataError("the model answers NaN or infinity; check the data for NaN and the training for divergence")
    if labels.size != len(outputs) or not ((labels >= 0) & (labels < outputs.shape[1])).all():
        raise DataError(f"y must hold class indices from 0 to {outputs.shape[1] - 1}, but got {_example_of(labels)}")
    labels = labels.astype(np.int64).reshape(-1)
    correct = outputs.argmax(axis=1) == labels
    alike = np.full(len(labels), looks_like_probabilities(outputs))
    return labels, correct, _true_and_other(outputs, labels), _true_and_other(_softmax(outputs), labels), alike


def _true_and_other(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, 2): the probability of the true class and the highest other one."""
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return np.stack([probabilities[rows, labels], others.max(axis=1)], axis=1)


def _example_of(labels: np.ndarray) -> str:
    if labels.ndim > 1 and labels.shape[1] > 1:
        return f"shape {labels.shape}; turn one-hot labels into indices with y.argmax(axis=1)"
    return f"{labels.min()} to {labels.max()}"


def looks_like_probabilities(outputs: np.ndarray) -> bool:
    """Whether each row is non-negative and sums to one, to the precision of 16-bit outputs."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-2))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def score(answers: Answers, slices: Sequence[Slice] = (), baseline: Answers | None = None) -> Evaluation:
    """Accuracy, whole and by slice, and the drop against a baseline on the same examples.

    Raises:
        DataError: the baseline answered other examples.
    """
    if baseline is not None and not np.array_equal(baseline.labels, answers.labels):
        raise DataError("the data comes in another order each time it is read; do not shuffle it for an evaluation")
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
        DataError: no example, labels that are no class indices, or data in another order for the baseline.
        ModelError: not one output of shape (batch, classes).
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
    return score(answers, slices_among(specs, reference or answers), reference)


def slices_among(specs: Sequence[SliceSpec], answers: Answers, split: str = "given") -> tuple[Slice, ...]:
    """Slices of the examples that a model answered; where no training part is known, rare is judged on them.

    Raises:
        SliceError: a slice without an example.
    """
    return define_slices(
        specs,
        classes=[str(index) for index in range(int(answers.labels.max()) + 1)],
        labels=answers.labels,
        train_labels=answers.labels,
        margins=answers.margin,
        split=split,
    )


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
