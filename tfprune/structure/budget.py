"""How much is to fall: a share of the units, or as few as bring a cost under a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfprune.backend import keras
from tfprune.cost.latency import latency
from tfprune.cost.layer_times import LayerTimes, layer_times
from tfprune.cost.measure import count_macs
from tfprune.errors import SelectionError, SurgeryError
from tfprune.structure.analysis import Analysis, count
from tfprune.structure.channels import Channels
from tfprune.structure.costs import Cost, Costs, layer_macs
from tfprune.structure.ranking import Limits, Ranking, within

Build = Callable[[np.ndarray], keras.Model]

_UNITS = {"ratio": "", "params": "parameters", "macs": "multiply-accumulates", "latency_ms": "ms", "size_mb": "MB"}
_TRIES = 8


@dataclass(frozen=True)
class Budget:
    """What was asked for.

    Attributes:
        kind: ``ratio``, ``params``, ``macs``, ``latency_ms`` or ``size_mb``.
        bound: a share to remove, or the most that may be left.
    """

    kind: str
    bound: float

    def choose(
        self, analysis: Analysis, scores: np.ndarray, limits: Limits, build: Build
    ) -> tuple[np.ndarray, int, float | None]:
        """Choose what falls.

        Args:
            analysis: of the model.
            scores: float (units + 1,).
            limits: what may fall.
            build: makes the model without some units, to measure it.

        Returns:
            What falls, bool (units + 1,); out of how many units; and the measured latency, where it was bounded.

        Raises:
            SurgeryError: the bound is out of reach.
            SelectionError: shares for couplings that there are not.
            ModelError: latency is bounded and cannot be measured.
        """
        if self.kind == "ratio":
            ranking = Ranking(analysis, scores, limits)
            return ranking.removed(self.bound), ranking.candidates, None
        times = layer_times(analysis.model) if self.kind == "latency_ms" else None
        costs, cost = self._costs(analysis, times)
        ranking = Ranking(analysis, scores, limits, costs.of_units())
        least = ranking.first(ranking.spare)
        target, best, found = self.bound, None, None
        for _ in range(_TRIES):
            removed = within(ranking, cost, target)
            if removed is None and self._measured is None:
                raise self._out_of_reach(costs, ranking, limits, cost(least))
            removed = least if removed is None else removed
            if self._measured is None:
                return removed, ranking.candidates, None
            # What is told from the parts is not the whole: ask for as much less or more.
            found = self._measured(build(removed))
            if found <= self.bound and (best is None or found > best[1]):
                best = removed, found
            if self._near <= found / self.bound <= 1 or not removed.any():
                break
            target *= (0.99 if found > self.bound else 1.0) * self.bound / found
        if best is None:
            found = self._measured(build(least)) if self._measured else cost(least)
            if found > self.bound:
                raise self._out_of_reach(costs, ranking, limits, found)
            best = least, found
        return best[0], ranking.candidates, best[1] if times else None

    @property
    def _near(self) -> float:
        """How close to the bound is close enough; a latency is not known more exactly."""
        return 0.9 if self.kind == "latency_ms" else 0.98

    def _costs(self, analysis: Analysis, times: LayerTimes | None) -> tuple[Costs, Cost]:
        """Costs of single units, and of what is left."""
        if times is not None:
            costs = Costs(analysis, dict(times.full))
            return costs, lambda removed: times.predict(_shares(analysis, removed)) - _gone(analysis, removed, times)
        if self.kind == "macs":
            costs = Costs(analysis, layer_macs(analysis))
        else:
            costs = Costs(analysis, in_bytes=self.kind == "size_mb")
        return costs, lambda removed: self._scale * costs(removed)

    @property
    def _scale(self) -> float:
        return 1e-6 if self.kind == "size_mb" else 1.0

    @property
    def _measured(self) -> Callable[[keras.Model], float] | None:
        """How a model itself is asked; None where the sum over its weights is exact."""
        if self.kind == "latency_ms":
            return lambda model: latency(model).median_ms
        return (lambda model: float(count_macs(model))) if self.kind == "macs" else None

    def _out_of_reach(self, costs: Costs, ranking: Ranking, limits: Limits, floor: float) -> SurgeryError:
        by_layer = costs.by_layer(ranking.first(ranking.spare))
        left = sorted(by_layer.items(), key=lambda item: -item[1])[:3]
        holds = ", ".join(f"{name} ({_number(self._scale * value)})" for name, value in left)
        more = "units, ignore, minimum, ceiling" + (", scope" if limits.proportions is not None else "")
        return SurgeryError(
            f"a budget of {_number(self.bound)} {_UNITS[self.kind]} is out of reach: with the limits given, "
            f"{_number(floor)} is the least, and most of it is in {holds}; ask for more, or let more fall ({more})"
        )


def budget_of(**given: float | None) -> Budget:
    """The one budget that was given.

    Raises:
        SelectionError: none or several, or one out of its range.
    """
    asked = {key: value for key, value in given.items() if value is not None}
    if len(asked) != 1:
        raise SelectionError(f"give exactly one of {', '.join(given)}, but got {' and '.join(asked) or 'none'}")
    ((kind, bound),) = asked.items()
    if (
        isinstance(bound, bool)
        or not isinstance(bound, int | float | np.integer | np.floating)
        or not math.isfinite(bound)
    ):
        raise SelectionError(f"{kind} must be a number, but got {bound!r}")
    if kind == "ratio" and not 0 < bound < 1:
        raise SelectionError(f"ratio must be over 0 and under 1, but got {bound!r}")
    if bound <= 0:
        raise SelectionError(f"{kind} must be over 0, but got {bound!r}")
    return Budget(kind, float(bound))


def _shares(analysis: Analysis, removed: np.ndarray) -> dict[str, tuple[float, float]]:
    """Shares of its input and output channels that each layer keeps."""
    found = {}
    for call in analysis.findings.calls:
        outputs = _share(analysis, call.outputs[0], removed)
        if isinstance(call.layer, keras.layers.MultiHeadAttention):  # whose time goes with its heads
            (heads,) = (
                each.axes[1] for each in analysis.findings.weights.values() if each.variable is _query(call.layer)
            )
            outputs = 1.0 if heads is None else count(analysis.units(heads), removed) / len(heads)
        inputs = _share(analysis, call.inputs[0], removed) if call.inputs else 1.0
        if (inputs, outputs) != (1.0, 1.0):
            found[call.name] = (inputs, outputs)
    return found


def _query(layer: keras.layers.MultiHeadAttention) -> object:
    return layer._query_dense.kernel


def _share(analysis: Analysis, x: Channels, removed: np.ndarray) -> float:
    return math.prod(count(analysis.units(rows), removed) / len(rows) for rows in x.rows if rows is not None)


def _gone(analysis: Analysis, removed: np.ndarray, times: LayerTimes) -> float:
    """What layers in removed branches would take."""
    shares = _shares(analysis, removed)
    names = {name for name in times.corners if removed[analysis.blocks_of(name)].any()}
    return sum(times.layer(name, *shares.get(name, (1.0, 1.0))) for name in names)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
