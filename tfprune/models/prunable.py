"""Which weights of a layer can be pruned, and why the rest cannot.

The choice is TF-MOT's (its ``PruneRegistry``), written down here as data, so that costs can be told without
loading TF-MOT: exact classes only, as a subclass may use its kernel in a way that nobody outside knows.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from tfprune.backend import keras, tf

layers = keras.layers

_KERNELS: dict[type, tuple[str, ...]] = {
    layers.Conv1D: ("kernel",),
    layers.Conv2D: ("kernel",),
    layers.Conv2DTranspose: ("kernel",),
    layers.Conv3D: ("kernel",),
    layers.Conv3DTranspose: ("kernel",),
    layers.Dense: ("kernel",),
    layers.Embedding: ("embeddings",),
    layers.LocallyConnected1D: ("kernel",),
    layers.LocallyConnected2D: ("kernel",),
    layers.MultiHeadAttention: (
        "_query_dense.kernel",
        "_key_dense.kernel",
        "_value_dense.kernel",
        "_output_dense.kernel",
    ),
    layers.SeparableConv1D: ("pointwise_kernel",),
    layers.SeparableConv2D: ("pointwise_kernel",),
}

_RECURRENT = (layers.GRU, layers.LSTM, layers.RNN, layers.SimpleRNN)
_CELLS = (layers.GRUCell, layers.LSTMCell, layers.SimpleRNNCell)
_NORMS = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
)


def prunable_weights(layer: keras.layers.Layer) -> tuple[list[tf.Variable], str]:
    """Return the weights of one layer that masks may touch, or the reason why there are none.

    Args:
        layer: a built layer, plain or inside a masking wrapper (anything with ``layer`` and ``pruning_vars``).

    Returns:
        ``(weights, "")`` where something can be pruned, else ``([], reason)`` with a reason in plain English.

    Example:
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> weights, reason = prunable_weights(dense)
        >>> [tuple(weight.shape) for weight in weights], reason
        ([(3, 2)], '')
        >>> norm = keras.layers.BatchNormalization()
        >>> norm.build((None, 2))
        >>> prunable_weights(norm)
        ([], 'BatchNormalization: scales and statistics are not masked')
    """
    if getattr(layer, "pruning_vars", None):
        return [weight for weight, _, _ in layer.pruning_vars], ""
    layer = inner_layer(layer)
    if not layer.weights:
        return [], "no weights" if layer.built else "not built yet"
    if not layer.trainable:
        return [], "frozen (trainable=False)"
    weights, reason = _by_class(layer)
    return (weights, "") if weights else ([], reason)


def inner_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the layer inside a masking wrapper; any other layer as it is."""
    return layer.layer if hasattr(layer, "pruning_vars") else layer


def _by_class(layer: keras.layers.Layer) -> tuple[list[tf.Variable], str]:
    # The tables come before the method: TF-MOT plants `get_prunable_weights` on every layer it wraps.
    kind = type(layer)
    if kind in _KERNELS:
        return [attrgetter(name)(layer) for name in _KERNELS[kind]], ""
    if kind in _RECURRENT:
        return _recurrent(layer)
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights()), f"{kind.__name__}: its get_prunable_weights() gives none"
    return [], _why_not(layer)


def _recurrent(layer: Any) -> tuple[list[tf.Variable], str]:
    cells = layer.cell.cells if type(layer.cell) is layers.StackedRNNCells else [layer.cell]
    unknown = [type(cell).__name__ for cell in cells if type(cell) not in _CELLS]
    if unknown:
        return [], f"{type(layer).__name__}: TF-MOT does not know its cell {unknown[0]}"
    return [weight for cell in cells for weight in (cell.kernel, cell.recurrent_kernel)], ""


def _why_not(layer: keras.layers.Layer) -> str:
    kind = type(layer)
    name = kind.__name__
    if isinstance(layer, keras.Model):
        return f"{name}: a model; its layers are pruned one by one"
    if kind is layers.DepthwiseConv2D:
        return f"{name}: its few weights matter too much and TF-MOT leaves it dense"
    if isinstance(layer, _NORMS):
        return f"{name}: scales and statistics are not masked"
    if kind.__module__.split(".")[0] in ("keras", "tf_keras"):
        return f"{name}: TF-MOT has no wrapper for it"
    if isinstance(layer, (*_KERNELS, *_RECURRENT)):
        return f"class {name} is a subclass TF-MOT does not know; give it get_prunable_weights()"
    return f"class {name} is not known to TF-MOT; give it get_prunable_weights()"
