"""SavedModels for TensorFlow Serving: equal answers, in processes that have TensorFlow alone, whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfprune
from tfprune.backend import keras, tf
from tfprune.deploy.savedmodel import SIGNATURE, SavedModelRuntime, key_of, write_saved_model
from tfprune.errors import ModelError, StorageError
from tfprune.masking.schedule import FrozenMasks

layers = keras.layers
BIN = Path(sys.executable).parent


def images() -> tuple[keras.Model, Any]:
    """Masks stripped; layers that act otherwise in training; an optimizer with state."""
    inputs = keras.Input((8, 8, 1), name="pixels")
    x = layers.RandomFlip()(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="norm")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="digit")(layers.Flatten()(x)))
    model.get_layer("norm").set_weights([np.linspace(0.5, 1.5, 4)] * 4)
    plain = tfprune.strip(tfprune.wrap(model, FrozenMasks()))
    plain.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(7, 8, 8, 1)).astype(np.float32)
    plain.fit(x, np.arange(7) % 3, verbose=0)
    return plain, x


def tokens() -> tuple[keras.Model, Any]:
    """Texts of any length, logits, a nested and recurrent model that masks."""
    inner = keras.Sequential([layers.Embedding(20, 4, mask_zero=True), layers.LSTM(3)], name="inner")
    inputs = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(inputs, layers.Dense(2, name="logits")(inner(inputs)))
    return model, np.random.default_rng(1).integers(0, 20, (3, 9))


def several() -> tuple[keras.Model, Any]:
    """Columns whose names TensorFlow does not take as they are, and two outputs; not in the order of the alphabet."""
    right, left = keras.Input((3,), name="hours-per-week"), keras.Input((2,), name="Age")
    both = layers.Concatenate()([left, right])
    model = keras.Model([right, left], [layers.Dense(2, name="z-kind")(both), layers.Dense(1, name="a.size")(left)])
    rng = np.random.default_rng(2)
    return model, {name: rng.normal(size=(4, width)) for name, width in (("Age", 2), ("hours-per-week", 3))}


def by_key() -> tuple[keras.Model, Any]:
    """Inputs and outputs in dictionaries, whose keys are in another order than the names."""
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    outputs = {"y": layers.Dense(1, name="one")(first), "x": layers.Dense(1, name="two")(second)}
    model = keras.Model({"b": first, "a": second}, outputs)
    rng = np.random.default_rng(3)
    return model, {name: rng.normal(size=(2, 2)).astype(np.float32) for name in ("first", "second")}


def shared() -> tuple[keras.Model, Any]:
    """One layer twice: outputs whose names Keras numbers."""
    first, second = keras.Input((2,), name="first"), keras.Input((2,), name="second")
    layer = layers.Dense(1, name="same")
    rng = np.random.default_rng(4)
    return keras.Model([first, second], [layer(first), layer(second)]), {
        name: rng.normal(size=(2, 2)).astype(np.float32) for name in ("first", "second")
    }


def texts() -> tuple[keras.Model, Any]:
    """Raw strings, with a table of words in the model."""
    words = layers.TextVectorization(10, output_sequence_length=4, vocabulary=["good", "bad"])
    embedded = layers.Embedding(12, 4)
    model = keras.Sequential(
        [keras.Input((1,), dtype=tf.string, name="text"), words, embedded, layers.Flatten(name="flat")]
    )
    return model, np.array([["good"], ["bad bad"]], dtype=object)


MODELS = (images, tokens, several, by_key, shared, texts)


@dataclass(frozen=True)
class Written:
    """A SavedModel, the model it was made of, a batch, and the model's answers by name."""

    path: Path
    model: keras.Model
    x: Any
    answers: dict[str, np.ndarray]


def answers_of(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    """What a model answers, by the names of its outputs."""
    values = [x[name] for name in model.input_names] if isinstance(x, dict) else [x]
    found = tf.nest.flatten(model(tf.nest.pack_sequence_as(model._nested_inputs, values), training=False))
    return {name: each.numpy() for name, each in zip(model.output_names, found, strict=True)}


def tensors(model: keras.Model, x: Any) -> Any:
    """A batch in the types of a model, which is called without `predict` to cast for it."""
    if isinstance(x, dict):
        types = dict(zip(model.input_names, (each.dtype for each in model.inputs), strict=True))
        return {name: tf.constant(each, types[name]) for name, each in x.items()}
    return tf.constant(x, model.inputs[0].dtype)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Written]:
    """A SavedModel of each kind, in the place where TensorFlow Serving looks for a version."""
    found = {}
    for make in MODELS:
        model, x = make()
        path = write_saved_model(model, tmp_path_factory.mktemp("models") / make.__name__ / "1")
        found[make.__name__] = Written(path, model, x, answers_of(model, tensors(model, x)))
    return found


