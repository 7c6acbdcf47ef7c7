"""How long a model takes in LiteRT on this machine's CPU, and what its file takes beside.

Measured is float32 on XNNPACK, the interpreter's default, without copying inputs in and outputs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfprune.backend import keras
from tfprune.cost.timing import in_turns, latency_of
from tfprune.litert.convert import convert
from tfprune.litert.memory import memory_of
from tfprune.litert.session import Session
from tfprune.results import Delegate, FileCost, Latency


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
    runs = in_turns(sessions, 3, repeats, seconds)
    return [
        latency_of(values, runs.settled, threads=session.threads, batch=session.batch, delegate=session.delegate)
        for session, values in zip(sessions, runs.milliseconds, strict=True)
    ]


def measure_file(
    source: bytes | Path,
    *,
    threads: int = 1,
    batch: int = 1,
    delegate: Delegate = "xnnpack",
    repeats: int = 1000,
    seconds: float = 2.0,
) -> FileCost:
    """Measure a LiteRT file: its size, how long a run takes, and its memory, the last in a process of its own.

    Args:
        source: a flatbuffer, or the file that it is in.
        threads: of the interpreter.
        batch: examples a run; the file is resized to it.
        delegate: who computes, see `Session`.
        repeats: runs that count, at most.
        seconds: time for all runs, at most; three runs are made in any case.

    Raises:
        ModelError: as in `Session`.

    Example:
        >>> content = convert(keras.Sequential([keras.layers.Dense(4, input_shape=(8,))]))
        >>> found = measure_file(content, seconds=0.1)
        >>> found.bytes == len(content), found.arena_bytes  # 8 numbers in, 4 out, laid out in steps of 64 bytes
        (True, 128)
    """
    content = source if isinstance(source, bytes) else source.read_bytes()
    session = Session(content, threads, delegate, batch)
    (found,) = latencies([session], repeats=repeats, seconds=seconds)
    memory = memory_of(content, threads, batch, delegate)
    return FileCost(len(content), found, memory.arena_bytes, memory.peak_memory)
