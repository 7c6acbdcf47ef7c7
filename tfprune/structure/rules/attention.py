"""Attention: heads leave whole, and so do places in the vectors that queries and keys are compared by."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras
from tfprune.structure.channels import Channels
from tfprune.structure.visit import Visit, rule

layers = keras.layers


@rule(layers.MultiHeadAttention)
def multi_head(layer: Any, visit: Visit) -> Channels | list[Channels]:
    """Kernels are (inputs, heads, size), and (heads, size, outputs) for what comes last."""
    query, value = visit.argument(0, "query"), visit.argument(1, "value")
    key = visit.argument(2, "key")
    key = value if key is None else key
    query, value, key = (visit.spatial(each, -1) for each in (query, value, key))
    heads = visit.fresh(layer._num_heads, "heads", "heads")
    sizes = visit.fresh(layer._key_dim, "key_size", "key_size")
    values = visit.fresh(layer._value_dim, "value_size", "key_size")
    for part, x, size, scaled in (
        (layer._query_dense, query, sizes, sizes),  # Keras divides queries by the square root of the key size
        (layer._key_dense, key, sizes, None),
        (layer._value_dense, value, values, None),
    ):
        visit.weight(part.kernel, x.rows[-1], heads, size, reads=(0,), scaled_by=scaled)
        visit.weight(part.bias, heads, size, scaled_by=scaled)
    made = [visit.fresh(size) for size in layer._output_dense.kernel.shape[2:]]
    visit.weight(layer._output_dense.kernel, heads, values, *made, reads=(0, 1))
    visit.weight(layer._output_dense.bias, *made)
    visit.set(
        num_heads=heads,
        key_dim=sizes,
        value_dim=values,
        output_shape=tuple(made),
        query_shape=(*query.shape[:-1], _size(query)),
        key_shape=(*key.shape[:-1], _size(key)),
        value_shape=(*value.shape[:-1], _size(value)),
    )
    outputs = Channels(visit.shape, (*query.rows[: len(visit.shape) - len(made)], *made))
    if len(visit.shapes) == 1:
        return outputs
    # Scores are (batch, axes that are not attended over, heads, ...).
    attended = layer.get_config()["attention_axes"] or range(1, query.rank - 1)
    return [outputs, visit.output(query.rank - len(attended) - 1, heads, 1)]


def _size(x: Channels) -> Any:
    return x.shape[-1] if x.rows[-1] is None else x.rows[-1]


@rule(layers.Attention, layers.AdditiveAttention)
def attend(layer: Any, visit: Visit) -> Channels | list[Channels]:
    """Queries and keys are compared index by index; values go through."""
    tensors = visit.argument(0, "inputs")  # masks, which come by themselves, are none of them
    query, value, *key = (visit.spatial(each, -1) for each in tensors)
    compared = visit.unite(query.rows[-1], (key[0] if key else value).rows[-1])
    if isinstance(layer, layers.AdditiveAttention) and layer.scale is not None:
        if key:  # Keras makes the scale as long as values are
            compared = visit.unite(compared, value.rows[-1])
        visit.weight(layer.scale, compared)
    outputs = visit.output(-1, value.rows[-1])
    return [outputs, Channels.plain(visit.shapes[1])] if len(visit.shapes) > 1 else outputs
