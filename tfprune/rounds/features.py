"""Features: what named layers give inside a student and inside its teacher, and how far they are apart.

Of the same shape they are compared number by number (Romero et al. 2015, FitNets). Where pruning has changed a width,
FitNets learns a projection; here the examples of a batch are compared with each other instead, in the student as in
the teacher (Tung & Mori 2019). That takes no weights: nothing more to train, to keep at each epoch and to throw away,
and it serves dense layers, sequences and images of another size alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import DistillationError, nearest
from tfprune.models.clone import leaves
from tfprune.models.prunable import inner_layer

Features = Sequence[str] | Mapping[str, str]
Pairs = tuple[tuple[str, str], ...]


def pairs_of(features: Features | None) -> Pairs:
    """Names of layers in the student, each with that in the teacher.

    Raises:
        DistillationError: not a list of names, nor a mapping.
    """
    given: Any = features or ()
    if isinstance(given, Mapping):
        found = sorted(given.items(), key=str)  # a sum of floats hangs on its order, a mapping must not
    elif isinstance(given, Iterable) and not isinstance(given, str):
        found = [(name, name) for name in given]
    else:
        found = [(given, None)]
    if not all(isinstance(name, str) for pair in found for name in pair):
        raise DistillationError(
            f"features: got {given!r}, expected a list of layer names, or a mapping of the student's to the teacher's"
        )
    return tuple(dict.fromkeys(found))


def with_features(model: keras.Model, names: Sequence[str], whose: str) -> keras.Model:
    """A model that gives besides its answer what its named layers give; it shares all layers with the original.

    Args:
        model: Functional or Sequential, built; layers that carry masks go by the names that they had before.
        names: of layers; without any, the model itself is returned.
        whose: ``student`` or ``teacher``, for errors.

    Raises:
        DistillationError: see `check_features`; or a model with losses that its outputs do not lead to.
    """
    if not names:
        return model
    tensors = [_tensor_of(model, name, whose) for name in names]
    wide = keras.Model(model.input, [model.output, *tensors], name=f"{model.name}_with_features")
    if len(wide.layers) < len(model.layers):
        raise DistillationError(
            f"features: the {whose} {model.name!r} has losses of its own (add_loss), which no feature leads to"
        )
    return wide


def check_features(model: keras.Model, names: Iterable[str], whose: str) -> None:
    """Refuse names that no feature can be taken from.

    Raises:
        DistillationError: no such layer, one that is called more than once, or that gives several tensors.
    """
    for name in names:
        _tensor_of(model, name, whose)


def has_layer(model: keras.Model, name: str) -> bool:
    """Whether a layer of this name is left in a model's graph."""
    return name in _names(model)


def apart(student: Any, teacher: Any) -> Any:
    """How far features are apart, one value an example, float32 (batch,).

    Args:
        student: (batch, ...), differentiable.
        teacher: (batch, ...).
    """
    ours, theirs = tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
    if ours.shape[1:].as_list() == theirs.shape[1:].as_list():
        return tf.reduce_mean(_rows(tf.math.squared_difference(ours, theirs)), 1)
    return tf.reduce_sum(tf.math.squared_difference(_alike(ours), _alike(theirs)), 1)


def _alike(features: Any) -> Any:
    """How much each example is like each other of the batch, (batch, batch), rows of length one."""
    rows = _rows(features)
    return tf.math.l2_normalize(tf.matmul(rows, rows, transpose_b=True), 1)


def _rows(values: Any) -> Any:
    return tf.reshape(values, [tf.shape(values)[0], -1])


def _tensor_of(model: keras.Model, name: str, whose: str) -> Any:
    where = f"features: the {whose} {model.name!r}"
    if not getattr(model, "_is_graph_network", False):
        raise DistillationError(f"{where} has no graph of layers; build it as a Functional or Sequential model")
    nodes = [node for node in _nodes(model) if name in (node.layer.name, inner_layer(node.layer).name)]
    if not nodes:
        if any(inner_layer(layer).name == name for layer in leaves(model)):
            raise DistillationError(
                f"{where} has layer {name!r} inside a nested model; name that model, or a layer around"
            )
        raise DistillationError(f"{where} has no layer {name!r}{nearest(name, _names(model))}")
    tensors = tf.nest.flatten(nodes[0].outputs)
    if len(nodes) > 1 or len(tensors) > 1 or not tensors[0].dtype.is_floating or tensors[0].shape.rank < 2:
        reason = (
            f"is called {len(nodes)} times"
            if len(nodes) > 1
            else f"gives {len(tensors)} tensors"
            if len(tensors) > 1
            else f"gives {tensors[0].dtype.name} of shape {tuple(tensors[0].shape)}"
        )
        raise DistillationError(
            f"{where}: layer {name!r} {reason}; a feature is one tensor of numbers, name another layer"
        )
    return tensors[0]


def _nodes(model: keras.Model) -> list[Any]:
    return [node for nodes in model._nodes_by_depth.values() for node in nodes if not node.is_input]


def _names(model: keras.Model) -> list[str]:
    return [inner_layer(node.layer).name for node in _nodes(model)]
