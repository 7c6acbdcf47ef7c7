"""Random changes of training images that leave their class as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.backend import tf
from tfprune.errors import DataError


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror every second image, on average, left to right; (n, height, width, channels)."""
    chosen = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed) < 0.5
    return tf.where(chosen, images[:, :, ::-1], images)


def shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Move each image by up to an eighth of its height and width, zeros coming in (He et al. 2016)."""
    height, width = images.shape[1], images.shape[2]
    by = (max(1, height // 8), max(1, width // 8))
    padded = tf.pad(images, [[0, 0], [by[0], by[0]], [by[1], by[1]], [0, 0]])
    count = tf.shape(images)[0]
    for axis, (size, most) in enumerate(zip((height, width), by, strict=True), start=1):
        start = tf.random.stateless_uniform([count, 1], seed + axis, 0, 2 * most + 1, tf.int32)
        padded = tf.gather(padded, start + tf.range(size)[None], axis=axis, batch_dims=1)
    return padded


AUGMENTATIONS = {"flip": flip, "shift": shift}


def augment(batches: tf.data.Dataset, kinds: Sequence[str], *, seed: int, epoch: int) -> tf.data.Dataset:
    """Change the images of batches at random; the changes follow from `seed`, `epoch` and the batch's place alone.

    Args:
        batches: of (x, y), x float32 of shape (n, height, width, channels).
        kinds: names in `AUGMENTATIONS`, applied in this order.
        seed: from 0.
        epoch: from 0.

    Raises:
        DataError: inputs that are no images.
    """
    if not kinds:
        return batches
    shape = batches.element_spec[0].shape
    if shape.rank != 4:
        raise DataError(f"train.augment changes images, but the inputs are of shape {tuple(shape)[1:]}; leave it out")
    start = int(np.random.default_rng([seed, epoch]).integers(2**31))

    def change(place: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        for number, kind in enumerate(kinds):
            images = AUGMENTATIONS[kind](images, tf.stack([start + 10 * number, tf.cast(place, tf.int32)]))
        return tf.ensure_shape(images, shape), labels

    changed = batches.enumerate().map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return changed.prefetch(tf.data.AUTOTUNE)
