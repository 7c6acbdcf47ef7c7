"""What a model's outputs mean, and what of them is kept for each example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from tfprune.errors import DataError, ModelError, nearest

Task = Literal["multiclass", "binary", "multilabel", "regression"]
TASKS = get_args(Task)

_SMALLEST = 1e-7
# Losses of Keras that are of regressions, as their names are without underscores.
_OF_NUMBERS = (
    *("mse", "mae", "mape", "msle", "huber", "logcosh", "poisson", "meansquarederror", "meanabsoluteerror"),
    *("meanabsolutepercentageerror", "meansquaredlogarithmicerror"),
)
# Multipliers that tell apart which labels an example has; the sum wraps, and two sets of labels share it by a chance of
# one in 2**64.
_ODD = np.random.default_rng(2024).integers(1, 2**62, 4096) * 2 + 1


@dataclass(frozen=True)
class Columns:
    """Answers to some examples, one entry each.

    Attributes:
        labels: int64 (n,), class indices; uint8 (n, k) of several labels; float32 (n,) or (n, k) of a regression.
        answer: int64 (n,), what was answered, or float32 (n,), the number; for several labels a number for their set.
        score: float32 (n,), 1 where right and 0 where wrong; of a regression the absolute error.
        margin: float32 (n,), probability of the true class minus the highest other one, in [-1, 1]; for several labels
            the smallest of theirs; of a regression the negative error.
        loss: float32 (n,), cross-entropy in nats, a mean over several labels; of a regression the squared error.
        confidence: float32 (n,), probability of the answer; NaN where there are several labels, or none.
        entropy: float32 (n,), of the answer, in nats; NaN for a regression.
    """

    labels: np.ndarray
    answer: np.ndarray
    score: np.ndarray
    margin: np.ndarray
    loss: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray

    @classmethod
    def together(cls, parts: list[Columns]) -> Columns:
        """All parts, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


class Reader:
    """Reads batches of outputs and labels, and tells in the end whether the outputs were probabilities or logits.

    A few rows of logits may look like probabilities by chance, so where the model does not tell, each batch is read
    both ways until one does not look so.

    Args:
        task: what the model is for.
        probabilities: whether its outputs are some; None where it does not tell.
    """

    def __init__(self, task: Task, probabilities: bool | None = None) -> None:
        self.task = task
        self._as_given: list[Columns] = []
        self._as_logits: list[Columns] = []
        self._told = probabilities
        self._alike = task != "regression" and probabilities is not False

    def read(self, outputs: Any, labels: Any) -> None:
        """Take a batch.

        Raises:
            DataError: labels that do not fit the outputs, or outputs that are not numbers.
            ModelError: outputs of a shape that the task does not have.
        """
        values, wanted = np.asarray(outputs, np.float64), np.asarray(labels)
        if not np.isfinite(values).all():
            raise DataError("the model answers NaN or infinity; check the data for NaN and the training for divergence")
        if self.task == "regression":
            self._as_given.append(_numbers(values, wanted))
            return
        values, known, columns, normal, squash = _PREPARE[self.task](values, wanted)
        self._alike = self._alike and (self._told is True or normal(values))
        if self._alike:
            self._as_given.append(columns(values, known))
        else:
            self._as_given.clear()
        if self._told is not True:
            self._as_logits.append(columns(squash(values), known))

    def columns(self) -> Columns:
        """All that was read.

        Raises:
            DataError: no example.
        """
        if not (self._as_given or self._as_logits):
            raise DataError("there is no example to evaluate on")
        is_as_given = self._alike or self.task == "regression"
        return Columns.together(self._as_given if is_as_given else self._as_logits)


def task_of(outputs: Any, labels: Any, loss: str = "") -> Task:
    """What a model is for, by what it is trained with, or by the shapes and values of a first batch.

    Args:
        outputs: (n, k), (n, 1) or (n,).
        labels: of as many examples.
        loss: name of the loss that the model is compiled with; empty for none.

    Raises:
        ModelError: outputs of another shape.
    """
    answered, wanted = np.asarray(outputs), np.asarray(labels)
    if answered.ndim > 2 or not answered.ndim:
        raise ModelError(f"expected outputs of shape (batch, outputs), but got {answered.shape}; name one of several")
    width = answered.shape[1] if answered.ndim == 2 else 1
    told = task_of_loss(loss, width)
    if told is not None:
        return told
    if wanted.dtype.kind not in "biuf":
        raise DataError(f"y must hold numbers, but got {_shown(wanted)}; turn names of classes into indices")
    values = np.unique(wanted)
    is_of_bits = bool(np.isin(values, (0, 1)).all())
    if width == 1:
        return "binary" if is_of_bits else "regression"
    if wanted.ndim < 2 or wanted.shape[1] == 1:
        return "multiclass" if bool((values == np.floor(values)).all()) else "regression"
    if not is_of_bits:
        return "regression"
    return "multiclass" if bool((wanted.sum(axis=1) == 1).all()) else "multilabel"


def task_of_loss(loss: str, width: int) -> Task | None:
    """What a model with so many outputs is for, by the name of its loss; None where that does not tell."""
    named = loss.lower().replace("_", "")
    if "categoricalcrossentropy" in named:
        return "multiclass"
    if "binary" in named and "crossentropy" in named:
        return "binary" if width == 1 else "multilabel"
    return "regression" if named.removesuffix("loss") in _OF_NUMBERS else None


