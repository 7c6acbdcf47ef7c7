"""Scores of weights: the higher, the more worth keeping.

A score is a plain function of one tensor, ``f(weights)``, or of a tensor and its gradients,
``f(weights, gradients)``; of the latter kind the mean over batches counts. Both get and give NumPy arrays of the
tensor's shape. Masks take the scores one by one, structured pruning sums them over the weights of a unit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tfprune.errors import ImportanceError, nearest
from tfprune.importing import call

Score = Callable[..., np.ndarray]


def magnitude(weights: np.ndarray) -> np.ndarray:
    """Absolute value |w| (Han et al. 2015)."""
    return np.abs(weights)


def lamp(weights: np.ndarray) -> np.ndarray:
    """w² over the sum of all squares in the tensor that are not smaller (LAMP, Lee et al. 2021).

    Meant for the global scope, where it makes tensors comparable; within a tensor it ranks as magnitude does.
    """
    squares = np.square(weights.ravel(), dtype=np.float64)
    order = np.argsort(squares, kind="stable")
    squares = squares[order]
    not_smaller = np.cumsum(squares[::-1])[::-1]
    scores = np.empty(squares.size, np.float32)
    scores[order] = np.divide(squares, not_smaller, out=np.zeros_like(squares), where=not_smaller > 0)
    return scores.reshape(weights.shape)


def chance(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random score, as a control for the others."""
    return generator.random(weights.shape, dtype=np.float32)


def gradient(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """|g|: how much the loss hangs on the weight, whatever its size."""
    return np.abs(gradients)


def taylor(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """|w g|: how much the loss would change without the weight, to first order (Molchanov et al. 2019)."""
    return np.abs(weights * gradients)


def fisher(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """w² g²: the same to second order, with squared gradients for the curvature (Theis et al. 2018).

    The gradients are those of batches; with single examples it is the empirical Fisher information.
    """
    return np.square(weights * gradients)


def movement(weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """-w g: high where training drives the weight away from zero (Sanh et al. 2020).

    Here it is summed over the batches of one update, at the weights of that moment, not along all of training.
    """
    return -weights * gradients


IMPORTANCES: dict[str, Score] = {
    "magnitude": magnitude,
    "gradient": gradient,
    "taylor": taylor,
    "fisher": fisher,
    "movement": movement,
    "lamp": lamp,
    "random": chance,
}


@dataclass(frozen=True)
class Importance:
    """A score that is ready for use.

    Attributes:
        name: for messages and configs.
        function: scores one tensor, from weights or from weights and gradients.
        needs_gradients: which of the two.
    """

    name: str
    function: Score
    needs_gradients: bool

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Score one tensor: float32 of its shape.

        Raises:
            ImportanceError: the function fails, or gives another shape or something that is no number.
        """
        scores = np.asarray(call(self.function, f"importance {self.name}", ImportanceError, *arrays))
        if scores.shape != arrays[0].shape:
            raise ImportanceError(
                f"importance {self.name}: expected scores of the weights' shape {arrays[0].shape}, got {scores.shape}"
            )
        if scores.dtype.kind not in "fiub":
            raise ImportanceError(f"importance {self.name}: expected numbers as scores, got {scores.dtype}")
        return scores.astype(np.float32, copy=False)


def importance_of(given: str | Score, seed: int = 0) -> Importance:
    """Make a score of a name or of a user's function.

    Args:
        given: one of `IMPORTANCES`, or a function of (weights) or of (weights, gradients).
        seed: of the random score, which is the same at each call of this function.

    Raises:
        ImportanceError: an unknown name, or a function that takes neither one nor two arguments.

    Example:
        >>> importance_of("taylor")(np.array([2.0, -1.0]), np.array([0.5, 3.0])).tolist()
        [1.0, 3.0]
        >>> importance_of(lambda weights: -weights)(np.array([2.0, -1.0])).tolist()
        [-2.0, 1.0]
    """
    if isinstance(given, str) and given == "random":
        return Importance("random", partial(chance, generator=np.random.default_rng(seed)), needs_gradients=False)
    if isinstance(given, str):
        if given not in IMPORTANCES:
            raise ImportanceError(
                f"importance must be one of {', '.join(IMPORTANCES)}, or a function, but got {given!r}"
                f"{nearest(given, IMPORTANCES)}"
            )
        return Importance(given, IMPORTANCES[given], _arguments(IMPORTANCES[given]) == 2)
    if not callable(given) or _arguments(given) not in (1, 2):
        raise ImportanceError(
            f"importance: expected a name or a function of (weights) or (weights, gradients), but got {given!r}"
        )
    return Importance(getattr(given, "__qualname__", repr(given)), given, _arguments(given) == 2)


def _arguments(function: Callable[..., Any]) -> int:
    """How many positional arguments a function must be given; -1 where Python does not know."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return getattr(function, "nin", -1)  # of NumPy's own functions
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)
