"""scikit-learn's digits: real data that needs no file and no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfprune.data.arrays import data_from_arrays

if TYPE_CHECKING:
    from tfprune.data.splits import Data
    from tfprune.recipe import DigitsData


def load_digits(section: DigitsData, seed: int) -> Data:
    """Return 1,797 scans of handwritten digits, shape (8, 8, 1), in [0, 1]."""
    from sklearn import datasets  # takes a second to import, and only this source needs it

    digits = datasets.load_digits()
    x = (digits.images[..., np.newaxis] / 16).astype(np.float32)
    return data_from_arrays({"train": (x, digits.target)}, section, seed)
