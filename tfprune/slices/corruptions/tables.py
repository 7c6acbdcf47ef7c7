"""Corruptions of tables.

Each takes float rows (n, columns), a level, a fresh generator for each row in turn, and the columns' mean and standard
deviation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.slices.corruptions.images import Generators, Levels
from tfprune.slices.corruptions.scale import Scale

OnTables = Callable[[np.ndarray, float, Generators, Scale], np.ndarray]


def _feature_noise(x: np.ndarray, level: float, generators: Generators, scale: Scale) -> np.ndarray:
    """Gaussian noise; the level is its standard deviation in standard deviations of the column."""
    noise = np.stack([generator.standard_normal(x.shape[1]) for generator in generators])
    return x + level * np.asarray(scale.std) * noise


def _missing(x: np.ndarray, level: float, generators: Generators, scale: Scale) -> np.ndarray:
    """Values are lost and filled with the column's mean; the level is the probability."""
    lost = np.stack([generator.random(x.shape[1]) for generator in generators]) < level
    return np.where(lost, np.asarray(scale.mean), x)


TABLES: dict[str, tuple[OnTables, Levels]] = {
    "feature_noise": (_feature_noise, (0.1, 0.2, 0.4, 0.6, 1.0)),
    "missing": (_missing, (0.05, 0.1, 0.2, 0.3, 0.5)),
}
"""Name -> what it does, and how much of it at severities 1 to 5."""
