"""What is in a file besides its answers: operations, zeros, working memory, and how long one example takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tfprune.backend import keras
from tfprune.cost.latency import measure_file
from tfprune.cost.timing import in_turns, latency_of
from tfprune.deploy.onnx import OnnxSession, operations
from tfprune.deploy.verify import random_inputs
from tfprune.litert import look
from tfprune.litert.session import Session
from tfprune.litert.zeros import zeros_kept
from tfprune.results import ExportReport


def described(report: ExportReport, path: Path, model: keras.Model) -> ExportReport:
    """A report with what the file itself tells.

    Args:
        report: of the file.
        path: where it is for now.
        model: that it was made of.
    """
    if report.format == "litert":
        return _litert(report, path.read_bytes(), model)
    if report.format == "onnx":
        session = OnnxSession(path, threads=1)
        session.set_inputs(random_inputs(model, 1)[0])
        runs = in_turns([session], 3, 1000, 2.0)
        found = latency_of(runs.milliseconds[0], runs.settled, threads=1, batch=1, runtime="onnx", delegate="none")
        return replace(report, operations=operations(path), latency=found)
    return report


def _litert(report: ExportReport, content: bytes, model: keras.Model) -> ExportReport:
    found, cost = look.operations(content), measure_file(content)
    fell_back = [f"{name} (TensorFlow's kernel)" for name in found if name.startswith("Flex")]
    if report.quantize == "int8":
        fell_back += [f"{name} (float)" for name in look.float_operations(content)]
    fell_back += [f"{name} (outside XNNPACK)" for name in look.undelegated(Session(content))]
    return replace(
        report,
        operations=found,
        fell_back=tuple(fell_back),
        zeros_kept=zeros_kept(model, content),
        latency=cost.latency,
        arena_bytes=cost.arena_bytes,
        peak_memory=cost.peak_memory,
    )
