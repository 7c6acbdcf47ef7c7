"""Scores of units: what each weight says of the units on its axes, added up over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.data.batches import Batches, batches_of
from tfprune.errors import ImportanceError, SelectionError, nearest
from tfprune.importance.gradients import Gradients
from tfprune.importance.scores import Importance, Score, importance_of
from tfprune.structure.activations import share_active
from tfprune.structure.analysis import Analysis
from tfprune.structure.labels import Rows

_EXAMPLES = 256


def score_units(
    analysis: Analysis, importance: str | Score = "l2", data: Any = None, batches: int = 8, seed: int = 0
) -> np.ndarray:
    """Return a score for each unit, higher for what is more worth keeping.

    Args:
        analysis: of the model.
        importance: one of `IMPORTANCES`, or a function of (weights) or (weights, gradients) that scores
            single weights, whose scores are added up over all that leaves with a unit.
        data: examples, for scores that look at gradients (labelled ones) or activations.
        batches: how many batches of it.
        seed: of the order in which arrays are read, and of the random score.

    Returns:
        float (units + 1,); the first is no unit's.

    Raises:
        SelectionError: batches or a seed out of range.
        ImportanceError: an unknown score, or one without the data, labels or loss that it needs.
        TrainingError: gradients that are not numbers.
    """
    for option, value, least in (("batches", batches, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise SelectionError(f"{option} must be a whole number of {least} or more, but got {value!r}")
    name = importance if isinstance(importance, str) else ""
    if isinstance(importance, str):
        if importance not in IMPORTANCES:
            raise ImportanceError(
                f"importance must be one of {', '.join(IMPORTANCES)}, or a function, but got {importance!r}"
                f"{nearest(importance, IMPORTANCES)}"
            )
        function = IMPORTANCES[importance]
    else:
        function = _by_weight(importance_of(importance))
    scores = function(analysis, _Given(analysis.model, name, data, batches, seed))
    for unit, score in _of_blocks(analysis, scores, name).items():
        scores[unit] = score
    for group in analysis.groups:
        if np.isnan(scores[group.units]).any():
            raise ImportanceError(
                f"importance {name or getattr(importance, '__name__', importance)}: the scores of {group.name!r} are "
                "not numbers; check the weights, and the function where it is your own"
            )
    return scores


_POWERS = {"l1": 1.0, "l2": 0.5, "bn_scale": 0.0, "fpgm": 0.0, "apoz": 0.0, "random": 0.0}


def _of_blocks(analysis: Analysis, scores: np.ndarray, name: str) -> dict[int, float]:
    """Scores of the branches, each from its own units.

    Scores in terms of the loss add up. Others are averaged, norms by weight, so that wide branches count no more than
    narrow ones.
    """
    weights = [(weight, axes, set(analysis.blocks_of(weight.layer))) for weight, axes in analysis.weights]
    uses = np.zeros(analysis.size + 1, np.int64)  # how many weights' axes a unit is on
    for _, axes, _ in weights:
        for rows in axes:
            if rows is not None:
                uses[np.unique(rows)] += 1
    found = {}
    for block in analysis.blocks:
        inside, sizes = np.zeros(analysis.size + 1, np.int64), np.zeros(analysis.size + 1)
        for weight, axes, blocks in weights:
            if block in blocks:
                for size, rows in zip(weight.variable.shape, axes, strict=True):
                    if rows is not None:
                        inside[np.unique(rows)] += 1
                        _spread(sizes, rows, np.full(len(rows), math.prod(weight.variable.shape) / size))
        inside[0] = 0
        inside[~np.isfinite(scores)] = 0
        own = np.flatnonzero((inside > 0) & (inside == uses))  # not what the shortcut carries too
        own = own if own.size else np.flatnonzero(inside)
        if name not in _POWERS:
            found[block] = float(scores[own].sum())
        else:
            found[block] = float((scores[own] / sizes[own] ** _POWERS[name]).mean()) if own.size else 0.0
    return found


class _Given:
    """What a score may ask for besides weights."""

    def __init__(self, model: keras.Model, name: str, data: Any, batches: int, seed: int) -> None:
        self.model, self.name, self.count, self.seed = model, name, batches, seed
        self._data = data

    def batches(self) -> Batches:
        """The examples."""
        if self._data is None:
            raise ImportanceError(f"importance {self.name} needs examples; give data=(x, y) or a tf.data.Dataset")
        return batches_of(self._data)

    def gradients(self, variables: list[tf.Variable], names: list[str], *, regularized: bool = True) -> Gradients:
        """The gradients of the model's loss, which regularizers are a part of or not."""
        if getattr(self.model, "compiled_loss", None) is None:
            raise ImportanceError(f"importance {self.name} needs a loss; call model.compile(loss=...) first")
        return Gradients(self.model, variables, names, regularized=regularized)


def _spread(found: np.ndarray, rows: Rows, values: np.ndarray) -> None:
    """Add what an axis says of its indices to the units on them."""
    for column in rows.T:
        found += np.bincount(column, weights=values, minlength=len(found))


def _sums(values: np.ndarray, axis: int) -> np.ndarray:
    return values.sum(axis=tuple(other for other in range(values.ndim) if other != axis), dtype=np.float64)


def _trained(analysis: Analysis) -> list[tuple[Any, tuple[Rows | None, ...]]]:
    """Weights that training changes; statistics say nothing of importance."""
    return [(weight, axes) for weight, axes in analysis.weights if weight.variable.trainable]


