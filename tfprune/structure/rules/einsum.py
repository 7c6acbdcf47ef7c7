"""Products of tensors by letters, as attention makes them."""

from __future__ import annotations

from collections.abc import Sequence

from tfprune.backend import keras
from tfprune.structure.channels import Channels
from tfprune.structure.labels import Rows
from tfprune.structure.visit import Visit, rule

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def contract(visit: Visit, equation: str, tensors: Sequence[Channels]) -> Channels:
    """What bears the same letter leaves together, and what is summed over leaves exactly where two tensors share it.

    In a product that sums over one shared letter, another shared letter that stays counts heads, and what is left
    are places in a head.
    """
    inputs, output = spelled(equation, [each.rank for each in tensors])
    bears: dict[str, Rows | None] = {}
    for letter in dict.fromkeys("".join(inputs)):
        axes = [
            (each, place)
            for term, each in zip(inputs, tensors, strict=True)
            for place, own in enumerate(term)
            if own == letter
        ]
        wide = [(each, place) for each, place in axes if each.shape[place] != 1] or axes
        for each, place in axes:
            if wide is not axes and each.shape[place] == 1:
                visit.freeze(each.rows[place], "it is stretched along this axis")
        bears[letter] = visit.unite(*(each.rows[place] for each, place in wide))
    shared = {letter for letter in bears if sum(letter in term for term in inputs) > 1}
    for letter, rows in bears.items():
        if letter not in output and letter not in shared:
            visit.inexact(rows, "it sums over the channels that are left")
    if shared - set(output):
        heads = [letter for letter in shared & set(output) if bears[letter] is not None]
        for letter, rows in bears.items():
            if letter in heads:
                visit.kind(rows, "heads")
            elif heads or letter in shared - set(output):
                visit.kind(rows, "key_size")
    return Channels(visit.shape, tuple(bears[letter] for letter in output))


def spelled(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """An equation's terms with letters in place of dots, aligned at the last of them."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    dots = "".join(chr(0x3B1 + place) for place in range(max(hidden)))
    terms = [term.replace("...", dots[len(dots) - size :]) for term, size in zip(terms, hidden, strict=True)]
    if not arrow:
        letters = "".join(terms)
        output = "..." + "".join(sorted(letter for letter in set(letters) - set(dots) if letters.count(letter) == 1))
    return terms, output.replace("...", dots)


def matmul_equation(a: int, b: int, transpose_a: bool, transpose_b: bool) -> str:
    """`tf.matmul` of tensors of these ranks, as an equation."""
    rank = max(a, b)
    batch = _LETTERS[: rank - 2]
    rows, between, columns = list(_LETTERS[rank : rank + 3])
    left = batch[rank - a :] + (between + rows if transpose_a else rows + between)
    right = batch[rank - b :] + (columns + between if transpose_b else between + columns)
    return f"{left},{right}->{batch}{rows}{columns}"


@rule(keras.layers.Dot)
def dot(layer: object, visit: Visit) -> Channels:
    """The Keras layer: a sum over one axis of each of two tensors, example by example."""
    first, second = visit.inputs
    axes = layer.axes if isinstance(layer.axes, list | tuple) else (layer.axes, layer.axes)  # type: ignore[attr-defined]
    one, other = axes[0] % first.rank, axes[1] % second.rank
    left = list(_LETTERS[: first.rank])
    right = list("a" + _LETTERS[first.rank : first.rank + second.rank - 1])
    left[one] = right[other] = "z"
    output = "".join(each for each in left + right[1:] if each != "z")
    if layer.normalize:  # type: ignore[attr-defined]
        for x, axis in ((first, one), (second, other)):
            visit.inexact(x.rows[axis], "vectors are brought to one length first")
    return contract(visit, f"{''.join(left)},{''.join(right)}->{output}", [first, second])
