"""What a rule sees of one call of one layer, and what it says of it.

A rule is a function of a layer and a `Visit`. It returns the labels of the layer's outputs, and says on the way which
labels the layer's weights bear, which entries of its config follow from them, and what it keeps whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import SurgeryError
from tfprune.structure.channels import Channels, Shape, broadcast, met
from tfprune.structure.graph import Node, follow, shape_of
from tfprune.structure.labels import Labels, Rows

Rule = Callable[[Any, "Visit"], Any]
RULES: dict[type, Rule] = {}

Spec = Any
"""A value in a config: rows stand for how many of them are kept, lists and tuples for lists, the rest for itself."""


@dataclass
class Weight:
    """One variable with the labels of its axes."""

    variable: tf.Variable
    layer: str
    axes: list[Rows | None]
    reads: tuple[int, ...] = ()
    scaled_by: Rows | None = None  # multiplied by the square root of the share that is kept of these


@dataclass
class Findings:
    """What rules have said of a model so far."""

    labels: Labels = field(default_factory=Labels)
    weights: dict[int, Weight] = field(default_factory=dict)
    config: dict[int, dict[str, Spec]] = field(default_factory=dict)  # by layer
    parts: dict[int, dict[str, keras.layers.Layer]] = field(default_factory=dict)  # layers in a layer's config
    arguments: dict[int, dict[str, Spec]] = field(default_factory=dict)  # by node
    frozen: dict[str, str] = field(default_factory=dict)
    inexact: dict[str, str] = field(default_factory=dict)
    calls: list[Visit] = field(default_factory=list)


class Visit:
    """One call of one layer.

    Attributes:
        layer: that is called.
        name: with the names of the models around it.
        args: positional arguments, tensors as `Channels`.
        kwargs: arguments by keyword.
        shapes: of the outputs, as the model was built.
        outputs: what the rule made of it.
    """

    def __init__(
        self,
        findings: Findings,
        layer: keras.layers.Layer,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        shapes: Sequence[Shape],
        node: int = 0,
    ) -> None:
        self.layer, self.name, self.args, self.kwargs, self.shapes = layer, name, tuple(args), dict(kwargs), shapes
        self.labels = findings.labels
        self.outputs: list[Channels] = []
        self._findings, self._node = findings, node

    # --- reading

    @property
    def inputs(self) -> list[Channels]:
        """All tensors among the arguments."""
        return [each for each in tf.nest.flatten((self.args, self.kwargs)) if isinstance(each, Channels)]

    @property
    def x(self) -> Channels:
        """The first of them."""
        return self.inputs[0]

    @property
    def shape(self) -> Shape:
        """Of the first output."""
        return self.shapes[0]

    def argument(self, position: int, keyword: str, default: Any = None) -> Any:
        """An argument that may have been given by position or by keyword."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(keyword, default)

    # --- saying

    def fresh(self, size: int, part: str = "", kind: str = "filters") -> Rows:
        """Labels for units that this layer makes: one an index.

        Args:
            size: how many.
            part: which of them, where a layer makes several sorts.
            kind: ``filters``, ``heads`` or ``key_size``.
        """
        return self.labels.fresh(size, f"{self.name}/{part}" if part else self.name, kind)

    def weight(
        self,
        variable: tf.Variable | None,
        *axes: Rows | None,
        reads: tuple[int, ...] = (),
        scaled_by: Rows | None = None,
    ) -> None:
        """Say which labels the axes of a weight bear; a weight that is not there is no error.

        Args:
            variable: of the layer.
            axes: for each of its axes rows of its size, or None where nothing can leave.
            reads: axes along which it takes up what other layers made, as a kernel does along its inputs.
            scaled_by: multiply the weight by the square root of the share kept of these.
        """
        if variable is None:
            return
        sizes = [size if rows is None else len(rows) for size, rows in zip(variable.shape, axes, strict=False)]
        if len(axes) != len(variable.shape) or sizes != list(variable.shape):
            told = ", ".join("whole" if rows is None else str(len(rows)) for rows in axes)
            raise SurgeryError(
                f"the rule for {type(self.layer).__name__} (layer {self.name!r}) gives axes of {told} for weight "
                f"{variable.name!r} of shape {tuple(variable.shape)}; give rows of its size, or None, for each axis"
            )
        known = self._findings.weights.get(id(variable))
        if known is None:
            places = tuple(axis % len(axes) for axis in reads)
            self._findings.weights[id(variable)] = Weight(variable, self.name, list(axes), places, scaled_by)
        else:
            known.axes = [met(self.labels, pair) for pair in zip(known.axes, axes, strict=True)]

    def set(self, **fields: Spec) -> None:
        """Say how entries of the layer's config follow from what is kept."""
        self._follow(self._findings.config.setdefault(id(self.layer), {}), fields)

    def set_argument(self, **arguments: Spec) -> None:
        """Say how arguments of this call follow from what is kept."""
        self._follow(self._findings.arguments.setdefault(self._node, {}), arguments)

    def _follow(self, known: dict[str, Spec], new: dict[str, Spec]) -> None:
        for key, spec in new.items():
            known[key] = self._same(known[key], spec) if key in known else spec

    def _same(self, one: Spec, other: Spec) -> Spec:
        """One entry for two calls: what it counts must leave together."""
        if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
            return tuple(self._same(a, b) for a, b in zip(one, other, strict=True))
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and len(one) == len(other):
            return met(self.labels, [one, other])
        if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
            for each in (one, other):
                if isinstance(each, np.ndarray):
                    self.labels.freeze(each)
            return other if isinstance(one, np.ndarray) else one
        return one

    def unite(self, *axes: Rows | None) -> Rows | None:
        """Let indices of several axes leave together; an axis that is None keeps all of them."""
        return met(self.labels, axes)

    def broadcast(self, tensors: Sequence[Channels]) -> Channels:
        """Tensors that meet element by element."""
        return broadcast(self.labels, tensors)

    def freeze(self, what: Channels | Rows | None, why: str) -> None:
        """Keep all of a tensor or an axis, and remember why."""
        axes = what.rows if isinstance(what, Channels) else [what]
        news = [self.labels.freeze(rows) for rows in axes if rows is not None]
        if any(news):
            self._findings.frozen.setdefault(self.name, why)

    def inexact(self, rows: Rows | None, why: str) -> None:
        """Say that to remove these changes what the layer makes of the others."""
        if rows is not None and rows.size:
            self.labels.mark(rows, inexact=True)
            self._findings.inexact.setdefault(self.name, why)

    def kind(self, rows: Rows | None, kind: str) -> None:
        """Say that these are heads, or places in a head."""
        if rows is not None:
            self.labels.mark(rows, kind=kind)

    # --- axes that a layer does not look at one by one

    def spatial(self, x: Channels, *channel_axes: int) -> Channels:
        """A tensor with labels on some axes alone; those on others are kept, as the layer mixes these axes."""
        keep = {axis % x.rank for axis in channel_axes}
        for axis, rows in enumerate(x.rows):
            if axis not in keep:
                self.freeze(rows, f"it works across axis {axis}")
        return Channels(x.shape, tuple(rows if axis in keep else None for axis, rows in enumerate(x.rows)))

    def output(self, axis: int, rows: Rows | None, index: int = 0) -> Channels:
        """An output of the shape that the layer gives, with labels on one axis."""
        return Channels.plain(self.shapes[index]).replaced(axis, rows)

    def inner(
        self, layer: keras.layers.Layer, args: Sequence[Any], kwargs: dict[str, Any], shapes: Sequence[Shape]
    ) -> Any:
        """What a layer inside this one makes of its arguments."""
        known = len(self._findings.calls)
        found = visit(self._findings, layer, f"{self.name}/{layer.name}", args, kwargs, shapes, self._node)
        del self._findings.calls[known:]  # it is no call of the graph's
        return found

    def part(self, key: str, layer: keras.layers.Layer) -> None:
        """Say that an entry of the layer's config is a layer, which changes too."""
        self._findings.parts.setdefault(id(self.layer), {})[key] = layer


