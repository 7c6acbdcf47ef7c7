"""How long something takes that is run again and again, and whether the machine was quiet enough to tell."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfprune.results import Latency


class Timed(Protocol):
    """What can be run once, and tells the seconds that it took."""

    def seconds(self) -> float: ...


@dataclass(frozen=True)
class Runs:
    """Milliseconds of the runs that count, and whether warm-up was over by then.

    Attributes:
        milliseconds: by runner, run by run.
        settled: warm-up ended because runs had become alike; None where there was no time to see that.
    """

    milliseconds: list[list[float]]
    settled: bool | None


def in_turns(runners: Sequence[Timed], least: int, most: int, seconds: float) -> Runs:
    """Run several in turns, so that what slows the machine for a while slows them all.

    Args:
        runners: what is run.
        least: runs of each that are made in any case.
        most: runs of each, at most.
        seconds: for all runs, at most; a quarter of it goes to warming up, at most.
    """
    start = time.perf_counter()
    settled = _warm_up(runners, seconds / 4)
    found: list[list[float]] = [[] for _ in runners]
    for turn in range(most):
        if turn >= least and time.perf_counter() - start > seconds:
            break
        for runner, values in zip(runners, found, strict=True):
            values.append(1000 * runner.seconds())
    return Runs(found, settled)


def _warm_up(runners: Sequence[Timed], seconds: float) -> bool | None:
    """Run all in turns until the median of five turns is within 3% of that of the five before, or time is up."""
    start, turns = time.perf_counter(), []
    while time.perf_counter() - start < seconds:
        turns.append(sum(runner.seconds() for runner in runners))
        if len(turns) >= 2 * _WINDOW:
            before, now = statistics.median(turns[-2 * _WINDOW : -_WINDOW]), statistics.median(turns[-_WINDOW:])
            if abs(now - before) <= 0.03 * before:
                return True
    return False if len(turns) >= 4 * _WINDOW else None


_WINDOW = 5


def noise_in(milliseconds: Sequence[float], settled: bool | None = True) -> str:
    """Why runs are no measure of what was run, in one clause; empty where they are.

    A median can be trusted where most runs are alike and late ones take as long as early ones. They are no measure
    where warm-up never settled, where the medians of their first and second half are 10% apart, or where those from
    the tenth to the ninetieth percentile are spread over 30% of the median. Five microseconds are never noise: the
    call from Python varies by as much. What slows all runs alike, as a processor hot from the start, is not seen.

    Example:
        >>> noise_in([1.0, 1.02] * 20)
        ''
        >>> noise_in([1.0] * 20 + [1.3] * 20)
        'the second half of the runs took 30% longer than the first'
    """
    values = np.asarray(milliseconds)
    median = float(np.median(values))
    first, second = (float(np.median(half)) for half in (values[: (len(values) + 1) // 2], values[len(values) // 2 :]))
    if abs(second - first) > max(_HALVES * median, _CALL_MS):
        way = "longer" if second > first else "less"
        return f"the second half of the runs took {abs(second / first - 1):.0%} {way} than the first"
    quick, slow = np.percentile(values, (10, 90))
    if slow - quick > max(_SPREAD * median, _CALL_MS):
        return f"one run in ten took over {slow / quick - 1:.0%} longer than the quickest tenth"
    return "warm-up never settled" if settled is False else ""


_HALVES, _SPREAD, _CALL_MS = 0.1, 0.3, 0.005


def latency_of(milliseconds: Sequence[float], settled: bool | None, **of: Any) -> Latency:
    """Sum up runs; `of` says what was run and how, see `Latency`."""
    quick, median, slow = (float(np.percentile(milliseconds, at)) for at in (10, 50, 90))
    return Latency(median, quick, slow, len(milliseconds), noise=noise_in(milliseconds, settled), **of)
