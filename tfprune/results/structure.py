"""What structured pruning is about to remove, and what it has removed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfprune.errors import SurgeryError
from tfprune.results.cost import Measurement
from tfprune.storage import replacing


@dataclass(frozen=True)
class Coupling:
    """Units of a model that can be removed one by one, and are ranked against each other.

    Attributes:
        name: of the layer that makes them first; what else hangs on them is in `layers`.
        kind: ``filters`` (filters and neurons), ``groups`` (of filters), ``heads``, ``key_size`` (places in the vectors
            that attention compares), ``hidden`` (inexact ones), or ``blocks`` (all branches of one model).
        size: how many units.
        layers: every layer with weights that lose something with a unit.
        parameters: that leave with one unit, on average.
        macs: multiply-accumulates that leave with one unit, on average.
        score: their mean importance.
        exact: to remove a unit equals ignoring it.
    """

    name: str
    kind: str
    size: int
    layers: tuple[str, ...]
    parameters: int
    macs: int
    score: float
    exact: bool


@dataclass(frozen=True)
class Plan:
    """Which units of a model are to be removed; says the same of every model of the same architecture.

    Attributes:
        removed: numbers of the units to remove in each coupling, counted from 0.
        sizes: how many units each of these couplings has.
        blocks: names of the merge layers that lose a branch.
        units: how many units of the kinds that were allowed the model has.

    Example:
        >>> print(Plan({"conv": (0, 3)}, {"conv": 8}, blocks=("add",)))
        conv: 2 of 8
        add: its branch
    """

    removed: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    blocks: tuple[str, ...] = ()
    units: int = 0

    def __str__(self) -> str:
        """One line a coupling: how many of how many fall."""
        lines = [f"{name}: {len(gone)} of {self.sizes[name]}" for name, gone in self.removed.items()]
        lines += [f"{name}: its branch" for name in self.blocks]
        return "\n".join(lines) or "nothing falls"

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            StorageError: the disk refuses.
        """
        with replacing(Path(path)) as file:
            content = {"format": 1, **asdict(self)}
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read what `save` wrote.

        Raises:
            SurgeryError: no such file, or no plan in it.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("format") != 1:
                raise ValueError("of another version")
            removed = {str(name): tuple(sorted(set(map(int, gone)))) for name, gone in content["removed"].items()}
            sizes = {str(name): int(size) for name, size in content["sizes"].items()}
            return cls(removed, sizes, tuple(map(str, content["blocks"])), int(content["units"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or f"it is no plan ({error})"
            raise SurgeryError(f"{path}: {reason}; give a file that Plan.save or --save-plan wrote") from error


@dataclass(frozen=True, eq=False)
class LayerSurgery:
    """What one layer lost.

    Attributes:
        name: with the names of the models around it, ``outer/inner/dense``.
        kind: the layer's class name.
        kept_inputs: int (inputs kept,), indices into the original's input channels, of the first of several inputs;
            None where it has no such axis.
        kept_outputs: the same of its output channels, of the first of several outputs.
        kept: for each of the original layer's weights, for each of its axes, the kept indices.
        exact: what was removed equals ignoring it.
    """

    name: str
    kind: str
    kept_inputs: np.ndarray | None
    kept_outputs: np.ndarray | None
    kept: tuple[tuple[np.ndarray, ...], ...]
    exact: bool


@dataclass(frozen=True, eq=False)
class SurgeryReport:
    """What structured pruning did to a model.

    Attributes:
        plan: that was followed; replays on another copy of the model with `tfprune.apply`.
        before: cost of the original.
        after: cost of the result.
        layers: those that changed, by name.
        frozen: by layer, why what it touches was kept.
        blocks: names of the merge layers that lost a branch.
        removed: units removed.
        units: units that there were of the kinds that were allowed.
        latency_ms: of the result in LiteRT, where there was a budget of time.
    """

    plan: Plan
    before: Measurement
    after: Measurement
    layers: dict[str, LayerSurgery]
    frozen: dict[str, str]
    blocks: tuple[str, ...]
    removed: int
    units: int
    latency_ms: float | None = None

    def __repr__(self) -> str:
        """A few lines; the indices are in `layers` and in `plan`."""
        sizes = [
            f"{name}: {old:,} to {new:,}"
            for name, old, new in (
                ("parameters", self.before.parameters, self.after.parameters),
                ("multiply-accumulates", self.before.macs, self.after.macs),
                ("bytes", self.before.bytes, self.after.bytes),
            )
        ]
        frozen = [f"kept whole: {name} ({why})" for name, why in self.frozen.items()]
        return "\n".join([f"{self.removed} of {self.units} units removed", *sizes, str(self.plan), *frozen])

    @property
    def exact(self) -> bool:
        """Whether the result computes what the original does when it ignores the removed units."""
        return all(each.exact for each in self.layers.values())
