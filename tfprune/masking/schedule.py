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

from tfprune.errors import ScheduleError, nearest
from tfprune.recipe import ScheduleSection


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


# ------------------------------------------------------------------------------------- along a curve


@dataclass(frozen=True, kw_only=True)
class Decay(Schedule):
    """Sparsity that rises along a curve, while density decays; a kind of decay is its curve alone.

    Updates fall on begin, begin + frequency, … and always on end, where sparsity is final to the bit.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        frequency: steps between two updates.

    Raises:
        ScheduleError: a parameter out of its range.
    """

    final_sparsity: float
    end_step: int
    initial_sparsity: float = 0.0
    begin_step: int = 0
    frequency: int = 100

    def __post_init__(self) -> None:
        _check_sparsity(final_sparsity=self.final_sparsity, initial_sparsity=self.initial_sparsity)
        _check_step(begin_step=self.begin_step, end_step=self.end_step, frequency=self.frequency)
        if self.initial_sparsity > self.final_sparsity:
            raise ScheduleError(
                f"initial_sparsity must not be over final_sparsity, as zeros stay zeros, but got "
                f"initial_sparsity={self.initial_sparsity}, final_sparsity={self.final_sparsity}"
            )
        if self.begin_step >= self.end_step:
            raise ScheduleError(
                f"begin_step must lie before end_step, but got begin_step={self.begin_step}, end_step={self.end_step}"
            )
        if self.frequency < 1:
            raise ScheduleError(f"frequency must be at least 1 step, but got frequency={self.frequency}")

    @abc.abstractmethod
    def _curve(self, progress: float) -> float:
        """Sparsity when a share of the way is done, in [0, 1): from initial to final, and never falling."""

    def update_at(self, step: int) -> int | None:
        if step < self.begin_step:
            return None
        if step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.frequency

    def sparsity(self, step: int) -> float:
        if step >= self.end_step:
            return self.final_sparsity
        progress = max(0, step - self.begin_step) / (self.end_step - self.begin_step)
        # Rounding may carry a curve past its ends by a bit, from where the last update would fall back.
        return min(self.final_sparsity, max(self.initial_sparsity, self._curve(progress)))

    @property
    def last_step(self) -> int:
        return self.end_step


