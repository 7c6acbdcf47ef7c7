"""How much of the sparsity falls on which tensor, where the scope says so beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from tfprune.masking.selection import Scope


def layer_sparsities(
    scope: Scope, tensors: Sequence[tuple[str, tuple[int, ...]]], sparsity: float, progress: float
) -> list[float]:
    """The sparsity of each tensor.

    Args:
        scope: ``layer``, ``erk``, or final sparsities by layer.
        tensors: name of the layer and shape of each.
        sparsity: over all, in [0, 1).
        progress: which share of the final sparsity that is.

    Example:
        >>> layer_sparsities({"conv*": 0.4}, [("conv1", (3, 3, 8, 8)), ("head", (8, 2))], 0.3, progress=0.5)
        [0.2, 0.3]
        >>> [round(each, 2) for each in layer_sparsities("erk", [("a", (100, 100)), ("b", (10, 10))], 0.9, 1.0)]
        [0.91, 0.08]
    """
    if isinstance(scope, Mapping):
        finals = [_final(scope, layer) for layer, _ in tensors]
        return [sparsity if final is None else final * progress for final in finals]
    if scope == "erk" and sparsity > 0:
        return _erdos_renyi_kernel([shape for _, shape in tensors], sparsity)
    return [sparsity] * len(tensors)


def _final(scope: Mapping[str, float], layer: str) -> float | None:
    """A layer's own final sparsity: its name comes before patterns, of which the first counts."""
    if layer in scope:
        return scope[layer]
    return next((value for pattern, value in scope.items() if fnmatchcase(layer, pattern)), None)


def _erdos_renyi_kernel(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[float]:
    """Densities in proportion to sum(shape) / prod(shape) (Evci et al. 2020); none may pass 1."""
    left = (1 - sparsity) * sum(map(math.prod, shapes))
    dense: set[int] = set()
    scale = 0.0
    while len(dense) < len(shapes):  # all are so where next to nothing is to fall
        rest = [index for index in range(len(shapes)) if index not in dense]
        scale = (left - sum(math.prod(shapes[index]) for index in dense)) / sum(sum(shapes[index]) for index in rest)
        over = {index for index in rest if scale * sum(shapes[index]) > math.prod(shapes[index])}
        if not over:
            break
        dense |= over
    return [0.0 if i in dense else 1 - scale * sum(shape) / math.prod(shape) for i, shape in enumerate(shapes)]
