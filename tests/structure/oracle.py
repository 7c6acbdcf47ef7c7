"""References for structured pruning, built from the original model and the report's indices alone.

Nothing of `tfprune.structure` is imported here. A unit that is gone is one whose outgoing weights are zero, so the
original with zeros where the report keeps nothing has to give the shrunk model's answers. All is computed in float64,
where a right slice agrees to 1e-12 and a wrong one does not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.backend import keras, tf

Layer = keras.layers.Layer


def walk(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Layers with the names of the models around them, ``outer/inner/dense``; models themselves left out."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from walk(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Draw every weight of a model anew, in place: zeros and ones as Keras starts with hide a wrong slice.

    Kernels are scaled so that signals neither die out nor explode over a hundred layers.
    """
    rng = np.random.default_rng(seed)
    for layer in {id(layer): layer for _, layer in walk(model)}.values():
        layer.set_weights([_drawn(rng, weight) for weight in layer.weights])
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.finalize_state()
    return model


def _drawn(rng: np.random.Generator, weight: tf.Variable) -> np.ndarray:
    shape, name = tuple(weight.shape), weight.name.split("/")[-1]
    if not weight.dtype.is_floating:
        return weight.numpy()
    if "variance" in name:
        return rng.uniform(1.0, 3.0, shape)
    if "gamma" in name:
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) < 2 or any(part in name for part in ("beta", "mean", "bias", "alpha")):
        return rng.normal(0, 0.3, shape)
    fan_in = int(np.prod(shape[:-2])) if "depthwise" in name else int(np.prod(shape[:-1]))
    return rng.normal(0, np.sqrt(2 / max(fan_in, 1)), shape)


def random_inputs(model: keras.Model, seed: int = 0, batch: int = 2, scale: float = 1.0) -> list[np.ndarray]:
    """Inputs of any model: token ids for integer inputs, 5 where an axis is open."""
    rng = np.random.default_rng(seed)
    tokens = [layer.input_dim for _, layer in walk(model) if isinstance(layer, keras.layers.Embedding)]
    found = []
    for tensor in model.inputs:
        shape = (batch, *(5 if size is None else size for size in tensor.shape[1:]))
        if tensor.dtype == tf.bool:
            found.append(rng.random(shape) < 0.7)
        elif tensor.dtype.is_integer:
            found.append(rng.integers(0, min(tokens, default=2), shape))
        else:
            found.append(scale * rng.normal(size=shape))
    return found


def in_float64(model: keras.Model) -> keras.Model:
    """A copy that computes wholly in float64, with the same weights and names."""
    return _Copy(model).build()


def zeroed(model: keras.Model, report: Any) -> keras.Model:
    """A float64 copy of the original in which everything that the report does not keep contributes nothing.

    Weight entries outside of ``np.ix_(*kept)`` are zero, removed branches are left out of their Add, and
    normalizations whose axis lost channels take mean and variance over those that are kept.
    """
    return _Copy(model, report).build()


class Reference:
    """The zeroed original, or with no report the model itself, in float64, run eagerly layer by layer.

    As `in_float64` and `zeroed`, and much faster where a model of a thousand layers answers once.

    Args:
        instead: weights by the name of their layer, in place of the model's own.
        readers: cut only what reads the removed units, along its inputs: they go on giving what they gave.
    """

    def __init__(
        self,
        model: keras.Model,
        report: Any = None,
        instead: dict[str, list[np.ndarray]] | None = None,
        readers: bool = False,
    ) -> None:
        self._copy = _Copy(model, report, instead, readers)
        self._model = model

    def __call__(self, inputs: list[np.ndarray]) -> list[tf.Tensor]:
        tensors = [tf.constant(x, tf.float64 if np.issubdtype(x.dtype, np.floating) else None) for x in inputs]
        return tf.nest.flatten(self._copy.run(self._model, tensors, ""))

    def weights(self) -> dict[str, list[tf.Variable]]:
        """Weights by the name of their layer; there after the first call."""
        return {name: self._copy.made[id(layer)].weights for name, layer in walk(self._model) if layer.weights}


