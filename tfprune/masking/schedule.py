"""How sparse at which step.

Pure Python: a schedule is asked outside the training graph, so a new target needs no new trace, and
drawing one needs no TensorFlow. A step is a finished batch; step 0 is before the first one.
"""

from __future__ import annotations

import abc
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from tfprune.errors import ScheduleError


class Schedule(abc.ABC):
    """Sparsity as a function of the training step.

    A schedule updates the masks at certain steps only; `update_at` names the last one due by a step.
    """

    # For the type checker alone: a dataclass would take an inherited property for the default of its field.
    if TYPE_CHECKING:

        @property
        def final_sparsity(self) -> float:
            """Share of zeros after the last update, in [0, 1)."""

    @abc.abstractmethod
    def update_at(self, step: int) -> int | None:
        """The latest step, up to and including `step`, at which masks are updated; None before the first."""

    @abc.abstractmethod
    def sparsity(self, step: int) -> float:
        """Share of zeros among the prunable weights at an update on `step`, in [0, 1)."""

    @property
    @abc.abstractmethod
    def last_step(self) -> int:
        """The step of the last update."""

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal schedule, the class's name under ``kind``."""
        return {"kind": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


# ------------------------------------------------------------------------------ in jumps, or not at all


@dataclass(frozen=True, kw_only=True)
class StepSparsity(Schedule):
    """Sparsity jumps at milestones, and weights recover in between (Han et al. 2015).

    Args:
        milestones: at least one pair of step and sparsity. Steps are whole, 0 or more, and rise from pair to pair;
            sparsities are in [0, 1) and never fall. Kept as a tuple of tuples.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import StepSparsity
        >>> schedule = StepSparsity(milestones=((0, 0.5), (100, 0.8)))
        >>> schedule.update_at(99), schedule.sparsity(99), schedule.final_sparsity
        (0, 0.5, 0.8)
    """

    milestones: Sequence[tuple[int, float]]

    def __post_init__(self) -> None:
        pairs = _pairs(self.milestones)
        for number, (step, sparsity) in enumerate(pairs):
            check_step(**{f"milestones[{number}][0]": step})
            check_sparsity(**{f"milestones[{number}][1]": sparsity})
        for one, two in pairwise(pairs):
            if one[0] >= two[0]:
                raise ScheduleError(f"milestones must rise in their steps, but got {two} after {one}")
            if one[1] > two[1]:
                raise ScheduleError(
                    f"milestones must not fall in sparsity, as zeros stay zeros, but got {two} after {one}"
                )
        # JSON and YAML make lists of tuples; these here are equal to those before, and plain numbers.
        object.__setattr__(self, "milestones", tuple((int(step), float(sparsity)) for step, sparsity in pairs))

    def update_at(self, step: int) -> int | None:
        passed = self._passed(step)
        return self.milestones[passed - 1][0] if passed else None

    def sparsity(self, step: int) -> float:
        passed = self._passed(step)
        return self.milestones[passed - 1][1] if passed else 0.0

    @property
    def last_step(self) -> int:
        return self.milestones[-1][0]

    @property
    def final_sparsity(self) -> float:
        """The last milestone's."""
        return self.milestones[-1][1]

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal schedule, in lists, as JSON and YAML have no tuples."""
        return {"kind": type(self).__name__, "milestones": [list(each) for each in self.milestones]}

    def _passed(self, step: int) -> int:
        return bisect_right(self.milestones, step, key=lambda milestone: milestone[0])


@dataclass(frozen=True, kw_only=True)
class ConstantSparsity(Schedule):
    """All at once, at one step.

    Args:
        final_sparsity: in [0, 1).
        begin_step: the step of the only update.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import ConstantSparsity
        >>> ConstantSparsity(final_sparsity=0.5).update_at(0)
        0
    """

    final_sparsity: float
    begin_step: int = 0

    def __post_init__(self) -> None:
        check_sparsity(final_sparsity=self.final_sparsity)
        check_step(begin_step=self.begin_step)

    def update_at(self, step: int) -> int | None:
        return self.begin_step if step >= self.begin_step else None

    def sparsity(self, step: int) -> float:
        return self.final_sparsity

    @property
    def last_step(self) -> int:
        return self.begin_step


@dataclass(frozen=True, kw_only=True)
class FrozenMasks(Schedule):
    """Masks stay as they are: fine-tuning alone, which prunes nothing.

    ``tfprune.wrap(sparse_model, FrozenMasks())`` holds the zeros of a model that is sparse already. It asks for no
    sparsity of its own, so its `sparsity` and `final_sparsity` are 0, and it is finished from the start.

    Example:
        >>> from tfprune import FrozenMasks
        >>> FrozenMasks().update_at(1000) is None
        True
    """

    def update_at(self, step: int) -> int | None:
        return None

    def sparsity(self, step: int) -> float:
        return 0.0

    @property
    def last_step(self) -> int:
        return 0

    @property
    def final_sparsity(self) -> float:
        """0: no update asks for more than there is."""
        return 0.0


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    """Milestones as pairs, whatever they came in."""
    try:
        pairs = [(step, sparsity) for step, sparsity in given]
    except (TypeError, ValueError):
        pairs = []
    if not pairs:
        raise ScheduleError(
            f"milestones must be pairs of a step and a sparsity, e.g. ((0, 0.5), (100, 0.8)), "
            f"but got milestones={given!r}"
        )
    return pairs


def check_sparsity(**given: float) -> None:
    """Raise a ScheduleError for a parameter that is no share in [0, 1)."""
    for name, value in given.items():
        if not (is_number(value) and 0 <= value < 1):
            raise ScheduleError(
                f"{name} must be a number in [0, 1), but got {name}={value!r}; it is a share, 0.9 for 90%"
            )


def check_step(**given: int) -> None:
    """Raise a ScheduleError for a parameter that counts no steps."""
    for name, value in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            raise ScheduleError(f"{name} must be a whole number, 0 or more, but got {name}={value!r}")


def is_number(value: object) -> bool:
    """Whether a value is a finite number, of Python or NumPy, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
