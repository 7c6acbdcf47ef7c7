"""Where a budget can be taken: the starting allocations, and the way from knobs to an allocation on the budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from tfprune.results import Plan, Sensitivity
from tfprune.tuning.knobs import Board, make_board


@dataclass(frozen=True)
class Allocation:
    """A point on the budget.

    Attributes:
        ratios: share that is pruned, by layer or coupling.
        plan: the units that fall; None for masks.
    """

    ratios: dict[str, float]
    plan: Plan | None = None


class Space(ABC):
    """All allocations that meet a recipe's budget.

    Args:
        sensitivity: of the model's layers.
        most_knobs: at most so many knobs.

    Attributes:
        starts: allocations that others have thought of, by name.
    """

    starts: dict[str, Allocation]

    def __init__(self, sensitivity: Sensitivity, most_knobs: int) -> None:
        self.starts = {}
        self._sensitivity, self._most_knobs = sensitivity, most_knobs

    def add_start(self, name: str, allocation: Allocation) -> None:
        """Take a starting allocation, unless it is one that is there."""
        if all(allocation.ratios != each.ratios for each in self.starts.values()):
            self.starts[name] = allocation

    @property
    @abstractmethod
    def groups(self) -> list[tuple[str, ...]]:
        """Layers or couplings that belong together, in the model's order."""

    def board(self, objectives: Mapping[str, float]) -> Board:
        """The knobs, once starting allocations have come to an objective."""
        shares = {name: each.ratios for name, each in self.starts.items()}
        return make_board(self.groups, shares, objectives, self._sensitivity, self._most_knobs)

    @abstractmethod
    def on_budget(self, densities: Mapping[str, float]) -> Allocation:
        """Bring densities onto the budget, in proportion to each other."""
