"""How long a model takes for one example in LiteRT on this machine's CPU.

Measured is float32 on XNNPACK, the interpreter's default, without copying inputs in and outputs out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.backend import keras
from tfprune.cost.litert import Session, convert


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one example.

    Attributes:
        median_ms: of the runs that count.
        p10_ms: a tenth of them took no longer.
        p90_ms: a tenth of them took longer.
        runs: how many counted, warm-up left out.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int


def latency(model: keras.Model, *, threads: int = 1, repeats: int = 200, seconds: float = 2.0) -> Latency:
    """Measure a model in LiteRT: batch size 1, random input.

    Args:
        model: Functional or Sequential, built, every axis of its inputs but the batch's of known length.
        threads: of the interpreter.
        repeats: runs that count, at most.
        seconds: time for all runs, at most, conversion left out; three runs are made in any case.

    Raises:
        ModelError: the model cannot be converted, or LiteRT cannot run it; names the operation.

    Example:
        >>> model = keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(8, 8, 3))])
        >>> found = latency(model, seconds=0.1)
        >>> 0 < found.p10_ms <= found.median_ms <= found.p90_ms
        True
    """
    (found,) = latencies([Session(convert(model), threads)], repeats=repeats, seconds=seconds)
    return found


def latencies(sessions: Sequence[Session], *, repeats: int = 200, seconds: float = 2.0) -> list[Latency]:
    """Measure several models that take turns, so that what slows the machine for a while slows them all.

    Args:
        sessions: the models in their interpreters.
        repeats: runs of each that count, at most.
        seconds: time for the runs of all, at most; three runs of each are made in any case.
    """
    found = []
    for values in in_turns(sessions, 3, repeats, seconds):
        quick, median, slow = (float(np.percentile(values, at)) for at in (10, 50, 90))
        found.append(Latency(median, quick, slow, len(values)))
    return found


def in_turns(sessions: Sequence[Session], least: int, most: int, seconds: float) -> list[list[float]]:
    """Milliseconds of the runs of each."""
    start = time.perf_counter()
    _warm_up(sessions, seconds / 4)
    found: list[list[float]] = [[] for _ in sessions]
    for turn in range(most):
        if turn >= least and time.perf_counter() - start > seconds:
            break
        for session, values in zip(sessions, found, strict=True):
            values.append(1000 * session.seconds())
    return found


def _warm_up(sessions: Sequence[Session], seconds: float) -> None:
    """Run all in turn until the median of five turns is within 3% of that of the five before, or time is up."""
    start, turns = time.perf_counter(), []
    while time.perf_counter() - start < seconds:
        turns.append(sum(session.seconds() for session in sessions))
        if len(turns) >= 10:
            before, now = statistics.median(turns[-10:-5]), statistics.median(turns[-5:])
            if abs(now - before) <= 0.03 * before:
                return
