"""Sparsity that rises along a curve from a first step to a last one."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

from tfprune.errors import ScheduleError
from tfprune.masking.schedule import Schedule, check_sparsity, check_step, is_number


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
        check_sparsity(final_sparsity=self.final_sparsity, initial_sparsity=self.initial_sparsity)
        check_step(begin_step=self.begin_step, end_step=self.end_step, frequency=self.frequency)
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
        if not (is_number(self.power) and self.power > 0):
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