@dataclass(frozen=True, kw_only=True)
class PolynomialDecay(Decay):
    """Sparsity rises fast while there is much to spare and slowly towards the end (Zhu & Gupta 2017).

    The update on step t sets ``final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power``.
    Updates fall on begin, begin + frequency, … and always on end.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        frequency: steps between two updates.
        power: exponent, over 0.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import PolynomialDecay
        >>> schedule = PolynomialDecay(final_sparsity=0.8, end_step=100, frequency=10)
        >>> round(schedule.sparsity(50), 3), schedule.sparsity(100)
        (0.7, 0.8)
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (_is_number(self.power) and self.power > 0):
            raise ScheduleError(f"power must be a number over 0, but got power={self.power!r}")

    def _curve(self, progress: float) -> float:
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * (1 - progress) ** self.power


@dataclass(frozen=True, kw_only=True)
class LinearDecay(Decay):
    """Sparsity rises evenly: every update removes as many weights (Zhu & Gupta 2017 with power 1).

    The update on step t sets ``initial + (final - initial) * (t - begin) / (end - begin)``.
    Updates fall on begin, begin + frequency, … and always on end.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        frequency: steps between two updates.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import LinearDecay
        >>> LinearDecay(final_sparsity=0.8, end_step=100).sparsity(25)
        0.2
    """

    def _curve(self, progress: float) -> float:
        return self.initial_sparsity + (self.final_sparsity - self.initial_sparsity) * progress


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay(Decay):
    """Every step removes the same share of what is left, so that density falls exponentially.

    It does by steps what iterative pruning does by rounds (Frankle & Carbin 2019). The update on step t sets
    ``1 - (1 - initial) * ((1 - final) / (1 - initial)) ** ((t - begin) / (end - begin))``.
    Updates fall on begin, begin + frequency, … and always on end.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        frequency: steps between two updates.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import ExponentialDecay
        >>> schedule = ExponentialDecay(final_sparsity=0.75, end_step=100)
        >>> schedule.sparsity(50), schedule.sparsity(100)
        (0.5, 0.75)
    """

    def _curve(self, progress: float) -> float:
        dense = 1 - self.initial_sparsity
        return 1 - dense * ((1 - self.final_sparsity) / dense) ** progress


@dataclass(frozen=True, kw_only=True)
class CosineDecay(Decay):
    """Sparsity rises along half a cosine: slowly at both ends, fast between (curve of Loshchilov & Hutter 2017).

    The update on step t sets ``final + (initial - final) * (1 + cos(pi * (t - begin) / (end - begin))) / 2``.
    Updates fall on begin, begin + frequency, … and always on end.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        frequency: steps between two updates.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import CosineDecay
        >>> schedule = CosineDecay(final_sparsity=0.8, end_step=100)
        >>> [round(schedule.sparsity(step), 3) for step in (25, 50, 75)]
        [0.117, 0.4, 0.683]
    """

    def _curve(self, progress: float) -> float:
        left = (1 + math.cos(math.pi * progress)) / 2
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left


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
            _check_step(**{f"milestones[{number}][0]": step})
            _check_sparsity(**{f"milestones[{number}][1]": sparsity})
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
        _check_sparsity(final_sparsity=self.final_sparsity)
        _check_step(begin_step=self.begin_step)

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


# -------------------------------------------------------------------------------------- from elsewhere


SCHEDULES: dict[str, type[Schedule]] = {
    cls.__name__: cls
    for cls in (
        ConstantSparsity,
        CosineDecay,
        ExponentialDecay,
        FrozenMasks,
        LinearDecay,
        PolynomialDecay,
        StepSparsity,
    )
}

_DECAYS: dict[str, type[Decay]] = {
    "polynomial": PolynomialDecay,
    "linear": LinearDecay,
    "exponential": ExponentialDecay,
    "cosine": CosineDecay,
}


def from_config(config: dict[str, Any]) -> Schedule:
    """Make the schedule that `Schedule.get_config` described.

    Raises:
        ScheduleError: an unknown kind, or a parameter out of its range.
    """
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ScheduleError(f"schedule kind must be one of {known}, but got {kind!r}{nearest(str(kind), SCHEDULES)}")
    return SCHEDULES[kind](**arguments)


def round_schedule(section: ScheduleSection, initial: float, final: float, steps: int) -> Schedule:
    """The schedule of one round.

    Args:
        section: shape, in shares of the round.
        initial: sparsity before the round.
        final: sparsity at its end.
        steps: of fine-tuning in the round.
    """
    begin = min(round(section.begin * steps), steps - 1)
    end = max(begin + 1, round(section.end * steps))
    if section.kind == "constant":
        return ConstantSparsity(final_sparsity=final, begin_step=begin)
    if section.kind == "stepped":
        return _equal_jumps(initial, final, begin, end, section.steps)
    power = {"power": section.power} if section.kind == "polynomial" else {}
    return _DECAYS[section.kind](
        initial_sparsity=initial,
        final_sparsity=final,
        begin_step=begin,
        end_step=end,
        frequency=section.frequency,
        **power,
    )


def _equal_jumps(initial: float, final: float, begin: int, end: int, count: int) -> StepSparsity:
    """As many equal jumps, evenly spread: the first on `begin` and the last on `end`; a single one on `begin`."""
    count = min(count, end - begin + 1)  # no two on one step
    jump = (final - initial) / count
    # Sparsity is counted back from the end, which is thereby met to the bit.
    return StepSparsity(
        milestones=[
            (begin + (end - begin) * number // max(1, count - 1), final - jump * (count - 1 - number))
            for number in range(count)
        ]
    )


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


def _check_sparsity(**given: float) -> None:
    for name, value in given.items():
        if not (_is_number(value) and 0 <= value < 1):
            raise ScheduleError(
                f"{name} must be a number in [0, 1), but got {name}={value!r}; it is a share, 0.9 for 90%"
            )


def _check_step(**given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            raise ScheduleError(f"{name} must be a whole number, 0 or more, but got {name}={value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
