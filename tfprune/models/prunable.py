"""Which weights of a layer can be pruned, how they lie as matrices, and why the rest cannot be pruned.

Only exact classes are known, as a subclass may use its kernel in a way that nobody outside knows; it tells with a
method ``get_prunable_weights()``, as in TF-MOT. Layers made of other layers (`TimeDistributed`, `Bidirectional`,
attention, `RNN`) give what their parts give. Frozen layers and depthwise kernels are left alone unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from tfprune.backend import keras, tf

layers = keras.layers

Axes = tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A weight that masks may touch, its axes as in `matrix_axes`, and why it is left alone unless asked for."""

    weight: tf.Variable
    axes: Axes
    spared: str = ""


_IN_OUT, _OUT_IN = (-2, -1), (-1, -2)

_CELLS = (layers.GRUCell, layers.LSTMCell, layers.SimpleRNNCell)
_RECURRENT = (layers.GRU, layers.LSTM, layers.SimpleRNN, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)

# Names of kernels, each with its input and output axis.
_GROUPS: tuple[tuple[tuple[type, ...], dict[str, Axes]], ...] = (
    ((layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D), {"kernel": _IN_OUT}),
    ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), {"kernel": _OUT_IN}),
    ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), {"depthwise_kernel": None}),
    ((layers.SeparableConv1D, layers.SeparableConv2D), {"pointwise_kernel": _IN_OUT, "depthwise_kernel": None}),
    ((layers.LocallyConnected1D, layers.LocallyConnected2D), {"kernel": None}),
    ((layers.Embedding,), {"embeddings": None}),
    (_CELLS, {"kernel": _IN_OUT, "recurrent_kernel": _IN_OUT}),
    (_RECURRENT, {"cell.kernel": _IN_OUT, "cell.recurrent_kernel": _IN_OUT}),
)
_KERNELS = {kind: kernels for kinds, kernels in _GROUPS for kind in kinds}

_PARTS: dict[type, tuple[str, ...]] = {
    layers.Bidirectional: ("forward_layer", "backward_layer"),
    layers.MultiHeadAttention: ("_query_dense", "_key_dense", "_value_dense", "_output_dense"),
    layers.TimeDistributed: ("layer",),
}

_NORMS = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
)


def prunable_weights(layer: keras.layers.Layer, asked: bool = False) -> tuple[list[tf.Variable], str]:
    """Return the weights of one layer that masks may touch, or the reason why there are none.

    Args:
        layer: a built layer, plain or inside a masking wrapper (anything with ``layer`` and ``pruning_vars``).
        asked: the user named this layer; then its frozen weights and its depthwise kernels are prunable too.

    Returns:
        ``(weights, "")`` where something can be pruned, else ``([], reason)`` with a reason in plain English.

    Example:
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> weights, reason = prunable_weights(dense)
        >>> [tuple(weight.shape) for weight in weights], reason
        ([(3, 2)], '')
        >>> dense.trainable = False
        >>> prunable_weights(dense)
        ([], 'frozen (trainable=False); name the layer in `layers` to prune it')
        >>> len(prunable_weights(dense, asked=True)[0])
        1
    """
    kernels, reason = _chosen(layer, asked)
    return [kernel.weight for kernel in kernels], reason


def matrix_axes(layer: keras.layers.Layer, asked: bool = False) -> list[Axes]:
    """Return how each prunable weight of a layer lies as the matrix of a product.

    Args:
        layer: as for `prunable_weights`.
        asked: as for `prunable_weights`.

    Returns:
        For each of ``prunable_weights(layer, asked)[0]``, in their order, the pair (input axis, output axis): the
        last axis whose products with the inputs are summed, and the last one that tells outputs apart. Both count
        from 0. None where there is no such pair, as in an embedding or a depthwise kernel.

    Example:
        >>> conv = keras.layers.Conv2DTranspose(8, 3)  # a kernel of (height, width, filters, inputs)
        >>> conv.build((None, 5, 5, 4))
        >>> matrix_axes(conv)
        [(3, 2)]
    """
    return [kernel.axes for kernel in _chosen(layer, asked)[0]]