class _Copy:
    """Calls float64 copies of a model's layers along its graph, on symbolic tensors or on values."""

    def __init__(
        self,
        model: keras.Model,
        report: Any = None,
        instead: dict[str, list[np.ndarray]] | None = None,
        readers: bool = False,
    ) -> None:
        self.model = model
        self.readers = readers
        self.instead = instead or {}
        self.surgery = {} if report is None else report.layers
        self.blocks = () if report is None else report.blocks
        self.made: dict[int, Layer] = {}

    def build(self) -> keras.Model:
        def submodel(model: keras.Model, prefix: str) -> keras.Model:
            inputs = [
                keras.Input(batch_shape=t.shape, dtype=_wide(t.dtype), name=layer.name)
                for t, layer in zip(model.inputs, model._input_layers, strict=True)
            ]
            return keras.Model(inputs, self.run(model, inputs, prefix, submodel), name=model.name)

        return submodel(self.model, "")

    def run(self, model: keras.Model, inputs: list[Any], prefix: str, submodel: Any = None) -> Any:
        """Outputs of a model in their structure; `submodel` makes the copy of a nested one, or it is run inline."""
        values = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}

        def known(part: Any) -> Any:
            return values[id(part)] if id(part) in values else _constant(part)

        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                name = f"{prefix}{node.layer.name}"
                args, kwargs = tf.nest.map_structure(known, (tuple(node.call_args), dict(node.call_kwargs)))
                if name in self.blocks:
                    outputs = values[id(shortcut(model, node))]
                elif isinstance(node.layer, keras.Model):
                    outputs = self._nested(node.layer, args, kwargs, f"{name}/", submodel)
                else:
                    outputs = self._layer(node.layer, name, args, kwargs)(*args, **kwargs)
                for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True):
                    # tf.image.resize answers in float32 whatever it is given.
                    wrong = old.dtype.is_floating and new.dtype != tf.float64
                    values[id(old)] = tf.cast(new, tf.float64) if wrong else new
        return tf.nest.map_structure(lambda tensor: values[id(tensor)], model._nested_outputs)

    def _nested(self, model: keras.Model, args: Any, kwargs: Any, prefix: str, submodel: Any) -> Any:
        given = args[0] if args else kwargs["inputs"]
        flat = [given[name] for name in model.input_names] if isinstance(given, dict) else tf.nest.flatten(given)
        if submodel is None:
            return self.run(model, flat, prefix)
        if id(model) not in self.made:
            self.made[id(model)] = submodel(model, prefix)
        return self.made[id(model)](flat)

    def _layer(self, layer: Layer, name: str, args: Any, kwargs: Any) -> Layer:
        if id(layer) in self.made:
            return self.made[id(layer)]
        config = _wide_config(layer.get_config())
        first = isinstance(layer, _WITHOUT_KERNEL) and config["data_format"] == "channels_first"
        new = type(layer).from_config({**config, "data_format": "channels_last"} if first else config)
        made = _Turned(new) if first else _Pool3D(new) if isinstance(layer, _POOLS_3D) else new
        if layer.weights:
            made._maybe_build(args[0] if args else None) if type(made) in _BUILT_ALONE else made(*args, **kwargs)
            for part, copied in zip(layer._flatten_layers(), new._flatten_layers(), strict=True):
                copied.trainable = part.trainable
            surgery = self.surgery.get(name)
            values = self.instead.get(name) or layer.get_weights()
            if surgery is not None:
                kept = surgery.kept
                if self.readers:
                    kept = _along_inputs(type(layer), values, kept)
                values = [_cut(value, own) for value, own in zip(values, kept, strict=True)]
            new.set_weights(values)
            if isinstance(new, keras.layers.Normalization):
                new.finalize_state()
            if surgery is not None:
                made = _over_kept(made, surgery)
        made._name = layer.name
        self.made[id(layer)] = made
        return made


_WITHOUT_KERNEL = tuple(
    getattr(keras.layers, f"{kind}{rank}D{ending}")
    for kind, endings in {"Conv": ("", "Transpose"), "MaxPooling": ("",), "AveragePooling": ("",)}.items()
    for rank in (1, 2, 3)
    for ending in endings
)  # of which TensorFlow has none for channels_first in float64 on the CPU


_POOLS_3D = (keras.layers.MaxPooling3D, keras.layers.AveragePooling3D)  # no kernels in float64 either


