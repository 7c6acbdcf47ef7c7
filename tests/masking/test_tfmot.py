"""Models go from TF-MOT to tfprune and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

import tfprune
from tfprune.backend import keras
from tfprune.masking.masked import masked_variables

layers = keras.layers
HALF = tfprune.ConstantSparsity(final_sparsity=0.5)
LOSS = "sparse_categorical_crossentropy"


def small() -> keras.Model:
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 3), name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(4, "softmax", name="head"),
        ]
    )


def only_dense() -> keras.Model:
    return keras.Sequential(
        [layers.Dense(8, "relu", input_shape=(8,), name="hidden"), layers.Dense(4, "softmax", name="head")]
    )


def fit(model: keras.Model, epochs: int = 2, **arguments: object) -> keras.Model:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(32, *model.input_shape[1:])).astype(np.float32), draw.integers(0, 4, 32)
    model.compile(keras.optimizers.SGD(0.05), LOSS)
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **arguments)
    return model


def zeros(model: keras.Model) -> list[np.ndarray]:
    """Of its kernels."""
    return [weight.numpy() == 0 for weight in model.trainable_variables if len(weight.shape) > 1]


# TF-MOT counts steps in layers without weights, too; HDF5 files go by the number of layers that have any.
@pytest.mark.parametrize(("make", "ending"), [(small, ""), (only_dense, ""), (only_dense, ".h5")])
def test_weights_of_a_tfmot_model_are_read_and_its_masks_held(
    make: Callable[[], keras.Model], ending: str, tmp_path: Path
) -> None:
    dense = make()
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.75, begin_step=0, frequency=1)
    theirs = tfmot.sparsity.keras.prune_low_magnitude(dense, schedule)
    fit(theirs, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    theirs.save_weights(tmp_path / f"weights{ending}")

    ours = tfprune.wrap(dense, tfprune.FrozenMasks())
    status = ours.load_weights(tmp_path / f"weights{ending}")
    if not ending:
        status.assert_existing_objects_matched()
    for one, other in zip(theirs.trainable_variables, ours.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)
    before = zeros(ours)
    assert [round(each.mean(), 2) for each in before] == [0.75, 0.75]
    weights = [weight.numpy() for weight, _ in masked_variables(ours)]
    fit(ours)
    for each, (weight, mask), old in zip(before, masked_variables(ours), weights, strict=True):
        np.testing.assert_array_equal(mask.numpy() == 0, each)
        np.testing.assert_array_equal(weight.numpy() == 0, each)
        assert not np.array_equal(weight.numpy(), old), "nothing was trained"


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_a_saved_model_is_read_and_stripped_by_tfmot(tmp_path: Path, name: str) -> None:
    pruned = fit(tfprune.wrap(small(), HALF))
    tfprune.save(pruned, tmp_path / name)
    with tfmot.sparsity.keras.prune_scope():
        loaded = keras.models.load_model(tmp_path / name)
    assert isinstance(loaded.layers[0], PruneLowMagnitude)
    plain = tfmot.sparsity.keras.strip_pruning(loaded)
    assert [type(layer) for layer in plain.layers] == [layers.Conv2D, layers.Flatten, layers.Dense]
    assert [each.mean() for each in zeros(plain)] == [0.5, 0.5]
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 3))
    np.testing.assert_array_equal(plain.predict_on_batch(x), pruned.predict_on_batch(x))


def test_zeros_survive_quantization_aware_training() -> None:
    plain = tfprune.strip(fit(tfprune.wrap(small(), HALF)))
    before = zeros(plain)
    annotated = tfmot.quantization.keras.quantize_annotate_model(plain)
    preserving = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    quantized = tfmot.quantization.keras.quantize_apply(annotated, preserving)
    weights = [weight.numpy() for weight in quantized.trainable_variables]
    fit(quantized, epochs=1)
    assert any(not np.array_equal(w, v) for w, v in zip(weights, quantized.trainable_variables, strict=True))
    after = zeros(quantized)
    for old, new in zip(before, after, strict=True):
        assert new[old].all()
