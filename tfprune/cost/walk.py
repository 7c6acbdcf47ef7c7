"""Every call of every layer in a model's graph, nested models included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import ModelError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        name: of the layer, after the names of the models around it: ``outer/inner/dense``.
        layer: a shared layer has several calls.
        args: what it was called with; tensors as their shapes, batch axis first.
        kwargs: the same by keyword.
        output: shape of what it returned, or a structure of shapes.
    """

    name: str
    layer: keras.layers.Layer
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    def argument(self, position: int, keyword: str, default: Any = None) -> Any:
        """Return an argument that may have been given by position or by keyword."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(keyword, default)

    @property
    def input(self) -> Any:
        """The first argument, however it was given."""
        return self.args[0] if self.args else next(iter(self.kwargs.values()), ())


def calls(model: keras.Model, input_shapes: list[Shape] | None = None, prefix: str = "") -> Iterator[Call]:
    """Yield the calls in a model's graph from input to output, with the shapes they see.

    Args:
        model: Functional or Sequential, built.
        input_shapes: where they differ from those the model was built with, as in a nested model that was
            built for images of any size.
        prefix: put before every name.

    Raises:
        ModelError: the model, or one inside it, has no graph of layers.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="a")])
        >>> [(call.name, call.input, call.output) for call in calls(model)]
        [('a', (None, 3), (None, 2))]
    """
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no graph of layers; it must be a built Functional or Sequential model"
        )
    shapes = _Shapes(model, input_shapes)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            call = shapes.resolve(node, prefix)
            if isinstance(node.layer, keras.Model):
                yield from calls(node.layer, _flat(call.input), f"{call.name}/")
            else:
                yield call


class _Shapes:
    """Shapes of a graph's tensors: those it was built with, or those that follow from other inputs."""

    def __init__(self, model: keras.Model, input_shapes: list[Shape] | None) -> None:
        own = [tuple(tensor.shape) for tensor in model.inputs]
        self.recompute = input_shapes is not None and input_shapes != own
        self.known = {id(t): shape for t, shape in zip(model.inputs, input_shapes or own, strict=False)}

    def resolve(self, node: Any, prefix: str) -> Call:
        args, kwargs = tf.nest.map_structure(self._shape, (tuple(node.call_args), dict(node.call_kwargs)))
        call = Call(f"{prefix}{node.layer.name}", node.layer, args, kwargs, self._shape_of_all(node.outputs))
        if self.recompute:
            output = _computed(call)
            outputs = tf.nest.flatten(node.outputs)
            if len(outputs) == 1 and _is_shape(output):
                self.known[id(outputs[0])] = output
                call = Call(call.name, call.layer, args, kwargs, output)
        return call

    def _shape(self, value: Any) -> Any:
        # What is no tensor, such as `training=True`, stays as it is.
        return self.known.get(id(value), tuple(value.shape)) if hasattr(value, "shape") else value

    def _shape_of_all(self, outputs: Any) -> Any:
        return tf.nest.map_structure(self._shape, outputs)


def _computed(call: Call) -> Any:
    """The output shape that a layer tells for the inputs of a call; nothing where it cannot tell."""
    try:
        if isinstance(call.layer, keras.layers.MultiHeadAttention):
            output = call.layer.compute_output_shape(call.input, call.argument(1, "value"))
        else:
            output = call.layer.compute_output_shape(call.input)
        return tuple(output)
    except Exception:  # custom layers may raise anything here; the shape from the graph stands then
        return None


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(size is None or isinstance(size, int) for size in value)


def _flat(shapes: Any) -> list[Shape]:
    """A shape, or a structure of shapes, as a list."""
    if _is_shape(shapes):
        return [shapes]
    return [shape for part in (shapes.values() if isinstance(shapes, dict) else shapes) for shape in _flat(part)]
