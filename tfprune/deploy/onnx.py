"""ONNX files and onnxruntime; the only importer of tf2onnx, onnx and onnxruntime."""

from __future__ import annotations

import importlib
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfprune.backend import keras, quiet_stderr, tf
from tfprune.deploy.calibration import Named
from tfprune.deploy.names import inputs_by_name, outputs_of
from tfprune.errors import DependencyError, ModelError
from tfprune.importing import one_line
from tfprune.litert.convert import answers_by_name
from tfprune.models.clone import with_precision
from tfprune.results import Quantize

OPSET = 17
_INSTALL = "ONNX needs tf2onnx and onnxruntime, and {} is not installed; pip install 'tfprune[onnx]'"


def write_onnx(model: keras.Model, path: Path, quantize: Quantize, calibration: Sequence[Named] = ()) -> None:
    """Write a model as ONNX, with the names of its inputs and outputs and any batch size.

    Args:
        model: Functional or Sequential, built; never changed.
        path: of the file.
        quantize: ``int8`` by channel as pairs of QuantizeLinear and DequantizeLinear, ``dynamic`` int8 weights,
            ``float16`` weights and computation between float32 inputs and outputs.
        calibration: examples for ``int8``.

    Raises:
        DependencyError: tf2onnx or onnxruntime is missing.
        ModelError: an operation that ONNX or its quantizer does not know.
    """
    for name in ("onnx", "tf2onnx", "onnxruntime"):  # before the work
        _imported(name)
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(f"model {model.name!r} has no graph of layers; it must be a built Functional or Sequential")
    with _quietly(f"model {model.name!r} cannot be converted to ONNX"), tempfile.TemporaryDirectory() as folder:
        plain = path if quantize == "none" else Path(folder) / "float32.onnx"
        _write_float(model, plain)
        if quantize != "none":
            prepared = Path(folder) / "prepared.onnx"
            _QUANTIZERS[quantize](plain, prepared, path, calibration)


class OnnxSession:
    """An ONNX file in onnxruntime, on the CPU.

    Args:
        path: of the file.
        threads: of one operation; 0 leaves the number to onnxruntime.

    Raises:
        ModelError: onnxruntime does not take the file.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        runtime = _imported("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        with _quietly(f"onnxruntime cannot run {path.name}"):
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_outputs()]

    def ask(self, inputs: Named) -> dict[str, np.ndarray]:
        """Outputs by name."""
        with _quietly("onnxruntime cannot run the file"):
            return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))

    def set_inputs(self, inputs: Named) -> None:
        """Set the inputs of the runs that are timed."""
        self._inputs = inputs

    def seconds(self) -> float:
        """Run once and return the seconds it took, copies in and out included."""
        start = time.perf_counter()
        try:
            self._session.run(self._names, self._inputs)
        except Exception as error:  # onnxruntime has classes of errors of its own
            raise ModelError(f"onnxruntime cannot run the file: {one_line(error)}") from error
        return time.perf_counter() - start

    def asker(self, model: keras.Model) -> Callable[[Any], Any]:
        """The same in the structure of the Keras model that the file was made of."""
        return lambda x: outputs_of(model, self.ask(inputs_by_name(model, x)))


def operations(path: Path) -> dict[str, int]:
    """How often a file has which operation."""
    return dict(Counter(node.op_type for node in _imported("onnx").load(str(path)).graph.node))


def _write_float(model: keras.Model, path: Path) -> None:
    tf2onnx = _imported("tf2onnx")
    if any(layer.dtype_policy.name.startswith("mixed_") for layer in model._flatten_layers()):
        model = with_precision(model, "float32")
    signature = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]
    function = tf.function(answers_by_name(model), autograph=False)
    tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET, output_path=str(path))


def _int8(plain: Path, prepared: Path, path: Path, calibration: Sequence[Named]) -> None:
    tools = _imported("onnxruntime.quantization")
    _prepare(plain, prepared)

    class Reader(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self, examples: Iterable[Named]) -> None:
            self._examples = iter(examples)

        def get_next(self) -> Named | None:
            return next(self._examples, None)

    tools.quantize_static(str(prepared), str(path), Reader(calibration), per_channel=True)


def _dynamic(plain: Path, prepared: Path, path: Path, calibration: Sequence[Named]) -> None:
    tools = _imported("onnxruntime.quantization")
    _prepare(plain, prepared)
    # Its integer convolution has no kernel for signed weights on every CPU.
    tools.quantize_dynamic(str(prepared), str(path), weight_type=tools.QuantType.QUInt8)


def _prepare(plain: Path, prepared: Path) -> None:
    """Fold what is constant and write down shapes, which the quantizers need; it would want sympy for more."""
    shapes = _imported("onnxruntime.quantization.shape_inference")
    shapes.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)


def _float16(plain: Path, prepared: Path, path: Path, calibration: Sequence[Named]) -> None:
    onnx = _imported("onnx")
    halves = _imported("onnxruntime.transformers.float16").convert_float_to_float16
    onnx.save(halves(onnx.load(str(plain)), keep_io_types=True), str(path))


_QUANTIZERS = {"int8": _int8, "dynamic": _dynamic, "float16": _float16}


def _imported(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(_INSTALL.format(name.partition(".")[0])) from error


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Say in one line what went wrong inside, and nothing besides."""
    level = logging.root.manager.disable
    try:
        logging.disable(logging.ERROR)
        with quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DependencyError, ModelError):
        raise
    except Exception as error:  # of three packages, none with errors of its own
        raise ModelError(f"{what}: {one_line(error)}") from error
    finally:
        logging.disable(level)
