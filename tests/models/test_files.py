"""Reading and writing models, and every way a file can be wrong."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.errors import ModelError, StorageError
from tfprune.models import files

layers = keras.layers
ENDINGS = (".keras", ".h5", "")


class Unregistered(layers.Layer):
    """A layer that no file can be read back with."""

    def call(self, inputs):
        return 2 * inputs


def unknown_loss(truth, answer):
    return tf.reduce_mean(answer) + 0 * tf.reduce_mean(truth)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return keras.Sequential([layers.Dense(4, input_shape=(3,)), layers.Softmax()], name="tiny")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def fill_disk():
    """Lets files grow to 20 kB only, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(ending: str, model: keras.Model, tmp_path: Path) -> None:
    path = files.save(model, tmp_path / "new" / f"model{ending}")
    x = np.random.default_rng(0).random((5, 3), np.float32)
    np.testing.assert_array_equal(files.load(path)(x), model(x))
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_saving_again_replaces(ending: str, model: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    files.save(model, path)
    other = keras.models.clone_model(model)
    files.save(other, path)
    np.testing.assert_array_equal(files.load(path).get_weights()[0], other.get_weights()[0])
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_compiled_state_that_does_not_read_is_left_out(ending: str, tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(4, input_shape=(3,))])
    model.compile("adam", unknown_loss)
    again = files.load(files.save(model, tmp_path / f"model{ending}"))
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_convnext_reads_back(tmp_path: Path) -> None:
    model = keras.src.applications.convnext.ConvNeXt(
        [1, 1, 1, 1], [8, 8, 8, 8], weights=None, include_top=False, input_shape=(32, 32, 3), model_name="small"
    )
    again = files.load(files.save(model, tmp_path / "model.keras"))
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize("ending", ENDINGS)
def test_full_disk_keeps_the_old_file_and_nothing_else(
    ending: str, model: keras.Model, tmp_path: Path, fill_disk: Callable[[], None]
) -> None:
    path = files.save(model, tmp_path / f"model{ending}")
    fill_disk()
    large = keras.Sequential([layers.Dense(100, input_shape=(100,))])
    with pytest.raises(StorageError, match=r"cannot write .*: File too large") as caught:
        files.save(large, path)
    assert "\n" not in str(caught.value)
    assert files.load(path).output_shape == (None, 4)
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", [".tflite", ".onnx", ".pb", ".v2"])
def test_other_endings_are_refused(ending: str, model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"cannot write '{ending}'; possible are .keras, .h5 or a SavedModel"):
        files.save(model, tmp_path / f"model{ending}")
    (tmp_path / f"model{ending}").write_bytes(b"x")
    with pytest.raises(ModelError, match=rf"cannot read '{ending}'; expected .keras"):
        files.load(tmp_path / f"model{ending}")


