"""A model trained by two replicas is pruned as one that trains alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# The number of devices is settled before the first operation, so each number takes a process of its own.
SCRIPT = """
import sys
import numpy as np
import tfprune
from tfprune.backend import keras, tf
from tfprune.masking.masked import masked_variables
from tfprune.masking.optimizer import memories

count, out = int(sys.argv[1]), sys.argv[2]
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
devices = [f"CPU:{index}" for index in range(count)]
strategy = tf.distribute.MirroredStrategy(devices) if count > 1 else tf.distribute.get_strategy()

layers = keras.layers
draw = np.random.default_rng(0)
x = draw.normal(size=(64, 8)).astype("float32")
y = np.argmax(x[:, :4], axis=1)
SELECTIONS = {
    "layer": {},
    "global": {"scope": "global"},
    "taylor": {"importance": "taylor", "data": (x, y), "batches": 2},
    "2:4": {"pattern": "2:4"},
    "regrow": {"regrow": 0.2, "data": (x, y)},
}


def separated(shape):
    # No two weights are closer than what float errors move them by.
    size = int(np.prod(shape))
    values = draw.permutation(np.linspace(0.1, 1.0, size)) * draw.choice([-1.0, 1.0], size)
    return (values.reshape(shape) / np.sqrt(shape[0])).astype("float32")


arrays = {}
for name, selection in SELECTIONS.items():
    draw = np.random.default_rng(1)
    with strategy.scope():
        dense = keras.Sequential(
            [layers.Dense(16, "tanh", input_shape=(8,)), layers.Dense(12, "tanh"), layers.Dense(4, "softmax")]
        )
        for layer in dense.layers:
            layer.kernel.assign(separated(layer.kernel.shape))
        schedule = tfprune.PolynomialDecay(final_sparsity=0.5, end_step=6, frequency=2)
        pruned = tfprune.wrap(dense, schedule, **selection)
        pruned.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    pruned.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    for index, (weight, mask) in enumerate(masked_variables(pruned)):
        arrays[f"{name}/mask/{index}"] = mask.numpy()
        remembered = list(memories(pruned.optimizer, weight))
        assert len(remembered) == 2, remembered
        for variable in (weight, *remembered):
            replicas = strategy.experimental_local_results(variable)
            assert len(replicas) == count
            for replica, its_mask in zip(replicas, strategy.experimental_local_results(mask), strict=True):
                assert np.array_equal(its_mask.numpy(), mask.numpy()), (name, variable.name)
                assert np.array_equal(replica.numpy(), replicas[0].numpy()), (name, variable.name)
                assert not replica.numpy()[mask.numpy() == 0].any(), (name, variable.name)
        arrays[f"{name}/weight/{index}"] = weight.numpy()
    plain = tfprune.strip(pruned)
    assert np.array_equal(plain.predict_on_batch(x), pruned.predict_on_batch(x))
np.savez(out, **arrays)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, np.ndarray]]:
    folder: Path = tmp_path_factory.mktemp("mirrored")
    for count in (1, 2):
        words = [sys.executable, "-c", SCRIPT, str(count), str(folder / f"{count}.npz")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    return [dict(np.load(folder / f"{count}.npz")) for count in (1, 2)]


@pytest.mark.parametrize("name", ["layer", "global", "taylor", "2:4", "regrow"])
def test_masks_are_those_of_one_device(results: list[dict[str, np.ndarray]], name: str) -> None:
    alone, mirrored = results
    masks = [key for key in alone if key.startswith(f"{name}/mask/")]
    assert len(masks) == 3
    for key in masks:
        np.testing.assert_array_equal(alone[key], mirrored[key])
        weight = key.replace("mask", "weight")
        np.testing.assert_allclose(alone[weight], mirrored[weight], atol=1e-5)
    zeros, size = (sum(int(count(alone[key])) for key in masks) for count in (lambda mask: (mask == 0).sum(), np.size))
    assert zeros == size // 2
    if name == "2:4":
        for key in masks:
            mask = mirrored[key]  # four consecutive inputs of one output
            assert (mask.reshape(-1, 4, mask.shape[1]).sum(axis=1) == 2).all()
