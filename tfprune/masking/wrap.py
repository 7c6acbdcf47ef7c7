"""Masks on, masks off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.data.batches import batches_of
from tfprune.errors import ModelError, ScheduleError, SelectionError, nearest, warn
from tfprune.importance.scores import Score
from tfprune.keras3.bridged import arrived, returned, stands_for
from tfprune.masking.fit import keep_masks_in_fit
from tfprune.masking.masked import HeldSchedule, Masked, masked_layers
from tfprune.masking.patterns import pattern_of
from tfprune.masking.pruner import pruner_of, sparsity_of
from tfprune.masking.schedule import Schedule
from tfprune.masking.selection import Scope, Selection
from tfprune.models.clone import clone, copy_weights, leaves
from tfprune.models.prunable import inner_layer, matrix_axes, prunable_weights


def wrap(
    model: keras.Model,
    schedule: Schedule,
    *,
    layers: Sequence[str] | None = None,
    scope: Scope = "layer",
    importance: str | Score = "magnitude",
    pattern: str | None = None,
    data: Any = None,
    batches: int = 8,
    floor: float = 0.0,
    ceiling: float = 1.0,
    normalize: bool = False,
    regrow: float = 0.0,
    seed: int = 0,
) -> keras.Model:
    """Return a copy of a model whose prunable layers carry masks.

    Every trainable layer that can be pruned is wrapped; `tfprune.measure` names the rest with the reason. The copy
    shares no variable with `model` and answers the same; the schedule prunes it in `fit`. Zeros that the model brings,
    as from an earlier pruning, stay zero; only a tensor of nothing but zeros may grow.

    Args:
        model: a built Functional or Sequential model, nested ones included; never changed. One of Keras 3 is bridged:
            the copy is of tf_keras, and `strip` gives Keras 3 back.
        schedule: how sparse at which step.
        layers: names or patterns (``conv*``) of the layers to prune; by default all that can be. A layer named here is
            also pruned where it would be left alone by itself, as frozen layers and depthwise kernels are.
        scope: prune every tensor to the same sparsity (``layer``), the lowest scores of the whole model (``global``),
            in Erdős-Rényi-Kernel shares (``erk``, Evci et al. 2020), or each layer to its own final sparsity: a
            mapping of names or patterns, in which layers that are not named follow the schedule.
        importance: ``magnitude``, ``gradient``, ``taylor``, ``fisher``, ``movement``, ``lamp``, ``random``, or a
            function of arrays, (weights) or (weights, gradients), that returns scores of their shape; higher = keep.
            Of a function of gradients the mean over batches counts.
        pattern: where zeros may lie: anywhere (None); ``2:4`` and any other N:M, at least N of every M inputs stay,
            for sparse tensor cores; ``1x4`` and any other block of inputs by outputs.
        data: (x, y), (x, y, sample_weight), a batched tf.data.Dataset or a keras.utils.Sequence, for scores that need
            gradients; by default what `fit` is given, where that can be read again. Class weights do not count, and
            a file does not hold the data: a loaded model takes that of its `fit`.
        batches: how many batches of it each update looks at; of arrays given here, batches of 32.
        floor: least final sparsity of any tensor in the global scope, in [0, 1).
        ceiling: greatest final sparsity of any tensor in the global scope, in (0, 1].
        normalize: in the global scope, divide a tensor's scores by their mean first.
        regrow: share of the surviving weights, in [0, 1), that each update but the schedule's last prunes beyond it and
            lets grow where gradients are largest (RigL, Evci et al. 2020), from zero, or from its value where a weight
            fell in that very update. By default a zero stays a zero.
        seed: of ties, of the order in which arrays are read, and of the random score.

    Returns:
        An uncompiled model. Sparsity is the share of zeros among the wrapped layers' prunable weights.

    Raises:
        ModelError: nothing to prune, wrapped already, a name that matches no layer, a subclassed model, or two layers
            that share a weight.
        ScheduleError: not a schedule.
        ImportanceError: an unknown score.
        SelectionError: a scope, pattern or limit that cannot be.

    Warns:
        UserWarning: layers left dense because the pattern does not divide them; they are named.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=50))
        >>> [layer.name for layer in pruned.layers]
        ['masked_scores']
    """
    _check_schedule(schedule)
    model = arrived(model)
    selection = Selection(
        importance=importance,
        batches=batches,
        scope=scope,
        floor=floor,
        ceiling=ceiling,
        normalize=normalize,
        pattern=pattern,
        regrow=regrow,
        seed=seed,
    )
    return stands_for(wrap_with(model, schedule, selection, layers=layers, data=data), model)


def wrap_with(
    model: keras.Model,
    schedule: Schedule,
    selection: Selection,
    *,
    layers: Sequence[str] | None = None,
    data: Any = None,
) -> keras.Model:
    """`wrap` with its choices in one value."""
    chosen = check_prunable(model, layers, selection)
    _check_goal(selection, schedule, [layer.name for layer in chosen])
    asked = layers is not None
    ids = {id(layer) for layer in chosen}
    pairs: list[tuple[keras.layers.Layer, Masked]] = []

    def add_mask(layer: keras.layers.Layer) -> Masked | None:
        if id(layer) not in ids:
            return None
        inner = type(layer).from_config(layer.get_config())
        ours = {weight.ref() for weight in prunable_weights(layer, asked)[0]}
        kernels = [place for place, each in enumerate(prunable_weights(layer, True)[0]) if each.ref() in ours]
        pairs.append((layer, Masked(inner, HeldSchedule(schedule), selection, kernels)))
        return pairs[-1][1]

    wrapped = clone(model, add_mask)
    for source, target in pairs:
        copy_weights(source, target.layer)
        _hold_zeros(target)
    pruner_of(wrapped).data = None if data is None else batches_of(data)
    return keep_masks_in_fit(wrapped)


def strip(model: keras.Model) -> keras.Model:
    """Return a plain copy of a wrapped model: zeros applied, wrappers gone.

    Args:
        model: a model made by `wrap`; never changed. A model without masks comes back as a plain copy.

    Returns:
        An uncompiled model that shares no variable with `model` and needs neither tfprune nor TF-MOT to load; one of
        Keras 3 where `wrap` was given one.

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
    model = arrived(model)
    layers = masked_layers(model)
    if layers:
        _warn_if_unfinished(layers)
    return returned(unwrap(model), model)


