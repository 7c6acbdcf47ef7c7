"""Masks on, masks off."""

from __future__ import annotations

import warnings
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
    with the reason. The copy shares no variable with `model` and answers the same; the schedule prunes it in `fit`.
    Zeros that the model brings, as from an earlier pruning, stay zero; only a tensor of nothing but zeros may grow.

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
    chosen = check_prunable(model, layers)
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
        _hold_zeros(target)
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
    if pairs:
        _warn_if_unfinished(pairs[0][0])
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


def _hold_zeros(layer: Masked) -> None:
    for weight, mask, _ in layer.pruning_vars:
        kept = weight.numpy() != 0
        if kept.any():
            mask.assign(kept.astype(np.float32))


def _warn_if_unfinished(first: Masked) -> None:
    """The first wrapped layer keeps the step; -1 says that no training has begun."""
    step, last = int(first.pruning_step.numpy()), first.schedule.last_step
    if 0 <= step < last:
        warnings.warn(
            f"training ended at step {step} of a schedule that ends at step {last}: the final sparsity is not reached; "
            "train longer, or end the schedule earlier",
            stacklevel=3,
        )


def check_prunable(model: keras.Model, layers: Sequence[str] | None = None) -> set[int]:
    """Return the ids of the layers that `wrap` would wrap.

    Raises:
        ModelError: as for `wrap`.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"expected a tf_keras model, but got {type(model).__module__}.{type(model).__name__}; "
            "TF-MOT takes no Keras 3 model, so import tfprune before TensorFlow, or build it with tfprune.backend.keras"
        )
    if masked_layers(model):
        raise ModelError(f"model {model.name!r} is wrapped already; tfprune.strip it first, or wrap the original")
    return _choose(model, layers)


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
