"""The way in from Python: a model, a path, and data to check the file with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tfprune.backend import keras
from tfprune.deploy.calibration import calibration_of
from tfprune.deploy.choices import About, Choices, check_place
from tfprune.deploy.deliver import Question, deliver
from tfprune.deploy.formats import Material
from tfprune.deploy.qat import distilling
from tfprune.deploy.verify import Verification, verify_at_random
from tfprune.errors import ExportError, ModelError
from tfprune.keras3 import arrived, is_keras3
from tfprune.masking.masked import masked_layers
from tfprune.masking.wrap import strip
from tfprune.results import ExportReport, Format, Quantize
from tfprune.slices.answers import Question as Asked
from tfprune.slices.evaluate import as_batches, examine
from tfprune.slices.tasks import check_task


def export(
    model: keras.Model,
    path: str | Path,
    *,
    to: Format | None = None,
    quantize: Quantize = "none",
    data: Any = None,
    slices: Sequence[Any] = (),
    metadata: Any = None,
    classes: Sequence[str] = (),
    task: str | None = None,
    output: str | None = None,
    calibration: Any = None,
    training: Any = None,
    epochs: int = 2,
    integer_io: bool = False,
    sparse: bool = False,
    select_ops: bool = False,
    labels: Sequence[str] = (),
    normalization: tuple[float, float] | None = None,
    agreement: float | None = None,
    difference: float | None = None,
    size_mb: float | None = None,
    latency_ms: float | None = None,
    force: bool = False,
) -> ExportReport:
    """Write a model for a device or a server, and check the file before it is there.

    The file is opened in its own runtime (ai-edge-litert, onnxruntime, TensorFlow for a SavedModel's signature, Keras),
    run on `data`, and compared with the Keras model. Where it answers too differently, or is over a budget, there is
    no file, and an error that tells the figures.

    Args:
        model: tf_keras or Keras 3, built; masks are taken off. Never changed.
        path: ends in ``.tflite``, ``.onnx``, ``.keras`` or ``.h5``; without an ending it is the folder of a SavedModel.
        to: ``litert``, ``onnx``, ``savedmodel``, ``keras`` or ``keras3``, where the ending does not tell; a Keras 3
            model as ``.keras`` is ``keras3``.
        quantize: ``none``; ``float16`` weights; ``dynamic``, int8 weights; ``int8``, activations too, which needs
            `calibration`. Weights are quantized by channel.
        data: ``(x, y)`` or a batched tf.data.Dataset, as `tfprune.evaluate` takes it: what the file is checked on.
            Without it, random inputs are compared, which tells whether the file computes the same, and nothing about
            accuracy.
        slices: as `tfprune.evaluate` takes them; so are `metadata`, `classes`, `task` and `output`.
        metadata: columns for slices.
        classes: names of the classes.
        task: what outputs mean.
        output: which of several outputs is evaluated.
        calibration: inputs, or batches of inputs or of (x, y), of the training data: ranges of activations are taken
            from the first 300. Random ones of these are better than the first of a class.
        training: batches of inputs or of (x, y). With them, a model that loses too much as int8 is trained with fake
            quantization, its zeros held, to answer as the float model does (Jacob et al. 2018, arXiv 1712.05877).
        epochs: of that training.
        integer_io: int8 inputs and outputs, and not one operation in float.
        sparse: encode zeros sparsely, if that file loads and is smaller.
        select_ops: let TensorFlow's own kernels stand in for operations that LiteRT lacks.
        labels: names of the classes, to be written into a LiteRT file for task libraries.
        normalization: (mean, std) that inputs are normalized with before the model, likewise.
        agreement: least share of `data` with the same class first; by default 0.98 for int8 and dynamic, 0.99 for
            float16, 0.999 otherwise.
        difference: greatest difference as a share of the range of answers. By default 0.1, 0.02 and 0.001, and for int8
            and dynamic only of what are no classes; what is given here holds for all.
        size_mb: budget of the file, in MB of 1,000,000 bytes.
        latency_ms: budget of one example in LiteRT or onnxruntime on this machine, one thread, median.
        force: replace what is at the path.

    Returns:
        The file's size, answers, accuracy whole and by slice, operations, zeros, latency.

    Raises:
        ExportError: options that do not go together, or a calibration set that is missing.
        ToleranceError: out of tolerance or over a budget; has the figures.
        DataError: data or a calibration set that is empty or does not fit the model.
        ModelError: an operation that the format lacks, by name, or an input axis of unknown length.
        StorageError: something is at the path.
        DependencyError: ``onnx`` or ``quantizer`` is not installed; has the pip command.

    Example:
        >>> import tempfile, numpy as np, tfprune
        >>> model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), name="scores")])
        >>> x = np.random.default_rng(0).random((40, 4), np.float32)
        >>> y = model.predict(x, verbose=0).argmax(axis=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = tfprune.export(model, f"{folder}/scores.tflite", data=(x, y))
        >>> report.check.agreement, report.check.file.accuracy
        (1.0, 1.0)
    """
    choices = Choices(
        to=to,
        quantize=quantize,
        integer_io=integer_io,
        sparse=sparse,
        select_ops=select_ops,
        about=_about(labels, normalization),
        agreement=agreement,
        difference=difference,
        size_mb=size_mb,
        latency_ms=latency_ms,
        force=force,
    )
    path = Path(path)
    if to is None and is_keras3(model) and path.suffix == ".keras":
        choices = replace(choices, to="keras3")  # as `save` does
    found = choices.format_of(path)
    check_place(path, found, force)
    plain = plain_model(model)
    material = material_of(plain, found, choices, calibration, training, epochs)
    question: Question = partial(verify_at_random, plain)
    if data is not None:
        asked = Asked(check_task(task), output)
        exam = examine(as_batches(data), slices, metadata=metadata, question=asked, classes=classes)
        question = Verification(plain, exam)
    return deliver(material, path, choices, question)


def plain_model(model: Any) -> keras.Model:
    """A tf_keras model without masks, also of one that is Keras 3's.

    Raises:
        ModelError: no Keras model.
    """
    model = arrived(model)
    if not isinstance(model, keras.Model):
        raise ModelError(f"expected a Keras model, but got {type(model).__name__}; read a file with tfprune.load(path)")
    return strip(model) if masked_layers(model) else model


def material_of(
    model: keras.Model, found: Format, choices: Choices, calibration: Any, training: Any = None, epochs: int = 2
) -> Material:
    """What a file is made of; see `export`.

    Raises:
        ExportError: int8 without calibration, examples or training that nothing would come of.
        DataError: calibration examples that do not fit.
    """
    if training is not None and (choices.quantize, found) != ("int8", "litert"):
        given = f"{choices.quantize} in {found}"
        raise ExportError(f"training with fake quantization leads to int8 in litert, but asked for is {given}")
    if choices.quantize != "int8":
        if calibration is not None:
            raise ExportError(f"a calibration set goes with quantize int8, but got {choices.quantize}; leave it out")
        return Material(model)
    if calibration is None and training is None:
        raise ExportError(
            "int8 needs a calibration set, some hundreds of training examples; give calibration=x, or --data RECIPE"
        )
    examples = calibration_of(model, training if calibration is None else calibration)
    return Material(model, examples, None if training is None else distilling(model, training, epochs))


def _about(labels: Sequence[str], normalization: Any) -> About | None:
    if not labels and normalization is None:
        return None
    try:
        mean, std = map(float, (0.0, 1.0) if normalization is None else normalization)
    except (TypeError, ValueError) as error:
        raise ExportError(f"normalization: got {normalization!r}, expected (mean, std), two numbers") from error
    return About(tuple(labels), mean, std)
