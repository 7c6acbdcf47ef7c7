"""Seeded clouds: random grids from coarse to fine, each half as strong as the one before."""

from __future__ import annotations

import numpy as np

_GRIDS = (3, 5, 9, 17)
CELLS = sum(side * side for side in _GRIDS)
"""How many random numbers one cloud is made of."""


def clouds(draws: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return clouds (n, height, width), float32 in [0, 1].

    Args:
        draws: float32 (n, CELLS), uniform in [0, 1).
        height: of the clouds, in pixels; the same draws give the same cloud at any size.
        width: in pixels.
    """
    total = np.zeros((len(draws), height, width), np.float32)
    start, weight = 0, 1.0
    for side in _GRIDS:
        grid = draws[:, start : start + side * side].reshape(-1, side, side)
        total += np.float32(weight) * _stretched(_stretched(grid, height, 1), width, 2)
        start, weight = start + side * side, weight / 2
    total /= np.float32(2 - 2 * weight)
    return total


def _stretched(grid: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis, end to end."""
    place = np.linspace(0, grid.shape[axis] - 1, size)
    before = np.minimum(place.astype(int), grid.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = size
    share = (place - before).astype(np.float32).reshape(shape)
    left, right = grid.take(before, axis), grid.take(before + 1, axis)
    return left + share * (right - left)
