"""The file that a workflow ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfprune.recipe.base import NUMBER, Count, NumberFrom0, Positive, Section

AnyShare = Annotated[float, Field(ge=0, le=1), NUMBER]


class ExportSection(Section):
    """The file that the best round is exported to, if any passed; one that is there is replaced.

    It is checked on the validation part: opened in its own runtime, compared with the Keras model, and held against the
    gates of `stop` and the budgets here. Where it does not keep them, none is written, and the target is not met.

    Attributes:
        path: ends in ``.tflite``, ``.onnx``, ``.keras``, ``.h5``, or in nothing for the folder of a SavedModel.
        to: the format, where the ending does not tell: ``litert``, ``onnx``, ``savedmodel``, ``keras`` or ``keras3``.
        quantize: ``none``, ``float16``, ``dynamic`` (int8 weights) or ``int8``; the last three in LiteRT and ONNX.
        integer_io: int8 inputs and outputs, and no operation in float.
        sparse: encode zeros sparsely, if that file loads and is smaller.
        select_ops: let TensorFlow's own kernels stand in for operations that LiteRT lacks.
        labels: write the names of the classes, and what inputs are divided by, into a LiteRT file.
        calibration: training examples, in the order of its first epoch, that ranges of activations are taken from.
        qat_epochs: of training with fake quantization, zeros held, where int8 is out of tolerance without; 0 for none.
        agreement: least share of the validation examples with the same class first as the Keras model has.
        difference: greatest difference of answers as a share of their range, where nothing is a class.
        size_mb: budget of the file, in MB of 1,000,000 bytes.
        latency_ms: budget of one example on this machine, one thread, in LiteRT or onnxruntime.
    """

    _newer: ClassVar = frozenset(
        (
            *("to", "quantize", "integer_io", "sparse", "select_ops", "labels", "calibration", "qat_epochs"),
            *("agreement", "difference", "size_mb", "latency_ms"),
        )
    )

    path: Path
    to: Literal["litert", "onnx", "savedmodel", "keras", "keras3"] | None = None
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none"
    integer_io: bool = False
    sparse: bool = False
    select_ops: bool = False
    labels: bool = False
    calibration: Count = 300
    qat_epochs: NumberFrom0 = 2
    agreement: AnyShare | None = None
    difference: AnyShare | None = None
    size_mb: Positive | None = None
    latency_ms: Positive | None = None
