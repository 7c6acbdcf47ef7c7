"""From a model section to a model that fits, and every way it can fail to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.models import files
from tfprune.models.sources import load_model
from tfprune.recipe import ModelSection

layers = keras.layers


def load(shape: tuple = (8, 8, 1), classes: int = 3, dtype: Any = "float32", ids: int | None = None, **section: Any):
    return load_model(
        ModelSection(**section), input_shape=shape, input_dtype=dtype, classes=classes, vocabulary_size=ids
    )


def refused(message: str, *args: Any, **section: Any) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(*args, **section)
    assert "\n" not in str(caught.value)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of the user's own into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(source: str) -> None:
        (tmp_path / "own_models.py").write_text(source, "utf-8")

    yield write
    sys.modules.pop("own_models", None)


def written(model: keras.Model, folder: Path) -> Path:
    return files.save(model, folder / "model.keras")


# -------------------------------------------------------------------------------------------- builtins


@pytest.mark.parametrize("name", ["digits-cnn", "resnet8", "resnet20"])
def test_builtin(name: str) -> None:
    assert load(builtin=name).output_shape == (None, 3)


def test_text_transformer_takes_the_vocabulary_of_the_data() -> None:
    model = load((12,), 2, np.int64, 40, builtin="text-transformer", arguments={"depth": 1})
    assert model.get_layer("token_embedding").input_dim == 40


def test_text_transformer_takes_a_larger_vocabulary() -> None:
    model = load((12,), 2, "int64", 40, builtin="text-transformer", arguments={"vocabulary": 50, "depth": 1})
    assert model.get_layer("token_embedding").input_dim == 50


def test_bad_arguments_of_builtins() -> None:
    refused(
        "unknown argument 'widht'; allowed: width, .*did you mean 'width'", builtin="digits-cnn", arguments={"widht": 3}
    )
    refused("model digits-cnn raised ValueError: .*filters=-3", builtin="digits-cnn", arguments={"width": -3})
    refused("the data has no vocabulary", (12,), 2, "int64", builtin="text-transformer")
    small = {"vocabulary": 9}
    refused(
        "vocabulary 9 is smaller than the 40 ids", (12,), 2, "int64", 40, builtin="text-transformer", arguments=small
    )
    refused("text-transformer takes sequences", ids=40, builtin="text-transformer")


# ----------------------------------------------------------------------------------------- applications


def mobilenet(**section: Any) -> keras.Model:
    return load((32, 32, 3), application="MobileNet", arguments={"alpha": 0.25}, **section)


def test_application_has_a_new_head() -> None:
    model = mobilenet()
    assert model.output_shape == (None, 3)
    assert model.layers[-1].activation is keras.activations.softmax


def test_application_takes_weights_with_and_without_the_top(tmp_path: Path) -> None:
    options = {"weights": None, "alpha": 0.25}
    bare = keras.applications.MobileNet((32, 32, 3), include_top=False, **options)
    topped = keras.applications.MobileNet((32, 32, 3), classes=7, **options)
    ours = mobilenet()
    for index, source in enumerate((bare, topped, ours)):
        source.save_weights(tmp_path / f"{index}.h5")
        model = mobilenet(weights=str(tmp_path / f"{index}.h5"))
        np.testing.assert_array_equal(
            model.get_layer("conv_pw_3").get_weights()[0], source.get_layer("conv_pw_3").get_weights()[0]
        )
    np.testing.assert_array_equal(model.get_weights()[-2], ours.get_weights()[-2])


def test_bad_applications(tmp_path: Path) -> None:
    refused("'MobilNet' is not in keras.applications; did you mean 'MobileNet'", application="MobilNet")
    refused("application ResNet50 failed: .*at least 32x32", application="ResNet50")
    refused("'pooling' follows from the recipe", application="ResNet50", arguments={"pooling": "max"})
    refused("application MobileNet failed: .*alpa", (32, 32, 3), application="MobileNet", arguments={"alpa": 1})
    refused("no weights file nowhere.h5", (32, 32, 3), application="MobileNet", weights="nowhere.h5")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    keras.Sequential([layers.Dense(2, input_shape=(3,), name="other")]).save_weights(tmp_path / "other.h5")
    with pytest.raises(ModelError, match="not weights for mobilenet"):
        mobilenet(weights=str(tmp_path / "other.h5"))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ModelError, match="not weights for mobilenet"):
        mobilenet(weights=str(tmp_path / "text.h5"))


# -------------------------------------------------------------------------------------- files, functions


def test_file(tmp_path: Path) -> None:
    model = load(builtin="digits-cnn")
    again = load(file=written(model, tmp_path))
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_function_in_the_working_directory(module) -> None:
    module(
        "from tfprune.backend import keras\n"
        "def build(input_shape, classes, units):\n"
        "    layers = [keras.layers.Flatten(), keras.layers.Dense(units), keras.layers.Dense(classes, 'softmax')]\n"
        "    return keras.Sequential(layers)\n"
    )
    model = load(function="own_models:build", arguments={"units": 5})
    assert (model.input_shape, model.output_shape) == ((None, 8, 8, 1), (None, 3))
    assert str(Path.cwd()) not in sys.path


def test_bad_functions(module) -> None:
    refused("nosuch_models:f: no module 'nosuch_models' in ", function="nosuch_models:f")
    refused("math has no function 'hypto'; did you mean 'hypot'", function="math:hypto")
    module("def build(input_shape, classes):\n    raise RuntimeError('first\\nsecond')\ndef none(**_): pass\n")
    refused("own_models:build raised RuntimeError: first second", function="own_models:build")
    refused("build raised TypeError: .*'units'", function="own_models:build", arguments={"units": 5})
    refused("own_models:none: expected a tf_keras model, but got NoneType", function="own_models:none")


def test_function_module_that_does_not_import(module) -> None:
    module("1/0")
    refused("importing own_models raised ZeroDivisionError", function="own_models:build")


def test_keras_3_model_is_bridged(module) -> None:
    module(
        "import keras\n"
        "def build(input_shape, classes):\n"
        "    return keras.Sequential([keras.layers.Input(input_shape), keras.layers.Dense(classes)])\n"
    )
    section = ModelSection(function="own_models:build")
    model = load_model(section, input_shape=(4,), input_dtype="float32", classes=3)
    assert isinstance(model, keras.Model) and model.output_shape == (None, 3)


# ------------------------------------------------------------------------------------------- fit to data


def test_shape_of_another_data_set(tmp_path: Path) -> None:
    path = written(load((32, 32, 3), builtin="resnet8"), tmp_path)
    refused(r"model takes \(32, 32, 3\), the data gives \(8, 8, 1\); ", file=path)
    refused("model answers 3 classes, the data has 10; give it 10 outputs", (32, 32, 3), 10, file=path)


def test_open_axes_fit_any_size(tmp_path: Path) -> None:
    inputs = layers.Input((None, None, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    path = written(keras.Model(inputs, layers.Dense(3, "softmax")(x)), tmp_path)
    assert load(file=path).output_shape == (None, 3)
    refused(r"model takes \(None, None, 1\), the data gives \(8, 8, 3\)", (8, 8, 3), file=path)
    refused(r"the data gives \(8,\)", (8,), file=path)


def test_two_inputs_or_outputs(tmp_path: Path) -> None:
    inputs = [layers.Input((3,)), layers.Input((3,))]
    path = written(keras.Model(inputs, layers.Dense(3, "softmax")(layers.Add()(inputs))), tmp_path)
    refused("has 2 inputs; tfprune handles", (3,), file=path)
    inputs = layers.Input((3,))
    path = written(keras.Model(inputs, [layers.Dense(3, "softmax")(inputs), inputs]), tmp_path)
    refused("has 2 outputs; tfprune handles", (3,), file=path)


def test_token_model_refuses_pixels(tmp_path: Path) -> None:
    model = load((12,), 2, "int64", 40, builtin="text-transformer", arguments={"depth": 1})
    refused("model takes int32, the data gives float32", (12,), 2, file=written(model, tmp_path))


def test_output_that_is_no_probability_a_class(tmp_path: Path) -> None:
    inputs = layers.Input((3,))
    refused(
        r"model answers \(3, 3\) an example",
        (3,),
        file=written(keras.Model(inputs, layers.Reshape((3, 3))(layers.Dense(9)(inputs))), tmp_path),
    )


def test_logits_are_answers_too(tmp_path: Path) -> None:
    inputs = layers.Input((3,))
    path = written(keras.Model(inputs, layers.Dense(3)(inputs)), tmp_path)
    assert load((3,), file=path).output_shape == (None, 3)


def test_subclassed_model_is_refused(module) -> None:
    module(
        "from tfprune.backend import keras\n"
        "class Own(keras.Model):\n"
        "    def call(self, inputs):\n"
        "        return inputs\n"
        "def build(input_shape, classes):\n"
        "    return Own()\n"
    )
    refused("a subclassed model without a graph", function="own_models:build")


def test_sequential_that_cannot_be_built(module) -> None:
    module(
        "from tfprune.backend import keras\n"
        "def build(input_shape, classes):\n"
        "    return keras.Sequential([keras.layers.Conv1D(3, 3)])\n"
    )
    refused(r"cannot be built for inputs \(8, 8\)|cannot be built|takes|answers", (8,), function="own_models:build")
