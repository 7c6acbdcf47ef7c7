"""Accuracy at 90% sparsity on CIFAR-10: what the score and the scope are worth against TF-MOT's masks.

    .venv/bin/python benchmarks/masking_accuracy.py --train DATA resnet20.h5     12 dense epochs of a ResNet-20
    .venv/bin/python benchmarks/masking_accuracy.py DATA MODEL --divide-by 255 --epochs 4 --seeds 3

All arms start from the same dense model and have the same budget: epochs, batches of 128 in the same order, random
flips and shifts, Adam from 0.001 on a half cosine, float32, updates every 100 steps along a cubic from 0 to 90% over
the first half. TF-MOT is used as its guide says. Nothing is chosen by these figures; the last epoch counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tfprune
from tfprune import recipe as recipes
from tfprune.backend import keras, tf
from tfprune.data.augment import augment
from tfprune.data.load import load_data
from tfprune.models.builtin import BUILTIN
from tfprune.models.clone import clone, with_precision

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_model_optimization as tfmot

SPARSITY, FREQUENCY, BATCH = 0.9, 100, 128
Arrays = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of TFRecords")
    parser.add_argument("model", type=Path, help="a trained .h5 model; with --train, where to write one")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--divide-by", type=float, default=1.0, help="what the model wants its bytes divided by")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    given = parser.parse_args()
    if given.train:
        train_dense(read(given.data, 255.0), given.model)
    else:
        compare(read(given.data, given.divide_by), tfprune.load(given.model), given.epochs, given.seeds, given.arms)


def read(folder: Path, divide_by: float) -> dict[str, Arrays]:
    """Train, validation and test images; a tenth of the training files is the validation part."""
    section = recipes.TFRecordData(
        source="tfrecord",
        path=f"{folder}/train-*.tfrecord",
        test_path=f"{folder}/test.tfrecord",
        shape=(32, 32, 3),
        validation=0.1,
        divide_by=divide_by,
    )
    data = load_data(section, 0)
    return {split.name: in_memory(split.batches(1000)) for split in (data.train, data.validation, data.test)}


def in_memory(batches: tf.data.Dataset) -> Arrays:
    """All batches as two arrays."""
    x, y = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(x), np.concatenate(y)


def batches_of(arrays: Arrays, seed: int, epoch: int) -> tf.data.Dataset:
    """The batches of one epoch: they follow from seed and epoch alone."""
    x, y = map(tf.constant, arrays)  # not as arrays, which every new graph would copy
    order = np.random.default_rng([seed, epoch]).permutation(len(x))
    rows = tf.data.Dataset.from_tensor_slices(order).batch(BATCH)
    batches = rows.map(lambda row: (tf.gather(x, row), tf.gather(y, row)))
    return augment(batches, ["flip", "shift"], seed=seed, epoch=epoch).prefetch(2)


def train(
    model: keras.Model, arrays: Arrays, epochs: int, seed: int, callbacks: list[keras.callbacks.Callback]
) -> None:
    """Train a compiled model."""
    for epoch in range(epochs):
        batches = batches_of(arrays, seed, epoch)
        model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=list(callbacks))


def compiled(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    """Compile for ten classes."""
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def accuracy(model: keras.Model, arrays: Arrays) -> float:
    """Share answered rightly, in percent."""
    x, y = arrays
    return 100 * float(np.mean(model.predict(x, batch_size=500, verbose=0).argmax(axis=1) == y))


def train_dense(data: dict[str, Arrays], path: Path) -> None:
    """A ResNet-20 in mixed_bfloat16: SGD from 0.1 on a half cosine."""
    keras.utils.set_random_seed(0)
    model = with_precision(BUILTIN["resnet20"]((32, 32, 3), 10), "mixed_bfloat16")
    epochs = 12
    rate = keras.optimizers.schedules.CosineDecay(0.1, epochs * -(-len(data["train"][0]) // BATCH))
    compiled(model, keras.optimizers.SGD(rate, momentum=0.9, nesterov=True))
    train(model, data["train"], epochs, 0, [])
    plain = with_precision(model, "float32")
    print({part: round(accuracy(plain, data[part]), 2) for part in ("validation", "test")})
    tfprune.save(plain, path)


# ---------------------------------------------------------------------------------------------- arms


def masked_by_tfmot(model: keras.Model, end: int, data: Arrays, seed: int) -> tuple[keras.Model, list]:
    """As in TF-MOT's guide."""
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, SPARSITY, 0, end, frequency=FREQUENCY)
    copy = clone(model, lambda layer: None)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(copy, pruning_schedule=schedule)
    return wrapped, [tfmot.sparsity.keras.UpdatePruningStep()]


def masked_by_us(scope: str, importance: str) -> Callable[..., tuple[keras.Model, list]]:
    """One of our ways; scores that need gradients look at 1,024 training images an update."""

    def masked(model: keras.Model, end: int, data: Arrays, seed: int) -> tuple[keras.Model, list]:
        schedule = tfprune.PolynomialDecay(final_sparsity=SPARSITY, end_step=end, frequency=FREQUENCY)
        rows = np.random.default_rng(seed).permutation(len(data[0]))[:1024]
        few = data[0][rows], data[1][rows]
        return tfprune.wrap(model, schedule, scope=scope, importance=importance, data=few, batches=32, seed=seed), []

    return masked


ARMS: dict[str, Callable[..., tuple[keras.Model, list]]] = {
    "TF-MOT": masked_by_tfmot,
    "layer magnitude": masked_by_us("layer", "magnitude"),
    "global magnitude": masked_by_us("global", "magnitude"),
    "global taylor": masked_by_us("global", "taylor"),
    "global lamp": masked_by_us("global", "lamp"),
    "erk magnitude": masked_by_us("erk", "magnitude"),
}


def compare(data: dict[str, Arrays], dense: keras.Model, epochs: int, seeds: int, arms: list[str]) -> None:
    """Train every arm with every seed, and print accuracies and the differences from TF-MOT, seed by seed."""
    print(f"dense: validation {accuracy(dense, data['validation']):.2f}, test {accuracy(dense, data['test']):.2f}")
    steps = epochs * -(-len(data["train"][0]) // BATCH)
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    for seed in range(seeds):
        for arm in arms:
            start = time.perf_counter()
            keras.utils.set_random_seed(seed)
            end = max(FREQUENCY, steps // 2 // FREQUENCY * FREQUENCY)
            model, callbacks = ARMS[arm](dense, end, data["train"], seed)
            compiled(model, keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.001, steps)))
            train(model, data["train"], epochs, seed, callbacks)
            plain = tfmot.sparsity.keras.strip_pruning(model) if arm == "TF-MOT" else tfprune.strip(model)
            found[arm].append(accuracy(plain, data["test"]))
            print(
                f"seed {seed}, {arm}: test {found[arm][-1]:.2f}, validation {accuracy(plain, data['validation']):.2f}, "
                f"sparsity {tfprune.measure(plain).sparsity:.4f}, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    for arm, values in found.items():
        gains = [value - other for value, other in zip(values, found.get("TF-MOT", values), strict=True)]
        print(
            f"{arm:18} {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"
            f"   against TF-MOT {statistics.median(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"
        )


if __name__ == "__main__":
    main()