@pytest.fixture
def tiny() -> keras.Model:
    return keras.Sequential([layers.Dense(2, input_shape=(3,), name="answers")])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ------------------------------------------------------------------------------------------ the answers


@pytest.mark.parametrize("kind", [make.__name__ for make in MODELS])
def test_answers_are_the_models(kind, written):
    each = written[kind]
    runtime = SavedModelRuntime(each.path)
    for count in (len(next(iter(each.answers.values()))), 1):
        part = {name: a[:count] for name, a in each.x.items()} if isinstance(each.x, dict) else each.x[:count]
        found = runtime(part)
        assert set(found) == set(each.model.output_names)
        for name, values in found.items():
            np.testing.assert_allclose(values, each.answers[name][:count], atol=1e-6)


def test_signatures_have_names_types_and_free_batches(written):
    runtimes = {kind: SavedModelRuntime(each.path) for kind, each in written.items()}
    described = {kind: (each.inputs, each.outputs) for kind, each in runtimes.items()}
    real, whole = tf.float32, tf.int32
    assert described == {
        "images": ({"pixels": ((None, 8, 8, 1), real)}, {"digit": ((None, 3), real)}),
        "tokens": ({"ids": ((None, None), whole)}, {"logits": ((None, 2), real)}),
        "several": (
            {"Age": ((None, 2), real), "hours_per_week": ((None, 3), real)},
            {"z-kind": ((None, 2), real), "a.size": ((None, 1), real)},
        ),
        "by_key": (
            {"first": ((None, 2), real), "second": ((None, 2), real)},
            {"one": ((None, 1), real), "two": ((None, 1), real)},
        ),
        "shared": (
            {"first": ((None, 2), real), "second": ((None, 2), real)},
            {"same": ((None, 1), real), "same_1": ((None, 1), real)},
        ),
        "texts": ({"text": ((None, 1), tf.string)}, {"flat": ((None, 16), real)}),
    }


def test_mixed_precision_becomes_float32(tmp_path):
    model = keras.Sequential(
        [
            layers.Dense(8, input_shape=(3,), dtype="mixed_bfloat16"),
            layers.Dense(2, name="answers", dtype="mixed_bfloat16"),
        ]
    )
    runtime = SavedModelRuntime(write_saved_model(model, tmp_path / "m"))
    assert runtime.outputs == {"answers": ((None, 2), tf.float32)}
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    first, second = (layer.kernel.numpy() for layer in model.layers)
    np.testing.assert_allclose(runtime(x)["answers"], x @ first @ second, atol=1e-5)
    assert model.layers[0].compute_dtype == "bfloat16", "the model itself was changed"


