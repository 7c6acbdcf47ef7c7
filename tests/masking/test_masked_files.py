"""A wrapped model in a file, read by a process that knows only `tfprune.load`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfprune
from tfprune.backend import keras

GO_ON = """
import sys
import numpy as np
import tfprune

model = tfprune.load(sys.argv[1])
x, y = np.load(sys.argv[2]), np.arange(32) % 4
before = model.predict(x, verbose=0)
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=8, epochs=1, verbose=0)
np.savez(sys.argv[3], before=before, sparsity=tfprune.measure(model).sparsity)
"""


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_goes_on_in_another_process(tmp_path: Path, name: str) -> None:
    dense = keras.Sequential([keras.layers.Dense(16, "relu", input_shape=(10,)), keras.layers.Dense(4, "softmax")])
    pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=8, frequency=2))
    pruned.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    pruned.fit(x, np.arange(32) % 4, batch_size=8, epochs=1, verbose=0)
    assert tfprune.measure(pruned).sparsity < 0.75
    np.save(tmp_path / "x.npy", x)
    path = tfprune.save(pruned, tmp_path / name)
    words = [sys.executable, "-c", GO_ON, str(path), str(tmp_path / "x.npy"), str(tmp_path / "out.npz")]
    subprocess.run(words, check=True, timeout=300)
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(out["before"], pruned.predict(x, verbose=0))
        assert out["sparsity"] == pytest.approx(0.8, abs=0.005)
