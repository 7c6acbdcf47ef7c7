"""Masks on, masks off."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from tfprune.backend import keras
from tfprune.errors import ModelError, ScheduleError, nearest
from tfprune.masking.fit import keep_masks_in_fit
from tfprune.masking.masked import HeldSchedule, Masked, masked_layers
from tfprune.masking.masks import RANKINGS
from tfprune.masking.schedule import Schedule
from tfprune.models.clone import clone
from tfprune.models.prunable import prunable_weights


def wrap(
    model: keras.Model, schedule: Schedule, *, layers: Sequence[str] | None = None, scope: str = "layer"
) -> keras.Model:
    """Return a copy of a model whose prunable layers carry masks.

    Every layer that TF-MOT can prune and that is trainable is wrapped; `tfprune.measure` names the rest
    with the reason. The copy shares no variable with `model`. It starts dense: the schedule prunes it in `fit`.

    Args:
        model: a built Functional or Sequential tf_keras model, nested ones included; never changed.
        schedule: how sparse at which step.
        layers: names or patterns (``conv*``) of the layers to prune; by default all that can be.
        scope: rank weights within each ``layer``, or over the whole model (``global``).

    Returns:
        An uncompiled model. Sparsity is the share of zeros among the wrapped layers' prunable weights.

    Raises:
        ModelError: nothing to prune, wrapped already, a name that matches no layer, or a subclassed model.
        ScheduleError: not a schedule, or an unknown scope.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=50))
        >>> [layer.name for layer in pruned.layers]
        ['masked_scores']
    """
    if not isinstance(schedule, Schedule):
        raise ScheduleError(f"expected a schedule such as tfprune.PolynomialDecay(...), but got {schedule!r}")
    if scope not in RANKINGS:
        raise ScheduleError(f"scope must be one of {', '.join(RANKINGS)}, but got {scope!r}{nearest(scope, RANKINGS)}")
    if masked_layers(model):
        raise ModelError(f"model {model.name!r} is wrapped already; tfprune.strip it first, or wrap the original")
    chosen = _choose(model, layers)
    pairs: list[tuple[keras.layers.Layer, Masked]] = []

    def add_mask(layer: keras.layers.Layer) -> Masked | None:
        if id(layer) not in chosen:
            return None
        inner = type(layer).from_config(layer.get_config())
        pairs.append((layer, Masked(inner, HeldSchedule(schedule), scope=scope)))
        return pairs[-1][1]

    wrapped = clone(model, add_mask)
    for source, target in pairs:
        target.layer.set_weights(source.get_weights())
    return keep_masks_in_fit(wrapped)


def strip(model: keras.Model) -> keras.Model:
    """Return a plain copy of a wrapped model: zeros applied, wrappers gone.

    Args:
        model: a model made by `wrap`; never changed. A model without masks comes back as a plain copy.

    Returns:
        An uncompiled model that shares no variable with `model` and needs neither tfprune nor TF-MOT to load.

    Raises:
        ModelError: a subclassed model.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> pruned = tfprune.wrap(dense, tfprune.ConstantSparsity(final_sparsity=0.8))
        >>> [layer.name for layer in tfprune.strip(pruned).layers]
        ['scores']
    """
    pairs: list[tuple[Masked, keras.layers.Layer]] = []

    def drop_mask(layer: keras.layers.Layer) -> keras.layers.Layer | None:
        if not isinstance(layer, Masked):
            return None
        pairs.append((layer, type(layer.layer).from_config(layer.layer.get_config())))
        return pairs[-1][1]

    stripped = clone(model, drop_mask)
    for source, target in pairs:
        masks = {id(weight): mask.numpy() for weight, mask, _ in source.pruning_vars}
        target.set_weights(
            [
                np.where(masks[id(weight)] == 0, 0, weight.numpy()) if id(weight) in masks else weight.numpy()
                for weight in source.layer.weights
            ]
        )
    return stripped


def retarget(model: keras.Model, schedule: Schedule) -> None:
    """Give a wrapped model another schedule, from step 0; masks stay, and nothing is traced anew."""
    for layer in masked_layers(model):
        layer.schedule = schedule
        layer.pruning_step.assign(-1)


def _choose(model: keras.Model, patterns: Sequence[str] | None) -> set[int]:
    """Ids of the layers to wrap."""
    candidates = list(_leaves(model))
    for pattern in patterns or ():
        if not any(fnmatchcase(layer.name, pattern) for layer in candidates):
            known = [layer.name for layer in candidates]
            raise ModelError(f"layers: {pattern!r} matches no layer of model {model.name!r}{nearest(pattern, known)}")
    named = [
        layer for layer in candidates if patterns is None or any(fnmatchcase(layer.name, each) for each in patterns)
    ]
    chosen = {id(layer) for layer in named if prunable_weights(layer)[0]}
    if not chosen:
        reasons = sorted({prunable_weights(layer)[1] for layer in named} - {"no weights"})
        raise ModelError(f"model {model.name!r} has nothing to prune: {'; '.join(reasons) or 'no layer has weights'}")
    return chosen


def _leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model and of the models in it, models themselves left out."""
    found: list[keras.layers.Layer] = []
    for layer in model.layers:
        found += _leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return found
