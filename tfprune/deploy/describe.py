"""What is in a file besides its answers: operations, zeros, working memory, and how long one example takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tfprune.backend import keras
from tfprune.cost.latency import latencies
from tfprune.cost.timing import in_turns, latency_of
from tfprune.deploy.choices import Choices
from tfprune.deploy.onnx import OnnxSession, operations
from tfprune.deploy.verify import random_inputs
from tfprune.litert import look
from tfprune.litert.flex import needs_flex, session_of
from tfprune.litert.memory import memory_of
from tfprune.litert.zeros import zeros_kept
from tfprune.results import ExportReport, Latency


def described(report: ExportReport, path: Path, model: keras.Model, choices: Choices) -> ExportReport:
    """A report with what the file itself tells.

    Args:
        report: of the file.
        path: where it is for now.
        model: that it was made of.
        choices: a budget of latency is not judged by a noisy measurement if a second or third one is none.
    """
    turns = 1 if choices.latency_ms is None else 3
    if report.format == "litert":
        return _litert(report, path.read_bytes(), model, turns)
    if report.format == "onnx":
        return replace(report, operations=operations(path), latency=_of_onnx(path, model, turns))
    return report


def _litert(report: ExportReport, content: bytes, model: keras.Model, turns: int) -> ExportReport:
    session, found = session_of(content), look.operations(content)
    fell_back = [f"{name} (TensorFlow's kernel)" for name in found if name.startswith("Flex")]
    if report.quantize == "int8":
        fell_back += [f"{name} (float)" for name in look.float_operations(content)]
    fell_back += [f"{name} (outside XNNPACK)" for name in look.undelegated(session)]
    memory = None if needs_flex(content) else memory_of(content, 1, 1, "xnnpack")
    return replace(
        report,
        operations=found,
        fell_back=tuple(fell_back),
        zeros_kept=zeros_kept(model, content),
        latency=_quiet(lambda: latencies([session], repeats=1000)[0], turns),
        arena_bytes=None if memory is None else memory.arena_bytes,
        peak_memory=None if memory is None else memory.peak_memory,
    )


def _of_onnx(path: Path, model: keras.Model, turns: int) -> Latency | None:
    """Of one example; None where an axis of unknown length leaves open what that is."""
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        return None
    session = OnnxSession(path, threads=1)
    session.set_inputs(random_inputs(model, 1)[0])

    def measured() -> Latency:
        runs = in_turns([session], 3, 1000, 2.0)
        return latency_of(runs.milliseconds[0], runs.settled, threads=1, batch=1, runtime="onnx", delegate="none")

    return _quiet(measured, turns)


def _quiet(measured: Callable[[], Latency], turns: int) -> Latency:
    """The first measurement that was not noisy, or else the last."""
    for _ in range(turns):
        found = measured()
        if not found.noisy:
            break
    return found
