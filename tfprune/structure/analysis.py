"""A model taken apart into units: what can be removed, and which part of which weight each removal takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np

import tfprune.structure.rules  # noqa: F401  registers what every layer does
from tfprune.backend import keras
from tfprune.errors import ModelError, SurgeryError, nearest
from tfprune.models.clone import check_unshared, leaves
from tfprune.structure.blocks import Block, find_blocks
from tfprune.structure.channels import Channels
from tfprune.structure.graph import shape_of
from tfprune.structure.labels import INNER, KEPT, KINDS, OUTER, Rows
from tfprune.structure.visit import Findings, Weight, visit_model


@dataclass(frozen=True)
class Group:
    """Units that are ranked against each other: a coupling.

    Attributes:
        name: of the layer that makes them first.
        kind: ``filters``, ``groups``, ``heads``, ``key_size``, ``hidden`` or ``blocks``.
        units: their numbers in the analysis.
        exact: to remove one equals ignoring it.
    """

    name: str
    kind: str
    units: np.ndarray
    exact: bool


class Analysis:
    """What can be removed from a model.

    Units are numbered from 1; 0 stands for what stays whatever is removed.

    Args:
        model: Functional or Sequential, built; nested models included.
        ignore: names or patterns of layers that keep all they make.

    Raises:
        ModelError: a model without a graph of layers, or one that masks are on.
        SurgeryError: `ignore` matches no layer.
    """

    def __init__(self, model: keras.Model, ignore: Sequence[str] = ()) -> None:
        _check(model)
        self.model = model
        self.findings = findings = Findings()
        inputs = [Channels.plain(shape_of(tensor) or ()) for tensor in model.inputs]
        outputs = visit_model(findings, model, inputs, "")
        for tensor, channels in zip(model.outputs, outputs, strict=True):
            self._freeze(channels.rows, tensor._keras_history.layer.name, "its outputs are the model's")
        self._axes: dict[bytes, Rows] = {}
        self._number_units()
        self._number_blocks()
        self._ignore(ignore)

    def _freeze(self, axes: Sequence[Rows | None], name: str, why: str) -> None:
        news = [self.findings.labels.freeze(rows) for rows in axes if rows is not None]
        if any(news):
            self.findings.frozen.setdefault(name, why)

    def _ignore(self, patterns: Sequence[str]) -> None:
        """Mark what is to stay whatever its score; units have the numbers that they would have without it."""
        self.ignored = np.zeros(self.size + 1, bool)
        for pattern in patterns:
            calls = [each for each in self.findings.calls if _matches(each.name, pattern)]
            if not calls:
                names = [each.name for each in self.findings.calls]
                raise SurgeryError(f"ignore: no layer is called {pattern!r}{nearest(pattern, names)}")
            for call in calls:
                taken = np.zeros(self.size + 1, bool)
                for x in call.inputs:
                    for rows in x.rows:
                        if rows is not None:
                            taken[self.units(rows)] = True
                before = self.ignored.copy()
                for rows in self._made_by(call.name):
                    own = self.units(rows)
                    self.ignored[own[~taken[own]]] = True
                for x in call.outputs:
                    for rows in x.rows:
                        if rows is not None:
                            self.ignored[self.units(rows)] = True
                self.ignored[0] = False
                if (self.ignored & ~before).any():
                    self.findings.frozen.setdefault(call.name, "it is to be ignored")
            for unit, block in self.blocks.items():
                if any(_matches(name, pattern) for name in (block.name, *block.layers)):
                    self.ignored[unit] = True

    def _made_by(self, name: str) -> list[Rows]:
        return [
            rows
            for each in self.findings.weights.values()
            if _within(each.layer, name)
            for rows in each.axes
            if rows is not None
        ]

    def _number_units(self) -> None:
        """Number what is on any weight, and sort it into groups."""
        labels = self.findings.labels
        labels.find_groups()
        borne = [
            labels.resolve(rows) for each in self.findings.weights.values() for rows in each.axes if rows is not None
        ]
        found = np.unique(np.concatenate([rows.ravel() for rows in borne] or [np.zeros(0, np.int64)]))
        found = found[found != KEPT]
        self._unit = np.zeros(len(labels), np.int64)
        self._unit[found] = np.arange(1, len(found) + 1)
        self.size = len(found)
        families = labels.family_of(found)
        names: dict[str, int] = {}
        self.groups: list[Group] = []
        for family in np.unique(families):
            units = np.flatnonzero(families == family)
            inexact = bool(labels.is_inexact(found[units]).any())
            kind = KINDS[int(labels.kind_of(found[units]).max())]
            name = labels.families[family]
            if kind != "filters" and name.endswith((f"/{OUTER}", f"/{INNER}")):
                name = f"{name.rpartition('/')[0]}/{kind}"
            names[name] = names.get(name, 0) + 1
            name = name if names[name] == 1 else f"{name}#{names[name]}"
            self.groups.append(Group(name, "hidden" if inexact else kind, units + 1, not inexact))

    def _number_blocks(self) -> None:
        """Number the branches that can leave whole, behind all other units."""
        self.blocks: dict[int, Block] = {}
        seen: dict[str, int] = {}
        for place, block in enumerate(find_blocks(self.model), 1):
            seen[block.name] = seen.get(block.name, 0) + 1  # a merge that is called twice has two branches
            name = block.name if seen[block.name] == 1 else f"{block.name}#{seen[block.name]}"
            self.blocks[self.size + place] = replace(block, name=name)
        if self.blocks:
            self.groups.append(Group("blocks", "blocks", np.array(list(self.blocks)), exact=True))
        self.size += len(self.blocks)
        self._branches: dict[str, list[int]] = {}
        for unit, block in self.blocks.items():
            for name in block.layers:
                self._branches.setdefault(name, []).append(unit)

    def blocks_of(self, layer: str) -> np.ndarray:
        """The branches that a layer is in and leaves with, by itself or with a model around it."""
        ends = [place for place, each in enumerate(layer) if each == "/"] + [len(layer)]
        found = [unit for end in ends for unit in self._branches.get(layer[:end], ())]
        return np.array(found, np.int64)

    # --- axes in terms of units

    def units(self, rows: Rows) -> Rows:
        """Rows of an axis with units in place of labels."""
        resolved = self._unit[self.findings.labels.resolve(rows)]
        return self._axes.setdefault(resolved.tobytes() + bytes(str(resolved.shape), "ascii"), resolved)

    @cached_property
    def weights(self) -> list[tuple[Weight, tuple[Rows | None, ...]]]:
        """Every weight with the units on its axes."""
        return [
            (weight, tuple(None if rows is None else self.units(rows) for rows in weight.axes))
            for weight in self.findings.weights.values()
        ]

    @cached_property
    def axes(self) -> list[Rows]:
        """Every different axis of a weight or of a tensor between layers, once."""
        assert self.weights is not None  # whose axes are among them
        for call in self.findings.calls:
            for x in (*call.inputs, *call.outputs):
                for rows in x.rows:
                    if rows is not None:
                        self.units(rows)
        return [rows for rows in self._axes.values() if rows.shape[1]]


def kept(rows: Rows, removed: np.ndarray) -> np.ndarray:
    """Indices of an axis that stay.

    Args:
        rows: units on its indices.
        removed: bool (units + 1,); the first is False.
    """
    return np.flatnonzero(~removed[rows].any(axis=1))


def count(rows: Rows, removed: np.ndarray) -> int:
    """How many indices of an axis stay."""
    return len(rows) - int(np.count_nonzero(removed[rows].any(axis=1)))


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or _within(name, pattern)


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}/")


def _check(model: keras.Model) -> None:
    if not isinstance(model, keras.Model):
        if type(model).__module__.startswith(("keras.", "tensorflow.")):
            raise ModelError(
                f"{type(model).__name__} is of Keras 3, and only models of tf_keras are taken: import tfprune before "
                "TensorFlow, or set TF_USE_LEGACY_KERAS=1, and build or load the model anew"
            )
        raise ModelError(f"expected a tf_keras model, got {type(model).__name__}")
    if not getattr(model, "_is_graph_network", False):
        if isinstance(model, keras.Sequential):
            raise ModelError(f"model {model.name!r} is not built; give it its input: keras.Input(shape=...)")
        raise ModelError(
            f"model {model.name!r} is a subclassed {type(model).__name__}, whose layers have no graph; make it "
            "functional: inputs = keras.Input(shape=...), then keras.Model(inputs, model.call(inputs))"
        )
    for layer in leaves(model):
        if hasattr(layer, "pruning_step"):
            raise ModelError(f"model {model.name!r} has masks on it; take them off first: tfprune.strip(model)")
    check_unshared(model)
