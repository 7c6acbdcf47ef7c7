"""One way in: examples, the name of a corruption and a severity."""

from __future__ import annotations

import zlib

import numpy as np

from tfprune.errors import SliceError
from tfprune.slices.corruptions.images import IMAGES, Generators
from tfprune.slices.corruptions.kinds import check, kind_of
from tfprune.slices.corruptions.scale import Scale
from tfprune.slices.corruptions.tables import TABLES
from tfprune.slices.corruptions.text import TEXTS

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    x: np.ndarray, name: str, severity: int, *, ordinals: np.ndarray, scale: Scale, seed: int = 0
) -> np.ndarray:
    """Return corrupted copies of examples (after Hendrycks and Dietterich 2019, arXiv 1903.12261).

    What chance decides about an example follows from seed, name and ordinal alone, so that the batches' size and order
    do not matter. A higher severity is more of the same.

    Args:
        x: images float (n, height, width, channels), texts int (n, length) with 0 for padding, or tables float
            (n, columns); n may be 0.
        name: one of `KINDS` of that kind of data.
        severity: 1 (mild) to 5 (severe).
        ordinals: int (n,), >= 0: each example's place in its split.
        scale: of clean data, from `scale_of`; images come back within its range.
        seed: >= 0.

    Returns:
        An array of the shape and type of x.

    Raises:
        SliceError: a corruption that is unknown or for other data, a severity outside 1 to 5, a negative seed, other
            ordinals than one an example, or a scale of other columns.

    >>> black = np.zeros((2, 4, 4, 1), np.float32)
    >>> corrupt(black, "brightness", 3, ordinals=np.arange(2), scale=Scale(0.0, 255.0)).max()
    np.float32(76.5)
    """
    check(name, kind_of(x.shape[1:], x.dtype))
    if severity not in SEVERITIES:
        raise SliceError(f"corruption {name!r}: severity {severity!r} is not one of 1, 2, 3, 4, 5")
    if seed < 0:
        raise SliceError(f"corruption {name!r}: seed {seed} is negative; give 0 or more")
    if np.shape(ordinals) != (len(x),):
        raise SliceError(
            f"corruption {name!r}: ordinals of shape {np.shape(ordinals)} for {len(x)} examples; give one an example"
        )
    if name in TABLES and not len(scale.mean) == len(scale.std) == x.shape[1]:
        raise SliceError(
            f"corruption {name!r}: the scale knows {len(scale.mean)} columns and the table has {x.shape[1]}; "
            "measure it with scale_of on the same columns"
        )
    if not x.size:
        return x.copy()
    return _corrupted(x, name, severity, _generators(seed, name, ordinals), scale)


def _corrupted(x: np.ndarray, name: str, severity: int, generators: Generators, scale: Scale) -> np.ndarray:
    if name in TABLES:
        on_tables, levels = TABLES[name]
        return on_tables(x, levels[severity - 1], generators, scale).astype(x.dtype)
    if name in TEXTS:
        on_texts, levels = TEXTS[name]
        return on_texts(x, levels[severity - 1], generators)
    on_images, levels = IMAGES[name]
    span = scale.high - scale.low
    # Row-major: sums over an image must not depend on how it lies in memory.
    unit = np.clip((np.array(x, np.float32, order="C") - np.float32(scale.low)) / np.float32(span), 0, 1)
    back = on_images(unit, levels[severity - 1], generators) * np.float32(span) + np.float32(scale.low)
    return np.clip(back, scale.low, scale.high).astype(x.dtype)


def _generators(seed: int, name: str, ordinals: np.ndarray) -> Generators:
    """One generator an example; corruptions of one seed must not share their chances, so the name counts."""
    return (np.random.default_rng([seed, zlib.crc32(name.encode()), int(ordinal)]) for ordinal in ordinals)