def unwrap(model: keras.Model) -> keras.Model:
    """`strip` without a word about what is not pruned yet."""
    pairs: list[tuple[Masked, keras.layers.Layer]] = []

    def drop_mask(layer: keras.layers.Layer) -> keras.layers.Layer | None:
        if not isinstance(layer, Masked):
            return None
        pairs.append((layer, type(layer.layer).from_config(layer.layer.get_config())))
        return pairs[-1][1]

    stripped = clone(model, drop_mask)
    for source, target in pairs:
        copy_weights(source.layer, target)
        masks = {id(weight): mask.numpy() for weight, mask, _ in source.pruning_vars}
        target.set_weights(
            [
                np.where(masks[id(weight)] == 0, 0, weight.numpy()) if id(weight) in masks else weight.numpy()
                for weight in source.layer.weights
            ]
        )
    return stripped


_KEEP: Any = object()


def retarget(model: keras.Model, schedule: Schedule | None = None, *, data: Any = _KEEP, **changes: Any) -> None:
    """Give a wrapped model another goal; masks stay, and nothing is traced or compiled anew.

    Zeros stay too: a goal below what is pruned already changes nothing. Call it between two fits, or two epochs.

    Args:
        model: made by `wrap`; changed in place.
        schedule: the new one, from step 0; None goes on with the old one. `FrozenMasks` holds the masks as they are.
        data: as for `wrap`; by default what was given before.
        changes: any of `wrap`'s `scope`, `importance`, `pattern`, `batches`, `floor`, `ceiling`, `normalize`, `regrow`
            and `seed`; what is not named stays.

    Raises:
        ModelError: the model is not wrapped.
        ScheduleError: not a schedule.
        ImportanceError: an unknown score.
        SelectionError: a scope, pattern or limit that cannot be, or an unknown change.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,), name="scores")])
        >>> pruned = tfprune.wrap(dense, tfprune.ConstantSparsity(final_sparsity=0.5))
        >>> tfprune.retarget(pruned, tfprune.ConstantSparsity(final_sparsity=0.8), scope={"scores": 0.7})
    """
    layers = masked_layers(model) if isinstance(model, keras.Model) else []
    if not layers:
        raise ModelError("retarget: expected a model that tfprune.wrap made, but this one carries no masks")
    known = list(Selection.__dataclass_fields__)
    for name in changes:
        if name not in known:
            raise SelectionError(
                f"retarget: unknown argument {name!r}; allowed: {', '.join(known)}{nearest(name, known)}"
            )
    selection = replace(layers[0].selection, **changes)
    goal = layers[0].schedule if schedule is None else _check_schedule(schedule)
    misfits = list(_misfits(layers, selection, asked=False))
    if misfits:
        raise SelectionError(
            f"pattern {selection.pattern} does not divide {', '.join(misfits)}; wrap the original model with it"
        )
    _check_goal(selection, goal, [each.layer.name for each in layers])
    for layer in layers:
        layer.selection, layer.schedule = selection, goal
        if schedule is not None:
            layer.pruning_step.assign(-1)
    if data is not _KEEP:
        pruner_of(model).data = None if data is None else batches_of(data)


def _check_schedule(schedule: Any) -> Schedule:
    if not isinstance(schedule, Schedule):
        raise ScheduleError(f"expected a schedule such as tfprune.PolynomialDecay(...), but got {schedule!r}")
    return schedule


