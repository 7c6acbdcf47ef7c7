"""Every layer that both Kerases have goes over and comes back, or stands here with the reason why not."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from both import WAYS, check_round_trip, filled, keras3
from layer_examples import EXAMPLES, Example

from tfprune.backend import keras
from tfprune.errors import ModelError
from tfprune.keras3.bridge import UNLIKE

ABSTRACT = {
    "Layer": "the base of all others",
    "Wrapper": "the base of Bidirectional, SpectralNormalization and TimeDistributed",
}
BY_HAND = {"Lambda": "code of the user's own; see test_bridge_models.py and test_bridge_files.py"}


def names_in(library) -> set[str]:
    """Names of the classes of layers that a library exports, aliases left out."""
    found = {each for each in vars(library.layers).values() if inspect.isclass(each)}
    return {each.__name__ for each in found if issubclass(each, library.layers.Layer)}


IN_CONFIG = ("Discretization", "IntegerLookup", "StringLookup", "TextVectorization")
"""Layers whose weights are tables that only one that was adapted has."""

BOTH = names_in(keras) & names_in(keras3)


def test_every_layer_that_both_have_has_an_example_or_a_reason():
    told = set(EXAMPLES) | set(ABSTRACT) | set(BY_HAND)
    assert BOTH - told == set(), "new in both Kerases: add an example to layer_examples.py, or a reason"
    assert told - BOTH == set(), "no longer in both Kerases"


def test_what_is_told_apart_is_in_both():
    assert set(UNLIKE) <= BOTH


CASES = [
    pytest.param(name, example, start, id=f"{name}-{number}-{start}")
    for name, examples in EXAMPLES.items()
    if name not in UNLIKE
    for number, example in enumerate(examples)
    for start in WAYS
]


def built(example: Example, name: str, library):
    kind = "string" if example.dtype == "text" else example.dtype
    inputs = [library.Input(shape, dtype=kind) for shape in example.shapes]
    layer = example.make(library)
    if example.prepare:
        example.prepare(layer)
    found = layer(inputs, **example.kwargs) if example.as_list else layer(*inputs, **example.kwargs)
    model = library.Model(inputs, found)
    return model if example.prepare or "Lookup" in name or name == "TextVectorization" else filled(model)


def values_for(example: Example):
    rng = np.random.default_rng(1)
    given = []
    for shape in example.shapes:
        size = (3, *(5 if each is None else each for each in shape))
        if example.dtype == "text":
            words = rng.choice(["the", "cat", "sat", "dog", "ran"], (3, 3))
            given.append(keras3.ops.convert_to_tensor([" ".join(each) for each in words]))
        elif example.dtype == "string":
            given.append(keras3.ops.convert_to_tensor(rng.choice(["a", "b", "c", "other"], size)))
        elif "int" in example.dtype:
            given.append(rng.integers(0, example.high, size).astype(example.dtype))
        else:
            given.append(rng.normal(size=size).astype("float32"))
    return given if len(given) > 1 else given[0]


@pytest.mark.parametrize("name, example, start", CASES)
def test_a_layer_goes_over_and_comes_back(name, example, start):
    model = built(example, name, WAYS[start][0])
    is_rounded = "float16" in str(getattr(model.layers[-1], "dtype_policy", ""))
    there, again = check_round_trip(model, values_for(example), start, 2e-2 if is_rounded else 1e-5)
    layers = [(each.name, each.trainable, len(each.weights)) for each in model.layers]
    if len(there.layers) == len(again.layers) == len(layers):  # an activation that the other lacks becomes operations
        assert [(each.name, each.trainable) for each in again.layers] == [each[:2] for each in layers]
        assert [each.name for each in there.layers] == [each[0] for each in layers]
    if name not in IN_CONFIG:
        assert [len(each.weights) for each in again.layers if each.weights] == [each[2] for each in layers if each[2]]


@pytest.mark.parametrize("start", WAYS)
@pytest.mark.parametrize("name", UNLIKE)
def test_a_layer_that_answers_otherwise_is_refused_with_the_reason(name, start):
    library, over, _ = WAYS[start]
    model = built(EXAMPLES[name][0], name, library)
    with pytest.raises(ModelError, match=f"is a {name}, which has no counterpart in .*: {UNLIKE[name][:20]}"):
        over(model)


ALONE = {
    "keras3": {
        "RMSNormalization": {},
        "GroupQueryAttention": {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1},
    },
    "tf_keras": {"LocallyConnected1D": {"filters": 2, "kernel_size": 2}, "ThresholdedReLU": {}},
}


@pytest.mark.parametrize("start, name", [(start, name) for start, names in ALONE.items() for name in names])
def test_a_layer_of_one_alone_is_named(start, name):
    library, over, _ = WAYS[start]
    inputs = library.Input((4, 3))
    layer = getattr(library.layers, name)(**ALONE[start][name], name="odd")
    model = library.Model(inputs, layer(inputs, inputs) if "Attention" in name else layer(inputs))
    with pytest.raises(ModelError, match=rf"layer 'odd' is a {name[:5]}\w+, which only one Keras has.*replace it"):
        over(model)


@pytest.mark.parametrize("start", WAYS)
def test_an_argument_of_one_alone_is_named(start):
    library, over, _ = WAYS[start]
    layer = (
        library.layers.LayerNormalization(rms_scaling=True, name="odd")
        if start == "keras3"
        else library.layers.LSTM(2, time_major=True, name="odd")
    )
    what = "rms_scaling=True" if start == "keras3" else "time_major=True"
    with pytest.raises(ModelError, match=rf"layer 'odd' \(\w+\): {what}, which .* does not have"):
        over(library.Sequential([library.Input((4, 3)), layer]))


@pytest.mark.parametrize("start", WAYS)
def test_a_recurrent_activation_that_is_another_function_is_refused(start):
    library, over, _ = WAYS[start]
    layer = library.layers.LSTM(2, recurrent_activation="hard_sigmoid", name="odd")
    with pytest.raises(ModelError, match=r"layer 'odd' .*recurrent_activation='hard_sigmoid'"):
        over(library.Sequential([library.Input((4, 3)), layer]))
