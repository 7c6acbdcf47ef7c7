"""How often what a unit gives is above zero, seen on examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfprune.backend import keras, operation_layers, tf
from tfprune.errors import ImportanceError
from tfprune.importing import call
from tfprune.structure.analysis import Analysis
from tfprune.structure.graph import Node, follow
from tfprune.structure.visit import Visit

_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


def share_active(analysis: Analysis, batches: list[Any]) -> np.ndarray:
    """One minus the average percentage of zeros (APoZ, Hu et al. 2016) of each unit.

    It is taken behind activations; of a unit that none follows, wherever the unit is seen.

    Args:
        analysis: of the model.
        batches: inputs.

    Returns:
        float (units + 1,), shares in [0, 1].

    Raises:
        ImportanceError: no batch, or one that does not fit the model.
    """
    if not batches:
        raise ImportanceError("importance apoz needs data, but there is not a single batch")
    sums, counts = np.zeros((2, analysis.size + 1)), np.zeros((2, analysis.size + 1))
    for inputs in batches:
        visits = iter(analysis.findings.calls)
        for this, outputs in call(
            _run, "importance apoz: the model on its data", ImportanceError, analysis, visits, inputs
        ):
            behind = int(_is_active(this.layer))
            for channels, values in zip(this.outputs, outputs, strict=True):
                active = None
                for axis, rows in enumerate(channels.rows):
                    if rows is None:
                        continue
                    active = (np.asarray(values) > 0) if active is None else active
                    means = active.mean(axis=tuple(other for other in range(active.ndim) if other != axis))
                    for column in analysis.units(rows).T:
                        sums[behind] += np.bincount(column, weights=means, minlength=analysis.size + 1)
                        counts[behind] += np.bincount(column, minlength=analysis.size + 1)
    means = sums / np.maximum(counts, 1)
    return np.where(counts[1] > 0, means[1], means[0])


def _run(analysis: Analysis, visits: Iterator[Visit], inputs: Any) -> Iterator[tuple[Visit, list[Any]]]:
    """Every call that a rule has seen, in the same order, with what it gives for some examples."""
    found: list[tuple[Visit, list[Any]]] = []
    waiting = list(visits)

    def enter(model: keras.Model, values: list[Any]) -> list[Any]:
        def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if isinstance(node.layer, keras.Model) and getattr(node.layer, "_is_graph_network", False):
                return enter(node.layer, _fed(node.layer, args[0] if args else kwargs["inputs"]))
            outputs = node.layer(*args, **kwargs)
            place = next((at for at, each in enumerate(waiting) if each.layer is node.layer), None)
            if place is not None:
                found.append((waiting.pop(place), tf.nest.flatten(outputs)))
            return outputs

        return follow(model, values, call)

    enter(analysis.model, _fed(analysis.model, inputs))
    return iter(found)


def _fed(model: keras.Model, inputs: Any) -> list[Any]:
    """A tensor for each of a model's inputs, as Keras feeds it: by name from a dictionary, in its shape and type."""
    tensors = [
        each if tf.is_tensor(each) else tf.convert_to_tensor(each)
        for each in model._flatten_to_reference_inputs(inputs)
    ]
    return [model._conform_to_reference_input(each, own) for each, own in zip(tensors, model.inputs, strict=True)]


def _is_active(layer: Any) -> bool:
    """Whether something that may give zeros comes last in a layer."""
    if isinstance(layer, operation_layers):
        return "relu" in (layer.symbol or "")
    own = getattr(layer, "activation", None)
    return isinstance(layer, _ACTIVATIONS) or (own is not None and own is not keras.activations.linear)
