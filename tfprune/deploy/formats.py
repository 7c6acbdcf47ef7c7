"""What can be written, by which way, and how it is opened again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tfprune import keras3
from tfprune.backend import keras
from tfprune.deploy.calibration import Named
from tfprune.deploy.choices import ENDINGS, Choices
from tfprune.deploy.names import inputs_by_name, outputs_of, packed
from tfprune.deploy.onnx import OnnxSession, write_onnx
from tfprune.deploy.qat import Fit, quantized
from tfprune.deploy.savedmodel import SavedModelRuntime, write_saved_model
from tfprune.deploy.verify import Ask, random_inputs
from tfprune.litert import quantizer
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.flex import session_of
from tfprune.litert.metadata import with_metadata
from tfprune.litert.pooling import with_mean_pooling
from tfprune.models.files import load, save
from tfprune.results import Format
from tfprune.slices.asking import asker


@dataclass(frozen=True)
class Material:
    """What files are made of.

    Attributes:
        model: plain, never changed.
        calibration: examples for ranges; none where nothing needs them.
        fit: trains a model with fake quantization; None where that is not wanted.
    """

    model: keras.Model
    calibration: Sequence[Named] = ()
    fit: Fit | None = None


@dataclass(frozen=True)
class Way:
    """One way to a file.

    Attributes:
        name: as `Attempt` has it.
        write: to a path that is free.
        is_last: not to be tried where one before has led to a file that is good enough.
    """

    name: str
    write: Callable[[Path], object]
    is_last: bool = False


def ways_to(found: Format, material: Material, choices: Choices) -> Iterator[Way]:
    """The ways to a file as it was asked for; of int8 in LiteRT there are up to three."""
    model, calibration = material.model, material.calibration
    if found == "litert":
        yield from _ways_to_litert(material, choices)
    elif found == "onnx":
        yield Way("converter", lambda path: write_onnx(model, path, choices.quantize, calibration))
    elif found == "savedmodel":
        yield Way("converter", lambda path: write_saved_model(model, path))
    else:
        name = "keras3" if found == "keras3" else None
        yield Way("converter", lambda path: save(model, path, format=name))


def opened(found: Format, path: Path, model: keras.Model) -> Ask:
    """A file in its own runtime, answering in the structure of the Keras model.

    Raises:
        ModelError: the runtime does not take it.
    """
    if found == "litert":
        session = session_of(path.read_bytes())
        return lambda x: outputs_of(model, session.ask(inputs_by_name(model, x)))
    if found == "onnx":
        return OnnxSession(path).asker(model)
    if found == "savedmodel":
        runtime = SavedModelRuntime(path)
        return lambda x: outputs_of(model, runtime(inputs_by_name(model, x)))
    if found == "keras3":
        return keras3.opened(path)
    return asker(load(path, trust=True))  # it was written a moment ago, from a model in this process


def check_possible(found: Format, model: keras.Model, choices: Choices) -> None:
    """Refuse early what would fail late, by a file of the untrained model: a package that is missing, an
    operation that the format lacks, labels that do not fit.

    Raises:
        DependencyError: with the pip command.
        ModelError: names the operation.
    """
    examples = random_inputs(model, 4) if choices.quantize == "int8" else ()
    way = next(ways_to(found, Material(model, examples), choices))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"model{ENDINGS[found][0]}")
        way.write(path)
        opened(found, path, model)


def _ways_to_litert(material: Material, choices: Choices) -> Iterator[Way]:
    model, examples = material.model, material.calibration
    if choices.quantize == "int8":
        model = with_mean_pooling(model)

    def by_converter(path: Path, *, sparse: bool = False) -> None:
        calibration = (lambda: iter(examples)) if choices.quantize == "int8" else None
        conversion = Conversion(choices.quantize, calibration, choices.integer_io, sparse, choices.select_ops)
        path.write_bytes(_complete(convert(model, conversion), model, choices))

    def by_quantizer(path: Path) -> None:
        content = convert(model, Conversion(select_ops=choices.select_ops))
        content = quantizer.quantize(content, examples, integer_io=choices.integer_io)
        path.write_bytes(_complete(content, model, choices))

    def by_training(path: Path) -> None:
        assert material.fit is not None
        trained = quantized(model, material.fit, [packed(model, each) for each in examples])
        conversion = Conversion("int8", None, choices.integer_io, False, choices.select_ops)
        path.write_bytes(_complete(convert(trained, conversion), model, choices))

    yield Way("converter", by_converter)
    if choices.sparse:
        yield Way("sparse encoding", partial(by_converter, sparse=True))
    if choices.quantize == "int8":
        yield Way("ai-edge-quantizer", by_quantizer)
        if material.fit is not None:
            yield Way("training", by_training, is_last=True)


def _complete(content: bytes, model: keras.Model, choices: Choices) -> bytes:
    """With what is written into the file besides the model."""
    about = choices.about
    if about is None:
        return content
    return with_metadata(content, name=model.name, labels=about.labels, mean=about.mean, std=about.std)
