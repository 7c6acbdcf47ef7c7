"""Training on CIFAR-10 for structure_accuracy.py: the dense ResNet-20, and fine-tuning between removals.

All training is in mixed_bfloat16 with random flips and shifts in batches of 128, the rate on one half cosine to zero
over all epochs of an arm, whatever falls in between; the batches follow from seed and epoch alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from masking_accuracy import BATCH, Arrays, accuracy, batches_of

import tfprune
from tfprune.backend import keras, tf
from tfprune.models.builtin import BUILTIN
from tfprune.models.clone import with_precision

Tensors = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class Course:
    """How an arm is trained.

    Attributes:
        epochs: in all.
        pieces: of an epoch; a model can be narrowed before each.
        optimizer: ``sgd`` with Nesterov momentum 0.9, or ``adam``.
        rate: the learning rate to start from.
    """

    epochs: int
    pieces: int
    optimizer: str
    rate: float

    def compile(self, model: keras.Model, images: int) -> None:
        """Compile for ten classes and this many training images."""
        rate = keras.optimizers.schedules.CosineDecay(self.rate, self.epochs * -(-images // BATCH))
        if self.optimizer == "adam":
            optimizer = keras.optimizers.Adam(rate)
        else:
            optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])


DENSE = Course(14, 1, "sgd", 0.1)


def in_tensors(arrays: Arrays) -> Tensors:
    """Training data for `trained`: as tensors once, or every epoch would keep a copy."""
    x, y = arrays
    return tf.constant(x), tf.constant(y)


def trained(
    model: keras.Model,
    data: Tensors,
    course: Course,
    *,
    seed: int,
    narrow: Callable[[keras.Model, int], keras.Model] = lambda model, piece: model,
    tell: Callable[[keras.Model, str], None] = lambda model, text: None,
) -> keras.Model:
    """A copy of a model, trained on, in float32.

    Args:
        model: in float32; never changed.
        data: training images and labels.
        course: how.
        seed: of the batches.
        narrow: called before each piece of an epoch with the model, which is compiled, and the number of the piece;
            returns the model to go on with, its optimizer with what it knows.
        tell: called after each piece.
    """
    current = with_precision(model, "mixed_bfloat16")
    course.compile(current, len(data[0]))
    steps = -(-len(data[0]) // BATCH)
    size = -(-steps // course.pieces)
    for number in range(course.epochs * course.pieces):
        current = narrow(current, number)
        start = time.perf_counter()
        epoch, piece = divmod(number, course.pieces)
        batches = batches_of(data, seed, epoch).skip(piece * size).take(size)
        history = current.fit(batches, verbose=0).history
        tell(current, f"{number + 1}: loss {np.mean(history['loss']):.4f}, {time.perf_counter() - start:.0f} s")
    return with_precision(current, "float32")


def train_dense(data: dict[str, Arrays], path: Path) -> None:
    """Train a ResNet-20 and write it."""
    keras.utils.set_random_seed(0)
    model = BUILTIN["resnet20"]((32, 32, 3), 10)

    def tell(model: keras.Model, text: str) -> None:
        print(f"{text}, validation {accuracy(model, data['validation']):.2f}", flush=True)

    tfprune.save(trained(model, in_tensors(data["train"]), DENSE, seed=0, tell=tell), path)
