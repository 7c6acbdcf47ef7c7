"""How long a model takes and what it needs to run, as a table for the terminal and as a sentence."""

from __future__ import annotations

from rich.table import Table

from tfprune.results import Latency, Measurement

_RUNTIMES = {"litert": "LiteRT", "tensorflow": "TensorFlow", "onnx": "ONNX Runtime"}


def latency_table(measurement: Measurement) -> Table:
    """The runtimes that a model was timed in, one a line, and beneath it where the machine was too noisy to tell."""
    timed = [each for each in (measurement.litert, measurement.tensorflow) if each is not None]
    notes = [f"{_RUNTIMES[each.runtime]}: {noise_words(each)}" for each in timed if each.noisy]
    table = Table(caption="\n".join(notes) or None, caption_justify="left", padding=0)
    for column in ("runtime", "median ms", "p90 ms", "spread", "runs", "threads", "batch", "delegate"):
        table.add_column(column, justify="left" if column in ("runtime", "delegate") else "right", overflow="fold")
    for each in timed:
        median, slow = (milliseconds_words(value) for value in (each.median_ms, each.p90_ms))
        counts = (f"{each.runs:,}", str(each.threads), str(each.batch))
        table.add_row(_RUNTIMES[each.runtime], median, slow, f"{each.spread:.0%}", *counts, each.delegate)
    return table


def memory_sentence(measurement: Measurement) -> str:
    """What the LiteRT file takes, in one sentence."""
    arena, peak = measurement.arena_bytes, measurement.peak_memory
    return (
        f"As a LiteRT file {_size(measurement.litert_bytes)}; its arena without a delegate {_size(arena)}; "
        f"peak memory of a process that runs it {_size(peak)}."
    )


def noise_words(latency: Latency) -> str:
    """A warning about a noisy machine; empty where it was quiet.

    >>> noise_words(Latency(1.0, 1.0, 2.0, 9, noise="warm-up never settled"))
    'the machine was too noisy to trust this: warm-up never settled'
    """
    return f"the machine was too noisy to trust this: {latency.noise}" if latency.noisy else ""


def milliseconds_words(value: float) -> str:
    """Three digits, as more is never known.

    >>> [milliseconds_words(value) for value in (0.0004312, 0.1158, 12.874, 1234.5)]
    ['0.000431', '0.116', '12.9', '1,234']
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _size(count: int | None) -> str:
    """In the unit that leaves few digits before the point.

    >>> [_size(count) for count in (128, 38912, 42_962_944, None)]
    ['128 bytes', '38.9 kB', '42.96 MB', 'unknown']
    """
    if count is None:
        return "unknown"
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"
