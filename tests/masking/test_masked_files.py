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

folder, *names = sys.argv[1:]
x, y = np.load(f"{folder}/x.npy"), np.arange(32) % 4
for name in names:
    model = tfprune.load(f"{folder}/{name}")
    before = model.predict(x, verbose=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    np.savez(f"{folder}/{name}.npz", before=before, sparsity=tfprune.measure(model).sparsity)
"""
NAMES = ("model.keras", "model.h5", "saved_model")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The folder where the process leaves what it found, a model at a time, and the answers before it was saved."""
    folder = tmp_path_factory.mktemp("files")
    dense = keras.Sequential([keras.layers.Dense(16, "relu", input_shape=(10,)), keras.layers.Dense(4, "softmax")])
    pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=8, frequency=2))
    pruned.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(32, 10)).astype(np.float32)
    pruned.fit(x, np.arange(32) % 4, batch_size=8, epochs=1, verbose=0)
    assert tfprune.measure(pruned).sparsity < 0.75
    np.save(folder / "x.npy", x)
    for name in NAMES:
        assert tfprune.save(pruned, folder / name) == folder / name
    subprocess.run([sys.executable, "-c", GO_ON, str(folder), *NAMES], check=True, timeout=300)
    return folder, pruned.predict(x, verbose=0)


@pytest.mark.parametrize("name", NAMES)
def test_goes_on_in_another_process(name: str, expected: tuple[Path, np.ndarray]) -> None:
    folder, answers = expected
    with np.load(folder / f"{name}.npz") as out:
        np.testing.assert_array_equal(out["before"], answers)
        assert out["sparsity"] == pytest.approx(0.8, abs=0.005)
