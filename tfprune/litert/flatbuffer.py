"""The constants of a LiteRT flatbuffer as arrays, whatever way it stores them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.errors import ModelError
from tfprune.litert.runtime import schema

TYPES: dict[int, str] = {value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
"""Names of the types of tensors, as the schema has them."""

_DTYPES = {
    "FLOAT64": np.float64,
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT64": np.uint64,
    "UINT32": np.uint32,
    "UINT16": np.uint16,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that is in the file.

    Attributes:
        name: of the tensor.
        values: as stored, made dense; four-bit ones one a byte.
        scales: of quantized values, one, or one for each index of `axis`; empty where there are none.
        zero_points: as many: what stands for 0.
        axis: along which scales differ.
    """

    name: str
    values: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int = 0

    @property
    def centred(self) -> np.ndarray:
        """Values less their zero points: 0 is what stands for zero."""
        if not np.any(self.zero_points):
            return self.values
        shape = [1] * self.values.ndim
        if len(self.zero_points) > 1:
            shape[self.axis] = -1
        return self.values.astype(np.int64) - self.zero_points.reshape(shape)


def read(content: bytes) -> Any:
    """A flatbuffer as the objects of its schema.

    Raises:
        ModelError: it is none, or damaged.
    """
    # The reader follows any offset, so what is no LiteRT file at all is told by its mark.
    if content[4:8] != b"TFL3":
        raise ModelError("this is no LiteRT file: it does not begin as one")
    try:
        tree = schema.ModelT.InitFromPackedBuf(content)
    except Exception as error:  # struct's, NumPy's, or that of whatever an offset leads to
        raise ModelError("this LiteRT file is damaged: its tables cannot be read") from error
    if not tree.subgraphs or tree.buffers is None:
        raise ModelError("this LiteRT file is damaged: it holds no graph")
    return tree


def constants(content: bytes) -> Iterator[Constant]:
    """The tensors that are in a file, of all its graphs, in their order; strings are left out.

    Args:
        content: a flatbuffer.

    Raises:
        ModelError: it is none, or damaged.

    Example:
        >>> from tfprune.backend import keras
        >>> from tfprune.litert.convert import convert
        >>> model = keras.Sequential([keras.layers.Dense(2, use_bias=False, input_shape=(3,))])
        >>> [each.values.shape for each in constants(convert(model))]
        [(2, 3)]
    """
    model = read(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors or ():
            with readable(f"constant {_name(tensor)!r}"):
                data = model.buffers[tensor.buffer].data
                if data is None or not len(data) or TYPES.get(tensor.type) in _NO_NUMBERS:
                    continue
                constant = _constant(tensor, np.asarray(data, np.uint8))
            yield constant


_NO_NUMBERS = ("STRING", "RESOURCE", "VARIANT")


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what goes wrong where tables point nowhere into one line about `what`."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ModelError(f"this LiteRT file is damaged: {what} cannot be read") from error


def _constant(tensor: Any, data: np.ndarray) -> Constant:
    values = _decoded(TYPES[tensor.type], data)
    shape = tuple(map(int, tensor.shape)) if tensor.shape is not None else ()
    if tensor.sparsity is not None:
        dense = _dense(values, shape, tensor.sparsity)
    else:
        dense = values[: int(np.prod(shape))].reshape(shape)  # four-bit ones may have one too many
    quantization = tensor.quantization
    has_scales = quantization is not None and quantization.scale is not None
    return Constant(
        _name(tensor),
        dense,
        np.asarray(quantization.scale if has_scales else [], np.float64),
        np.asarray(quantization.zeroPoint if has_scales and quantization.zeroPoint is not None else [], np.int64),
        quantization.quantizedDimension if has_scales else 0,
    )


def _name(tensor: Any) -> str:
    return (tensor.name or b"").decode("utf-8", "replace")


def _decoded(kind: str, data: np.ndarray) -> np.ndarray:
    if kind == "INT4":  # two a byte, the lower half first
        halves = np.stack([data & 15, data >> 4], axis=-1).reshape(-1).astype(np.int8)
        return np.where(halves > 7, halves - 16, halves).astype(np.int8)
    if kind == "BFLOAT16":  # the upper half of a float32
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view(_DTYPES[kind])


def _dense(values: np.ndarray, shape: tuple[int, ...], sparsity: Any) -> np.ndarray:
    """Values of a sparse tensor in their places.

    They are stored level by level: each an axis of the tensor, or of the blocks that it is cut into, in the order of
    `traversalOrder`. A dense level has all indices, a compressed one those of its segment, as in a CSR matrix.
    """
    blocks = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    order = [int(level) for level in sparsity.traversalOrder]
    places = np.zeros((1, len(order)), np.int64)  # of all entries so far, by axis
    entries = np.zeros(1, np.int64)
    for level, metadata in zip(order, sparsity.dimMetadata, strict=True):
        if metadata.format == schema.DimensionType.DENSE:
            counts = np.full(len(entries), metadata.denseSize)
            inner = np.tile(np.arange(metadata.denseSize), len(entries))
            following = np.repeat(entries * metadata.denseSize, counts) + inner
        else:
            segments, indices = (
                np.asarray(each.values, np.int64) for each in (metadata.arraySegments, metadata.arrayIndices)
            )
            starts = segments[entries]
            counts = segments[entries + 1] - starts
            following = (
                np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
            )
            inner = indices[following]
        places, entries = np.repeat(places, counts, axis=0), following
        places[:, level] = inner
    sizes = {
        len(shape) + index: sparsity.dimMetadata[order.index(len(shape) + index)].denseSize
        for index in range(len(blocks))
    }
    at = places[:, : len(shape)].copy()
    for index, axis in enumerate(blocks):
        at[:, axis] = at[:, axis] * sizes[len(shape) + index] + places[:, len(shape) + index]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(at.T)] = values[entries]
    return dense
