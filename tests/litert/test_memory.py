"""Memory that a LiteRT file takes, against what it must take and against another way to count."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.litert.child import told_by_child
from tfprune.litert.convert import Conversion, convert
from tfprune.litert.memory import Memory, arena_of, memory_of
from tfprune.litert.runtime import opened
from tfprune.litert.session import Session

layers = keras.layers
MB = 1_000_000


def arena(model: keras.Model, batch: int = 1) -> int:
    content = convert(model)
    return arena_of(opened(content, delegate="none", batch=batch), content)


def test_tensors_that_do_not_meet_share_places() -> None:
    x = inputs = layers.Input((16, 16, 8))
    for _ in range(6):
        x = layers.AveragePooling2D(2, strides=1, padding="same")(x)
    size = 4 * 16 * 16 * 8
    assert arena(keras.Model(inputs, x)) == 3 * size  # input, and two that take turns


def test_tensors_that_are_needed_later_keep_their_places() -> None:
    inputs = layers.Input((16, 16, 8))
    towers = [layers.AveragePooling2D(reach, strides=1, padding="same")(inputs) for reach in range(2, 8)]
    size = 4 * 16 * 16 * 8
    assert arena(keras.Model(inputs, layers.Concatenate()(towers))) == (1 + 6 + 6) * size


def test_small_tensors_take_a_whole_step_and_a_batch_more_of_them() -> None:
    model = keras.Sequential([layers.Dense(4, input_shape=(8,))])
    assert arena(model) == 2 * 64
    assert arena(model, batch=32) == 32 * 4 * (8 + 4)


def test_integers_take_a_quarter() -> None:
    inputs = layers.Input((16, 16, 8), name="x")
    model = keras.Model(inputs, layers.AveragePooling2D(2, strides=1, padding="same")(inputs))
    x = np.random.default_rng(0).random((1, 16, 16, 8)).astype(np.float32)
    content = convert(model, Conversion("int8", lambda: [{"x": x}], integer_io=True))
    assert 4 * arena_of(opened(content, delegate="none"), content) == arena(model)


@pytest.fixture(scope="module")
def large() -> bytes:
    """16 MB of weights, little to compute."""
    return convert(keras.Sequential([layers.Dense(2000, input_shape=(2000,), kernel_initializer="ones")]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_peak_holds_the_weights_and_what_the_delegate_makes_of_them(large: bytes) -> None:
    small = convert(keras.Sequential([layers.Dense(4, input_shape=(8,))]))
    least, own, packed = (memory_of(*each) for each in ((small,), (large, 1, 1, "none"), (large,)))
    assert least.peak_memory is not None and own.peak_memory is not None and packed.peak_memory is not None
    assert 0 < least.peak_memory < 5 * MB  # though this process itself has grown to hundreds
    assert own.peak_memory == pytest.approx(16 * MB, abs=6 * MB)
    assert packed.peak_memory == pytest.approx(32 * MB, abs=8 * MB)
    assert own.arena_bytes == packed.arena_bytes == 2 * 8000 // 64 * 64 + 2 * (8000 % 64 > 0) * 64


def test_what_does_not_run_tells_nothing(large: bytes) -> None:
    assert memory_of(large[: len(large) // 2]) == Memory(None, None)


def test_a_child_that_is_none_tells_nothing() -> None:
    assert told_by_child("tfprune.litert.nowhere") == {}


def test_measuring_memory_loads_no_tensorflow() -> None:
    asked = "import sys, tfprune.litert.memory; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True).stdout == "False\n"


def test_arena_is_that_of_a_session() -> None:
    inputs = layers.Input((5, 3))
    content = convert(keras.Model(inputs, layers.GRU(4)(inputs)))  # a loop: several graphs
    assert Session(content).nodes
    assert memory_of(content).arena_bytes == pytest.approx(arena_of(opened(content, delegate="none"), content), abs=256)
