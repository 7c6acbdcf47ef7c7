"""The layer wrapper that carries masks, made from TF-MOT's.

TF-MOT's wrapper decides on masks inside the training graph and multiplies the weights in every forward
pass, also under autocast, where that rounds master weights to 16 bits. `Masked` keeps its variables (mask,
threshold, step) and its place in a model, but masks come from outside (`pruner.py`) and weights are held at
zero by a variable constraint: the optimizer applies it to the float32 master weight after each step, so
whoever looks at a weight in training sees it masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import ImportanceError, ModelError
from tfprune.masking.plan import from_config
from tfprune.masking.schedule import Schedule
from tfprune.masking.selection import Selection
from tfprune.models.prunable import matrix_axes, prunable_weights
from tfprune.mot import PruneLowMagnitude, PruningSchedule


@keras.utils.register_keras_serializable("tfprune")
class HeldSchedule(PruningSchedule):
    """A schedule as TF-MOT's wrapper carries it; inside the graph it never fires."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(False), tf.constant(self.schedule.sparsity(self.schedule.last_step))

    def get_config(self) -> dict[str, Any]:
        return {"class_name": "tfprune>HeldSchedule", "config": self.schedule.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HeldSchedule:
        return cls(from_config(config))


@keras.utils.register_keras_serializable("tfprune")
class Masked(PruneLowMagnitude):
    """A Keras layer whose prunable weights are held at zero where their mask is zero.

    Args:
        layer: the layer to wrap; built by the first call.
        pruning_schedule: when to prune how much.
        selection: which weights fall then; as TF-MOT's unless given.
        kernels: places of the weights to prune among all that can be, as `prunable_weights` lists them when asked;
            by default all of them.
        frozen: places of the layers in this one that are frozen, itself included; its config tells only of itself.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        pruning_schedule: HeldSchedule,
        selection: Selection | None = None,
        kernels: Sequence[int] | None = None,
        frozen: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        if not hasattr(layer, "get_prunable_weights"):
            layer.get_prunable_weights = list  # TF-MOT refuses kinds that it does not know; `build` asks elsewhere
        super().__init__(layer, pruning_schedule=pruning_schedule, **kwargs)
        self._autocast = False  # the inner layer casts by its own policy; a cast here would lose the Keras mask
        self.selection = selection or Selection()
        self._kernels = kernels
        self._frozen = frozen
        self._supports_masking = layer.supports_masking

    def build(self, input_shape: Any) -> None:
        if isinstance(self.layer, keras.layers.MultiHeadAttention):
            _build_projections(self.layer)
        keras.layers.Wrapper.build(self, input_shape)
        found = list(zip(prunable_weights(self.layer, True)[0], matrix_axes(self.layer, True), strict=True))
        self._kernels = list(range(len(found)) if self._kernels is None else self._kernels)
        self.prunable_weights = [found[place][0] for place in self._kernels]
        self.axes = [found[place][1] for place in self._kernels]
        for index, weight in enumerate(self.prunable_weights):
            # TF-MOT's names, but apart from each other where a layer has several: HDF5 needs that.
            suffix = f"_{index}" if index else ""
            new = partial(self.add_weight, dtype=getattr(weight, "true_dtype", weight.dtype), trainable=False)
            mask = new(f"mask{suffix}", shape=weight.shape, initializer="ones")
            threshold = new(f"threshold{suffix}", shape=[], initializer="zeros")
            self.pruning_vars.append((weight, mask, threshold))
            _hold(weight, mask)
        self.pruning_step = self.add_weight(
            "pruning_step", shape=[], initializer=keras.initializers.Constant(-1), dtype=tf.int64, trainable=False
        )
        parts = list(self.layer._flatten_layers())
        for place in self._frozen:
            parts[place].trainable = False

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Keras gives these two to any layer that takes **kwargs; the inner one may not know them.
        known = self.layer._call_spec.arg_names
        for name in {"training", "mask"} - set(known):
            kwargs.pop(name, None)
        return self.layer(inputs, *args, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self.layer.compute_mask(inputs, mask)

    def reset_states(self, states: Any = None) -> None:
        self.layer.reset_states(states)

    def get_config(self) -> dict[str, Any]:
        selection = self.selection.get_config()
        if callable(self.selection.importance):
            selection["importance"] = _FUNCTION + _name_of(self.selection.importance)
        frozen = [place for place, part in enumerate(self.layer._flatten_layers()) if not part.trainable]
        # TF-MOT writes a class by its bare name, under which a registered one is not found again.
        layer = keras.layers.serialize(self.layer, use_legacy_format=True)
        return {
            **super().get_config(),
            "layer": layer,
            "selection": selection,
            "kernels": self._kernels,
            "frozen": frozen,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Masked:
        config = dict(config)
        selection = dict(config.pop("selection"))
        if selection["importance"].startswith(_FUNCTION):
            name = selection["importance"].removeprefix(_FUNCTION)
            selection["importance"] = keras.utils.get_registered_object(name, custom_objects) or _forgotten(name)
        masked = super().from_config(config)
        masked.selection = Selection(**selection)
        return masked

    @property
    def schedule(self) -> Schedule:
        """When to prune how much."""
        return self.pruning_schedule.schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self.pruning_schedule.schedule = schedule


_FUNCTION = "function:"  # in configs, before the name of a score that is the user's own


def _name_of(score: Callable[..., Any]) -> str:
    """The name under which Keras knows a function, or its own; a partial or an object has that of its class."""
    return keras.utils.get_registered_name(score) if hasattr(score, "__name__") else type(score).__name__


def _forgotten(name: str) -> Callable[..., Any]:
    """In place of a user's score that a file can only name."""

    def score(weights: Any) -> Any:
        raise ImportanceError(
            f"importance {name!r} is a function of your own, which a file does not hold; give it again with "
            "tfprune.retarget(model, importance=...), or register it with keras.utils.register_keras_serializable"
        )

    score.__name__ = score.__qualname__ = name
    return score


# The name under which HDF5 files mention a layer of a nested model.
keras.utils.get_custom_objects()["Masked"] = Masked


def _build_projections(attention: keras.layers.MultiHeadAttention) -> None:
    """Make the kernels of an attention layer, which by itself does so in its first call: too late for masks."""
    if attention._query_shape is None:
        raise ModelError(
            f"attention layer {attention.name!r} was never called, so its kernels have no shape; call it first"
        )
    heads = [*attention._query_shape[:-1], attention._num_heads, attention._value_dim]
    projections = {
        attention._query_dense: attention._query_shape,
        attention._key_dense: attention._key_shape,
        attention._value_dense: attention._value_shape,
        attention._output_dense: heads,
    }
    for dense, shape in projections.items():
        if not dense.built:
            with tf.name_scope(dense.name):
                dense.build(shape)
            dense.built = True


def _hold(weight: tf.Variable, mask: tf.Variable) -> None:
    """Make `weight * mask` part of the weight's constraint, after the user's own."""
    variable = getattr(weight, "_variable", weight)  # under a mixed policy Keras wraps it
    own = variable.constraint
    variable._constraint = lambda value: (value if own is None else own(value)) * mask


def masked_layers(model: keras.Model) -> list[Masked]:
    """All wrapped layers of a model, those of nested models included, each once."""
    found: dict[int, Masked] = {}
    for layer in model.layers:
        inner = masked_layers(layer) if isinstance(layer, keras.Model) else [layer]
        found.update({id(each): each for each in inner if isinstance(each, Masked)})
    return list(found.values())


def masked_variables(model: keras.Model) -> Iterator[tuple[tf.Variable, tf.Variable]]:
    """Each prunable weight of a wrapped model with its mask."""
    for layer in masked_layers(model):
        for weight, mask, _ in layer.pruning_vars:
            yield weight, mask