def check_task(task: str | None) -> Task | None:
    """Return the task if it is one.

    Raises:
        DataError: it is not; names the nearest.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"task: got {task!r}, expected one of {', '.join(TASKS)}{nearest(task, TASKS)}")
    return task  # type: ignore[return-value]


# --------------------------------------------------------------------------------------------- one class of several

Prepared = tuple[
    np.ndarray,
    np.ndarray,
    Callable[[np.ndarray, np.ndarray], Columns],
    Callable[[np.ndarray], bool],
    Callable[[np.ndarray], np.ndarray],
]
"""Outputs, labels, what makes columns of probabilities, whether outputs may be some, and what makes them some."""


def _multiclass(outputs: np.ndarray, labels: np.ndarray) -> Prepared:
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ModelError(f"expected a model with one output of shape (batch, classes), but got {outputs.shape}")
    if labels.shape == outputs.shape:
        labels = labels.argmax(axis=1)
    is_fit = labels.dtype.kind in "biuf" and labels.size == len(outputs)
    if not (is_fit and ((labels >= 0) & (labels < outputs.shape[1]) & (labels == np.floor(labels))).all()):
        raise DataError(
            f"y must hold class indices from 0 to {outputs.shape[1] - 1}, or one-hot rows, but got {_shown(labels)}"
        )
    return outputs, labels.astype(np.int64).reshape(-1), _of_classes, looks_like_probabilities, softmax


def _binary(outputs: np.ndarray, labels: np.ndarray) -> Prepared:
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] != 1:
        raise ModelError(f"a binary model has one output an example, but this one has {flat.shape[1]}")
    if labels.size != len(flat) or not np.isin(labels, (0, 1)).all():
        raise DataError(f"y must hold 0 and 1, one an example, but got {_shown(labels)}")
    known = labels.astype(np.int64).reshape(-1)
    return flat, known, lambda p, y: _of_classes(np.hstack([1 - p, p]), y), _within_one, sigmoid


def _of_classes(probabilities: np.ndarray, labels: np.ndarray) -> Columns:
    rows = np.arange(len(labels))
    answer = probabilities.argmax(axis=1)
    highest, true = probabilities[rows, answer], probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    return _narrow(
        labels=labels,
        answer=answer,
        score=answer == labels,
        margin=true - others.max(axis=1),
        loss=-np.log(np.clip(true, _SMALLEST, 1.0)),
        confidence=np.minimum(highest, 1.0),  # rounded, a softmax may be above
        entropy=-(probabilities * np.log(np.clip(probabilities, _SMALLEST, 1.0))).sum(axis=1),
    )


# --------------------------------------------------------------------------------------------- other tasks


def _multilabel(outputs: np.ndarray, labels: np.ndarray) -> Prepared:
    if outputs.ndim != 2 or labels.shape != outputs.shape or not np.isin(labels, (0, 1)).all():
        raise DataError(f"y must hold 0 and 1 in the shape of the outputs, {outputs.shape}, but got {_shown(labels)}")
    if outputs.shape[1] > len(_ODD):
        raise ModelError(f"{outputs.shape[1]} labels are more than the {len(_ODD)} that are handled")
    return outputs, labels.astype(np.uint8), _of_labels, _within_one, sigmoid


def _of_labels(probabilities: np.ndarray, labels: np.ndarray) -> Columns:
    answered = probabilities >= 0.5
    true = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), _SMALLEST, 1.0)
    both = np.clip(np.stack([probabilities, 1 - probabilities]), _SMALLEST, 1.0)
    return _narrow(
        labels=labels,
        answer=answered @ _ODD[: answered.shape[1]],
        score=(answered == labels).all(axis=1),
        margin=(2 * true - 1).min(axis=1),
        loss=-np.log(true).mean(axis=1),
        confidence=np.full(len(labels), np.nan),
        entropy=-(both * np.log(both)).sum(axis=0).mean(axis=1),
    )


def _numbers(outputs: np.ndarray, labels: np.ndarray) -> Columns:
    values = outputs.reshape(len(outputs), -1)
    if labels.size != values.size or not np.isfinite(labels.astype(np.float64)).all():
        raise DataError(
            f"y must hold finite numbers in the shape of the outputs, {outputs.shape}, but got {_shown(labels)}"
        )
    wanted = labels.reshape(values.shape).astype(np.float64)
    error = np.abs(values - wanted).mean(axis=1)
    unknown = np.full(len(values), np.nan)
    return _narrow(
        labels=wanted[:, 0] if wanted.shape[1] == 1 else wanted,
        answer=values[:, 0],
        score=error,
        margin=-error,
        loss=np.square(values - wanted).mean(axis=1),
        confidence=unknown,
        entropy=unknown,
    )


_PREPARE = {"multiclass": _multiclass, "binary": _binary, "multilabel": _multilabel}


def _narrow(**columns: np.ndarray) -> Columns:
    """Columns in four bytes where they are fractions."""
    kept = {name: each.astype(np.float32) if each.dtype.kind in "bf" else each for name, each in columns.items()}
    return Columns(**kept)


def looks_like_probabilities(outputs: np.ndarray) -> bool:
    """Whether each row is non-negative and sums to one, to the precision of 16-bit outputs."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1.0, atol=1e-2))


def _within_one(outputs: np.ndarray) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits as probabilities."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits as probabilities, each by itself."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _shown(labels: np.ndarray) -> str:
    if labels.dtype.kind not in "biuf":
        return f"values of type {labels.dtype}"
    if labels.ndim > 1 and labels.shape[1] > 1:
        return f"shape {labels.shape}"
    return f"{labels.min()} to {labels.max()}, shape {labels.shape}" if labels.size else "nothing"
