"""Exports of every kind: the file is there, in its own runtime it answers as the model does, and the report is true."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_zoo import ZOO, labels_of

import tfprune
from tfprune.backend import keras
from tfprune.deploy.formats import opened
from tfprune.errors import DataError, ExportError, ModelError, StorageError, ToleranceError
from tfprune.results import ExportReport

ENDINGS = {"litert": ".tflite", "onnx": ".onnx", "savedmodel": "", "keras": ".keras", "keras3": ".keras"}
layers = keras.layers


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[keras.Model, Any, np.ndarray]]:
    built = {name: build() for name, build in ZOO.items()}
    return {name: (model, x, labels_of(model, x)) for name, (model, x) in built.items()}


def exported(models: Any, name: str, folder: Path, to: str, **options: Any) -> ExportReport:
    model, x, y = models[name]
    path = folder / f"{name}{ENDINGS[to]}"
    return tfprune.export(model, path, to=to, data=(x, y), slices=["classes"], agreement=0.9, **options)


@pytest.mark.parametrize("to", ENDINGS)
@pytest.mark.parametrize("name", ZOO)
def test_every_format_answers_as_the_model_does(name: str, to: str, models: Any, tmp_path: Path) -> None:
    report = exported(models, name, tmp_path, to)
    model, x, y = models[name]
    assert report.path.exists()
    assert [each.name for each in tmp_path.iterdir()] == [report.path.name]
    assert report.check.agreement == 1.0
    assert report.check.max_difference < 1e-4
    assert report.check.examples == len(y)
    assert report.check.file is not None and report.check.file.accuracy == pytest.approx(7 / 8, abs=0.02)
    assert {each.name for each in report.check.file.slices} <= {"class_0", "class_1", "class_2", "class_3"}
    again = opened(report.format, report.path, model)(x)
    np.testing.assert_allclose(again, model.predict(x, verbose=0), atol=1e-4)
    files = [each for each in [report.path, *report.path.rglob("*")] if each.is_file()]
    assert report.bytes == sum(each.stat().st_size for each in files)
    assert 0 < report.gzipped_bytes < 1.1 * report.bytes


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("to", ["litert", "onnx"])
@pytest.mark.parametrize("name", ZOO)
def test_fewer_bits(name: str, to: str, quantize: Any, models: Any, tmp_path: Path) -> None:
    options = {"calibration": models[name][1]} if quantize == "int8" else {}
    report = exported(models, name, tmp_path, to, quantize=quantize, **options)
    assert report.quantize == quantize
    assert report.check.agreement is not None and report.check.agreement >= 0.9
    assert report.check.max_difference < 2
    assert sum(report.operations.values()) >= 2
    assert report.latency is not None and report.latency.median_ms > 0
    assert report.latency.runtime == to


def test_int8_is_smaller_and_integer(models: Any, tmp_path: Path) -> None:
    wide = keras.Sequential([layers.Dense(128, "relu", input_shape=(64,)), layers.Dense(128, "relu"), layers.Dense(4)])
    x = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    y = wide.predict(x, verbose=0).argmax(axis=1)
    plain = tfprune.export(wide, tmp_path / "plain.tflite", data=(x, y))
    for integer_io in (False, True):
        path = tmp_path / f"int8-{integer_io}.tflite"
        small = tfprune.export(
            wide, path, quantize="int8", data=(x, y), calibration=x, integer_io=integer_io, agreement=0.9
        )
        assert small.bytes < plain.bytes / 3
        assert not [each for each in small.fell_back if "float" in each]
        assert {each.way for each in small.attempts} == {"converter", "ai-edge-quantizer"}
        assert small.check.agreement == max(each.check.agreement for each in small.attempts)  # type: ignore[union-attr]
        for each in small.attempts:  # ranges of one of them that cut values off would show here
            assert each.check is not None and each.check.relative_difference < 0.05, each.way
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        types = {each["dtype"] for each in (*interpreter.get_input_details(), *interpreter.get_output_details())}
        assert types == ({np.int8} if integer_io else {np.float32})


def test_zeros_are_kept_and_sparse_encoding_is_taken_where_it_helps(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(256, "relu", input_shape=(256,)), layers.Dense(8, name="head")])
    pruned = tfprune.prune(model, 0.9)
    x = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    plain = tfprune.export(pruned, tmp_path / "plain.tflite", data=(x, labels_of(pruned, x)))
    sparse = tfprune.export(pruned, tmp_path / "sparse.tflite", data=(x, labels_of(pruned, x)), sparse=True)
    assert plain.zeros_kept == sparse.zeros_kept == 1.0
    assert sparse.bytes < plain.bytes / 2
    assert sparse.way == "sparse encoding"
    assert "Zeros are encoded sparsely" in sparse.notes[0]
    dense = tfprune.export(model, tmp_path / "dense.tflite", data=(x, labels_of(model, x)), sparse=True)
    assert dense.way == "converter"
    assert dense.zeros_kept is None


def test_the_trap_of_sparse_encoding_with_dynamic_quantization(tmp_path: Path) -> None:
    """The converter makes a file of it that LiteRT refuses to load."""
    keras.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 16), name="image")
    x = layers.Conv2D(64, 3, padding="same", activation="relu", name="conv1")(inputs)
    x = layers.GlobalAveragePooling2D(name="average")(layers.Conv2D(64, 3, name="conv2")(x))
    pruned = tfprune.prune(keras.Model(inputs, layers.Dense(4, name="head")(x)), 0.8)
    given = np.random.default_rng(0).random((32, 8, 8, 16), np.float32)
    options: dict[str, Any] = {"sparse": True, "quantize": "dynamic", "agreement": 0.8}
    report = tfprune.export(pruned, tmp_path / "trap.tflite", data=(given, labels_of(pruned, given)), **options)
    trap = next(each for each in report.attempts if each.way == "sparse encoding")
    assert trap.check is None and "LiteRT cannot run the file" in trap.failure
    assert report.way == "converter"
    assert opened("litert", report.path, pruned)(given).shape == (32, 4)
    assert "Zeros are not encoded sparsely: LiteRT cannot run" in report.notes[0]


def test_masks_are_taken_off(tmp_path: Path) -> None:
    model, x = ZOO["table"]()
    wrapped = tfprune.wrap(tfprune.prune(model, 0.5), tfprune.FrozenMasks())
    report = tfprune.export(wrapped, tmp_path / "masked.tflite", data=(x, labels_of(model, x)))
    assert report.zeros_kept == 1.0
    assert not [name for name in report.operations if "MUL" in name], "a mask would be multiplied"
    expected = tfprune.prune(model, 0.5).predict(x, verbose=0)
    np.testing.assert_allclose(opened("litert", report.path, model)(x), expected, atol=1e-4)


def test_labels_and_normalization_are_in_the_file(models: Any, tmp_path: Path) -> None:
    names = ["cat", "dog", "bird", "fish"]
    report = exported(models, "cnn", tmp_path, "litert", labels=names, normalization=(127.5, 128.0))
    with zipfile.ZipFile(report.path) as archive:
        (inside,) = archive.namelist()
        assert archive.read(inside).decode().split() == names


def two_outputs() -> tuple[keras.Model, np.ndarray, dict[str, np.ndarray]]:
    """A class and a number of very different size, from one input, in no alphabetical order."""
    keras.utils.set_random_seed(1)
    inputs = layers.Input((6,), name="numbers")
    x = layers.Dense(16, activation="relu", name="hidden")(inputs)
    outputs = [layers.Dense(3, activation="softmax", name="zclass")(x), layers.Dense(2, name="abox")(x)]
    model, given = keras.Model(inputs, outputs), np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
    classes, boxes = model.predict(given, verbose=0)
    return model, given, {"zclass": classes.argmax(axis=1), "abox": boxes}


@pytest.mark.parametrize("to", ["litert", "onnx", "savedmodel"])
def test_all_of_several_outputs_are_held_to_something(to: Any, tmp_path: Path) -> None:
    model, x, y = two_outputs()
    given: dict[str, Any] = {"to": to, "data": (x, y), "output": "zclass"}
    report = tfprune.export(model, tmp_path / f"two{ENDINGS[to]}", **given)
    assert report.check.agreement == 1.0 and 0 <= report.check.others_difference < 1e-3
    for found, known in zip(opened(to, report.path, model)(x), model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(found, known, atol=1e-4)
    if to == "litert":
        with pytest.raises(ToleranceError, match=r"the largest difference is .* allowed"):
            rough: dict[str, Any] = {**given, "quantize": "int8", "calibration": x, "agreement": 0.1}
            tfprune.export(model, tmp_path / "rough.tflite", difference=1e-6, **rough)


def test_kernels_of_tensorflow_on_request_where_something_here_has_them(tmp_path: Path) -> None:
    model, x = determinant(), np.random.default_rng(0).normal(size=(20, 3, 3)).astype(np.float32)
    path = tmp_path / "flex.tflite"
    try:
        report = tfprune.export(model, path, select_ops=True)
    except ModelError as error:  # TensorFlow's wheels come with these kernels or without
        assert "asks for TensorFlow's kernels FlexMatrixDeterminant, which neither" in str(error)
        assert not list(tmp_path.iterdir())
    else:
        assert "FlexMatrixDeterminant (TensorFlow's kernel)" in report.fell_back
        np.testing.assert_allclose(opened("litert", path, model)(x), model.predict(x, verbose=0), atol=1e-4)


def test_tokens_in_an_integer_file(models: Any, tmp_path: Path) -> None:
    model, x, y = models["text"]
    options: dict[str, Any] = {"quantize": "int8", "calibration": x, "integer_io": True, "agreement": 0.8}
    report = tfprune.export(model, tmp_path / "tokens.tflite", data=(x, y), **options)
    assert not [each for each in report.fell_back if "float" in each]


def test_a_folder_with_a_dot_in_its_name(models: Any, tmp_path: Path) -> None:
    model, x, y = models["table"]
    assert tfprune.export(model, tmp_path / "model.v2", to="savedmodel", data=(x, y)).check.agreement == 1.0
    assert tfprune.export(model, tmp_path / "MODEL.TFLITE", data=(x, y)).format == "litert"


def test_latency_of_images_of_any_size_is_not_made_up(tmp_path: Path) -> None:
    inputs = layers.Input((None, None, 3), name="image")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, padding="same")(inputs)))
    assert tfprune.export(model, tmp_path / "any.onnx").latency is None
    with pytest.raises(ToleranceError, match="no latency that could be held to a budget"):
        tfprune.export(model, tmp_path / "timed.onnx", latency_ms=5)


def test_a_file_that_answers_nan_is_out_of_tolerance(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfprune.deploy import formats

    real = formats.opened
    monkeypatch.setattr("tfprune.deploy.deliver.opened", lambda *given: lambda x: real(*given)(x) * np.nan)
    model, x, y = models["table"]
    with pytest.raises(ModelError, match="the file answers NaN or infinity where the Keras model does not"):
        tfprune.export(model, tmp_path / "nan.tflite", data=(x, y))
    assert not list(tmp_path.iterdir())


def test_training_is_tried_where_the_other_ways_are_out_of_tolerance(models: Any, tmp_path: Path) -> None:
    model, x, y = models["cnn"]
    given: dict[str, Any] = {"quantize": "int8", "data": (x, y), "calibration": x, "training": (x, y), "epochs": 1}
    easy = tfprune.export(model, tmp_path / "easy.tflite", agreement=0.5, **given)
    assert [each.way for each in easy.attempts] == ["converter", "ai-edge-quantizer"]
    with pytest.raises(ToleranceError) as caught:
        number = keras.Model(model.input, layers.Dense(1, name="number")(model.get_layer("average").output))
        targets = number.predict(x, verbose=0)
        rounded: dict[str, Any] = {**given, "data": (x, targets), "training": (x, targets), "difference": 1e-9}
        tfprune.export(number, tmp_path / "impossible.tflite", task="regression", **rounded)
    ways = {each.way: each.check for each in caught.value.report.attempts}
    assert list(ways) == ["converter", "ai-edge-quantizer", "training"]
    assert ways["training"] is not None and ways["training"].relative_difference < 0.5


# ---------------------------------------------------------------------------------------------- no file


def biased(model: keras.Model) -> keras.Model:
    """The same architecture with other weights."""
    other = keras.models.clone_model(model)
    other.set_weights([each + 1.0 for each in model.get_weights()])
    return other


def test_out_of_tolerance_is_an_error_with_the_figures_and_no_file(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfprune.deploy import formats

    model, x, y = models["cnn"]
    real = formats.convert
    monkeypatch.setattr(formats, "convert", lambda model, conversion=None: real(biased(model), conversion))
    kept = tmp_path / "there.tflite"
    kept.write_bytes(b"older")
    for path, force in ((tmp_path / "new.tflite", False), (kept, True)):
        with pytest.raises(ToleranceError, match=r"agrees with the Keras model on \d+\.\d+% of 96 examples") as caught:
            tfprune.export(model, path, data=(x, y), force=force)
        assert caught.value.exit_code == 1
        assert caught.value.report.check.agreement < 0.9
        with pytest.raises(ToleranceError, match=r"the largest difference is .* of its answers to 32 random examples"):
            tfprune.export(model, path, force=force)
    assert [each.name for each in tmp_path.iterdir()] == ["there.tflite"]
    assert kept.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("budget", "words"),
    [({"size_mb": 0.001}, r"it has 0\.\d+ MB, at most 0.001"), ({"latency_ms": 1e-6}, r"it takes .* ms \(median")],
)
def test_over_budget_is_an_error_and_no_file(budget: Any, words: str, models: Any, tmp_path: Path) -> None:
    model, x, y = models["cnn"]
    with pytest.raises(ToleranceError, match=words):
        tfprune.export(model, tmp_path / "new" / "deep" / "large.tflite", data=(x, y), **budget)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(models: Any, tmp_path: Path) -> None:
    model, x, y = models["table"]
    path = tmp_path / "model.tflite"
    path.write_bytes(b"older")
    with pytest.raises(StorageError, match=r"model.tflite exists; give --force \(force=True\)"):
        tfprune.export(model, path, data=(x, y))
    tfprune.export(model, path, data=(x, y), force=True)
    assert path.stat().st_size > 100
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "mine.txt").write_text("mine")
    (tmp_path / "things" / "saved_model.pb").write_text("beside it")
    with pytest.raises(StorageError, match="a folder of other things is in the way"):
        tfprune.export(model, tmp_path / "things", force=True)
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(StorageError, match="a file is in the way of a SavedModel folder"):
        tfprune.export(model, tmp_path / "plain", force=True)


def dynamic() -> keras.Model:
    inputs = layers.Input((None, 4))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(inputs)))


def determinant() -> keras.Model:
    from tfprune.backend import tf

    inputs = layers.Input((3, 3))
    return keras.Model(inputs, layers.Reshape((1,))(tf.linalg.det(inputs)))


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("table", {"to": "tflite"}, ExportError, "to: got 'tflite', expected one of litert, onnx"),
    ("table", {"quantize": "int4"}, ExportError, "quantize: got 'int4', expected one of none, float16, dynamic, int8"),
    ("table", {"path": "model.pt"}, ExportError, "cannot tell a format by '.pt'"),
    ("table", {"path": "model.onnx", "to": "litert"}, ExportError, "'.onnx', but a file of litert ends in .tflite"),
    ("table", {"path": "model.keras", "quantize": "int8"}, ExportError, "quantize int8 goes with litert and onnx"),
    ("table", {"path": "model.onnx", "sparse": True}, ExportError, "--sparse goes with litert"),
    ("table", {"integer_io": True}, ExportError, "--integer-io goes with quantize int8"),
    ("table", {"agreement": 1.5}, ExportError, "--agreement: got 1.5, expected a share from 0 to 1"),
    ("table", {"quantize": "int8"}, ExportError, "int8 needs a calibration set"),
    ("table", {"training": np.zeros((4, 7))}, ExportError, "leads to int8 in litert, but asked for is none in litert"),
    ("table", {"calibration": np.zeros((4, 7))}, ExportError, "a calibration set goes with quantize int8"),
    ("table", {"path": "folder", "latency_ms": 1}, ExportError, "latency is measured in LiteRT and onnxruntime"),
    ("table", {"normalization": (1, 2, 3)}, ExportError, r"normalization: got \(1, 2, 3\), expected \(mean, std\)"),
    ("table", {"quantize": "int8", "calibration": np.zeros((0, 7))}, DataError, "the calibration set is empty"),
    (
        *("table", {"quantize": "int8", "calibration": np.zeros((5, 3))}, DataError),
        r"input 'hidden_input': got examples of shape \(3,\), expected \(7,\)",
    ),
    ("table", {"quantize": "int8", "calibration": np.full((5, 7), np.nan)}, DataError, "holds NaN or infinite values"),
    ("several", {"quantize": "int8", "calibration": {"numbers": np.zeros((2, 5))}}, DataError, "but not 'also'"),
    (dynamic, {}, ModelError, "axes of unknown length"),
    (determinant, {}, ModelError, "no operation MatrixDeterminant.*give --select-ops"),
    (object, {}, ModelError, "expected a Keras model, but got object"),
]


@pytest.mark.parametrize(("build", "options", "error", "words"), BAD)
def test_bad_input_is_one_line_and_no_file(
    build: Any, options: dict[str, Any], error: type[Exception], words: str, models: Any, tmp_path: Path
) -> None:
    model = models[build][0] if isinstance(build, str) else build()
    given = dict(options)
    path = tmp_path / given.pop("path", "model.tflite")
    with pytest.raises(error, match=words) as caught:
        tfprune.export(model, path, **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["tf2onnx", "onnxruntime"])
def test_a_missing_extra_says_the_pip_command(
    missing: str, models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from tfprune.errors import DependencyError

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DependencyError, match=rf"{missing} is not installed; pip install 'tfprune\[onnx\]'"):
        tfprune.export(models["table"][0], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_quantizer_the_converter_does_it(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    report = exported(models, "table", tmp_path, "litert", quantize="int8", calibration=models["table"][1])
    assert report.way == "converter"
    assert "pip install 'tfprune[quantizer]'" in report.attempts[1].failure