def test_nothing_but_weights_and_one_graph(written):
    """Weights, and nothing of the optimizer or of training; the rest is a graph of some kilobytes."""
    each = written["images"]
    reader = tf.train.load_checkpoint(str(each.path / "variables" / "variables"))
    saved = {name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert len(saved) == len(each.model.variables) < len([*each.model.variables, *each.model.optimizer.variables])
    weights = sum(np.asarray(value).nbytes for value in each.model.get_weights())
    assert sum(len(content) for content in contents(each.path).values()) < weights + 60_000
    assert not (each.path / "keras_metadata.pb").exists()
    assert not any(b"Adam" in content or b"gradient_tape" in content for content in contents(each.path).values())
    with pytest.raises(ModelError, match="SavedModel without Keras layers"):
        tfprune.load(each.path)


# ------------------------------------------------------------------------- where there is TensorFlow alone


SCRIPT = """
    import json, sys
    for name in ("tfprune", "tf_keras", "keras"):
        sys.modules[name] = None  # as where they are not installed
    import numpy as np
    import tensorflow as tf

    def answer(path, body):
        # The REST protocol of TensorFlow Serving: rows under "instances", columns under "inputs"; a lone input or
        # output is written without its name.
        signature = tf.saved_model.load(path).signatures["serving_default"]
        specs = signature.structured_input_signature[1]
        rows = "instances" in body
        given = body["instances" if rows else "inputs"]
        if rows and isinstance(given[0], dict):
            given = {name: [row[name] for row in given] for name in given[0]}
        if not isinstance(given, dict):
            given = {name: given for name in specs}
        found = signature(**{name: tf.constant(given[name], spec.dtype) for name, spec in specs.items()})
        columns = {name: value.numpy().tolist() for name, value in found.items()}
        alone = next(iter(columns.values())) if len(columns) == 1 else None
        if not rows:
            return {"outputs": columns if alone is None else alone}
        if alone is not None:
            return {"predictions": alone}
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}

    asked = json.load(sys.stdin)
    json.dump([answer(*each) for each in asked], open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("legacy", ["", "1"], ids=["unset", "set"])
def test_answers_rest_requests_without_any_keras(legacy, written, tmp_path):
    asked, expected = [], []
    for each in written.values():
        keyed = {key_of(name): a.tolist() for name, a in each.x.items()} if isinstance(each.x, dict) else None
        columns = each.x.tolist() if keyed is None else keyed
        rows = columns
        if keyed is not None:
            rows = [dict(zip(keyed, row, strict=True)) for row in zip(*keyed.values(), strict=True)]
        asked += [(str(each.path), {"inputs": columns}), (str(each.path), {"instances": rows})]
        expected += [("outputs", each.answers), ("predictions", each.answers)]
    found = in_a_bare_process(SCRIPT, asked, tmp_path / "found.json", TF_USE_LEGACY_KERAS=legacy)
    assert len(found) == 2 * len(MODELS)
    for (key, answers), body in zip(expected, found, strict=True):
        (values,) = body.values()
        assert set(body) == {key}
        for name, known in answers.items():
            if len(answers) == 1:
                part = values
            elif key == "outputs":
                part = values[name]
            else:
                part = [row[name] for row in values]
            np.testing.assert_allclose(part, known, atol=1e-5)


def in_a_bare_process(script: str, asked: Any, out: Path, **more: str) -> Any:
    """Run a script with no more of this process's environment than where Python is."""
    environment = {key: os.environ[key] for key in ("HOME", "PATH", "LANG") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(out)],
        input=json.dumps(asked),
        env={**environment, **{key: value for key, value in more.items() if value}},
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.full
def test_tensorflows_own_tool_shows_and_runs_it(written, tmp_path):
    each = written["several"]
    tags = ["--dir", str(each.path), "--tag_set", "serve", "--signature_def", SIGNATURE]
    for name, value in each.x.items():
        np.save(tmp_path / f"{key_of(name)}.npy", value.astype(np.float32))
    inputs = ";".join(f"{key_of(name)}={tmp_path / key_of(name)}.npy" for name in each.x)

    def tool(*arguments: str) -> str:
        command = [BIN / "saved_model_cli", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout

    shown = tool("show", *tags)
    assert "inputs['hours_per_week'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, 3)" in shown
    assert "outputs['z-kind'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, 2)" in shown
    assert "Method name is: tensorflow/serving/predict" in shown
    tool("run", *tags, "--inputs", inputs, "--outdir", str(tmp_path / "out"))
    for name, known in each.answers.items():
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}.npy"), known, atol=1e-5)


# ---------------------------------------------------------------------------------------------- its names


@given(st.text(min_size=1, max_size=20))
def test_keys_are_names_that_tensorflow_takes(name):
    key = key_of(name)
    assert key.isascii() and key.isidentifier() and key[0].isalpha()
    assert key_of(key) == key
    if name.isascii() and name.isidentifier() and name[0].isalpha() and name not in ("self", "class", "for"):
        assert key.rstrip("_") == name.rstrip("_")


@pytest.mark.parametrize("name", ["image/pixels", "2nd", "class", "self", "kwargs", "training", "Image", "größe", "_x"])
def test_strange_names_are_asked_for_as_they_are(name, tmp_path):
    inputs = keras.Input((3,), name=name)
    model = keras.Model(inputs, layers.Dense(2, name="answers")(inputs))
    runtime = SavedModelRuntime(write_saved_model(model, tmp_path / "m"))
    assert list(runtime.inputs) == [key_of(name)]
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(runtime({name: x})["answers"], model(x), atol=1e-6)


# ---------------------------------------------------------------------------------- whole or not at all


def test_an_earlier_one_is_replaced_whole(tiny, tmp_path):
    path = tmp_path / "m"
    write_saved_model(keras.Sequential([layers.Dense(7, input_shape=(2,))]), path)
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "old").write_text("old")
    assert write_saved_model(tiny, str(path)) == path
    assert list(SavedModelRuntime(path).outputs) == ["answers"]
    assert not (path / "assets.extra").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


