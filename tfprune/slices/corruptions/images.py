"""Corruptions of images.

Each takes float32 images (n, height, width, channels) in [0, 1], a level, and a fresh generator for each image in turn.
It returns new images; `apply` clips them. Sizes follow the smaller side, so that a level makes sense on 8x8 and on
224x224. Nothing is summed across images, and sums within one run image by image: a batch of any size gives
the same bits.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from tfprune.errors import SliceError
from tfprune.slices.corruptions.clouds import CELLS, clouds

Generators = Iterator[np.random.Generator]
Levels = tuple[float, float, float, float, float]
OnImages = Callable[[np.ndarray, float, Generators], np.ndarray]

_FOG = 0.9
"""Brightness of fog: light, but not the white of an overexposed sky."""


def _noise(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Gaussian noise; the level is its standard deviation."""
    noise = np.empty_like(x)
    for row, generator in zip(noise, generators, strict=True):
        generator.standard_normal(out=row, dtype=np.float32)
    noise *= np.float32(level)
    noise += x
    return noise


def _blur(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Gaussian blur; the level is the width's share of the smaller side."""
    # Below a third of a pixel a Gaussian does nothing, so tiny images start there.
    sigma = 0.35 + level * min(x.shape[1:3])
    return np.asarray(ndimage.gaussian_filter(x, (0.0, sigma, sigma, 0.0), mode="reflect", truncate=3.0))


def _contrast(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Values move towards their image's mean; the level is the share of the way."""
    return x + np.float32(level) * (_means(x) - x)


def _brightness(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Overexposed: the level is added."""
    return x + np.float32(level)


def _fog(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Light clouds in front; the level is their opacity where they are thickest."""
    draws = np.stack([generator.random(CELLS, np.float32) for generator in generators])
    opacity = np.float32(level / 2) * (1 + clouds(draws, x.shape[1], x.shape[2]))
    return x + opacity[..., np.newaxis] * (np.float32(_FOG) - x)


def _jpeg(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Lossy compression; the level is JPEG's quality, 100 the best."""
    if x.shape[-1] not in (1, 3):
        raise SliceError(
            f"corruption 'jpeg' is for images of 1 or 3 channels, not of {x.shape[-1]}; take another corruption"
        )
    pixels = np.rint(x * 255).astype(np.uint8)
    back = np.empty_like(pixels)
    for image, target in zip(pixels, back, strict=True):
        with io.BytesIO() as file:
            Image.fromarray(image[..., 0] if x.shape[-1] == 1 else image).save(file, "JPEG", quality=int(level))
            target[...] = np.asarray(Image.open(file)).reshape(target.shape)
    return back.astype(np.float32) / 255


def _pixelation(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Blocks of one colour, 1 + level × √(smaller side) pixels wide: in shares of the side, tiny images lost all."""
    block = 1 + level * math.sqrt(min(x.shape[1:3]))
    for axis in (1, 2):
        size = x.shape[axis]
        # Whole pixels only, so blocks of 1.5 pixels are blocks of one and of two.
        blocks = max(1, min(size - 1, round(size / block)))
        edges = np.rint(np.linspace(0, size, blocks + 1)).astype(int)
        shape = [1, 1, 1, 1]
        shape[axis] = blocks
        means = np.add.reduceat(x, edges[:-1], axis=axis) / np.diff(edges).reshape(shape).astype(np.float32)
        x = np.repeat(means, np.diff(edges), axis=axis)
    return x


def _occlusion(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """A square of the image's mean colour; the level is its side's share of the smaller side."""
    height, width = x.shape[1:3]
    side = max(1, round(level * min(height, width)))
    hidden = x.copy()
    for image, mean, generator in zip(hidden, _means(x), generators, strict=True):
        # A larger square of the same draw covers the smaller one.
        down, right = generator.random(2)
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        image[top : top + side, left : left + side] = mean
    return hidden


def _rotation(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Turned about the centre, the edge mirrored into the corners; the level is in degrees, left or right by chance."""
    turned = np.empty_like(x)
    for image, target, generator in zip(x, turned, generators, strict=True):
        angle = level if generator.random() < 0.5 else -level
        ndimage.rotate(image, angle, reshape=False, output=target, order=1, mode="reflect")
    return turned


def _means(x: np.ndarray) -> np.ndarray:
    """Mean colours (n, 1, 1, channels), image by image: one sum over all may round otherwise in another batch."""
    # Both axes at once take ten times as long.
    return np.stack([image.mean(axis=0, keepdims=True).mean(axis=1, keepdims=True) for image in x])


IMAGES: dict[str, tuple[OnImages, Levels]] = {
    "noise": (_noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "blur": (_blur, (0.006, 0.012, 0.018, 0.026, 0.036)),
    "contrast": (_contrast, (0.25, 0.4, 0.55, 0.7, 0.85)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "fog": (_fog, (0.3, 0.45, 0.6, 0.75, 0.9)),
    "jpeg": (_jpeg, (60, 40, 25, 16, 10)),
    "pixelation": (_pixelation, (0.05, 0.12, 0.21, 0.35, 0.6)),
    "occlusion": (_occlusion, (0.25, 0.375, 0.475, 0.6, 0.7)),
    "rotation": (_rotation, (5, 10, 16, 23, 30)),
}
"""Name -> what it does, and how much of it at severities 1 to 5."""