class _Pool3D(Layer):
    """Pooling over volumes by hand; windows inside of the volume only."""

    def __init__(self, inner: Layer) -> None:
        super().__init__(dtype="float64")
        assert inner.padding == "valid" and inner.data_format == "channels_last"
        self.size, self.strides = inner.pool_size, inner.strides
        self.reduce = tf.reduce_max if isinstance(inner, keras.layers.MaxPooling3D) else tf.reduce_mean

    def call(self, x: Any) -> Any:
        counts = [(n - size) // step + 1 for n, size, step in zip(x.shape[1:4], self.size, self.strides, strict=True)]
        parts = []
        for start in np.ndindex(*self.size):
            window = [
                slice(at, at + (n - 1) * step + 1, step)
                for at, n, step in zip(start, counts, self.strides, strict=True)
            ]
            parts.append(x[:, window[0], window[1], window[2]])
        return self.reduce(tf.stack(parts), axis=0)


# Large ones, for which the call that builds them would cost as much as the one that counts.
_BUILT_ALONE = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)


class _Turned(Layer):
    """A channels_last layer that takes and gives channels_first."""

    def __init__(self, inner: Layer) -> None:
        super().__init__(dtype="float64")
        self.inner = inner
        self.activation = getattr(inner, "activation", None) or tf.identity
        inner.activation = None  # softmax works on the last axis, whichever that is

    def call(self, x: Any) -> Any:
        rank = x.shape.rank
        y = self.inner(tf.transpose(x, (0, *range(2, rank), 1)))
        return self.activation(tf.transpose(y, (0, rank - 1, *range(1, rank - 1))))


def _wide(dtype: Any) -> Any:
    return tf.float64 if tf.as_dtype(dtype).is_floating else dtype


