"""Schedules by name: from what a file says of one, or from a recipe's section."""

from __future__ import annotations

from typing import Any

from tfprune.errors import ScheduleError, nearest
from tfprune.masking.decay import CosineDecay, Decay, ExponentialDecay, LinearDecay, PolynomialDecay
from tfprune.masking.schedule import ConstantSparsity, FrozenMasks, Schedule, StepSparsity
from tfprune.recipe import ScheduleSection

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
