"""What cannot be is refused in one line, with the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import ImportanceError, ModelError, SelectionError, SurgeryError, TfpruneError, TrainingError

layers = keras.layers
Input, Dense = keras.Input, layers.Dense
ENTRIES = [tfprune.shrink, tfprune.plan]


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def model_of(compiled: bool = True) -> keras.Model:
    inputs = Input((6,))
    x = Dense(8, activation="relu", name="hidden")(inputs)
    model = oracle.randomise(keras.Model(inputs, Dense(3, name="out")(x), name="model"))
    if compiled:
        model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
        model.fit(*data(), verbose=0)
    return model


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 6)).astype(np.float32), rng.normal(size=(12, 3)).astype(np.float32)


def state(model: Any) -> list[Any]:
    """All that could have been changed: weights, optimizer, metrics, flags, and who calls whom."""
    if not isinstance(model, keras.Model) or not model.built:
        return []
    optimizer = getattr(model, "optimizer", None)
    found: list[Any] = [each.numpy() for each in model.weights]
    found += [each.numpy() for each in (optimizer.variables if optimizer is not None else [])]
    return [*found, [(len(each.inbound_nodes), each.trainable) for each in model.layers]]


def refused(entry: Callable[..., Any], model: Any, error: type, words: str, **arguments: Any) -> None:
    before = state(model)
    with pytest.raises(error, match=words) as caught:
        entry(model, **arguments)
    assert type(caught.value) is error, "the class itself, not one that derives from it"
    assert isinstance(caught.value, TfpruneError) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    after = state(model)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


HALF = {"ratio": 0.5}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        # which budget
        ({}, SelectionError, "exactly one of ratio, params, macs, latency_ms, size_mb, but got none"),
        ({"ratio": 0.5, "macs": 9}, SelectionError, "exactly one of .*, but got ratio and macs"),
        ({"ratio": 0}, SelectionError, "ratio must be over 0 and under 1, but got 0"),
        ({"ratio": 1.0}, SelectionError, "ratio must be over 0 and under 1, but got 1.0"),
        ({"ratio": -0.5}, SelectionError, "but got -0.5"),
        ({"ratio": 50}, SelectionError, "but got 50"),
        ({"ratio": "half"}, SelectionError, "ratio must be a number, but got 'half'"),
        ({"ratio": True}, SelectionError, "ratio must be a number, but got True"),
        ({"ratio": float("nan")}, SelectionError, "ratio must be a number, but got nan"),
        ({"params": 0}, SelectionError, "params must be over 0, but got 0"),
        ({"params": float("inf")}, SelectionError, "params must be a number, but got inf"),
        ({"macs": -3}, SelectionError, "macs must be over 0, but got -3"),
        ({"macs": [3]}, SelectionError, r"macs must be a number, but got \[3\]"),
        ({"latency_ms": 0.0}, SelectionError, "latency_ms must be over 0"),
        ({"size_mb": -1e-3}, SelectionError, "size_mb must be over 0"),
        # limits
        (
            {**HALF, "scope": "globl"},
            SelectionError,
            "scope must be one of layer, global, or shares by coupling, but got 'globl'",
        ),
        ({**HALF, "scope": None}, SelectionError, "scope must be one of .* but got None"),
        ({**HALF, "scope": ["layer"]}, SelectionError, "scope must be one of"),
        ({**HALF, "units": ["filter"]}, SelectionError, "units must be of .*got 'filter'; did you mean 'filters'"),
        ({**HALF, "units": [3]}, SelectionError, "units must be a list of names, but got 3"),
        ({**HALF, "units": ()}, SelectionError, "units must be of .*got none"),
        ({**HALF, "units": None}, SelectionError, "units must be a list of names, but got None"),
        ({**HALF, "multiple_of": 0}, SelectionError, "multiple_of must be a whole number of 1 or more, but got 0"),
        ({**HALF, "multiple_of": 2.5}, SelectionError, "multiple_of .*got 2.5"),
        ({**HALF, "multiple_of": True}, SelectionError, "multiple_of .*got True"),
        ({**HALF, "minimum": 0}, SelectionError, "minimum must be a whole number of 1 or more, but got 0"),
        ({**HALF, "minimum": "2"}, SelectionError, "minimum .*got '2'"),
        ({**HALF, "ceiling": 0}, SelectionError, "ceiling must be over 0 and at most 1, but got 0"),
        ({**HALF, "ceiling": 1.5}, SelectionError, "ceiling .*got 1.5"),
        ({**HALF, "ceiling": "all"}, SelectionError, "ceiling .*got 'all'"),
        ({**HALF, "ceiling": float("nan")}, SelectionError, "ceiling .*got nan"),
        ({**HALF, "batches": 0}, SelectionError, "batches must be a whole number of 1 or more, but got 0"),
        ({**HALF, "batches": 1.5}, SelectionError, "batches .*got 1.5"),
        ({**HALF, "seed": -1}, SelectionError, "seed must be a whole number of 0 or more, but got -1"),
        ({**HALF, "seed": "x"}, SelectionError, "seed .*got 'x'"),
        # layers to ignore
        ({**HALF, "ignore": ["hiden"]}, SurgeryError, "ignore: no layer is called 'hiden'; did you mean 'hidden'"),
        ({**HALF, "ignore": "conv*"}, SurgeryError, r"ignore: no layer is called 'conv\*'"),
        ({**HALF, "ignore": ["hidden", "x"]}, SurgeryError, "no layer is called 'x'"),
        ({**HALF, "ignore": [3]}, SelectionError, "ignore must be a list of names, but got 3"),
        ({**HALF, "ignore": 3}, SelectionError, "ignore must be a list of names, but got 3"),
        # what is left to remove
        ({**HALF, "ignore": ["hidden"]}, SurgeryError, "nothing to remove; what holds it: .*hidden .it is to be ign"),
        ({**HALF, "units": ["heads"]}, SurgeryError, r"nothing to remove; there are filters, which units=\['heads'\]"),
        ({**HALF, "minimum": 8}, SurgeryError, "nothing to remove within minimum=8, .*let more fall"),
        ({**HALF, "ceiling": 0.05}, SurgeryError, "nothing to remove.*ceiling=0.05"),
        (
            {"params": 5},
            SurgeryError,
            "budget of 5 parameters is out of reach: .* 13 is the least, .*in hidden \\(7\\), out \\(6\\)",
        ),
        ({"macs": 1}, SurgeryError, "multiply-accumulates is out of reach"),
        ({"size_mb": 1e-9}, SurgeryError, "MB is out of reach"),
        # scores
        ({**HALF, "importance": "l3"}, ImportanceError, "importance must be one of l1, l2, .*got 'l3'; did you mean"),
        ({**HALF, "importance": "magnitude"}, ImportanceError, "but got 'magnitude'"),
        ({**HALF, "importance": None}, ImportanceError, "importance"),
        ({**HALF, "importance": "taylor"}, ImportanceError, r"importance taylor needs examples; give data=\(x, y\)"),
        ({**HALF, "importance": "gate"}, ImportanceError, "importance gate needs examples"),
        ({**HALF, "importance": "apoz"}, ImportanceError, "importance apoz needs examples"),
        ({**HALF, "importance": "bn_scale"}, ImportanceError, "bn_scale needs BatchNormalization"),
        ({**HALF, "importance": lambda weights: 0}, ImportanceError, "expected scores of the weights' shape"),
        ({**HALF, "importance": lambda weights: weights * np.nan}, ImportanceError, "scores of 'hidden' are not num"),
        ({**HALF, "importance": lambda weights: 1 / 0}, ImportanceError, "ZeroDivisionError|division"),
        ({**HALF, "importance": lambda w, g: w * g}, ImportanceError, "needs examples"),
        ({**HALF, "importance": lambda: 0}, ImportanceError, "importance"),
        ({**HALF, "importance": "taylor", "data": data()[0]}, ImportanceError, "labels"),
        ({**HALF, "importance": "taylor", "data": 3}, ImportanceError, "int"),
        ({**HALF, "importance": "gate", "data": (data()[0], data()[1][:5])}, ImportanceError, "as many labels"),
        ({**HALF, "importance": "gate", "data": (data()[0][:, :4], data()[1])}, ImportanceError, "importance gate"),
        ({**HALF, "importance": "apoz", "data": (data()[0][:, :4], data()[1])}, ImportanceError, "importance apoz"),
        ({**HALF, "importance": "taylor", "data": (data()[0][:0], data()[1][:0])}, ImportanceError, "single batch"),
        ({**HALF, "importance": "apoz", "data": (data()[0][:0], data()[1][:0])}, ImportanceError, "single batch"),
        ({**HALF, "importance": "gate", "data": (data()[0][:0], data()[1][:0])}, ImportanceError, "single batch"),
        ({**HALF, "importance": "taylor", "data": (data()[0] * np.nan, data()[1])}, TrainingError, "not finite"),
        ({**HALF, "importance": "fisher", "data": (data()[0] * np.nan, data()[1])}, TrainingError, "not finite"),
    ],
)
def test_arguments_out_of_range(
    entry: Callable[..., Any], arguments: dict[str, Any], error: type, words: str, shared: keras.Model
) -> None:
    refused(entry, shared, error, words, **arguments)


@pytest.fixture(scope="module")
def shared() -> keras.Model:
    """One for all, as none of them may change it."""
    return model_of()


@pytest.mark.parametrize("name", ["taylor", "gradient", "fisher", "gate"])
def test_a_score_of_the_loss_needs_a_loss(name: str) -> None:
    refused(
        tfprune.shrink,
        model_of(False),
        ImportanceError,
        f"{name} needs a loss",
        importance=name,
        data=data(),
        ratio=0.5,
    )
    model = model_of(False)
    model.compile("adam")
    refused(tfprune.shrink, model, ImportanceError, f"{name} needs a loss", importance=name, data=data(), ratio=0.5)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="own")
        self.hidden, self.out = Dense(8), Dense(3)

    def call(self, x: Any) -> Any:
        return self.out(self.hidden(x))


def _subclassed(built: bool = True) -> keras.Model:
    model = Subclassed()
    if built:
        model(np.ones((1, 6), np.float32))
    return model


def _masked() -> keras.Model:
    return tfprune.wrap(model_of(False), tfprune.ConstantSparsity(final_sparsity=0.5))


def _tied() -> keras.Model:
    """Two layers with one weight, which copies made from their configs would not have."""
    inputs = Input((5, 6))
    dense = Dense(6, name="dense")
    return keras.Model(
        inputs, Dense(2, name="out")(layers.TimeDistributed(dense, name="steps")(dense(inputs))), name="tied"
    )


def _nested_subclass() -> keras.Model:
    inputs = Input((6,))
    return keras.Model(inputs, Dense(2, name="out")(_subclassed()(Dense(6, name="a")(inputs))), name="around")


def _unnamed_config() -> keras.Model:
    class Secretive(layers.Layer):
        def __init__(self, factor: Any) -> None:
            super().__init__(name="secretive")
            self.factor = factor

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

        def call(self, x: Any) -> Any:
            return x * self.factor

    inputs = Input((6,))
    x = Secretive(2.0)(Dense(8)(inputs))
    return keras.Model(inputs, Dense(2)(Dense(8)(x)), name="model")


MODELS: list[tuple[str, Callable[[], Any], type, str]] = [
    ("none", lambda: None, ModelError, "expected a tf_keras model, got NoneType"),
    ("a name", lambda: "model.keras", ModelError, "expected a tf_keras model, got str"),
    ("a layer", lambda: Dense(3), ModelError, "expected a tf_keras model, got Dense"),
    (
        "not built",
        lambda: keras.Sequential([Dense(8), Dense(3)], name="s"),
        ModelError,
        "'s' is not built; .*keras.Inp",
    ),
    ("subclassed", _subclassed, ModelError, "'own' is a subclassed Subclassed.*make it functional: inputs = keras.Inp"),
    ("subclassed, not built", lambda: _subclassed(False), ModelError, "make it functional"),
    ("masked", _masked, ModelError, r"has masks on it; take them off first: tfprune\.strip\(model\)"),
    ("tied", _tied, ModelError, "layers '(dense|steps)' and '(dense|steps)' share weight"),
    (
        "one layer",
        lambda: keras.Sequential([Dense(8, input_shape=(3,), name="only")], name="s"),
        SurgeryError,
        "'s' has nothing to remove; what holds it: only .its outputs are the model's",
    ),
    (
        "nothing to train",
        lambda: keras.Sequential([Input((4,)), layers.ReLU()], name="s"),
        SurgeryError,
        "'s' has nothing to remove; it has no layer with two units or more",
    ),
    (
        "widths of one",
        lambda: keras.Sequential([Dense(1, input_shape=(4,)), Dense(1)], name="s"),
        SurgeryError,
        "'s' has nothing to remove",
    ),
    (
        "a subclassed model inside",
        _nested_subclass,
        SurgeryError,
        "nothing to remove; what holds it: own .Subclassed has",
    ),
]


@pytest.mark.parametrize(("make", "error", "words"), [each[1:] for each in MODELS], ids=[each[0] for each in MODELS])
def test_models_that_cannot_be_handled(make: Callable[[], Any], error: type, words: str) -> None:
    for entry in ENTRIES:
        refused(entry, make(), error, words, ratio=0.5)
    if error is ModelError:
        refused(tfprune.apply, make(), error, words, plan=tfprune.Plan({}, {}))


def test_a_layer_whose_config_does_not_make_it_is_named() -> None:
    refused(
        tfprune.shrink, _unnamed_config(), ModelError, "layer 'secretive' cannot be made from its config", ratio=0.5
    )


def test_a_layer_whose_own_rule_forgets_a_weight_is_named() -> None:
    class Gain(layers.Layer):
        def build(self, shape: Any) -> None:
            self.gain = self.add_weight("gain", (shape[-1],))

        def call(self, x: Any) -> Any:
            return x * self.gain

    from tfprune.structure.visit import RULES

    tfprune.rule(Gain)(lambda layer, visit: visit.x)
    try:
        model = keras.Sequential([Dense(8, input_shape=(4,)), Gain(name="own"), Dense(2)])
        refused(tfprune.shrink, model, ModelError, "layer 'own': the weights of the Gain .* do not fit", ratio=0.5)
    finally:
        del RULES[Gain]


def test_a_latency_that_cannot_be_measured() -> None:
    inputs = Input((None, 6))
    x = Dense(3)(layers.GlobalAveragePooling1D()(Dense(8)(inputs)))
    refused(tfprune.shrink, keras.Model(inputs, x), ModelError, "known|length|unknown|None", latency_ms=0.01)


@pytest.mark.parametrize("plan", [None, {"removed": {}}, "plan.json", 3])
def test_apply_wants_a_plan(plan: Any) -> None:
    refused(tfprune.apply, model_of(), SurgeryError, "expected a plan, .*got (NoneType|dict|str|int)", plan=plan)


def test_what_runs_out_half_way_leaves_no_trace() -> None:
    """A budget is looked at by building smaller models; the one given has no part in them."""
    model = model_of()
    names = [weight.name for weight in model.weights]
    refused(tfprune.shrink, model, SurgeryError, "out of reach", macs=5)
    assert names == [weight.name for weight in model.weights]
    small, _ = tfprune.shrink(model, macs=40)
    assert not {id(each) for each in model.weights} & {id(each) for each in small.weights}
    assert not {id(each) for each in model.layers} & {id(each) for each in small.layers}
    assert tf.executing_eagerly()


def test_a_ratio_of_less_than_a_unit_is_told() -> None:
    model = keras.Sequential([keras.layers.Dense(4, input_shape=(3,)), keras.layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"nothing was removed: 0.05 of any coupling is less than a whole unit"):
        small, report = tfprune.shrink(model, ratio=0.05, minimum=np.int64(1))
    assert report.removed == 0 and small.count_params() == model.count_params()
