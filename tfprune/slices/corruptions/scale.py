"""What a corruption must know of clean data: how wide its values spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.errors import SliceError

_ROUNDING = 1e-3
"""Resized or decoded images leave their range by this much."""


@dataclass(frozen=True)
class Scale:
    """Range or spread of clean values.

    Attributes:
        low: of images, the value of black.
        high: of images, the value of white; above `low`.
        mean: of tables, by column.
        std: of tables, standard deviation by column, 0 for a constant column.

    Raises:
        SliceError: `low` is not below `high`.
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise SliceError(f"corruptions: values from {self.low:g} to {self.high:g} are no range; give low < high")


def scale_of(sample: np.ndarray, kind: str) -> Scale:
    """Measure clean data; take the sample from the training part, and the same scale for every split.

    Args:
        sample: some clean examples, (n, ...) with n >= 1.
        kind: ``image``, ``text`` or ``table``.

    Returns:
        Of images the range of values: (0, 1) or (0, 255) when all values lie in it, (-1, 1) likewise, else the sample's
        smallest and largest value. Of tables mean and standard deviation by column, over the values that are finite.
        Of texts nothing.

    Raises:
        SliceError: no example, images that are not finite, or images of one value that have no range.

    >>> scale_of(np.array([[[[0.0], [200.0]]]], np.float32), "image")
    Scale(low=0.0, high=255.0, mean=(), std=())
    >>> scale_of(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32), "table")
    Scale(low=0.0, high=1.0, mean=(2.0, 5.0), std=(1.0, 0.0))
    """
    if kind == "text":
        return Scale()
    if not np.size(sample):
        raise SliceError("corruptions: no clean example to take the range of values from; give at least one")
    return _of_images(sample) if kind == "image" else _of_table(sample)


def _of_images(sample: np.ndarray) -> Scale:
    least, most = float(sample.min()), float(sample.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise SliceError(
            "corruptions: the images hold NaN or infinite values; corruptions need numbers, so clean the data"
        )
    for low, high in ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)):
        slack = _ROUNDING * (high - low)
        # Images that never come to half of what a byte holds have another range, such as 0 to 16.
        if low - slack <= least and most <= high + slack and not (high == 255 and most < 128):
            return Scale(low, high)
    return Scale(least, most)


def _of_table(sample: np.ndarray) -> Scale:
    values = np.asarray(sample, np.float64)
    finite = np.isfinite(values)
    count = np.maximum(finite.sum(axis=0), 1)  # a column without a number has mean 0 and does not spread
    mean = np.where(finite, values, 0.0).sum(axis=0) / count
    spread = np.where(finite, values - mean, 0.0)
    return Scale(mean=tuple(mean.tolist()), std=tuple(np.sqrt((spread**2).sum(axis=0) / count).tolist()))
