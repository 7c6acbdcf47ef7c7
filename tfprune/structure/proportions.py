"""Shares by coupling: how much each loses in proportion to the others, however far it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from tfprune.errors import SelectionError, nearest


@dataclass(frozen=True)
class Proportions:
    """How much couplings lose in proportion to each other; the budget says how far.

    Attributes:
        shares: by name or pattern of a coupling, in [0, 1). A name counts before patterns, of which the first counts;
            what is not named keeps all it makes.
        begun: how many units couplings had where the shares are counted from, by name; by default what they have. So
            several steps come to the same widths as one, and what a step took too much falls later in the next.

    Raises:
        SelectionError: shares out of their range, or none over 0.

    Example:
        >>> half = Proportions({"conv*": 0.5})
        >>> half.of("conv1"), half.of("head"), half.places("conv1", 4)
        (0.5, 0.0, array([0.25, 0.75, 1.25, 1.75]))
        >>> Proportions({"conv*": 0.5}, {"conv1": 4}).places("conv1", 3)  # one is gone already
        array([0.75, 1.25, 1.75])
    """

    shares: Mapping[str, float]
    begun: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if not isinstance(name, str):
                raise SelectionError(f"scope: expected names or patterns of couplings as keys, but got {name!r}")
            is_number = isinstance(share, int | float | np.integer | np.floating) and not isinstance(share, bool)
            if not is_number or not 0 <= share < 1:
                raise SelectionError(f"scope[{name!r}] must be a number in [0, 1), but got {share!r}")
        if not any(self.shares.values()):
            what = f"got {dict(self.shares)!r}" if len(self.shares) < 4 else "all are 0"
            raise SelectionError(f"scope: expected a share over 0 for one coupling at least, but {what}")

    def of(self, name: str) -> float:
        """The share of a coupling."""
        if name in self.shares:
            return float(self.shares[name])
        return next((float(share) for pattern, share in self.shares.items() if fnmatchcase(name, pattern)), 0.0)

    def places(self, name: str, size: int) -> np.ndarray:
        """Where on the way each unit of a coupling falls, worst first; at 1 the coupling has lost its share.

        Args:
            name: of the coupling.
            size: how many of its units may fall; they are the last to fall of those that there were.
        """
        share, before = self.of(name), max(size, self.begun.get(name, size))
        places = np.arange(before - size + 1, before + 1) - 0.5  # half a unit before it is whole
        with np.errstate(over="ignore"):  # a share next to nothing is next to never
            return places / before / share if share else np.full(size, np.inf)

    def unmatched(self, names: Iterable[str]) -> str | None:
        """The first name or pattern that is none of these couplings; None where shares are those of another model."""
        if self.begun:
            return None
        known = list(names)
        return next((each for each in self.shares if not any(fnmatchcase(name, each) for name in known)), None)

    def check(self, names: Iterable[str], made_with: Mapping[str, str]) -> None:
        """Refuse a name that is none.

        Args:
            names: of couplings that may lose something.
            made_with: couplings by the names of layers that make them too, as those are what is easily given.

        Raises:
            SelectionError: it says the nearest name.
        """
        known = list(names)
        wrong = self.unmatched(known)
        if wrong is not None:
            other = made_with.get(wrong)
            told = f"; its units leave with those of {other!r}" if other in known else nearest(wrong, known)
            raise SelectionError(f"scope: {wrong!r} matches no coupling that may lose units{told}")
