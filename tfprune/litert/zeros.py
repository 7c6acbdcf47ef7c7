"""Whether the zeros of a pruned model are zeros in the LiteRT file that was made of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfprune.backend import keras
from tfprune.litert.flatbuffer import constants
from tfprune.models.clone import leaves
from tfprune.models.prunable import prunable_weights


def zeros_kept(model: keras.Model, content: bytes) -> float | None:
    """Of the zeros in a model's kernels, the share that is zero in a file at the same place.

    Layers have other names in the file, and their kernels other axes and, where a normalization was folded into them,
    other scales. A kernel is found by what stays: the direction of each channel's weights. Those that are not found,
    as LiteRT cut or joined them, count for nothing.

    Args:
        model: that the file was made of, plain.
        content: the flatbuffer.

    Returns:
        In [0, 1]; None where the model has no zeros, or none of its kernels is found.

    Raises:
        ModelError: the file is no flatbuffer, or damaged.

    Example:
        >>> from tfprune.litert.convert import convert
        >>> model = keras.Sequential([keras.layers.Dense(3, input_shape=(4,), use_bias=False)])
        >>> model.set_weights([np.eye(4, 3)])
        >>> zeros_kept(model, convert(model))
        1.0
    """
    stored = [each.centred for each in constants(content) if each.values.size > 1]
    kept = total = 0
    for kernel in _kernels(model):
        found = _found(kernel, stored) if not kernel.all() else None
        if found is None and kernel.ndim == 2 and not kernel.shape[1] % _GATES:
            parts = [_found(part, stored) for part in np.split(kernel, _GATES, axis=1)]
            found = None if None in parts else sum(filter(None, parts))
        if found is not None:
            total += int(np.sum(kernel == 0))
            kept += found
    return kept / total if total else None


def _kernels(model: keras.Model) -> Iterator[np.ndarray]:
    seen: set[int] = set()
    for layer in leaves(model):
        for weight in prunable_weights(layer, asked=True)[0]:
            if id(weight) not in seen:
                seen.add(id(weight))
                yield weight.numpy()


_GATES = 4  # of an LSTM, whose kernels LiteRT has one by one

_LEAST = 0.8
"""How alike the channels of two kernels must be on average. Chance makes 0.3 of kernels of nine weights."""


def _found(kernel: np.ndarray, stored: list[np.ndarray]) -> int | None:
    """How many zeros of a kernel are zeros in the constant that is most like it; None where there is none."""
    best: tuple[float, int] | None = None
    for constant in stored:
        if constant.size != kernel.size:
            continue
        for ours, channels in _laid_out(kernel, constant):
            theirs = constant.reshape(ours.shape)
            likeness = _likeness(ours, theirs, channels)
            if likeness >= _LEAST:
                # Channels of one weight are as like as can be by chance; rounding lets the zeros decide then.
                found = round(likeness, 2), int(np.sum((ours == 0) & (theirs == 0)))
                best = found if best is None else max(best, found)
    return None if best is None else best[1]


def _laid_out(kernel: np.ndarray, constant: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
    """A kernel in the axes that a constant may have, each with its axis of channels."""
    rank = kernel.ndim
    orders = {tuple(range(rank)): rank - 1}  # embeddings, 3D convolutions, and depthwise ones
    if rank > 1:
        orders[rank - 1, *range(rank - 1)] = 0  # outputs first: dense layers, convolutions, heads of attention
    if rank > 2:
        orders[rank - 2, *range(rank - 2), rank - 1] = 0  # transposed convolutions
        orders[*range(1, rank), 0] = rank - 1  # heads before inputs
    sizes = [size for size in constant.shape if size > 1]
    for order, channels in orders.items():
        ours = kernel.transpose(order)
        # Axes may have been joined or split, but not swapped: then the sizes from the left meet at the same products.
        if _nest(sizes, [size for size in ours.shape if size > 1]):
            yield ours, channels


def _nest(one: list[int], other: list[int]) -> bool:
    """Whether one shape comes of the other by joining axes.

    >>> _nest([6, 4], [2, 3, 4]), _nest([2, 3, 4], [6, 4]), _nest([6, 4], [4, 6])
    (True, True, False)
    """
    ends = [set(np.cumprod(sizes, dtype=np.int64).tolist()) for sizes in (one, other)]
    return ends[0] <= ends[1] or ends[1] <= ends[0]


def _likeness(ours: np.ndarray, theirs: np.ndarray, axis: int) -> float:
    """Mean over channels of the cosine between their weights, whatever their signs; empty channels left out."""
    a, b = (np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1).astype(np.float64) for each in (ours, theirs))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    counts = np.linalg.norm(a, axis=1) > 0
    if not counts.any():
        return 0.0
    cosines = np.abs(np.sum(a * b, axis=1)) / np.where(lengths > 0, lengths, 1)
    return float(cosines[counts].mean())
