"""What an optimizer of Keras, new or legacy, remembers of each weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfprune.backend import keras, tf


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer that moves weights, where another around it scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def named_slots(optimizer: Any, weight: tf.Variable) -> Iterator[tuple[str, tf.Variable]]:
    """Names and variables of all that an optimizer keeps for one weight; none before its first step."""
    inner = inner_optimizer(optimizer)
    if isinstance(inner, keras.optimizers.legacy.Optimizer):
        yield from inner._slots.get(getattr(weight, "_unique_id", None), {}).items()  # a frozen weight has none
        return
    index = getattr(inner, "_index_dict", {}).get(inner._var_key(weight)) if hasattr(inner, "_var_key") else None
    if index is None:  # not built yet
        return
    for name, held in vars(inner).items():
        if isinstance(held, list) and name not in _ALL_TOGETHER and index < len(held):
            each = held[index]
            if isinstance(each, tf.Variable) and each is not weight:
                yield name, each


def slots(optimizer: Any, weight: tf.Variable) -> Iterator[tf.Variable]:
    """All that an optimizer keeps for one weight, always in the same order."""
    return (slot for _, slot in named_slots(optimizer, weight))


_ALL_TOGETHER = ("_variables", "_trainable_variables")
