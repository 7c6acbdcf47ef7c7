"""A LiteRT file is asked by name in real numbers, whatever it stores and however its inputs are ordered."""

from __future__ import annotations

import itertools

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.runtime import Interpreter, schema
from tfprune.litert.session import Session
from tfprune.litert.stored import real, stored
from tfprune.models.builtin import BUILTIN

layers = keras.layers


def mixed() -> keras.Model:
    """Three inputs and outputs, some of equal shape, in an order that is not that of the alphabet."""
    zebra, apple, mango = (
        layers.Input((3,), name="zebra"),
        layers.Input((4,), name="apple"),
        layers.Input((3,), name="mango"),
    )
    last = layers.Dense(2, name="out_z")(layers.Concatenate()([zebra, apple]))
    first = layers.Dense(2, name="out_a")(mango)
    middle = layers.Dense(5, name="out_m")(layers.Subtract()([zebra, mango]))
    return keras.Model([zebra, apple, mango], [last, first, middle])


def examples(model: keras.Model, count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(size=(count, *each.shape[1:])).astype(np.float32)
        for name, each in zip(model.input_names, model.inputs, strict=True)
    }


# ------------------------------------------------------------------------------------------------- names


def test_inputs_and_outputs_go_by_the_models_names() -> None:
    model = mixed()
    x = examples(model)
    session = Session(convert(model))
    assert set(session.input_names) == set(model.input_names)
    assert set(session.output_names) == set(model.output_names)
    expected = dict(zip(model.output_names, model(list(x.values())), strict=True))
    for given_x in (x, dict(reversed(x.items())), [x[name] for name in session.input_names]):
        answers = session.ask(given_x)
        assert tuple(answers) == session.output_names
        for name, value in answers.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_every_order_of_equal_inputs_is_told_apart() -> None:
    for order in itertools.permutations(["b", "c", "a"]):
        inputs = [layers.Input((2,), name=name) for name in order]
        scaled = [
            layers.Rescaling(scale, name=f"to_{each.name}")(each)
            for scale, each in zip((1, 10, 100), inputs, strict=True)
        ]
        session = Session(convert(keras.Model(inputs, scaled[::-1])))
        answers = session.ask({name: np.ones((1, 2)) for name in order})
        found = {name.removeprefix("to_"): value[0, 0] for name, value in answers.items()}
        assert found == dict(zip(order, (1, 10, 100), strict=True))


def test_names_that_are_no_identifiers() -> None:
    inputs = [layers.Input((2,), name=name) for name in ("my-input.1", "2nd")]
    model = keras.Model(inputs, layers.Subtract(name="a-b")(inputs))
    answers = Session(convert(model)).ask({"my-input.1": [[3, 4]], "2nd": [[1, 1]]})
    assert {name: value.tolist() for name, value in answers.items()} == {"a-b": [[2, 3]]}


def numbered(count: int) -> bytes:
    """A file whose inputs have numbers for names, as those of a function of `*inputs` do."""
    function = tf.function(lambda *inputs: [(10 + index) * each for index, each in enumerate(inputs)], autograph=False)
    specs = [tf.TensorSpec((1, 2), tf.float32)] * count
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(*specs)]).convert()


def test_numbers_in_names_count_as_numbers() -> None:
    session = Session(numbered(12))
    assert session.input_names == tuple(f"inputs_{index}" for index in range(12))
    outputs = list(session.ask([np.ones((1, 2))] * 12).values())
    assert [value[0, 0] for value in outputs] == list(range(10, 22))
    session.set_inputs(*np.arange(24).reshape(12, 1, 2))
    session.seconds()
    assert session.outputs()[11].tolist() == [[21 * 22, 21 * 23]]


def test_a_file_without_signature_goes_by_its_tensors() -> None:
    model = keras.Sequential([layers.ReLU(input_shape=(2,))])
    content = convert(model)
    tree = schema.ModelT.InitFromPackedBuf(content)
    tree.signatureDefs = None
    builder = flatbuffers.Builder(len(content))
    builder.Finish(tree.Pack(builder), b"TFL3")
    session = Session(bytes(builder.Output()))
    assert session.input_names == tuple(each["name"] for each in Interpreter(model_content=content).get_input_details())
    (answers,) = session.ask([[-1, 2]]).values()
    assert answers.tolist() == [[0, 2]]


# ------------------------------------------------------------------------------------------------ numbers


@pytest.fixture(scope="module")
def resnet() -> keras.Model:
    return BUILTIN["resnet8"]((16, 16, 3), 10)


@pytest.mark.parametrize("conversion", ["float", "float16", "dynamic", "int8", "int8 all through"])
def test_callers_see_real_numbers(resnet: keras.Model, conversion: str) -> None:
    x = np.random.default_rng(0).random((6, 16, 16, 3)).astype(np.float32)
    chosen = {
        "float": Conversion(),
        "float16": Conversion("float16"),
        "dynamic": Conversion("dynamic"),
        "int8": Conversion("int8", lambda: ({"image": each[None]} for each in x)),
        "int8 all through": Conversion("int8", lambda: ({"image": each[None]} for each in x), integer_io=True),
    }[conversion]
    session = Session(convert(resnet, chosen))
    (answers,) = session.ask(x).values()
    assert answers.dtype == np.float32 and answers.shape == (6, 10)
    np.testing.assert_allclose(answers, resnet(x, training=False), atol=0.05 if "int8" in conversion else 0.01)
    session.set_inputs(x[:1])
    session.seconds()
    np.testing.assert_array_equal(session.outputs()[0], answers[:1])


def detail(dtype: type, scale: float, zero: int) -> dict:
    return {"dtype": dtype, "quantization_parameters": {"scales": [scale], "zero_points": [zero]}}


