"""Patterns of zeros: single weights, N of every M, or blocks.

A pattern cuts a tensor into *units* that stay or fall together, and says which of them may fall at all. Its axes are
those of the weight as a matrix: `inputs` is summed over in the layer's product, `outputs` is what comes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tfprune.errors import SelectionError

Axes = tuple[int, int]
"""(inputs, outputs) of a weight."""


class Pattern:
    """Any weight by itself may be zero; what other patterns build on."""

    @property
    def most(self) -> float:
        """The highest sparsity that the pattern allows."""
        return 1.0

    @property
    def unit(self) -> int:
        """Weights in a unit."""
        return 1

    def misfit(self, shape: tuple[int, ...], axes: Axes | None) -> str:
        """Why a tensor cannot take the pattern; empty where it can."""
        return ""

    def pool(self, values: np.ndarray, axes: Axes | None) -> np.ndarray:
        """One value a unit: the mean of its weights' values."""
        return values

    def spread(self, units: np.ndarray, shape: tuple[int, ...], axes: Axes | None) -> np.ndarray:
        """From one value a unit back to one a weight."""
        return units.reshape(shape)

    def held(self, ranks: np.ndarray, axes: Axes | None) -> np.ndarray | None:
        """Which units may not fall, as they are among the best of their group; None where all may."""
        return None


@dataclass(frozen=True)
class NOfM(Pattern):
    """At least N of every M consecutive weights along the input axis stay, as sparse tensor cores want 2 of 4."""

    n: int
    m: int

    @property
    def most(self) -> float:
        return 1 - self.n / self.m

    def misfit(self, shape: tuple[int, ...], axes: Axes | None) -> str:
        if axes is None:
            return "is no matrix product"
        return "" if shape[axes[0]] % self.m == 0 else f"has {shape[axes[0]]} inputs"

    def held(self, ranks: np.ndarray, axes: Axes | None) -> np.ndarray:
        assert axes is not None
        last = np.moveaxis(ranks, axes[0], -1)
        groups = last.reshape(-1, self.m)
        # Stable, so that of equal ranks the first stay.
        best = np.argsort(-groups, axis=1, kind="stable")[:, : self.n]
        held = np.zeros(groups.shape, bool)
        np.put_along_axis(held, best, True, axis=1)
        return np.moveaxis(held.reshape(last.shape), -1, axes[0])


@dataclass(frozen=True)
class Block(Pattern):
    """Blocks of so many consecutive inputs by so many consecutive outputs."""

    inputs: int
    outputs: int

    @property
    def unit(self) -> int:
        return self.inputs * self.outputs

    def misfit(self, shape: tuple[int, ...], axes: Axes | None) -> str:
        if axes is None:
            return "is no matrix product"
        sizes = shape[axes[0]], shape[axes[1]]
        fits = sizes[0] % self.inputs == 0 and sizes[1] % self.outputs == 0
        return "" if fits else f"has {sizes[0]} inputs and {sizes[1]} outputs"

    def pool(self, values: np.ndarray, axes: Axes | None) -> np.ndarray:
        assert axes is not None
        last = np.moveaxis(values, axes, (-2, -1))
        *rest, rows, columns = last.shape
        blocks = last.reshape(*rest, rows // self.inputs, self.inputs, columns // self.outputs, self.outputs)
        return blocks.mean(axis=(-3, -1), dtype=np.float64)

    def spread(self, units: np.ndarray, shape: tuple[int, ...], axes: Axes | None) -> np.ndarray:
        assert axes is not None
        *rest, rows, columns = (*np.delete(shape, axes), shape[axes[0]], shape[axes[1]])
        blocks = units.reshape(*rest, rows // self.inputs, columns // self.outputs)
        last = np.repeat(np.repeat(blocks, self.inputs, axis=-2), self.outputs, axis=-1)
        return np.ascontiguousarray(np.moveaxis(last, (-2, -1), axes))


def pattern_of(text: str | None) -> Pattern:
    """Read a pattern.

    Args:
        text: None or ``element``; ``N:M`` such as ``2:4``, N of every M weights stay; ``AxB`` such as ``1x4``, blocks
            of A inputs by B outputs.

    Raises:
        SelectionError: anything else.

    Example:
        >>> pattern_of("2:4").most, pattern_of("1x4").unit
        (0.5, 4)
    """
    if text is None or text == "element":
        return Pattern()
    match = re.fullmatch(r"([1-9]\d*)([:x])([1-9]\d*)", text) if isinstance(text, str) else None
    if match is None:
        raise SelectionError(f"pattern must be 'element', N:M such as '2:4', or AxB such as '1x4', but got {text!r}")
    first, second = int(match[1]), int(match[3])
    if match[2] != ":":
        return Block(first, second)
    if first >= second:
        raise SelectionError(f"pattern N:M keeps N of every M weights, so N must be under M, but got {text!r}")
    return NOfM(first, second)
