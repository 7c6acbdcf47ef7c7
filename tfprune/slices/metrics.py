"""Metrics that a model is compiled with, by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import DataError, ModelError, nearest
from tfprune.slices.answers import Answers

Metrics = Mapping[str, Any]
"""Metric objects of Keras by name."""

_CHUNK = 8_192


def compiled_metrics(model: keras.Model, wanted: bool | Sequence[str], output: str | None, batch: Any) -> Metrics:
    """The metrics of a compiled model.

    Args:
        model: compiled.
        wanted: True for all, or names of some.
        output: name of one of several outputs.
        batch: a first batch; Keras tells by its shapes which accuracy is meant.

    Raises:
        ModelError: the model is not compiled, or has no such metric; names the nearest.
    """
    container = getattr(model, "compiled_metrics", None)
    if container is None:
        raise ModelError("metrics were asked for, but the model is not compiled; compile it with metrics=[…]")
    if not container.built:
        x, y = tf.nest.map_structure(tf.convert_to_tensor, batch[:2])
        container.build(model(x, training=False), y)
    places = list(getattr(model, "output_names", ()))
    found: dict[str, Any] = {}
    for group in (container._metrics, container._weighted_metrics):
        by_output = group if isinstance(group, list | tuple) else [group]
        chosen = by_output[places.index(output)] if output in places and len(by_output) == len(places) else by_output
        found |= {each.name: each for each in _flat(chosen)}
    if wanted is True:
        return found
    names = [wanted] if isinstance(wanted, str) else list(wanted or ())
    for name in names:
        if name not in found:
            there = ", ".join(found) or "none"
            raise ModelError(f"the model is compiled without metric {name!r}, only {there}{nearest(name, found)}")
    return {name: found[name] for name in names}


def value_over(metric: Any, answers: Answers, rows: np.ndarray) -> float:
    """A metric over some examples, read from the outputs chunk by chunk.

    Args:
        metric: of Keras; its state is lost.
        answers: with outputs.
        rows: int (m,), places of the examples.

    Raises:
        DataError: the outputs were not kept.
        ModelError: the metric gives several values.
    """
    if answers.outputs is None:
        raise DataError("metrics of the compiled model need its outputs; ask for them in the pass")
    metric.reset_state()
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        outputs = np.asarray(answers.outputs[some])
        weights = None if answers.weights is None else answers.weights[some]
        metric.update_state(_as_given(answers, some, outputs), outputs, sample_weight=weights)
    value = metric.result()
    metric.reset_state()
    if isinstance(value, Mapping) or np.size(value) != 1:
        raise ModelError(f"metric {metric.name!r} gives several values; ask for metrics that give one")
    return float(np.asarray(value).item())


def _as_given(answers: Answers, rows: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Labels in the form in which the data had them."""
    labels = answers.labels[rows]
    if answers.is_one_hot:
        return np.eye(outputs.shape[1], dtype=np.float32)[labels]
    return labels.reshape(outputs.shape) if labels.size == outputs.size else labels


def _flat(metrics: Any) -> list[Any]:
    if isinstance(metrics, list | tuple):
        return [each for group in metrics for each in _flat(group)]
    return [] if metrics is None else [metrics]
