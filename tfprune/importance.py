"""Scores of weights: the higher, the more worth keeping."""

from __future__ import annotations

import numpy as np


def magnitude(weights: np.ndarray) -> np.ndarray:
    """Absolute value (Han et al. 2015).

    Args:
        weights: any shape.

    Returns:
        Scores of the same shape, float32.
    """
    return np.abs(weights).astype(np.float32, copy=False)
