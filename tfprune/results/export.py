"""Files that models were exported to, and how they answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfprune.results.cost import Latency
from tfprune.results.evaluation import Evaluation

Format = Literal["litert", "onnx", "savedmodel", "keras", "keras3"]
Quantize = Literal["none", "float16", "dynamic", "int8"]


@dataclass(frozen=True)
class Check:
    """How an exported file answers in its own runtime, held against the Keras model.

    Attributes:
        examples: how many were asked of both.
        source: where they are from: the name of a split, ``given``, or ``random`` where there was no data.
        max_difference: between any two numbers that they answered.
        relative_difference: the same as a share of the range of the Keras model's answers, of each output its own.
        others_difference: the same of the outputs that `agreement` does not speak of; 0 where there are none.
        agreement: share of the examples with the same class first, in [0, 1]; None where nothing is a class.
        model: the Keras model, whole and by slice; None without labels.
        file: the same of the file. Drops are against the Keras model; in a workflow, against its dense one.
    """

    examples: int
    source: str
    max_difference: float
    relative_difference: float
    others_difference: float = 0.0
    agreement: float | None = None
    model: Evaluation | None = None
    file: Evaluation | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far a file's answers may be from the Keras model's.

    Attributes:
        agreement: least share of examples with the same class first, in [0, 1].
        difference: greatest `relative_difference` of outputs that are no classes, or all where inputs are random.
        exact: classes are held to the difference as well, as where it was asked for by itself.
    """

    agreement: float
    difference: float
    exact: bool = False


@dataclass(frozen=True)
class Attempt:
    """One way to a quantized file that was tried.

    Attributes:
        way: ``converter``, ``sparse encoding``, ``ai-edge-quantizer`` or ``training``.
        check: how it answers; None where the way led to no file.
        failure: why it was not good enough, in one clause; empty where it was.
    """

    way: str
    check: Check | None
    failure: str = ""


@dataclass(frozen=True)
class ExportReport:
    """A file that was written, opened in its own runtime, run and compared.

    Attributes:
        path: where it is.
        format: of the file.
        quantize: what became of its numbers.
        way: which tool made them so, see `Attempt`; ``converter`` where nothing is quantized.
        bytes: of the file, or of all files in a folder.
        gzipped_bytes: the same after gzip, what a download costs.
        check: how it answers.
        operations: how often it has which, of LiteRT and ONNX.
        fell_back: operations that do not run as they were meant to: in float in an int8 file, by kernels of
            TensorFlow, or outside of XNNPACK.
        zeros_kept: of the zero weights of the Keras model, the share that is zero in the file; None where it has none,
            or the format is not looked into.
        latency: of one example; None for formats that are not timed.
        arena_bytes: working memory of LiteRT for one example, weights aside; None for other formats, as what follows.
        peak_memory: bytes that a process takes more while it loads and runs the file.
        attempts: the ways that were tried, in order.
        notes: what else should be known, a sentence each.
    """

    path: Path
    format: Format
    quantize: Quantize
    way: str
    bytes: int
    gzipped_bytes: int
    check: Check
    operations: dict[str, int]
    fell_back: tuple[str, ...] = ()
    zeros_kept: float | None = None
    latency: Latency | None = None
    arena_bytes: int | None = None
    peak_memory: int | None = None
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def megabytes(self) -> float:
        """Of 1,000,000 bytes."""
        return self.bytes / 1e6


@dataclass(frozen=True)
class Stage:
    """A model on the way from dense to exported, as a file.

    Attributes:
        name: ``dense``, ``pruned``, or the latter with what became of its numbers, ``pruned, int8``.
        bytes: of its LiteRT file.
        latency: of one example in LiteRT; all stages took turns.
        evaluation: on the test split, against the dense model.
    """

    name: str
    bytes: int
    latency: Latency
    evaluation: Evaluation


@dataclass(frozen=True)
class Delivery:
    """What came of a recipe's export.

    Attributes:
        report: of the file, also where it was not written; None where there was none to report on.
        failure: why there is no file, in one clause; empty where there is one.
        stages: dense, pruned, exported; none for other formats than LiteRT.
    """

    report: ExportReport | None
    failure: str = ""
    stages: tuple[Stage, ...] = ()