def inner_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the layer inside a masking wrapper; any other layer as it is."""
    return layer.layer if hasattr(layer, "pruning_vars") else layer


def _chosen(layer: keras.layers.Layer, asked: bool) -> tuple[list[_Kernel], str]:
    if isinstance(layer, keras.Model) and not hasattr(layer, "get_prunable_weights"):
        return [], f"{type(layer).__name__}: a model; its layers are pruned one by one"
    kernels, reason = _all_kernels(layer)
    chosen = [kernel for kernel in kernels if asked or not kernel.spared]
    if kernels and not chosen:
        spared = "; ".join(sorted({kernel.spared for kernel in kernels}))
        reason = f"{spared}; name the layer in `layers` to prune it"
    return chosen, reason


def _all_kernels(layer: keras.layers.Layer) -> tuple[list[_Kernel], str]:
    """What masks could touch, with what is left alone unless asked for; or the reason why there is nothing."""
    if getattr(layer, "pruning_vars", None):
        # What carries masks is being pruned, whatever the tables say; they only know its axes.
        axes = {kernel.weight.ref(): kernel.axes for kernel in _all_kernels(layer.layer)[0]}
        return [_Kernel(weight, axes.get(weight.ref())) for weight, _, _ in layer.pruning_vars], ""
    layer = inner_layer(layer)
    if not _weights_of(layer):
        return [], "no weights" if layer.built else "not built yet"
    kernels, reason = _by_class(layer)
    if not layer.trainable:
        kernels = [replace(kernel, spared="frozen (trainable=False)") for kernel in kernels]
    return kernels, reason


def _weights_of(layer: keras.layers.Layer) -> list[tf.Variable]:
    try:
        return layer.weights
    except ValueError:  # a model, or one inside a wrapper, that is not built
        return []


def _by_class(layer: Any) -> tuple[list[_Kernel], str]:
    # The tables come before the method: TF-MOT plants `get_prunable_weights` on every layer it wraps.
    kind = type(layer)
    if kind in _KERNELS:
        return [_kernel(layer, name, axes) for name, axes in _KERNELS[kind].items()], ""
    if kind is layers.EinsumDense:
        return [_Kernel(layer.kernel, _einsum_axes(layer.equation))], ""
    if kind in _PARTS:
        return _of_parts(getattr(layer, name) for name in _PARTS[kind])
    if kind is layers.RNN:
        return _recurrent(layer)
    if hasattr(layer, "get_prunable_weights"):
        return _by_protocol(layer)
    if isinstance(layer, keras.Model):
        return _of_parts(layer.layers)
    return [], _why_not(layer)


def _kernel(layer: Any, name: str, axes: Axes) -> _Kernel:
    weight = attrgetter(name)(layer)
    rank = len(weight.shape)
    spared = f"{type(layer).__name__}: its few weights matter too much" if name == "depthwise_kernel" else ""
    return _Kernel(weight, axes and (rank + axes[0], rank + axes[1]), spared)


def _einsum_axes(equation: str) -> Axes:
    """Read the axes of the kernel from an equation.

    >>> _einsum_axes("abcd,cde->abe"), _einsum_axes("...x,xy->...y"), _einsum_axes("ab,b->ab")
    ((1, 2), (0, 1), None)
    """
    inputs, _, rest = equation.partition(",")
    kernel, _, outputs = rest.partition("->")
    summed = [axis for axis, name in enumerate(kernel) if name in inputs and name not in outputs]
    kept = [axis for axis, name in enumerate(kernel) if name in outputs]
    return (summed[-1], kept[-1]) if summed and kept else None


def _of_parts(parts: Iterable[keras.layers.Layer]) -> tuple[list[_Kernel], str]:
    kernels: dict[Any, _Kernel] = {}  # each weight once, though the layers of a model may share it
    reasons: set[str] = set()
    for part in parts:
        found, reason = _all_kernels(part)
        reasons.add(reason)
        for kernel in found:
            kernels.setdefault(kernel.weight.ref(), kernel)
    if kernels:
        return list(kernels.values()), ""
    return [], "; ".join(sorted(reasons - {"no weights"})) or "no weights"


def _recurrent(layer: Any) -> tuple[list[_Kernel], str]:
    cells = layer.cell.cells if type(layer.cell) is layers.StackedRNNCells else [layer.cell]
    unknown = [type(cell).__name__ for cell in cells if type(cell) not in _CELLS]
    if unknown:
        return [], f"RNN: its cell {unknown[0]} is not of a known class; subclass RNN with get_prunable_weights()"
    return _of_parts(cells)


def _by_protocol(layer: Any) -> tuple[list[_Kernel], str]:
    weights = layer.get_prunable_weights()
    asked = f"{type(layer).__name__}: its get_prunable_weights() gives"
    if not isinstance(weights, list | tuple):
        return [], f"{asked} {type(weights).__name__}, not a list of the layer's own variables"
    own = {weight.ref() for weight in layer.weights if isinstance(weight, tf.Variable)}
    if not all(isinstance(weight, tf.Variable) and weight.ref() in own for weight in weights):
        return [], f"{asked} something else than the layer's own variables"
    once = {weight.ref(): weight for weight in weights}.values()
    kernels = [_Kernel(weight, (0, 1) if len(weight.shape) == 2 else None) for weight in once]
    return kernels, "" if kernels else f"{asked} none"


def _why_not(layer: keras.layers.Layer) -> str:
    kind = type(layer)
    name = kind.__name__
    if isinstance(layer, _NORMS):
        return f"{name}: scales and statistics are not masked"
    if kind is layers.SpectralNormalization:
        return f"{name}: it rewrites the kernel of its layer in training"
    if kind.__module__.split(".")[0] in ("keras", "tf_keras"):
        return f"{name}: not among the kinds of layers that can be pruned"
    known = next((base for base in kind.__mro__ if base in {*_KERNELS, *_PARTS, layers.EinsumDense, layers.RNN}), None)
    if known:
        return f"class {name} may use its weights in another way than {known.__name__}; give it get_prunable_weights()"
    return f"class {name} is not a known layer; give it get_prunable_weights()"
