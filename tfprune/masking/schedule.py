"""How sparse at which step.

Pure Python: a schedule is asked outside the training graph, so a new target needs no new trace, and
drawing one needs no TensorFlow. A step is a finished batch; step 0 is before the first one.
"""

from __future__ import annotations

import abc
import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

from tfprune.errors import ScheduleError
from tfprune.recipe import ScheduleSection


class Schedule(abc.ABC):
    """Sparsity as a function of the training step.

    A schedule updates the masks at certain steps only; `update_at` names the last one due by a step.
    """

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


@dataclass(frozen=True, kw_only=True)
class PolynomialDecay(Schedule):
    """Sparsity rises fast while there is much to spare and slowly towards the end (Zhu & Gupta 2017).

    The update on step t sets ``final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power``.
    Updates fall on begin, begin + frequency, … and always on end.

    Args:
        final_sparsity: in [0, 1).
        end_step: step by which it is reached; may be the last step of training.
        initial_sparsity: at `begin_step`, in [0, final_sparsity].
        begin_step: 0 prunes before the first batch.
        power: exponent, over 0.
        frequency: steps between two updates.

    Raises:
        ScheduleError: a parameter out of its range.

    Example:
        >>> from tfprune import PolynomialDecay
        >>> schedule = PolynomialDecay(final_sparsity=0.8, end_step=100, frequency=10)
        >>> round(schedule.sparsity(50), 3), schedule.sparsity(100)
        (0.7, 0.8)
    """

    final_sparsity: float
    end_step: int
    initial_sparsity: float = 0.0
    begin_step: int = 0
    power: float = 3.0
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
        if not (_is_number(self.power) and self.power > 0):
            raise ScheduleError(f"power must be a number over 0, but got power={self.power!r}")
        if self.frequency < 1:
            raise ScheduleError(f"frequency must be at least 1 step, but got frequency={self.frequency}")

    def update_at(self, step: int) -> int | None:
        if step < self.begin_step:
            return None
        if step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.frequency

    def sparsity(self, step: int) -> float:
        if step >= self.end_step:
            return self.final_sparsity
        left = 1 - max(0, step - self.begin_step) / (self.end_step - self.begin_step)
        return self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * left**self.power

    @property
    def last_step(self) -> int:
        return self.end_step


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


SCHEDULES: dict[str, type[Schedule]] = {cls.__name__: cls for cls in (ConstantSparsity, PolynomialDecay)}


def from_config(config: dict[str, Any]) -> Schedule:
    """Make the schedule that `Schedule.get_config` described.

    Raises:
        ScheduleError: an unknown kind.
    """
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in SCHEDULES:
        raise ScheduleError(f"schedule kind must be one of {', '.join(SCHEDULES)}, but got {kind!r}")
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
    if section.kind == "constant":
        return ConstantSparsity(final_sparsity=final, begin_step=begin)
    return PolynomialDecay(
        initial_sparsity=initial,
        final_sparsity=final,
        begin_step=begin,
        end_step=max(begin + 1, round(section.end * steps)),
        power=section.power,
        frequency=section.frequency,
    )


def _check_sparsity(**given: float) -> None:
    for name, value in given.items():
        if not (_is_number(value) and 0 <= value < 1):
            raise ScheduleError(
                f"{name} must be a number in [0, 1), but got {name}={value!r}; 1 would leave no weight at all"
            )


def _check_step(**given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            raise ScheduleError(f"{name} must be a whole number, 0 or more, but got {name}={value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