def _check_goal(selection: Selection, schedule: Schedule, layers: Sequence[str]) -> None:
    """Refuse a goal that selection and schedule cannot both reach."""
    final, most = schedule.final_sparsity, pattern_of(selection.pattern).most
    finals = {"the schedule ends at": final}
    if isinstance(selection.scope, Mapping):
        for name, value in selection.scope.items():
            if not any(fnmatchcase(layer, name) for layer in layers):
                raise SelectionError(f"scope: {name!r} matches no layer that is pruned{nearest(name, layers)}")
            finals[f"scope sets {name!r} to"] = value
    for what, value in finals.items():
        if value > most + 1e-9:
            raise SelectionError(f"pattern {selection.pattern} gives at most {most:g} sparsity, but {what} {value:g}")
    if final and not selection.floor <= final <= selection.ceiling:  # frozen masks have no final sparsity
        raise SelectionError(
            f"the final sparsity must lie between floor and ceiling, but got floor={selection.floor:g}, "
            f"ceiling={selection.ceiling:g} and a schedule that ends at {final:g}"
        )


def _hold_zeros(layer: Masked) -> None:
    for weight, mask, _ in layer.pruning_vars:
        kept = weight.numpy() != 0
        if kept.any():
            mask.assign(kept.astype(np.float32))


def _warn_if_unfinished(layers: Sequence[Masked]) -> None:
    """The first wrapped layer keeps the step; -1 says that no training has begun."""
    step, last = int(layers[0].pruning_step.numpy()), layers[0].schedule.last_step
    if 0 <= step < last:
        warn(
            f"training ended at step {step} of a schedule that ends at step {last}: the final sparsity is not reached; "
            "train longer, or end the schedule earlier"
        )
    elif step < 0 and layers[0].schedule.final_sparsity and not sparsity_of(layers):
        warn("nothing is pruned: masks follow their schedule in the `fit` of the model that tfprune.wrap returned")


def check_prunable(
    model: keras.Model, layers: Sequence[str] | None = None, selection: Selection | None = None
) -> list[keras.layers.Layer]:
    """Return the layers that `wrap` would wrap.

    Raises:
        ModelError: as for `wrap`.
        SelectionError: a named layer that the pattern does not divide, or none that it does.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"expected a Keras model, but got {type(model).__module__}.{type(model).__name__}; read a file with "
            "tfprune.load(path)"
        )
    if masked_layers(model):
        raise ModelError(f"model {model.name!r} is wrapped already; tfprune.strip it first, or wrap the original")
    chosen = _choose(model, layers)
    return chosen if selection is None else _without_misfits(chosen, selection, layers)


def _choose(model: keras.Model, patterns: Sequence[str] | None) -> list[keras.layers.Layer]:
    given = patterns and isinstance(patterns, list | tuple) and all(isinstance(each, str) for each in patterns)
    if patterns is not None and not given:
        raise ModelError(f"layers: expected a list of names or patterns, such as ['conv*'], but got {patterns!r}")
    candidates = leaves(model)
    for pattern in patterns or ():
        if not any(fnmatchcase(layer.name, pattern) for layer in candidates):
            known = [layer.name for layer in candidates]
            raise ModelError(f"layers: {pattern!r} matches no layer of model {model.name!r}{nearest(pattern, known)}")
    asked = patterns is not None
    wanted = ["*"] if patterns is None else patterns
    named = [layer for layer in candidates if any(fnmatchcase(layer.name, each) for each in wanted)]
    chosen = [layer for layer in named if prunable_weights(layer, asked)[0]]
    if not chosen:
        reasons = sorted({prunable_weights(layer, asked)[1] for layer in named} - {"no weights"})
        raise ModelError(f"model {model.name!r} has nothing to prune: {'; '.join(reasons) or 'no layer has weights'}")
    return chosen


def _without_misfits(
    chosen: list[keras.layers.Layer], selection: Selection, patterns: Sequence[str] | None
) -> list[keras.layers.Layer]:
    """Leave layers dense that the pattern does not divide; say which."""
    fitting = [layer for layer in chosen if not any(_misfits([layer], selection, asked=patterns is not None))]
    if len(fitting) == len(chosen):
        return chosen
    told = f"pattern {selection.pattern} does not divide {', '.join(_misfits(chosen, selection, patterns is not None))}"
    named = [layer.name for layer in chosen if layer not in fitting and layer.name in (patterns or ())]
    if named or not fitting:
        raise SelectionError(f"{told}; choose another pattern, or other layers")
    warn(f"{told}; left dense")
    return fitting


def _misfits(layers: Sequence[keras.layers.Layer], selection: Selection, asked: bool) -> Iterator[str]:
    """Each layer that cannot take the pattern, with the reason."""
    pattern = pattern_of(selection.pattern)
    for layer in layers:
        weights, axes = prunable_weights(layer, asked)[0], matrix_axes(layer, asked)
        reasons = [pattern.misfit(tuple(weight.shape), pair) for weight, pair in zip(weights, axes, strict=True)]
        if any(reasons):
            yield f"{inner_layer(layer).name} ({next(filter(None, reasons))})"
