"""Structured pruning in one step: plan what falls, and build the model without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.errors import SelectionError, SurgeryError, warn
from tfprune.importance.scores import Score
from tfprune.keras3.bridged import arrived, returned
from tfprune.results import Plan, SurgeryReport
from tfprune.structure.analysis import Analysis
from tfprune.structure.budget import Budget, budget_of
from tfprune.structure.changes import changes
from tfprune.structure.ranking import Limits, Scope, check_units
from tfprune.structure.scores import score_units
from tfprune.structure.state import compile_like
from tfprune.structure.surgery import Rebuilt, kept_of, rebuild


def shrink(
    model: keras.Model,
    *,
    ratio: float | None = None,
    params: int | None = None,
    macs: int | None = None,
    latency_ms: float | None = None,
    size_mb: float | None = None,
    importance: str | Score = "l2",
    data: Any = None,
    batches: int = 8,
    ignore: Sequence[str] = (),
    multiple_of: int = 1,
    scope: Scope | Mapping[str, float] = "layer",
    units: Sequence[str] = ("filters", "heads"),
    minimum: int = 1,
    ceiling: float = 1.0,
    seed: int = 0,
) -> tuple[keras.Model, SurgeryReport]:
    """Return a smaller copy of a model: filters, neurons, heads or whole branches are gone, not zero.

    Exactly one of `ratio`, `params`, `macs`, `latency_ms` and `size_mb` says how much. All but `ratio` are upper bounds
    that the result meets with as little removed as the ranking allows.

    Args:
        model: a built Functional or Sequential model, nested ones included; never changed. Of one of Keras 3 the
            smaller model is of Keras 3, too.
        ratio: share of the removable units to remove, in (0, 1).
        params: parameters.
        macs: multiply-accumulates for one example.
        latency_ms: median milliseconds for one example in LiteRT, float32, one thread, on this machine.
        size_mb: megabytes (1e6 bytes) of weights.
        importance: what a unit is worth: ``l1``, ``l2``; ``taylor``, ``gradient``, ``fisher``, ``gate`` (Michel et al.
            2019) from labelled `data` and the loss that the model is compiled with; ``apoz`` from `data`, whose labels
            it does not look at; ``bn_scale``, ``fpgm``, ``random``; or a function as for `wrap`, added up over the
            weights of a unit.
        data: examples: (x, y), a tf.data.Dataset or a keras.utils.Sequence.
        batches: how many batches of it a score looks at; ``fisher`` and ``gate`` look at 256 examples at most.
        ignore: names or patterns (``head*``) of layers that keep all they make.
        multiple_of: widths that are left are multiples of this, as kernels for 8 or 16 channels like it.
        scope: take the same share of every coupling (``layer``), or the lowest of the model (``global``): scores
            as shares of what their coupling has left, and with a budget per what a unit costs. Or each coupling its
            own share, a mapping of names or patterns of couplings to shares in [0, 1): how much each loses in
            proportion to the others, while the budget says how far. A name counts before patterns, of which the first
            counts; couplings that are not named keep all they make.
        units: what may fall: ``filters`` (neurons too), ``heads``, ``groups`` (of a grouped convolution, whose filters
            fall in every group alike), ``key_size``, ``blocks`` (residual branches), and ``hidden``, the units that
            pass a normalization over channels: without them the others change.
        minimum: least width that a coupling keeps.
        ceiling: greatest share of a coupling that falls, in (0, 1].
        seed: of the random score, and of the order in which arrays are read.

    Returns:
        The smaller model and what was done. The model is compiled as the original is, with the state of its
        optimizer, or not at all.

    Raises:
        ModelError: a model that is not built, subclassed, masked, or that cannot be built anew or converted.
        SurgeryError: nothing to remove, a budget out of reach, or `ignore` that matches nothing.
        SelectionError: limits that cannot be, or a scope that names no coupling.
        ImportanceError: an unknown score, or one without the data, labels or loss that it needs.

    Warns:
        UserWarning: a ratio that is less than one unit anywhere, so that nothing falls.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 3)),
        ...     keras.layers.Conv2D(16, 3, name="conv"),
        ...     keras.layers.BatchNormalization(name="norm"),
        ...     keras.layers.GlobalAveragePooling2D(),
        ...     keras.layers.Dense(10, name="scores"),
        ... ])
        >>> small, report = tfprune.shrink(model, ratio=0.5)
        >>> small.get_layer("conv").filters, small.get_layer("scores").kernel.shape
        (8, TensorShape([8, 10]))
        >>> report.before.parameters, report.after.parameters, len(report.layers["norm"].kept_outputs)
        (682, 346, 8)
    """
    budget = budget_of(ratio=ratio, params=params, macs=macs, latency_ms=latency_ms, size_mb=size_mb)
    limits = Limits(scope, _listed("units", units), multiple_of, minimum, ceiling)
    model = arrived(model)
    surgeon = _Surgeon(model, _listed("ignore", ignore))
    chosen = surgeon.choose(budget, limits, importance=importance, data=data, batches=batches, seed=seed)
    small, report = surgeon.finish(*chosen)
    if ratio is not None and not report.removed:
        warn(f"nothing was removed: {ratio:g} of any coupling is less than a whole unit, or all that its limits allow")
    return returned(small, model), report


def plan(
    model: keras.Model,
    *,
    ratio: float | None = None,
    params: int | None = None,
    macs: int | None = None,
    latency_ms: float | None = None,
    size_mb: float | None = None,
    importance: str | Score = "l2",
    data: Any = None,
    batches: int = 8,
    ignore: Sequence[str] = (),
    multiple_of: int = 1,
    scope: Scope | Mapping[str, float] = "layer",
    units: Sequence[str] = ("filters", "heads"),
    minimum: int = 1,
    ceiling: float = 1.0,
    seed: int = 0,
) -> Plan:
    """Say what `shrink` would remove, without doing it; takes and raises the same.

    Returns:
        A plan to look at, to save as JSON, and to follow with `apply`, also on another copy of the model.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> model = keras.Sequential([keras.layers.Dense(4, input_shape=(3,), name="a"), keras.layers.Dense(2)])
        >>> model.layers[0].kernel.assign([[1, 5, 2, 4]] * 3)  # doctest: +ELLIPSIS
        <...>
        >>> plan = tfprune.plan(model, ratio=0.5)
        >>> plan.removed
        {'a': (0, 2)}
        >>> print(plan)
        a: 2 of 4
    """
    budget = budget_of(ratio=ratio, params=params, macs=macs, latency_ms=latency_ms, size_mb=size_mb)
    limits = Limits(scope, _listed("units", units), multiple_of, minimum, ceiling)
    model = arrived(model)
    surgeon = _Surgeon(model, _listed("ignore", ignore))
    removed, total, _ = surgeon.choose(budget, limits, importance=importance, data=data, batches=batches, seed=seed)
    return _plan_of(surgeon.analysis, removed, total)


def apply(model: keras.Model, plan: Plan) -> tuple[keras.Model, SurgeryReport]:
    """Follow a plan.

    Args:
        model: of the architecture that the plan was made for, whatever its weights; never changed.
        plan: of `plan`, of a report, or read with `Plan.load`.

    Returns:
        The smaller model and what was done, as `shrink`.

    Raises:
        ModelError: as `shrink`.
        SurgeryError: the plan is one of another architecture.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> model = keras.Sequential([keras.layers.Dense(4, input_shape=(3,), name="a"), keras.layers.Dense(2)])
        >>> small, report = tfprune.apply(model, tfprune.plan(model, ratio=0.5))
        >>> small.get_layer("a").units, report.removed, report.units
        (2, 2, 4)
    """
    model = arrived(model)
    surgeon = _Surgeon(model)
    if not isinstance(plan, Plan):
        raise SurgeryError(f"expected a plan, of tfprune.plan or tfprune.Plan.load, but got {type(plan).__name__}")
    analysis = surgeon.analysis
    removed = np.zeros(analysis.size + 1, bool)
    groups = {group.name: group for group in analysis.groups}
    for name, gone in plan.removed.items():
        size = len(groups[name].units) if name in groups else 0
        if size != plan.sizes.get(name) or any(not 0 <= each < size for each in gone):
            raise SurgeryError(
                f"the plan takes {len(gone)} of {plan.sizes.get(name)} units of {name!r}, but model {model.name!r} has "
                f"{size or 'none'} there; give it the model that it was made for"
            )
        removed[groups[name].units[list(gone)]] = True
    units = {block.name: unit for unit, block in analysis.blocks.items()}
    for name in plan.blocks:
        if name not in units:
            raise SurgeryError(f"the plan removes a branch at {name!r}, but model {model.name!r} has none there")
        removed[units[name]] = True
    for rows in analysis.axes:
        if removed[rows].any(axis=1).all():
            raise SurgeryError(f"the plan leaves nothing of an axis of {len(rows)} in model {model.name!r}")
    small, report = surgeon.finish(removed, plan.units)
    return returned(small, model), report


def _listed(what: str, names: Sequence[str]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    for each in found:
        if not isinstance(each, str):
            raise SelectionError(f"{what} must be a list of names, but got {each!r}")
    return found


class _Surgeon:
    """An analysis, and the last model that was built from it, as a budget may have had to measure it."""

    def __init__(self, model: keras.Model, ignore: Sequence[str] = ()) -> None:
        self.analysis = Analysis(model, ignore)
        self._last: tuple[bytes, Rebuilt] | None = None

    def built(self, removed: np.ndarray) -> Rebuilt:
        """The model without some units."""
        if self._last is None or self._last[0] != removed.tobytes():
            self._last = removed.tobytes(), rebuild(self.analysis, removed)
        return self._last[1]

    def choose(self, budget: Budget, limits: Limits, **score: Any) -> tuple[np.ndarray, int, float | None]:
        """What falls, out of how many units, and the measured latency where that was bounded."""
        check_units(self.analysis, limits)
        scores = score_units(self.analysis, **score)
        return budget.choose(self.analysis, scores, limits, lambda removed: self.built(removed).model)

    def finish(self, removed: np.ndarray, total: int, took: float | None = None) -> tuple[keras.Model, SurgeryReport]:
        """The model, compiled as the original is, and what was done."""
        analysis, built = self.analysis, self.built(removed)
        kept = kept_of(analysis, removed)
        compile_like(analysis.model, built.model, kept, built.pairs)
        return built.model, SurgeryReport(
            plan=_plan_of(analysis, removed, total),
            before=measure(analysis.model, gzipped=False),
            after=measure(built.model, gzipped=False),
            layers=changes(analysis, removed, kept),
            frozen=dict(analysis.findings.frozen),
            blocks=tuple(block.name for unit, block in analysis.blocks.items() if removed[unit]),
            removed=int(removed.sum()),
            units=total,
            latency_ms=took,
        )


def _plan_of(analysis: Analysis, removed: np.ndarray, total: int) -> Plan:
    gone, sizes = {}, {}
    for group in analysis.groups:
        if group.kind != "blocks" and removed[group.units].any():
            gone[group.name] = tuple(int(each) for each in np.flatnonzero(removed[group.units]))
            sizes[group.name] = len(group.units)
    blocks = tuple(block.name for unit, block in analysis.blocks.items() if removed[unit])
    return Plan(gone, sizes, blocks, total)