def test_folder_of_other_things_is_not_replaced(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(StorageError, match="a folder is in the way"):
        files.save(model, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


def test_file_in_the_way_of_a_folder(model: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(StorageError, match="a file is in the way"):
        files.save(model, tmp_path / "model")
    with pytest.raises(StorageError, match="cannot write "):
        files.save(model, tmp_path / "model" / "below.keras")


def test_model_that_keras_cannot_write(tmp_path: Path) -> None:
    class NoConfig(layers.Layer):
        def get_config(self):
            raise ValueError("this layer has no config")

    model = keras.Sequential([layers.Input((3,)), NoConfig()])
    with pytest.raises(ModelError, match="Keras cannot write this model in this format: ValueError"):
        files.save(model, tmp_path / "model.h5")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["none.keras", "none.h5", "none"])
def test_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder; expected"):
        files.load(tmp_path / name)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("content", [b"", b"hello world" * 100], ids=["empty", "text"])
def test_another_kind_of_content(ending: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or of another kind"):
        files.load(path)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(ending: str, share: float, model: keras.Model, tmp_path: Path) -> None:
    path = files.save(model, tmp_path / f"model{ending}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match="damaged") as caught:
        files.load(path)
    assert "\n" not in str(caught.value)


def test_damaged_in_the_middle(model: keras.Model, tmp_path: Path) -> None:
    path = files.save(model, tmp_path / "model.keras")
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.keras: "):
        files.load(path)


def test_folder_without_saved_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder without saved_model\.pb"):
        files.load(tmp_path)


def test_damaged_saved_model(model: keras.Model, tmp_path: Path) -> None:
    path = files.save(model, tmp_path / "model")
    (path / "saved_model.pb").write_bytes(b"123")
    with pytest.raises(ModelError, match="damaged or not a model"):
        files.load(path)


def test_saved_model_of_something_else(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    with pytest.raises(ModelError, match="a SavedModel without Keras layers"):
        files.load(tmp_path / "module")


def test_weights_only(model: keras.Model, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "model.h5")
    with pytest.raises(ModelError, match="holds weights only; a whole model is needed"):
        files.load(tmp_path / "model.h5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_unknown_layer_is_named(ending: str, tmp_path: Path) -> None:
    model = keras.Sequential([layers.Input((3,)), Unregistered(), layers.Dense(2)])
    path = files.save(model, tmp_path / f"model{ending}")
    with pytest.raises(ModelError, match="needs the custom layer 'Unregistered'; register it"):
        files.load(path)


@pytest.mark.parametrize(
    ("format", "ending", "words"),
    [
        (
            "keras_3",
            ".keras",
            "unknown format 'keras_3'; known are keras, keras3, h5, savedmodel; did you mean 'keras3'",
        ),
        ("keras3", ".h5", "the format keras3 has another ending; expected .keras"),
        ("h5", ".keras", "the format h5 has another ending; expected .h5 or .hdf5"),
        ("savedmodel", ".h5", "the format savedmodel has another ending; expected no ending"),
    ],
)
def test_formats_and_endings(format: str, ending: str, words: str, model: keras.Model, tmp_path: Path) -> None:
    for refused in (files.check_writable, lambda *args, **how: files.save(model, *args, **how)):
        with pytest.raises(ModelError) as caught:
            refused(tmp_path / f"model{ending}", format=format)
        assert words in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("format", "ending"), [("keras", ".keras"), ("h5", ".hdf5"), ("savedmodel", "")])
def test_a_format_that_the_ending_says_too(format: str, ending: str, model: keras.Model, tmp_path: Path) -> None:
    path = files.save(model, tmp_path / f"model{ending}", format=format)
    assert files.load(path).output_shape == (None, 4)


@pytest.fixture
def keras3() -> Any:
    return pytest.importorskip("keras", minversion="3")


def test_a_model_of_keras_3_there_and_back(keras3: Any, model: keras.Model, tmp_path: Path) -> None:
    own = keras3.Sequential([keras3.layers.Input((3,)), keras3.layers.Dense(2, "tanh")])
    own.compile("adam", "mse")
    path = files.save(own, tmp_path / "own.keras")
    x = np.random.default_rng(0).random((5, 3), np.float32)
    np.testing.assert_allclose(files.load(path)(x), own(x), atol=1e-6)
    np.testing.assert_array_equal(keras3.models.load_model(path)(x), own(x))
    path = files.save(model, tmp_path / "model.keras", format="keras3")
    np.testing.assert_allclose(keras3.models.load_model(path)(x), model(x), atol=1e-6)
    np.testing.assert_allclose(files.load(path)(x), model(x), atol=1e-6)
    with pytest.raises(ModelError, match="a model of Keras 3 is written as keras3, but got the format 'h5'"):
        files.save(own, tmp_path / "own.h5", format="h5")
    with pytest.raises(ModelError, match=r"the format keras3 has another ending; expected \.keras"):
        files.save(own, tmp_path / "own.h5")
    assert sorted(names(tmp_path)) == ["model.keras", "own.keras"]


def test_keras_3_as_hdf5(keras3: Any, tmp_path: Path) -> None:
    own = keras3.Sequential([keras3.layers.Input((3,)), keras3.layers.Dense(2)])
    own.save(tmp_path / "model.h5")
    x = np.random.default_rng(0).random((5, 3), np.float32)
    np.testing.assert_allclose(files.load(tmp_path / "model.h5")(x), own(x), atol=1e-6)


def test_weights_of_keras_3(keras3: Any, tmp_path: Path) -> None:
    own = keras3.Sequential([keras3.layers.Input((3,)), keras3.layers.Dense(2)])
    own.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ModelError, match="holds weights only; a whole model is needed"):
        files.load(tmp_path / "model.weights.h5")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_keras_3_with_code_or_names(keras3: Any, tmp_path: Path) -> None:
    own = keras3.Sequential([keras3.layers.Input((3,)), keras3.layers.Lambda(lambda x: x * 2, name="double")])
    own.save(tmp_path / "lambda.keras")
    with pytest.raises(ModelError, match="layer 'double' is a Lambda layer, code that would run here; give --trust"):
        files.load(tmp_path / "lambda.keras")

    class Own(keras3.layers.Layer):
        """Not registered."""

    keras3.Sequential([keras3.layers.Input((3,)), Own(name="mine")]).save(tmp_path / "own.keras")
    with pytest.raises(ModelError, match="layer 'mine' needs 'Own', which is no part of Keras 3; only"):
        files.load(tmp_path / "own.keras")
