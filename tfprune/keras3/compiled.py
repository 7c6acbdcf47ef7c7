"""What a model is compiled with, and what its optimizer remembers, brought to its twin of the other Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import warn
from tfprune.importing import one_line
from tfprune.keras3.config import accepts
from tfprune.keras3.library import array_of, library


class _NoCounterpart(Exception):
    """Something that only one of the two Kerases can be compiled with."""


def compile_twin(source: Any, target: Any, weights: list[tuple[Any, Any]], to_keras3: bool) -> None:
    """Compile a model as its twin is; leave it uncompiled, and say so, where that needs what only one Keras has.

    Args:
        source: as it is where it is not compiled.
        target: the twin.
        weights: variables of the source with those of the target.
        to_keras3: whether `target` is the one of Keras 3.

    Warns:
        UserWarning: the twin is not compiled; says why.
    """
    given = _compiled_with(source)
    if given is None:
        return
    there = library() if to_keras3 else keras
    try:
        arguments = {
            "loss": _every(given["loss"], lambda each: _object(each, there, "losses")),
            "loss_weights": given["loss_weights"],
            "metrics": _every(given["metrics"], lambda each: _object(each, there, "metrics")),
            "weighted_metrics": _every(given["weighted_metrics"], lambda each: _object(each, there, "metrics")),
            "optimizer": _optimizer(_inner(source.optimizer), there),
        }
        if any(isinstance(each, Mapping) for each in arguments.values()):
            target.output_names = list(source.output_names)  # losses go by them
        target.compile(**{key: value for key, value in arguments.items() if value is not None})
    except (_NoCounterpart, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, _NoCounterpart) else one_line(error)
        warn(f"model {source.name!r} is bridged without what it is compiled with: {reason}; compile it again")
        return
    _remember(_inner(source.optimizer), _inner(target.optimizer), weights)


def _compiled_with(model: Any) -> dict[str, Any] | None:
    if getattr(model, "optimizer", None) is None:
        return None
    if isinstance(model, keras.Model):
        found: dict[str, Any] = model._get_compile_args(user_metrics=True)
        return found
    loss, metrics = model._compile_loss, model._compile_metrics
    return {
        "loss": getattr(loss, "_user_loss", None),
        "loss_weights": getattr(loss, "_user_loss_weights", None),
        "metrics": getattr(metrics, "_user_metrics", None),
        "weighted_metrics": getattr(metrics, "_user_weighted_metrics", None),
    }


def _every(given: Any, make: Any) -> Any:
    """Losses and metrics in the lists and mappings in which they were given."""
    if isinstance(given, Mapping):
        return {key: _every(each, make) for key, each in given.items()}
    if isinstance(given, list | tuple):
        return [_every(each, make) for each in given]
    return given if given is None else make(given)


def _object(thing: Any, there: Any, room: str) -> Any:
    """A loss or a metric of the other Keras."""
    known = getattr(there, room)
    if callable(thing) and hasattr(thing, "__name__"):
        thing = thing.__name__  # a function of the library is as good by its name
    if isinstance(thing, str):
        if thing not in ("accuracy", "acc", "crossentropy", "ce"):
            try:
                known.get(thing)
            except ValueError:
                raise _NoCounterpart(f"{thing!r} is not in its {room}") from None
        return thing
    config = {**thing.get_config(), **getattr(thing, "_fn_kwargs", {})}
    if config.get("reduction") == "auto":
        config.pop("reduction")
    return _made(thing, config, known)


def _optimizer(optimizer: Any, there: Any) -> Any:
    config = dict(optimizer.get_config())
    rate = config.get("learning_rate")
    if isinstance(rate, Mapping):
        kind = getattr(there.optimizers.schedules, rate["class_name"], None)
        if kind is None:
            raise _NoCounterpart(f"its optimizers have no schedule {rate['class_name']}")
        config["learning_rate"] = kind(**{key: each for key, each in rate["config"].items() if each is not None})
    return _made(optimizer, config, there.optimizers)


def _made(thing: Any, config: dict[str, Any], known: Any) -> Any:
    name = type(thing).__name__
    into = getattr(known, name, None)
    if into is None or type(thing).__module__.partition(".")[0] not in ("keras", "tf_keras"):
        raise _NoCounterpart(f"{name} is not in its {known.__name__.rpartition('.')[2]}")
    lost = {key: each for key, each in config.items() if not accepts(into, key)}
    for key, value in lost.items():
        if key not in ("dtype", "fn", "is_legacy_optimizer", "jit_compile") and value:
            raise _NoCounterpart(f"its {name} does not take {key}={value!r}")
    plain = {key: _number(each) for key, each in config.items() if key not in lost}
    return into(**plain)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# ------------------------------------------------------------------------------------ what optimizers remember


def _inner(optimizer: Any) -> Any:
    """The optimizer that moves weights, where another around it scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


_ITS_OWN = (
    "_current_learning_rate",
    "_iterations",
    "_learning_rate",
    "_trainable_variables",
    "_variables",
    "iterations",
)
"""What an optimizer holds that is set otherwise, or is a list of what it holds."""


def _remember(old: Any, new: Any, weights: list[tuple[Any, Any]]) -> None:
    """Carry over steps and what is kept of each weight, all of it or nothing."""
    known = _stepped_on(old, weights)
    if not known or not hasattr(new, "build"):
        return
    new.build([other for _, other in known])
    ours, theirs = _kept(old, len(known)), _kept(new, len(known))
    if ours.keys() != theirs.keys():
        return
    for name, kept in ours.items():
        for one, other in zip(kept, theirs[name], strict=True):
            other.assign(_array(one))
    new.iterations.assign(_array(old.iterations))


def _stepped_on(optimizer: Any, weights: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Of the pairs of weights those that an optimizer moves, in its own order; none before its first step."""
    if hasattr(optimizer, "_index_dict"):
        places = dict(optimizer._index_dict)
    else:
        variables = getattr(optimizer, "_trainable_variables", ()) if getattr(optimizer, "built", False) else ()
        places = {id(each): place for place, each in enumerate(variables)}
    key = optimizer._var_key if hasattr(optimizer, "_index_dict") else id
    found = [(one, other) for one, other in weights if key(one) in places]
    return sorted(found, key=lambda pair: places[key(pair[0])]) if len(found) == len(places) else []


def _kept(optimizer: Any, count: int) -> dict[str, list[Any]]:
    """The variables that an optimizer keeps, one for each weight or for all, by what it calls them."""
    found: dict[str, list[Any]] = {}
    for name, held in vars(optimizer).items():
        if name in _ITS_OWN:
            continue
        each = list(held) if isinstance(held, list | tuple) and len(held) == count else [held]
        if all(hasattr(one, "assign") for one in each):
            found[name.lstrip("_")] = each
    return found


def _array(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy()) if isinstance(variable, tf.Variable) else array_of(variable)
