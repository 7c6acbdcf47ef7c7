"""Sizes of trials in one unit, with as many digits as tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_KB = (1, 2, 3)
_MB = (3,)


@dataclass(frozen=True)
class SizeScale:
    """How the sizes of one table or figure are told.

    Attributes:
        unit: ``KB`` or ``MB``, of 1,000 or 1,000,000 bytes.
        digits: behind the point.
        gzipped: whether the sizes are after gzip.
    """

    unit: str
    digits: int
    gzipped: bool = True

    @property
    def header(self) -> str:
        """``KB gzipped`` or the like."""
        return f"{self.unit} {'gzipped' if self.gzipped else 'of weights'}"

    def value(self, size: int) -> float:
        """Bytes in the unit."""
        return size / (1e3 if self.unit == "KB" else 1e6)

    def words(self, size: int | None) -> str:
        """``40.3``; empty where there is none."""
        return "" if size is None else f"{self.value(size):.{self.digits}f}"


def size_scale(sizes: Iterable[int | None], gzipped: bool = True) -> SizeScale:
    """KB where all sizes are under a megabyte, with the fewest digits with which different sizes differ.

    Args:
        sizes: bytes, None where one is unknown.
        gzipped: whether they are after gzip.

    Example:
        >>> size_scale([40_310, 40_120]).words(40_310)
        '40.3'
    """
    known = {size for size in sizes if size is not None}
    unit, most = ("KB", _KB) if known and max(known) < 1_000_000 else ("MB", _MB)
    scales = [SizeScale(unit, digits, gzipped) for digits in most]
    return next((each for each in scales if len({each.words(size) for size in known}) == len(known)), scales[-1])