def rule(*layer_types: type) -> Callable[[Rule], Rule]:
    """Register a rule for kinds of layers; it stands for these very classes, not for what derives from them.

    Args:
        layer_types: layer classes. A rule that is there already is replaced.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.gain = self.add_weight("gain", (shape[-1],), initializer="ones")
        ...     def call(self, x):
        ...         return x * self.gain
        >>> @tfprune.rule(Scale)
        ... def scale(layer, visit):
        ...     visit.weight(layer.gain, visit.x.rows[-1])  # one gain a channel
        ...     return visit.x                              # channels go through as they come
        >>> inputs = keras.Input((8, 8, 3))
        >>> hidden = Scale()(keras.layers.Conv2D(16, 3, name="conv")(inputs))
        >>> outputs = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(hidden))
        >>> small, report = tfprune.shrink(keras.Model(inputs, outputs), ratio=0.5)
        >>> small.get_layer("conv").filters
        8
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(layer_types, function))
        return function

    return register


def visit(
    findings: Findings,
    layer: keras.layers.Layer,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    shapes: Sequence[Shape | None],
    node: int = 0,
) -> Any:
    """Apply the rule for a layer to one call of it; what has no rule keeps whatever it touches."""
    this = Visit(findings, layer, name, args, kwargs, [shape or () for shape in shapes], node)
    known = all(shape is not None for shape in shapes) and not any(_is_unknown(each) for each in this.inputs)
    if known and isinstance(layer, keras.Model):
        if getattr(layer, "_is_graph_network", False):
            given = layer._flatten_to_reference_inputs(this.argument(0, "inputs"))  # a dict goes by names
            return visit_model(findings, layer, given, f"{name}/", this)
    elif known and type(layer) in RULES:
        this.outputs = tf.nest.flatten(RULES[type(layer)](layer, this))
        if [getattr(each, "rank", None) for each in this.outputs] != [len(shape) for shape in this.shapes]:
            raise SurgeryError(
                f"the rule for {type(layer).__name__} (layer {name!r}) must return the labels of {len(this.shapes)} "
                f"outputs of shape {' and '.join(map(str, this.shapes))}, such as visit.x or visit.output(axis, rows)"
            )
        findings.calls.append(this)
        return this.outputs
    why = f"{type(layer).__name__} has no rule" if known else "its shapes are unknown"
    for x in this.inputs:
        this.freeze(x, why)
    if any(weight.trainable for weight in layer.weights):  # it keeps its own units too
        findings.frozen.setdefault(name, why)
    return [_UNKNOWN if shape is None else Channels.plain(shape) for shape in shapes]


def visit_model(
    findings: Findings, model: keras.Model, inputs: Sequence[Channels], prefix: str, around: Visit | None = None
) -> list[Channels]:
    """Follow the labels through a graph, and return those of its outputs."""
    if around is not None:  # two calls of one model: its inputs shrink together
        around.set(inputs=tuple(x.rows for x in inputs))

    def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shapes = [shape_of(tensor) for tensor in tf.nest.flatten(node.outputs)]
        return visit(findings, node.layer, f"{prefix}{node.layer.name}", args, kwargs, shapes, id(node))

    return follow(model, inputs, call)


_UNKNOWN = Channels((-1,), (None,))  # of a tensor of unknown rank


def _is_unknown(x: Channels) -> bool:
    return x.shape == _UNKNOWN.shape
