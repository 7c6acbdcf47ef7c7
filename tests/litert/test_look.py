"""What is in a LiteRT file: its constants, its operations, and who computes them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.flatbuffer import _decoded, _dense, constants, read
from tfprune.litert.look import float_operations, operations, undelegated
from tfprune.litert.runtime import schema
from tfprune.litert.session import Session

layers = keras.layers


@functools.cache
def model() -> keras.Model:
    """A convolution and a dense layer, mostly zeros, with a sigmoid between them."""
    x = inputs = layers.Input((6, 6, 4), name="image")
    x = layers.Conv2D(16, 3, activation="sigmoid", name="conv")(x)
    made = keras.Model(inputs, layers.Dense(8, name="head")(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    for layer in (made.get_layer("conv"), made.get_layer("head")):
        kernel = rng.normal(size=layer.kernel.shape) * (rng.random(layer.kernel.shape) < 0.2)
        layer.set_weights([kernel, rng.normal(size=layer.bias.shape)])
    return made


@functools.cache
def file(way: str) -> bytes:
    x = np.random.default_rng(0).random((8, 1, 6, 6, 4)).astype(np.float32)
    conversion = {
        "float": Conversion(),
        "float16": Conversion("float16"),
        "dynamic": Conversion("dynamic"),
        "int8": Conversion("int8", lambda: ({"image": each} for each in x)),
        "int8 all through": Conversion("int8", lambda: ({"image": each} for each in x), integer_io=True),
        "sparse": Conversion(sparse=True),
    }
    return convert(model(), conversion[way])


# ---------------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize("way", ["float", "float16", "sparse", "int8", "int8 all through"])
def test_kernels_are_among_the_constants(way: str) -> None:
    found = {each.values.shape: each for each in constants(file(way))}
    conv, head = model().get_layer("conv").kernel.numpy(), model().get_layer("head").kernel.numpy()
    for expected in (conv.transpose(3, 0, 1, 2), head.T):
        constant = found[expected.shape]
        if "int8" in way:
            assert constant.values.dtype == np.int8 and constant.axis == 0
            assert len(constant.scales) == len(constant.zero_points) == len(expected)
            scales = constant.scales.reshape(-1, *[1] * (expected.ndim - 1))
            np.testing.assert_allclose(constant.centred * scales, expected, atol=0.51 * scales.max())
        else:
            assert not len(constant.scales)
            np.testing.assert_allclose(constant.values, expected, rtol=1e-3, atol=1e-3)
        assert np.all(constant.centred[expected == 0] == 0)


def test_sparse_constants_are_stored_sparse() -> None:
    assert len(file("sparse")) < len(file("float"))
    tensors = read(file("sparse")).subgraphs[0].tensors
    assert sum(each.sparsity is not None for each in tensors) == 2


@given(st.data())
def test_a_sparse_matrix_in_any_order_and_blocks(data: st.DataObject) -> None:
    """Against scipy's CSR, of blocks that are cut out beforehand."""
    height, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    blocks = rng.normal(size=(rows, columns, height, width)) * (rng.random((rows, columns, 1, 1)) < 0.5)
    expected = blocks.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    by_columns = data.draw(st.booleans())
    outer = blocks.transpose(1, 0, 2, 3) if by_columns else blocks
    pattern = csr_matrix(np.any(outer, axis=(2, 3)))
    axes = [schema.DimensionMetadataT() for _ in range(4)]
    for axis, size in ((axes[0], len(outer)), (axes[2], height), (axes[3], width)):
        axis.format, axis.denseSize = schema.DimensionType.DENSE, size
    axes[1].format = schema.DimensionType.SPARSE_CSR
    axes[1].arraySegments, axes[1].arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    axes[1].arraySegments.values, axes[1].arrayIndices.values = pattern.indptr, pattern.indices
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = [1, 0, 2, 3] if by_columns else [0, 1, 2, 3]
    sparsity.blockMap, sparsity.dimMetadata = [0, 1], axes
    values = outer[pattern.nonzero()].reshape(-1)
    np.testing.assert_array_equal(_dense(values, expected.shape, sparsity), expected)


