"""Files: what is written loads in Keras 3 alone, and what Keras 3 alone writes reads."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from both import answers, filled, keras3

from tfprune.backend import keras
from tfprune.errors import ModelError, StorageError
from tfprune.keras3.files import opened, read, write, written_by_keras3

READS = """
import sys, keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
assert "tfprune" not in sys.modules and "tf_keras" not in sys.modules, sorted(sys.modules)
np.save(sys.argv[3], np.asarray(model(np.load(sys.argv[2]), training=False)))
"""
WRITES = """
import sys, keras, numpy as np
inputs = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(keras.layers.Rescaling(2.0)(inputs))
x = keras.layers.BatchNormalization()(x) * 2.0
found = keras.layers.Dense(3, activation="softmax")(keras.ops.mean(x, axis=(1, 2)))
model = keras.Model(inputs, found, name="plain")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(np.load(sys.argv[1]), np.array([0, 1]), verbose=0)
model.save(sys.argv[2])
np.save(sys.argv[3], np.asarray(model(np.load(sys.argv[1]), training=False)))
"""


def alone(code: str, *arguments) -> None:
    """Run code where Keras 3 is, and neither tfprune nor its choice of tf_keras."""
    environment = {key: value for key, value in os.environ.items() if key not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32"))
    return path


def test_keras_3_alone_loads_what_is_written(pictures, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="hard_sigmoid")(inputs))
    x = keras.layers.MultiHeadAttention(2, 3)(*[keras.layers.Reshape((-1, 4))(x)] * 2) * 2.0
    model = filled(keras.Model(inputs, keras.layers.LSTM(3)(x[:, ::2])))
    path = write(model, tmp_path / "folder" / "out.keras")
    alone(READS, path, pictures, tmp_path / "y.npy")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), answers(model, np.load(pictures))[0], atol=1e-5)
    np.testing.assert_allclose(opened(path)(np.load(pictures)), np.load(tmp_path / "y.npy"), atol=1e-6)


def test_what_keras_3_alone_writes_reads(pictures, tmp_path):
    alone(WRITES, pictures, tmp_path / "in.keras", tmp_path / "y.npy")
    assert written_by_keras3(tmp_path / "in.keras")
    model = read(tmp_path / "in.keras")
    assert isinstance(model, keras.Model)
    assert model.name == "plain"
    assert int(model.optimizer.iterations) == 1
    np.testing.assert_allclose(answers(model, np.load(pictures))[0], np.load(tmp_path / "y.npy"), atol=1e-5)


def test_hdf5_of_keras_3_reads(tmp_path):
    model = filled(keras3.Sequential([keras3.Input((4,)), keras3.layers.Dense(3)]))
    model.save(tmp_path / "model.h5")
    assert written_by_keras3(tmp_path / "model.h5")
    x = np.ones((1, 4), "float32")
    np.testing.assert_allclose(answers(read(tmp_path / "model.h5"), x), answers(model, x), atol=1e-6)


def test_masks_of_a_file_are_handed_on(tmp_path):
    layers = keras3.layers
    inputs = keras3.Input((5,), dtype="int32")
    x = layers.LSTM(3, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(inputs))
    model = filled(keras3.Model(inputs, layers.GlobalAveragePooling1D()(layers.Add()([x, x]))))
    tokens = np.array([[1, 2, 0, 0, 0], [0, 3, 4, 0, 5]])
    there = read(write(model, tmp_path / "model.keras"))
    np.testing.assert_allclose(answers(there, tokens), answers(model, tokens), atol=1e-6)
    assert [type(each).__name__ for each in there.layers] == [type(each).__name__ for each in model.layers]


def test_who_wrote_a_file(tmp_path):
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
    for ending in (".keras", ".h5"):
        model.save(tmp_path / f"two{ending}")
        assert not written_by_keras3(tmp_path / f"two{ending}")
    (tmp_path / "damaged.keras").write_bytes(b"PK\x03\x04 and no more")
    assert not written_by_keras3(tmp_path / "damaged.keras")
    assert not written_by_keras3(tmp_path)
    assert not written_by_keras3(tmp_path / "missing.h5")
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr("metadata.json", '["keras_version"]')
    assert not written_by_keras3(tmp_path / "odd.keras")
    with h5py.File(tmp_path / "bare.h5", "w"):
        pass
    assert not written_by_keras3(tmp_path / "bare.h5")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_code_in_a_file_runs_only_with_trust(ending, tmp_path):
    path = tmp_path / f"code{ending}"
    keras3.Sequential([keras3.Input((3,)), keras3.layers.Lambda(lambda x: x * 2)]).save(path)
    with pytest.raises(ModelError, match=r"holds a Lambda layer or other code, .*trust=True"):
        read(path)
    x = np.ones((1, 3), "float32")
    np.testing.assert_array_equal(answers(read(path, trust=True), x)[0], 2 * x)


def test_a_damaged_file_is_one_line(tmp_path):
    path = write(keras3.Sequential([keras3.Input((3,)), keras3.layers.Dense(2)]), tmp_path / "model.keras")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ModelError, match=r"model.keras: damaged or not a model of Keras 3") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_layer_without_counterpart_is_named_with_the_file(tmp_path):
    model = keras3.Sequential([keras3.Input((3,)), keras3.layers.RMSNormalization(name="odd")])
    path = write(model, tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"model.keras: layer 'odd' is a RMSNormalization"):
        read(path)


def test_a_custom_class_is_named(tmp_path):
    class Own(keras3.layers.Layer):
        def call(self, x):
            return x

    keras3.Sequential([keras3.Input((3,)), Own(name="mine")]).save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match="needs the custom class 'Own'; register it"):
        read(tmp_path / "model.keras")


def test_nothing_is_left_of_what_cannot_be_written(tmp_path):
    class Own(keras.layers.Layer):
        pass

    with pytest.raises(ModelError, match="layer 'mine' is a Own"):
        write(keras.Sequential([keras.Input((3,)), Own(name="mine")]), tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"Keras 3 writes \.keras files"):
        write(keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]), tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write(keras.Sequential([keras.layers.Dense(2, input_shape=(3,))]), tmp_path / "file" / "model.keras")


def test_importing_tfprune_loads_no_keras_3():
    code = "import tfprune, sys; from tfprune import keras3; keras3.from_keras3, keras3.is_keras3"
    code += "; keras3.arrived(1); assert 'keras' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
