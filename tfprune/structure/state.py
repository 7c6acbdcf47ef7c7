"""A compiled model's loss, metrics and optimizer, brought to a smaller copy with what the optimizer remembers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.importing import one_line
from tfprune.models.optimizers import inner_optimizer, named_slots, slots
from tfprune.structure.surgery import smaller


def compile_like(
    source: keras.Model, target: keras.Model, kept: dict[int, tuple[np.ndarray, ...]], pairs: list[tuple[Any, Any]]
) -> None:
    """Compile a model as another is, and slice the state of its optimizer as the weights were.

    Args:
        source: as it is where it is not compiled.
        target: its smaller copy.
        kept: for weights of the source that are smaller now, by the id of their variable, the indices of each axis.
        pairs: variables of the source with those of the target.

    Raises:
        ModelError: a metric or an optimizer that cannot be made from its config.
    """
    if getattr(source, "optimizer", None) is None:
        return
    arguments = source._get_compile_args(user_metrics=True)
    arguments["optimizer"] = _copied(source.optimizer, "optimizer")
    for key in ("metrics", "weighted_metrics"):
        arguments[key] = tf.nest.map_structure(_fresh, arguments[key])
    target.output_names = list(source.output_names)  # losses may go by them
    steps = "auto" if source.autotune_steps_per_execution else int(source._steps_per_execution)
    target.compile(
        **arguments, run_eagerly=source._run_eagerly, jit_compile=source._jit_compile, steps_per_execution=steps
    )
    old, new = inner_optimizer(source.optimizer), inner_optimizer(target.optimizer)
    _exclude(old, new, pairs)
    known = _known(old, pairs)
    if not known:
        return  # it has not stepped yet
    if hasattr(new, "build"):
        new.build([other for _, other in known])
    else:
        new._create_all_weights([other for _, other in known])
    for before, after in zip(_own(source.optimizer, old), _own(target.optimizer, new), strict=True):
        after.assign(before)
    for one, other in known:
        for (name, before), after in zip(named_slots(old, one), slots(new, other), strict=True):
            after.assign(_sliced(name, before, one, kept.get(id(one))))


def _exclude(old: Any, new: Any, pairs: list[tuple[Any, Any]]) -> None:
    """Leave the same weights out of weight decay, which no config says."""
    names = getattr(old, "_exclude_from_weight_decay_names", None)
    if names is not None:
        new._exclude_from_weight_decay_names = list(names)
    keys = getattr(old, "_exclude_from_weight_decay", None)
    if keys is not None:
        new._exclude_from_weight_decay = [new._var_key(other) for one, other in pairs if old._var_key(one) in keys]


def _known(optimizer: Any, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The pairs that an optimizer has stepped on, in its order; those that were frozen then are not among them."""
    if isinstance(optimizer, keras.optimizers.legacy.Optimizer):
        if optimizer._slots:
            return [(one, other) for one, other in pairs if one._unique_id in optimizer._slots]
        return pairs if getattr(optimizer, "_iterations", None) is not None else []  # plain descent keeps steps alone
    order = getattr(optimizer, "_index_dict", {})
    found = [(one, other) for one, other in pairs if optimizer._var_key(one) in order]
    return sorted(found, key=lambda pair: order[optimizer._var_key(pair[0])])


def _sliced(name: str, slot: tf.Variable, weight: tf.Variable, indices: tuple[np.ndarray, ...] | None) -> np.ndarray:
    """A slot of the weight's shape, or of the weight without its last or last but one axis, as Adafactor keeps."""
    value = slot.numpy()
    if indices is None:
        return value
    if value.shape == tuple(weight.shape):
        return smaller(value, indices)
    if value.ndim and value.ndim == len(indices) - 1 and name in _MEANS:
        return smaller(value, _MEANS[name](indices))
    return value


_MEANS: dict[str, Any] = {"_r": lambda axes: axes[:-1], "_c": lambda axes: (*axes[:-2], axes[-1])}


def _own(outer: Any, inner: Any) -> list[tf.Variable]:
    """What an optimizer remembers that belongs to no weight: steps, rates, scales of the loss."""
    found = [inner.iterations]
    if outer is not inner and outer.dynamic:
        found += [outer._loss_scale.counter, outer._loss_scale.current_loss_scale]
    for name in ("_learning_rate", "_current_learning_rate", "_u_product", "_m_cache"):
        if isinstance(getattr(inner, name, None), tf.Variable):
            found.append(getattr(inner, name))
    return found


def _fresh(metric: Any) -> Any:
    """A metric of the same config, as two models would count in one."""
    return _copied(metric, "metric") if isinstance(metric, keras.metrics.Metric) else metric


def _copied(thing: Any, what: str) -> Any:
    """The same anew, from its config."""
    try:
        return type(thing).from_config(thing.get_config())
    except Exception as error:  # whatever a class of the user's own raises
        raise ModelError(
            f"{what} {type(thing).__name__} cannot be made anew from its config ({one_line(error)}); give it a "
            "get_config with all that its __init__ takes, or compile the model without it"
        ) from error