@given(
    st.sampled_from([np.int8, np.uint8, np.int16]),
    st.floats(1e-3, 10),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.integers(0, 100),
)
def test_numbers_come_back_within_half_a_step_or_at_the_end(dtype, scale, numbers, zero) -> None:
    values, kind = np.array(numbers), np.iinfo(dtype)
    low, high = ((end - zero) * scale for end in (kind.min, kind.max))
    back = real(stored(values, "x", detail(dtype, scale, zero)), detail(dtype, scale, zero))
    np.testing.assert_allclose(back, np.clip(values, low, high), rtol=1e-6, atol=0.500001 * scale)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64, np.uint8, bool])
def test_token_ids_of_any_type(dtype: type) -> None:
    words = layers.Input((3,), dtype="int32", name="words")
    model = keras.Model(words, layers.Embedding(9, 4)(words))
    (answers,) = Session(convert(model)).ask(np.array([[1, 0, 1]], dtype)).values()
    np.testing.assert_allclose(answers, model(np.array([[1, 0, 1]])), rtol=1e-6)


# -------------------------------------------------------------------------------- batches, threads, memory


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_batch_answers_as_single_examples_do(resnet: keras.Model, count: int) -> None:
    content = convert(resnet)
    x = np.random.default_rng(0).random((count, 16, 16, 3)).astype(np.float32)
    alone = Session(content).ask(x)["classifier"]
    together = Session(content, batch=4, threads=2).ask(x)["classifier"]
    own_kernels = Session(content, delegate="none").ask(x)["classifier"]
    assert together.shape == own_kernels.shape == (count, 10)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(own_kernels, alone, atol=1e-6)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_nothing_is_remembered_between_examples(kind: type) -> None:
    inputs = layers.Input((5, 3))
    model = keras.Model(inputs, kind(4)(inputs))
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    session = Session(convert(model))
    for _ in range(2):
        (answers,) = session.ask(x).values()
        np.testing.assert_allclose(answers, model(x), rtol=1e-4, atol=1e-6)
    (again,) = session.ask(x[2:3]).values()
    np.testing.assert_array_equal(again, answers[2:3])


# ------------------------------------------------------------------------------------------------- errors


@pytest.fixture(scope="module")
def asked() -> Session:
    return Session(convert(mixed()))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([np.ones((1, 3))], "got 1 inputs, expected 3: apple, mango, zebra"),
        ({"zebra": 1, "aple": 2}, "the file has no input 'aple'; did you mean 'apple'?"),
        ({"zebra": 1, "mango": 2}, "input 'apple' of the file is missing; given were zebra, mango"),
        ([np.ones((2, 4)), np.ones((1, 3)), np.ones((2, 3))], "'mango' of the file: got shape (1, 3), expected (2, 3)"),
        ([np.ones((2, 3))] * 3, "'apple' of the file: got shape (2, 3), expected (2, 4)"),
        ([np.ones((0, 4)), np.ones((0, 3)), np.ones((0, 3))], "got shape (0, 4), expected (examples, 4)"),
        ([[["a"] * 4], np.ones((1, 3)), np.ones((1, 3))], "input 'apple' of the file: got <U1, expected numbers"),
        ([1, 2, 3], "got shape (), expected (examples, 4)"),
    ],
)
def test_wrong_inputs_are_one_line(asked: Session, x: object, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        asked.ask(x)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_numbers_are_one_line() -> None:
    words = layers.Input((3,), dtype="int32", name="words")
    session = Session(convert(keras.Model(words, layers.Embedding(9, 4)(words))))
    for x, message in (
        ([[1, 2, 9]], "LiteRT cannot run these inputs: .*out of bounds"),
        ([[1, 2, 0.5]], "input 'words' of the file stores int32, but got numbers that are not of that type"),
        ([[1, 2, 2**40]], "stores int32"),
        ([[1, 2, np.nan]], "stores int32"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            session.ask(x)
        assert "\n" not in str(caught.value)
    session.ask([[1, 2, 8]])  # it goes on answering
    with pytest.raises(ModelError, match="not finite"):
        stored(np.array([np.inf]), "x", detail(np.int8, 0.1, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be a whole number of 1 or more, but got 0"),
        ({"threads": True}, "threads must be a whole number of 1 or more, but got True"),
        ({"batch": -1}, "batch must be a whole number of 1 or more, but got -1"),
        ({"batch": 1.5}, "batch must be a whole number of 1 or more, but got 1.5"),
        ({"delegate": "gpu"}, "delegate must be one of xnnpack, none, but got 'gpu'"),
    ],
)
def test_wrong_options_are_one_line(options: dict, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        Session(b"", **options)
    assert str(caught.value) == message


def test_a_batch_that_a_file_cannot_take() -> None:
    inputs = layers.Input((5, 3))
    content = convert(keras.Model(inputs, layers.LSTM(4)(inputs)))
    with pytest.raises(ModelError, match="cannot run the file with a batch of 4, take a batch of 1: ") as caught:
        Session(content, batch=4)
    assert "\n" not in str(caught.value)


def test_sizes_that_are_unknown() -> None:
    function = tf.function(lambda x: 2.0 * x, autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec((1, None, 3), tf.float32, name="x"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()
    with pytest.raises(
        ModelError, match=r"input 'x' of the file has axes of unknown length, \(1, -1, 3\); LiteRT runs"
    ):
        Session(content)


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_file_is_one_line(content: bytes) -> None:
    with pytest.raises(ModelError, match="LiteRT cannot run the file") as caught:
        Session(content)
    assert "\n" not in str(caught.value)