class Unwilling(layers.Layer):
    """A layer that can be built, and fails when it is traced again."""

    def call(self, x):
        if getattr(self, "tired", False):
            raise RuntimeError("not a second time")
        return x


HIDDEN = []


class Hiding(layers.Layer):
    """A layer whose state is where Keras does not see it."""

    def call(self, x):
        return x * HIDDEN[0]


def _unwilling() -> keras.Model:
    layer = Unwilling()
    model = keras.Sequential([keras.Input((3,)), layer])
    layer.tired = True
    return model


def _hiding() -> keras.Model:
    HIDDEN[:] = [tf.Variable(2.0)]
    return keras.Sequential([keras.Input((3,)), Hiding()])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_unwilling, "cannot be written as a SavedModel: RuntimeError: .*not a second time"),
        (_hiding, "cannot be written as a SavedModel: .*untracked"),
        (lambda: keras.Sequential([layers.Dense(2)]), "no graph of layers"),
        (
            lambda: keras.Sequential([keras.Input((3,), sparse=True, name="ids"), layers.Dense(1)]),
            "input 'ids' .* is sparse or ragged",
        ),
        (
            lambda: keras.Model([a := keras.Input((1,), name="a-b"), b := keras.Input((1,), name="a b")], a + b),
            "inputs 'a-b' and 'a b' .* would be one in a signature, 'a_b'; rename one",
        ),
        (
            lambda: keras.Model([a := keras.Input((1,), name="Age"), b := keras.Input((1,), name="age")], a + b),
            "inputs 'Age' and 'age' .* would be one",
        ),
    ],
    ids=["untraceable", "hidden state", "unbuilt", "sparse", "one name", "one name but for case"],
)
def test_a_refusal_leaves_what_was_there(make, says, tiny, tmp_path):
    before = contents(write_saved_model(tiny, tmp_path / "m"))
    with pytest.raises(ModelError, match=says) as caught:
        write_saved_model(make(), tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path / "m") == before
    with pytest.raises(ModelError):
        write_saved_model(make(), tmp_path / "new" / "m")
    assert [each.name for each in tmp_path.iterdir() if any(each.iterdir())] == ["m"]


def test_other_things_are_not_overwritten(tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    for name, says in (("file", "a file is in the way"), ("folder", "a folder of other things"), ("file/m", "cannot")):
        with pytest.raises(StorageError, match=says):
            write_saved_model(tiny, tmp_path / name)
    assert contents(tmp_path) == {"file": b"mine", "folder/notes.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    assert write_saved_model(tiny, tmp_path / "empty").is_dir()


# ------------------------------------------------------------------------------------- reading it again


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"denes_input": np.ones((1, 3))}, "the signature has dense_input; did you mean 'dense_input'?"),
        ({"dense_input": np.ones((1, 3)), "more": np.ones(1)}, "inputs given: dense_input, more; the signature has"),
        ({}, "the signature has dense_input"),
        (np.ones((2, 4)), "does not take these inputs"),
        (np.array([["a", "b", "c"]]), "does not take these inputs"),
    ],
    ids=["misspelt", "one too many", "none", "shape", "type"],
)
def test_inputs_that_do_not_fit(inputs, says, tmp_path):
    inner = keras.Input((3,), name="dense_input")
    path = write_saved_model(keras.Model(inner, layers.Dense(2)(inner)), tmp_path / "m")
    with pytest.raises(ModelError) as caught:
        SavedModelRuntime(path)(inputs)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "saved_model.pb").unlink(),
        lambda path: _truncate(path / "saved_model.pb"),
        lambda path: (path / "saved_model.pb").write_bytes(b"\x00\xff" * 50),
        lambda path: (path / "variables" / "variables.index").unlink(),
        lambda path: _truncate(path / "variables" / "variables.data-00000-of-00001"),
    ],
    ids=["no graph", "half a graph", "no protobuf", "no index", "half the weights"],
)
def test_a_damaged_one_is_one_line(damage, tiny, tmp_path):
    path = write_saved_model(tiny, tmp_path / "m")
    damage(path)
    with pytest.raises(ModelError, match="missing, damaged or no SavedModel") as caught:
        SavedModelRuntime(path)
    assert "\n" not in str(caught.value)


def test_one_without_a_signature(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    with pytest.raises(ModelError, match="without the signature 'serving_default'"):
        SavedModelRuntime(tmp_path / "m")
    with pytest.raises(ModelError, match="missing"):
        SavedModelRuntime(tmp_path / "nowhere")
