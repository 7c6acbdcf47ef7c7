"""A description may ask for weights of any size; a file holds only so many."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfprune.backend import tf
from tfprune.errors import ModelError

ALWAYS = 64 * 2**20
"""Bytes of weights that a model may have whatever its file holds."""

TIMES = 4
"""Times what the file holds: an optimizer that was left out of it makes two copies of each weight."""


@contextmanager
def weights_within(held: int, path: Path) -> Iterator[None]:
    """Refuse variables, before they are made, once they are far more than a file of weights could fill.

    Args:
        held: bytes of weights in the file.
        path: opens the error line.

    Raises:
        ModelError: the description of the model and the size of its file do not go together.
    """
    total, most = 0, ALWAYS + TIMES * held

    def counted(create: Any, **how: Any) -> Any:
        nonlocal total
        total += _bytes(how)
        if total > most:
            raise MemoryError
        return create(**how)

    try:
        with tf.variable_creator_scope(counted):
            yield
    finally:
        if total > most:  # Keras may have wrapped what was raised, or gone on without it
            raise ModelError(f"{path}: damaged: it describes {total} bytes of weights or more, but holds {held}")


def _bytes(how: dict[str, Any]) -> int:
    """What a variable that is about to be made will take; 0 where that is not said."""
    shape = how.get("shape")
    if shape is None:
        shape = getattr(how.get("initial_value"), "shape", None)
    dimensions = tf.TensorShape(shape)
    if not dimensions.is_fully_defined():
        return 0
    return math.prod(dimensions.as_list()) * tf.as_dtype(how.get("dtype") or "float32").size