def test_narrow_types() -> None:
    assert _decoded("INT4", np.array([0x8F, 0x07], np.uint8)).tolist() == [-1, -8, 7, 0]
    halves = np.array([1.0, -2.5], np.float32).view(np.uint32) >> 16
    assert _decoded("BFLOAT16", halves.astype(np.uint16).view(np.uint8)).tolist() == [1.0, -2.5]


# --------------------------------------------------------------------------------------------- operations


def test_operations_are_counted_by_name() -> None:
    assert operations(file("float")) == {"CONV_2D": 1, "FULLY_CONNECTED": 1, "LOGISTIC": 1, "RESHAPE": 1}
    assert operations(file("int8"))["QUANTIZE"] == operations(file("int8"))["DEQUANTIZE"] == 1
    assert operations(file("sparse"))["DENSIFY"] == 2


def test_operations_of_tensorflow_go_by_their_name() -> None:
    inputs = layers.Input((4, 4))
    made = keras.Model(inputs, layers.ReLU()(tf.linalg.det(inputs)))
    content = convert(made, Conversion(select_ops=True))
    assert operations(content) == {"FlexMatrixDeterminant": 1, "RELU": 1}
    with pytest.raises(ModelError, match=r"LiteRT cannot run the file: .*Select TensorFlow op"):
        Session(content)


def test_bodies_of_loops_are_counted() -> None:
    inputs = layers.Input((5, 3))
    assert operations(convert(keras.Model(inputs, layers.GRU(4)(inputs))))["TANH"] == 1


def test_an_integer_file_computes_nothing_in_float() -> None:
    assert float_operations(file("int8")) == float_operations(file("int8 all through")) == {}
    for way in ("float", "dynamic"):
        assert float_operations(file(way)) == operations(file(way))


def test_what_has_no_integer_kernel_is_named() -> None:
    inputs = layers.Input((8,), name="numbers")
    x = tf.cos(layers.Dense(8)(inputs))
    made = keras.Model(inputs, layers.Dense(4)(x))
    rng = np.random.default_rng(0)
    calibration = [{"numbers": rng.normal(size=(1, 8)).astype(np.float32)} for _ in range(4)]
    content = convert(made, Conversion("int8", lambda: calibration))
    found = float_operations(content)
    assert found["COS"] == 1 and "FULLY_CONNECTED" not in found
    assert found.get("DEQUANTIZE", 0) == 1  # the one before the cosine, not the one at the end


def test_who_computes() -> None:
    assert undelegated(Session(file("float"))) == {}
    assert undelegated(Session(file("float"), delegate="none")) == operations(file("float"))
    inputs = layers.Input((8,))
    x = layers.Dense(8, activation="relu")(inputs)
    made = keras.Model(inputs, layers.Dense(4)(tf.sign(tf.cumsum(x, axis=-1))))
    assert undelegated(Session(convert(made))) == {"CUMSUM": 1, "SIGN": 1}


# ------------------------------------------------------------------------------------------------- damage


def test_what_is_no_file_is_told() -> None:
    for look in (operations, float_operations, lambda content: list(constants(content))):
        for content in (b"", b"PK\3\4 something else", file("float")[:9]):
            with pytest.raises(ModelError, match=r"this is no LiteRT file|this LiteRT file is damaged"):
                look(content)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8), st.floats(0.1, 1), st.booleans())
def test_damage_is_one_line_or_none(changes: list[tuple[float, int]], share: float, is_sparse: bool) -> None:
    content = bytearray(file("sparse" if is_sparse else "int8"))
    for place, value in changes:
        content[int(place**3 * len(content))] = value  # most of them near the front, where the tables are
    content = bytes(content[: int(share * len(content))])
    for look in (operations, float_operations, lambda content: list(constants(content))):
        try:
            look(content)
        except ModelError as error:
            assert "\n" not in str(error)
