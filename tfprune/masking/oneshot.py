"""Pruned at once, without any training, and told plainly what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.batches import Batches, batches_of
from tfprune.errors import DataError, ImportanceError, ScheduleError, warn
from tfprune.importance.scores import Score, importance_of
from tfprune.importing import call
from tfprune.keras3.bridged import arrived, returned
from tfprune.masking.pruner import pruner_of
from tfprune.masking.schedule import ConstantSparsity
from tfprune.masking.selection import Scope, Selection
from tfprune.masking.wrap import unwrap, wrap_with

_EXAMPLES = 10_000
_ON_DATA = "prune: the model on its data"


def prune(
    model: keras.Model,
    sparsity: float,
    *,
    layers: Sequence[str] | None = None,
    scope: Scope = "layer",
    importance: str | Score = "magnitude",
    pattern: str | None = None,
    data: Any = None,
    batches: int = 8,
    floor: float = 0.0,
    ceiling: float = 1.0,
    normalize: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Return a plain copy of a model with a share of its weights set to zero at once, without training.

    It warns what became of the model: its accuracy on `data`, if there is any (of at most 10,000
    examples, of a Dataset the first ones; where the
    outputs are no class scores, or the labels no class indices, the loss that the model is compiled with).

    Args:
        model: a built Functional or Sequential model, nested ones included; never changed. Of one of Keras 3 the copy
            is of Keras 3, too.
        sparsity: share of zeros among the prunable weights, in [0, 1).
        layers: as for `wrap`.
        scope: as for `wrap`.
        importance: as for `wrap`; scores that need gradients take them from the loss that `model` is compiled with.
        pattern: as for `wrap`.
        data: labelled examples, as for `wrap`: to score with, where a score needs gradients, and to evaluate on.
        batches: how many batches of it such a score looks at.
        floor: as for `wrap`.
        ceiling: as for `wrap`.
        normalize: as for `wrap`.
        seed: of ties, of the order in which arrays are read, and of the random score.

    Returns:
        An uncompiled model that needs neither tfprune nor TF-MOT to load.

    Raises:
        ModelError: nothing to prune, wrapped already, a name that matches no layer, or a subclassed model.
        ScheduleError: a sparsity out of its range.
        ImportanceError: an unknown score, or one without the data, the labels or the loss that it needs.
        SelectionError: a scope, pattern or limit that cannot be.
        TrainingError: weights or gradients that are not finite.
        DataError: the model cannot be evaluated on `data`.

    Warns:
        UserWarning: always: accuracy before and after, or that it is unknown.

    Example:
        >>> import warnings, tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     sparse = tfprune.prune(dense, 0.5)
        >>> tfprune.measure(sparse).sparsity
        0.5
        >>> print(told[0].message)
        pruned without training: its accuracy is unknown; evaluate it, and fine-tune it or prune less
    """
    selection = Selection(
        importance=importance,
        batches=batches,
        scope=scope,
        floor=floor,
        ceiling=ceiling,
        normalize=normalize,
        pattern=pattern,
        seed=seed,
    )
    try:
        schedule = ConstantSparsity(final_sparsity=sparsity)
    except ScheduleError as error:
        raise ScheduleError(str(error).replace("final_sparsity", "sparsity")) from None
    model = arrived(model)
    wrapped = wrap_with(model, schedule, selection, layers=layers, data=data)
    if getattr(model, "loss", None):
        wrapped.output_names = list(model.output_names)  # losses and labels may go by them
        wrapped.compile(loss=model.loss, loss_weights=getattr(model.compiled_loss, "_user_loss_weights", None))
    elif selection.needs_gradients:
        raise ImportanceError(
            f"importance {importance_of(importance).name} needs a loss, but model {model.name!r} is not compiled with "
            "one; call model.compile(loss=...) first"
        )
    examples = None if data is None else batches_of(data)
    before = None if examples is None else call(_quality, _ON_DATA, DataError, wrapped, examples, seed)
    pruner_of(wrapped).update(sparsity)
    after = None if examples is None else _quality(wrapped, examples, seed)
    if before is None or after is None:
        told = "its accuracy is unknown; evaluate it, and fine-tune it or prune less"
    else:
        told = f"{after}, {before.value} before; fine-tune it, or prune less"
    warn(f"pruned without training: {told}")
    return returned(unwrap(wrapped), model)


@dataclass(frozen=True)
class _Quality:
    """How good a model is: ``accuracy`` or ``loss``."""

    kind: str
    number: float

    @property
    def value(self) -> str:
        return f"{self.number:.1%}" if self.kind == "accuracy" else f"{self.number:.4g}"

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


def _quality(model: keras.Model, examples: Batches, seed: int) -> _Quality | None:
    """Accuracy where outputs are class scores and labels class indices, else the compiled loss, else None."""
    right, losses, weights, seen = 0, 0.0, 0.0, 0
    kind = ""
    for x, y, sample_weight in examples.first(math.ceil(_EXAMPLES / min(examples.batch_size, _EXAMPLES)), seed):
        if not kind:
            kind = _kind(model, x, y)
        size = len(tf.nest.flatten(y)[0])
        if kind == "accuracy":
            right += int((model.predict_on_batch(x).argmax(axis=1) == np.asarray(y).reshape(-1)).sum())
        elif kind == "loss":
            values = model.test_on_batch(x, y, sample_weight, reset_metrics=True)
            losses += size * float(values[0] if isinstance(values, list) else values)
            weights += size
        seen += size
        if not kind or seen >= _EXAMPLES:
            break
    if not kind or not seen:
        return None
    return _Quality(kind, right / seen if kind == "accuracy" else losses / weights)


def _kind(model: keras.Model, x: Any, y: Any) -> str:
    outputs = model.predict_on_batch(x)
    labels = np.asarray(y) if isinstance(y, np.ndarray | tf.Tensor) else None
    if isinstance(outputs, np.ndarray) and outputs.ndim == 2 and outputs.shape[1] > 1 and labels is not None:
        one_each = labels.shape in ((len(outputs),), (len(outputs), 1))
        if one_each and labels.dtype.kind in "iu" and ((labels >= 0) & (labels < outputs.shape[1])).all():
            return "accuracy"
    return "loss" if getattr(model, "compiled_loss", None) is not None else ""
