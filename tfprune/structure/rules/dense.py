"""Dense layers and tables."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.structure.channels import Channels
from tfprune.structure.labels import Rows
from tfprune.structure.rules.elementwise import activate
from tfprune.structure.visit import Visit, rule

layers = keras.layers


@rule(layers.Dense)
def dense(layer: Any, visit: Visit) -> Channels:
    """Kernels are (inputs, units); other axes go through."""
    units = visit.fresh(layer.units)
    visit.weight(layer.kernel, visit.x.rows[-1], units, reads=(0,))
    visit.weight(layer.bias, units)
    visit.set(units=units)
    return activate(visit, layer.activation, Channels(visit.shape, (*visit.x.rows[:-1], units)))


@rule(layers.Embedding)
def embedding(layer: Any, visit: Visit) -> Channels:
    """Tables are (tokens, sizes); tokens stay."""
    sizes = visit.fresh(layer.output_dim)
    visit.weight(layer.embeddings, None, sizes)
    visit.set(output_dim=sizes)
    return Channels(visit.shape, (*visit.x.rows, None)).replaced(-1, sizes)


@rule(layers.EinsumDense)
def einsum_dense(layer: Any, visit: Visit) -> Channels:
    """Axes of the kernel are read from the input, made anew, or both by letter."""
    x, letters, output = visit.x, *_letters(layer.equation, visit.x.rank)
    kernel = layer.equation.split("->")[0].split(",")[1]
    bears: dict[str, Rows | None] = dict(zip(letters, x.rows, strict=True))
    for letter, size in zip(kernel, layer.kernel.shape, strict=True):
        if letter not in bears:
            bears[letter] = visit.fresh(size, "" if sum(each not in letters for each in kernel) == 1 else letter)
    for letter in letters:
        if letter not in kernel and letter not in output:
            visit.freeze(bears[letter], "it sums over this axis without weights")
    read = tuple(place for place, letter in enumerate(kernel) if letter not in output)
    visit.weight(layer.kernel, *(bears[letter] for letter in kernel), reads=read)
    rows: list[Rows | None] = [bears[letter] for letter in output]
    if layer.bias is not None:
        behind = rows[len(rows) - len(layer.bias.shape) :]
        visit.weight(
            layer.bias, *(None if size == 1 else each for size, each in zip(layer.bias.shape, behind, strict=True))
        )
    given = layer.get_config()["output_shape"]
    given = [given] if isinstance(given, int) else list(given)
    inner = rows[len(rows) - len(given) :]
    visit.set(output_shape=tuple(size if each is None else each for size, each in zip(given, inner, strict=True)))
    return activate(visit, layer.activation, Channels(visit.shape, tuple(rows)))


def _letters(equation: str, rank: int) -> tuple[str, str]:
    """Input and output of an equation, with letters that occur nowhere else in place of dots."""
    inputs, output = equation.replace(" ", "").split(",")[0], equation.replace(" ", "").split("->")[1]
    hidden = "".join(chr(0x3B1 + place) for place in range(rank - len(inputs.replace("...", ""))))
    return inputs.replace("...", hidden), output.replace("...", hidden)
