"""TensorFlow operations on Keras tensors by name: what ``x + y`` or ``x[..., :8]`` becomes in a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import operation_layers, tf
from tfprune.errors import ModelError
from tfprune.structure.channels import Channels, joined, reshaped
from tfprune.structure.rules.einsum import contract, matmul_equation
from tfprune.structure.rules.elementwise import concatenated, is_elementwise
from tfprune.structure.visit import Visit, rule

Operation = Callable[[Visit, dict[str, Any]], Any]
_BY_NAME: dict[str, Operation] = {}


def _operation(*names: str) -> Callable[[Operation], Operation]:
    def register(function: Operation) -> Operation:
        _BY_NAME.update(dict.fromkeys(names, function))
        return function

    return register


@rule(*operation_layers)
def operation(layer: Any, visit: Visit) -> Any:
    """Look an operation up by the name of its function."""
    name = (layer.symbol or "").removeprefix("compat.v1.")
    given = arguments(layer.function, visit.args, visit.kwargs)
    for each in tf.nest.flatten((visit.args, visit.kwargs)):
        if isinstance(each, tf.Variable):
            raise ModelError(
                f"operation {layer.name!r} reads variable {each.name!r} itself, which a smaller copy would go on "
                "sharing; call the layer that it belongs to, or put the operation into a layer of your own"
            )
        if isinstance(each, Sizes) and name != "__operators__.getitem":
            each.are_read(visit, range(each.of.rank))
    if name in _BY_NAME:
        return _BY_NAME[name](visit, given)
    if len(visit.inputs) == 1 and visit.shape == visit.x.shape:

        def alone(x: tf.Tensor) -> tf.Tensor:
            return layer.function(*_with(visit.args, x), **_with(visit.kwargs, x))

        if is_elementwise(alone, visit.x.rank):
            return visit.x
    for x in visit.inputs:
        visit.freeze(x, f"operation {name or layer.name} has no rule")
    return [Channels.plain(shape) for shape in visit.shapes]


def arguments(function: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a function was called with, by the names of its parameters, defaults included."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _with(given: Any, x: Any) -> Any:
    return tf.nest.map_structure(lambda each: x if isinstance(each, Channels) else each, given)


@dataclass(frozen=True, eq=False)
class Sizes(Channels):
    """The sizes of a tensor's axes, as a tensor.

    Attributes:
        of: the tensor that they are asked of.
    """

    of: Channels

    def are_read(self, visit: Visit, axes: Sequence[int]) -> None:
        """Say that some of them go into what is computed: fewer channels change it."""
        for axis in axes:
            visit.inexact(self.of.rows[axis], "the number of channels is computed with")


def _tensors(visit: Visit) -> list[Channels]:
    """All operands, constants among them as tensors that lose nothing."""
    found = []
    for given in (*visit.args, *visit.kwargs.values()):
        parts = tf.nest.flatten(given)
        if any(isinstance(each, Channels | tf.Tensor) for each in parts):
            found += [_listed([each])[0] for each in parts if isinstance(each, Channels | np.ndarray | tf.Tensor)]
        elif isinstance(given, np.ndarray | list | tuple):
            found.append(Channels.plain(np.shape(given)))
    return found


@_operation(
    "__operators__.add",
    "cast",
    "clip_by_value",
    "identity",
    "math.add",
    "math.add_n",
    "math.divide",
    "math.divide_no_nan",
    "math.equal",
    "math.greater",
    "math.greater_equal",
    "math.less",
    "math.less_equal",
    "math.logical_and",
    "math.logical_or",
    "math.maximum",
    "math.minimum",
    "math.multiply",
    "math.negative",
    "math.not_equal",
    "math.pow",
    "math.sigmoid",
    "math.squared_difference",
    "math.subtract",
    "math.tanh",
    "math.truediv",
    "nn.bias_add",
    "nn.gelu",
    "nn.relu",
    "nn.relu6",
    "nn.silu",
    "ones_like",
    "stop_gradient",
    "where",
    "zeros_like",
)
def _elementwise(visit: Visit, given: dict[str, Any]) -> Channels:
    return visit.broadcast(_tensors(visit))


@_operation("shape")
def _sizes(visit: Visit, given: dict[str, Any]) -> Channels:
    """Asked anew of the smaller tensor."""
    return Sizes(visit.shape, (None,) * len(visit.shape), visit.x)


@_operation("size")
def _size(visit: Visit, given: dict[str, Any]) -> Channels:
    Sizes((visit.x.rank,), (None,), visit.x).are_read(visit, range(visit.x.rank))
    return Channels.plain(visit.shape)


@_operation("rank")
def _rank(visit: Visit, given: dict[str, Any]) -> Channels:
    return Channels.plain(visit.shape)


# ---------------------------------------------------------------------------------------------- shapes


@_operation("reshape")
def _reshape(visit: Visit, given: dict[str, Any]) -> Channels:
    shape = given["shape"]
    output = reshaped(visit.labels, visit.x, visit.shape, visit.name)
    if not isinstance(shape, list | tuple) or len(shape) != len(visit.shape):
        visit.freeze(output, "its shape is a tensor")
        return Channels.plain(visit.shape)
    visit.set_argument(shape=[size if rows is None else rows for size, rows in zip(shape, output.rows, strict=True)])
    return output


@_operation("transpose")
def _transpose(visit: Visit, given: dict[str, Any]) -> Channels:
    order = given["perm"]
    if order is None:
        return visit.x.transposed(range(visit.x.rank)[::-1])
    if any(isinstance(each, Channels) for each in tf.nest.flatten(order)):
        visit.freeze(visit.x, "its order of axes is a tensor")
        return Channels.plain(visit.shape)
    return visit.x.transposed([int(axis) for axis in np.asarray(order)])


@_operation("expand_dims")
def _expand(visit: Visit, given: dict[str, Any]) -> Channels:
    return visit.x.inserted(int(given["axis"]) % (visit.x.rank + 1))


@_operation("squeeze")
def _squeeze(visit: Visit, given: dict[str, Any]) -> Channels:
    axes = given.get("axis")
    axes = given.get("squeeze_dims") if axes is None else axes
    if axes is None:
        axes = [axis for axis, size in enumerate(visit.x.shape) if size == 1]
    return visit.x.without(tf.nest.flatten(axes))


@_operation("concat")
def _concat(visit: Visit, given: dict[str, Any]) -> Channels:
    return concatenated(visit, _listed(given["values"]), int(given["axis"]))


@_operation("stack")
def _stack(visit: Visit, given: dict[str, Any]) -> Channels:
    met = visit.broadcast(_listed(given["values"]))
    return Channels(visit.shape, met.inserted(int(given["axis"]) % (met.rank + 1)).rows)


def _listed(values: Any) -> list[Channels]:
    return [each if isinstance(each, Channels) else Channels.plain(np.shape(each)) for each in values]


@_operation("unstack")
def _unstack(visit: Visit, given: dict[str, Any]) -> list[Channels]:
    axis = int(given["axis"])
    visit.freeze(visit.x.rows[axis], "it takes this axis apart")
    return [visit.x.without([axis]) for _ in visit.shapes]


@_operation("split")
def _split(visit: Visit, given: dict[str, Any]) -> list[Channels]:
    axis, sizes = int(given["axis"]), given["num_or_size_splits"]
    rows = visit.x.rows[axis]
    widths = [shape[axis] for shape in visit.shapes]
    if rows is None:
        return [Channels(shape, visit.x.replaced(axis, None).rows) for shape in visit.shapes]
    if isinstance(sizes, Channels) or None in widths:
        visit.freeze(rows, "its sizes are tensors")
        return [Channels(shape, visit.x.replaced(axis, None).rows) for shape in visit.shapes]
    ends = np.cumsum([width or 0 for width in widths])
    parts = np.split(rows, ends[:-1])
    visit.set_argument(num_or_size_splits=list(parts))
    return [visit.x.replaced(axis, part) for part in parts]


@_operation("__operators__.getitem")
def _getitem(visit: Visit, given: dict[str, Any]) -> Channels:
    x, wanted = visit.x, given["slice_spec"]
    if isinstance(x, Sizes):
        return _sizes_taken(visit, x, wanted)
    wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    consumed = sum(each is not None and each is not Ellipsis for each in wanted)
    if any(each is Ellipsis for each in wanted):
        place = next(place for place, each in enumerate(wanted) if each is Ellipsis)
        wanted[place : place + 1] = [_ALL] * (x.rank - consumed)
    else:
        wanted += [_ALL] * (x.rank - consumed)
    axes = iter(range(x.rank))
    rows: list[Any] = []
    specs: list[Any] = []
    for each in wanted:
        if each is None:  # a new axis
            rows.append(None)
            specs.append(None)
            continue
        taken, spec, stays = _taken(visit, x, next(axes), each)
        rows += [taken] if stays else []
        specs.append(spec)
    visit.set_argument(slice_spec=tuple(specs))
    return Channels(visit.shape, tuple(rows))


def _sizes_taken(visit: Visit, sizes: Sizes, wanted: Any) -> Channels:
    """Some of the sizes of a tensor."""
    one = wanted[0] if isinstance(wanted, list | tuple) and len(wanted) == 1 else wanted
    axes = list(range(sizes.of.rank))
    if isinstance(one, int | np.integer):
        axes = [axes[one]]
    elif isinstance(one, dict) and all(each is None or isinstance(each, int | np.integer) for each in one.values()):
        axes = axes[slice(one["start"], one["stop"], one["step"])]
    sizes.are_read(visit, axes)
    return Channels.plain(visit.shape)


_ALL = {"start": None, "stop": None, "step": None}


def _taken(visit: Visit, x: Channels, axis: int, wanted: Any) -> tuple[Any, Any, bool]:
    """Rows of what a slice or an index takes of one axis, how to ask for it anew, and whether the axis stays."""
    rows = x.rows[axis]
    is_slice = isinstance(wanted, dict)
    if rows is None or wanted == _ALL:
        return rows, wanted, is_slice
    if not is_slice and isinstance(wanted, int | np.integer):
        place = int(wanted) % len(rows)
        visit.freeze(rows[place : place + 1], "one index is taken out of this axis")
        return None, rows[:place], False
    plain = is_slice and all(each is None or isinstance(each, int | np.integer) for each in wanted.values())
    if not plain or wanted["step"] not in (None, 1):
        visit.freeze(rows, "what it takes of this axis is not one piece")
        return None, wanted, is_slice
    start, stop, _ = slice(wanted["start"], wanted["stop"]).indices(len(rows))
    return rows[start:stop], {"start": rows[:start], "stop": rows[:stop], "step": None}, True


@_operation("pad")
def _pad(visit: Visit, given: dict[str, Any]) -> Channels:
    x, paddings = visit.x, given["paddings"]
    if any(isinstance(each, Channels) for each in tf.nest.flatten(paddings)):
        visit.freeze(x, "its paddings are tensors")
        return Channels.plain(visit.shape)
    rows: list[Any] = []
    for axis, (before, after) in enumerate(np.asarray(paddings)):
        if x.rows[axis] is not None and before + after and given["mode"].upper() != "CONSTANT":
            visit.freeze(x.rows[axis], "it pads this axis with itself")
        rows.append(joined([None, x.rows[axis], None], [int(before), x.shape[axis] or 0, int(after)]))
    return Channels(visit.shape, tuple(rows))


@_operation("tile")
def _tile(visit: Visit, given: dict[str, Any]) -> Channels:
    x, times = visit.x, given["multiples"]
    rows = list(x.rows)
    for axis, each in enumerate(times if isinstance(times, list | tuple) else [None] * x.rank):
        if not isinstance(each, int | np.integer) or each != 1:
            visit.freeze(rows[axis], "it repeats this axis")
            rows[axis] = None
    return Channels(visit.shape, tuple(rows))


@_operation("image.resize")
def _resize(visit: Visit, given: dict[str, Any]) -> Channels:
    return visit.output(-1, visit.spatial(visit.x, -1).rows[-1])


# ------------------------------------------------------------------------------------------- reductions


@_operation(
    "math.reduce_max",
    "math.reduce_mean",
    "math.reduce_min",
    "math.reduce_std",
    "math.reduce_sum",
    "math.reduce_variance",
)
def _reduce(visit: Visit, given: dict[str, Any]) -> Channels:
    x, axes = visit.x, given["axis"]
    axes = range(x.rank) if axes is None else [int(axis) for axis in np.ravel(axes)]
    for axis in axes:
        visit.inexact(x.rows[axis], "it reduces over the channels that are left")
    if not (given.get("keepdims") or given.get("keep_dims")):
        return x.without(list(axes))
    for axis in axes:
        x = x.replaced(axis, None)
    return Channels(visit.shape, x.rows)


@_operation("nn.softmax", "nn.log_softmax", "math.l2_normalize", "linalg.normalize")
def _normalize(visit: Visit, given: dict[str, Any]) -> Channels:
    axis = given["axis"]
    for each in [-1] if axis is None else [int(each) for each in np.ravel(axis)]:
        visit.inexact(visit.x.rows[each], "it normalizes over the channels that are left")
    return visit.x


@_operation("einsum")
def _einsum(visit: Visit, given: dict[str, Any]) -> Channels:
    return contract(visit, given["equation"], _listed(given["inputs"]))


@_operation("linalg.matmul")
def _matmul(visit: Visit, given: dict[str, Any]) -> Channels:
    a, b = _listed([given["a"], given["b"]])
    if given.get("adjoint_a") or given.get("adjoint_b") or min(a.rank, b.rank) < 2:
        for x in (a, b):
            visit.freeze(x, "an adjoint product has no rule")
        return Channels.plain(visit.shape)
    return contract(visit, matmul_equation(a.rank, b.rank, given["transpose_a"], given["transpose_b"]), [a, b])