def _by_weight(importance: Importance, root: bool = False) -> Callable[[Analysis, _Given], np.ndarray]:
    """A score of single weights, added up over every weight of a unit."""

    def score(analysis: Analysis, given: _Given) -> np.ndarray:
        weights = _trained(analysis)
        if importance.needs_gradients:
            given.name = importance.name
            batches = given.batches()
            of = given.gradients([weight.variable for weight, _ in weights], [weight.layer for weight, _ in weights])
            scores: Iterator[np.ndarray] = iter(of.scores([importance], batches.first(given.count, given.seed))[0])
        else:
            scores = (importance(weight.variable.numpy()) for weight, _ in weights)
        found = np.zeros(analysis.size + 1)
        for (_, axes), values in zip(weights, scores, strict=True):
            for axis, rows in enumerate(axes):
                if rows is not None:
                    _spread(found, rows, _sums(values, axis))
        return np.sqrt(found) if root else found

    return score


def _of_gates(analysis: Analysis, given: _Given, power: int) -> np.ndarray:
    """Mean over examples of |dL/d gate| to a power, with a gate of 1 on what each unit gives on.

    The derivative is the sum of w * dL/dw over the weights that take the unit up; over those that make it, where no
    weight takes it up.
    """
    weights = _trained(analysis)
    taken = np.zeros(analysis.size + 1, bool)
    for weight, axes in weights:
        for axis in weight.reads:
            if axes[axis] is not None:
                taken[axes[axis]] = True
    members = [
        (place, axis, np.where(taken[rows], rows, 0) if axis in weight.reads else np.where(taken[rows], 0, rows))
        for place, (weight, axes) in enumerate(weights)
        for axis, rows in enumerate(axes)
        if rows is not None
    ]
    batches = given.batches()
    # A regularizer looks at weights, not at what passes a gate.
    variables, names = [weight.variable for weight, _ in weights], [weight.layer for weight, _ in weights]
    gradients = given.gradients(variables, names, regularized=False)
    values = [weight.variable.numpy().astype(np.float32) for weight, _ in weights]
    total, examples = np.zeros(analysis.size + 1), 0
    for each in gradients.each(_singly(batches.first(given.count, given.seed)), given.name):
        products = [value * gradient for value, gradient in zip(values, each, strict=True)]
        gates = np.zeros(analysis.size + 1)
        for place, axis, rows in members:
            _spread(gates, rows, _sums(products[place], axis))
        total += np.abs(gates) ** power
        examples += 1
    return total / examples


def _singly(batches: Iterator[Any]) -> Iterator[Any]:
    """Examples one by one, as a gradient of a batch is that of its mean."""
    seen = 0
    for batch in batches:
        size = len(tf.nest.flatten(batch[0])[0])
        for place in range(size):
            if seen >= _EXAMPLES:
                return
            seen += 1
            yield tf.nest.map_structure(lambda array, at=place: None if array is None else array[at : at + 1], batch)


def _normalization_scale(analysis: Analysis, given: _Given) -> np.ndarray:
    """|gamma| of batch normalization (Network Slimming, Liu et al. 2017); what has none is not to be removed."""
    found, scales = np.zeros(analysis.size + 1), np.zeros(analysis.size + 1)
    gammas = {id(each.layer.gamma) for each in analysis.findings.calls if _is_batch_norm(each.layer)}
    for weight, axes in analysis.weights:
        if id(weight.variable) in gammas:
            for axis, rows in enumerate(axes):
                if rows is not None:
                    _spread(found, rows, _sums(np.abs(weight.variable.numpy()), axis))
                    _spread(scales, rows, np.ones(len(rows)))
    if not scales[1:].any():
        raise ImportanceError(
            "importance bn_scale needs BatchNormalization layers with a scale on what is to be removed"
        )
    return np.where(scales > 0, found / np.maximum(scales, 1), np.inf)


def _is_batch_norm(layer: Any) -> bool:
    kinds = (keras.layers.BatchNormalization, keras.layers.experimental.SyncBatchNormalization)
    return isinstance(layer, kinds) and layer.gamma is not None


def _distances(analysis: Analysis, given: _Given) -> np.ndarray:
    """Sum of distances to the others of a layer: low next to the geometric median (FPGM, He et al. 2019)."""
    found = np.zeros(analysis.size + 1)
    for weight, axes in _trained(analysis):
        if len(axes) < 2:
            continue
        for axis, rows in enumerate(axes):
            if rows is None or axis in weight.reads:
                continue
            flat = np.moveaxis(weight.variable.numpy(), axis, 0).reshape(len(rows), -1).astype(np.float64)
            squares = np.square(flat).sum(axis=1)
            apart = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0.0))
            _spread(found, rows, apart.sum(axis=1))
    return found


def _random(analysis: Analysis, given: _Given) -> np.ndarray:
    return np.random.default_rng(given.seed).random(analysis.size + 1)


def _squared(weights: np.ndarray) -> np.ndarray:
    return np.square(weights, dtype=np.float64)


IMPORTANCES: dict[str, Callable[[Analysis, _Given], np.ndarray]] = {
    "l1": _by_weight(importance_of("magnitude")),
    "l2": _by_weight(Importance("l2", _squared, needs_gradients=False), root=True),
    "taylor": _by_weight(importance_of("taylor")),
    "gradient": _by_weight(importance_of("gradient")),
    "fisher": lambda analysis, given: _of_gates(analysis, given, 2),
    "gate": lambda analysis, given: _of_gates(analysis, given, 1),
    "bn_scale": _normalization_scale,
    "fpgm": _distances,
    "apoz": lambda analysis, given: share_active(
        analysis, [x for x, _, _ in given.batches().first(given.count, given.seed)]
    ),
    "random": _random,
}