def _wide_config(config: Any) -> Any:
    """A layer's config for float64, nested layers included; weights start at zero, as they are set anyway."""
    if isinstance(config, dict):
        if config.get("class_name") == "Policy" or config.get("registered_name") == "Policy":
            return "float64"
        return {
            key: "float64"
            if key == "dtype" and value in ("float32", "mixed_bfloat16", "mixed_float16")
            else "zeros"
            if key.endswith("_initializer") and value is not None
            else _wide_config(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        parts = [_wide_config(part) for part in config]
        return tuple(parts) if isinstance(config, tuple) else parts
    return config


def _constant(part: Any) -> Any:
    """An argument of a call that is no tensor of the graph: what is float32 in it becomes float64."""
    if isinstance(part, np.ndarray | np.generic | tf.Tensor) and part.dtype in (np.float32, tf.float32):
        return np.asarray(part, np.float64)
    if (isinstance(part, tf.DType) and part == tf.float32) or (isinstance(part, str) and part == "float32"):
        return tf.float64
    return part


def _cut(value: np.ndarray, kept: tuple[np.ndarray, ...]) -> np.ndarray:
    held = np.zeros_like(value)
    held[np.ix_(*kept)] = value[np.ix_(*kept)]
    return held


def _along_inputs(kind: type, values: list[np.ndarray], kept: Any) -> list[list[np.ndarray]]:
    """What is kept of a layer's weights when only the axes are cut along which its kernels read their input."""
    found = [[np.arange(size) for size in value.shape] for value in values]
    for place, axis in READS.get(kind, {}).items():
        found[place][axis] = kept[place][axis]
    return found


READS: dict[type, dict[int, int]] = {
    keras.layers.Dense: {0: 0},
    **{getattr(keras.layers, f"Conv{rank}D"): {0: -2} for rank in (1, 2, 3)},
    **{getattr(keras.layers, f"Conv{rank}DTranspose"): {0: -1} for rank in (1, 2, 3)},
    **{getattr(keras.layers, f"SeparableConv{rank}D"): {1: -2} for rank in (1, 2)},
}
"""By kind of layer: of which weight which axis is read along."""

_GIVE_ON = ("BatchNormalization", "DepthwiseConv1D", "DepthwiseConv2D", "Embedding", "LayerNormalization", "LayerScale")
_GIVE_ON = (*_GIVE_ON, "Normalization", "PReLU")


def has_readers_alone(model: keras.Model) -> bool:
    """Whether all that mixes channels in a model is a kernel that `READS` knows."""
    for _, layer in walk(model):
        if type(layer).__name__ in ("Attention", "AdditiveAttention", "Dot"):
            return False
        if layer.weights and type(layer) not in READS and type(layer).__name__ not in _GIVE_ON:
            return False
        if any(name in (getattr(layer, "symbol", None) or "") for name in ("einsum", "matmul", "tensordot")):
            return False
    return True


def shortcut(model: keras.Model, add: Any) -> Any:
    """Of an Add's inputs, the one that all others are computed from: what stays when its branch goes.

    Args:
        model: the Add stands in its graph.
        add: its node.
    """
    makers = {
        id(tensor): node
        for nodes in model._nodes_by_depth.values()
        for node in nodes
        for tensor in tf.nest.flatten(node.outputs)
    }

    def ancestors(tensor: Any) -> set[int]:
        found, todo = set(), [tensor]
        while todo:
            node = makers[id(todo.pop())]
            fresh = [each for each in node.keras_inputs if id(each) not in found]
            found.update(id(each) for each in fresh)
            todo += [] if node.is_input else fresh
        return found

    for candidate in add.keras_inputs:
        others = [each for each in add.keras_inputs if each is not candidate]
        if all(id(candidate) in ancestors(each) for each in others):
            return candidate
    raise AssertionError(f"{add.layer.name} has no shortcut: none of its inputs leads to all the others")


def _over_kept(layer: Layer, surgery: Any) -> Layer:
    """The layer, or where its statistics run over channels that went, the same over those that stayed."""
    inner = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    lost = any(len(at) < size for at, size in zip(surgery.kept[0], layer.weights[0].shape, strict=True))
    kind = {keras.layers.LayerNormalization: _LayerNorm, keras.layers.GroupNormalization: _GroupNorm}.get(type(inner))
    if not lost or kind is None:
        return layer
    return kind(inner, surgery.kept[0])


class _LayerNorm(Layer):
    """LayerNormalization by hand; statistics over kept channels only."""

    def __init__(self, inner: Layer, kept: tuple[np.ndarray, ...]) -> None:
        super().__init__(dtype="float64")
        self.supports_masking = True
        self.inner, self.kept = inner, kept

    def call(self, x: Any) -> Any:
        axes = [axis % x.shape.rank for axis in np.atleast_1d(np.asarray(self.inner.axis)).tolist()]
        # Products of one indicator an axis: 1 where a channel is kept, to be broadcast against x.
        held, shape = np.ones([1] * x.shape.rank), [1] * x.shape.rank
        for axis, kept in zip(axes, self.kept, strict=True):
            row = np.zeros(x.shape[axis])
            row[kept] = 1
            held = held * row.reshape([-1 if at == axis else 1 for at in range(x.shape.rank)])
            shape[axis] = x.shape[axis]
        count = held.sum()
        mean = tf.reduce_sum(x * held, axes, keepdims=True) / count
        variance = tf.reduce_sum(held * (x - mean) ** 2, axes, keepdims=True) / count
        return _affine(self.inner, (x - mean) / tf.sqrt(variance + self.inner.epsilon), shape) * held


class _GroupNorm(Layer):
    """GroupNormalization by hand; each group's statistics over its kept channels only."""

    def __init__(self, inner: Layer, kept: tuple[np.ndarray, ...]) -> None:
        super().__init__(dtype="float64")
        self.inner, self.kept = inner, kept[0]

    def call(self, x: Any) -> Any:
        axis = self.inner.axis % x.shape.rank
        channels = np.arange(x.shape[axis]).reshape(self.inner.groups, -1)
        shape = [-1 if at == axis else 1 for at in range(x.shape.rank)]
        others = [at for at in range(1, x.shape.rank) if at != axis]
        one = tf.ones_like(tf.reduce_mean(tf.gather(x, [0], axis=axis), [0, *others], keepdims=True))
        positions = tf.cast(tf.size(x[:1]) / x.shape[axis], x.dtype)
        done = tf.zeros_like(x) * one
        for group in channels:
            held = np.zeros(x.shape[axis])
            held[[channel for channel in group if channel in self.kept]] = 1
            if held.sum() == 0:
                continue
            count, held = held.sum() * positions, held.reshape(shape)
            mean = tf.reduce_sum(x * held, [axis, *others], keepdims=True) / count
            variance = tf.reduce_sum(held * (x - mean) ** 2, [axis, *others], keepdims=True) / count
            done += held * (x - mean) / tf.sqrt(variance + self.inner.epsilon)
        held = np.zeros(x.shape[axis])
        held[self.kept] = 1
        return _affine(self.inner, done, shape) * held.reshape(shape)


def _affine(norm: Layer, x: Any, shape: list[int]) -> Any:
    x = x if norm.gamma is None else x * tf.reshape(norm.gamma, shape)
    return x if norm.beta is None else x + tf.reshape(norm.beta, shape)


def error(values: list[Any], expected: list[Any]) -> float:
    """Largest difference of any output, relative to the largest value of that output."""
    assert len(values) == len(expected)
    worst = 0.0
    for value, reference in zip(values, expected, strict=True):
        value, reference = np.asarray(value), np.asarray(reference)
        assert value.shape == reference.shape
        assert np.isfinite(reference).all(), "the reference is not finite: the test shows nothing"
        worst = max(worst, float(np.abs(value - reference).max() / (np.abs(reference).max() or 1)))
    return worst


def run(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model as it is, in its own precision."""
    tensors = [tf.constant(x, t.dtype) for x, t in zip(inputs, model.inputs, strict=True)]
    given = tensors[0] if len(tensors) == 1 else tensors
    return [np.asarray(each) for each in tf.nest.flatten(model(given, training=False))]


def difference(shrunk: keras.Model, original: keras.Model, report: Any, inputs: list[np.ndarray]) -> float:
    """How far the shrunk model's answers are from those of the original with its removed units cut off, in float64.

    Relative to the largest value of each output. The model's own answers, in its own precision, are seen to as well.
    """
    expected = Reference(original, report)(inputs)
    answers = Reference(shrunk, instead=_unrounded(shrunk, original, report))(inputs)
    worst = error(answers, expected)
    if report.exact and has_readers_alone(original):
        worst = max(worst, error(answers, Reference(original, report, readers=True)(inputs)))
    assert (own := error(run(shrunk, inputs), expected)) <= max(1e-2, 2 * worst), f"off by {own:.1e} in float32"
    return worst


def assert_equal(
    shrunk: keras.Model, original: keras.Model, report: Any, inputs: list[np.ndarray], tolerance: float = 1e-10
) -> None:
    """The shrunk model answers as the original with its removed units cut off does, over the whole output."""
    worst = difference(shrunk, original, report, inputs)
    assert worst <= tolerance, f"off by {worst:.1e} in float64"


def assert_slices(shrunk: keras.Model, original: keras.Model, report: Any) -> None:
    """Every weight of the shrunk model is the original's at the kept indices, and of that shape and name."""
    before = dict(walk(original))
    assert set(report.layers) <= set(before), "the report names layers that were never there"
    after = dict(walk(shrunk))
    assert set(after) <= set(before), "the shrunk model has layers that were never there"
    for name, layer in after.items():
        kept = report.layers[name].kept if name in report.layers else None
        for index, (new, old) in enumerate(zip(layer.get_weights(), before[name].get_weights(), strict=True)):
            at = kept[index] if kept else tuple(np.arange(size) for size in old.shape)
            for axis in at:
                assert (np.diff(axis) > 0).all(), f"{name}: kept indices are not in order"
            factor = _key_factor(before[name], index, at, old.shape)
            np.testing.assert_allclose(new, factor * old[np.ix_(*at)], rtol=1e-6 * (factor != 1), err_msg=name)
    assert report.before.parameters == original.count_params()
    assert report.after.parameters == shrunk.count_params()


def _key_factor(layer: Layer, index: int, kept: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> float:
    """What the core multiplies a weight by: attention divides by the root of its key size, which has changed."""
    if not isinstance(layer, keras.layers.MultiHeadAttention):
        return 1.0
    query = [id(weight) for weight in layer._query_dense.weights]
    return float(np.sqrt(len(kept[-1]) / shape[-1])) if id(layer.weights[index]) in query else 1.0


def _unrounded(shrunk: keras.Model, original: keras.Model, report: Any) -> dict[str, list[np.ndarray]]:
    """Weights of attention before they are rounded to float32, where a new key size scales them."""
    before, found = dict(walk(original)), {}
    for name, layer in walk(shrunk):
        if isinstance(layer, keras.layers.MultiHeadAttention) and name in report.layers:
            kept, old = report.layers[name].kept, [value.astype(np.float64) for value in before[name].get_weights()]
            found[name] = [
                _key_factor(before[name], index, at, value.shape) * value[np.ix_(*at)]
                for index, (value, at) in enumerate(zip(old, kept, strict=True))
            ]
    return found


def assert_same_gradients(
    shrunk: keras.Model, original: keras.Model, report: Any, inputs: list[np.ndarray], tolerance: float = 1e-9
) -> None:
    """A random linear functional of the outputs has the same gradients with respect to all kept weights."""
    expected = _gradients(Reference(original, report), inputs)
    found = _gradients(Reference(shrunk, instead=_unrounded(shrunk, original, report)), inputs)
    before = dict(walk(original))
    assert found, "no gradients: the test shows nothing"
    # Some are zero but for rounding, as that of the bias of attention's keys.
    largest = max(np.abs(gradient).max(initial=0) for each in expected.values() for gradient in each.values())
    for name, gradients in found.items():
        kept = report.layers[name].kept if name in report.layers else None
        for index, gradient in gradients.items():
            full = expected[name][index]
            at = kept[index] if kept else tuple(np.arange(size) for size in full.shape)
            reference = full[np.ix_(*at)] / _key_factor(before[name], index, at, full.shape)
            off = np.abs(gradient - reference).max(initial=0) / max(np.abs(reference).max(initial=0), 1e-4 * largest)
            assert off <= tolerance, f"gradient of {name}, weight {index}, is off by {off:.1e}"


def _gradients(reference: Reference, inputs: list[np.ndarray]) -> dict[str, dict[int, np.ndarray]]:
    reference(inputs)
    weights = {(n, i): w for n, each in reference.weights().items() for i, w in enumerate(each) if w.trainable}
    with tf.GradientTape() as tape:
        rng = np.random.default_rng(0)
        total = sum(tf.reduce_sum(each * rng.normal(size=each.shape)) for each in reference(inputs))
    found: dict[str, dict[int, np.ndarray]] = {}
    for (name, index), gradient in zip(weights, tape.gradient(total, list(weights.values())), strict=True):
        if gradient is not None:
            found.setdefault(name, {})[index] = tf.convert_to_tensor(gradient).numpy()
    return found


def assert_saves(model: keras.Model, inputs: list[np.ndarray]) -> None:
    """Both of Keras' file formats give the model back, answers bit by bit."""
    answers = run(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("keras", "h5"):
            file = Path(folder) / f"model.{ending}"
            model.save(file)
            loaded = keras.models.load_model(file, compile=False)
            for value, expected in zip(run(loaded, inputs), answers, strict=True):
                np.testing.assert_array_equal(value, expected, err_msg=ending)


def assert_converts(model: keras.Model, inputs: list[np.ndarray], tolerance: float = 1e-4) -> None:
    """LiteRT takes the model, and its interpreter gives the same answers."""
    specs = [
        tf.TensorSpec(x.shape, t.dtype, f"input_{at}")
        for at, (x, t) in enumerate(zip(inputs, model.inputs, strict=True))
    ]

    @tf.function(input_signature=specs)
    def serve(*tensors: Any) -> list[Any]:
        return tf.nest.flatten(model(tensors[0] if len(tensors) == 1 else list(tensors), training=False))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    interpreter = tf.lite.Interpreter(model_content=converter.convert(), num_threads=1)
    signature = interpreter.get_signature_runner()
    given = {spec.name: np.asarray(x, spec.dtype.as_numpy_dtype) for x, spec in zip(inputs, specs, strict=True)}
    answers = signature(**given)
    found = [answers[name] for name in sorted(answers, key=lambda name: int(name.split("_")[-1]))]
    assert (worst := error(found, run(model, inputs))) <= tolerance, f"off by {worst:.1e} in LiteRT"
