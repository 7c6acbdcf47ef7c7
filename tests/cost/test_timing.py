"""Runs are summed up, and a noisy machine is told from a quiet one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.backend import keras
from tfprune.cost.timing import in_turns, latency_of, noise_in
from tfprune.litert.convert import convert
from tfprune.litert.session import Session
from tfprune.results import Latency

layers = keras.layers


class Scripted:
    """Takes the seconds that it is told, one after the other, and the last for ever."""

    def __init__(self, *seconds: float) -> None:
        self._left = list(seconds)
        self.runs = 0

    def seconds(self) -> float:
        self.runs += 1
        took = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        time.sleep(min(took, 0.002))
        return took


def test_warm_up_lasts_until_runs_are_alike() -> None:
    falling = [0.001 * (1 + 20 / (1 + turn)) for turn in range(12)]
    runner = Scripted(*falling, 0.001)
    runs = in_turns([runner], least=3, most=20, seconds=20)
    assert runs.settled
    assert runs.milliseconds == [[1.0] * 20]
    assert 12 + 20 < runner.runs < 12 + 20 + 15


def test_runs_that_never_become_alike_are_told() -> None:
    growing = [0.001 * 1.05**turn for turn in range(400)]
    runs = in_turns([Scripted(*growing)], least=3, most=1000, seconds=0.4)
    assert runs.settled is False
    assert latency_of(runs.milliseconds[0], runs.settled).noisy


def test_few_long_runs_cannot_tell_whether_warm_up_is_over() -> None:
    runs = in_turns([Scripted(0.001)], least=3, most=1000, seconds=0.01)
    assert runs.settled is None and len(runs.milliseconds[0]) >= 3
    assert latency_of([10.0, 10.1, 10.0], None).noise == ""


def test_several_take_turns() -> None:
    first, second = Scripted(0.001), Scripted(0.002)
    runs = in_turns([first, second], least=3, most=7, seconds=5)
    assert runs.milliseconds == [[1.0] * 7, [2.0] * 7]
    assert first.runs == second.runs


@given(st.lists(st.floats(0.01, 1e4), min_size=3, max_size=50))
def test_figures_are_in_order(milliseconds: list[float]) -> None:
    found = latency_of(milliseconds, True, batch=2, runtime="onnx", delegate="none")
    assert min(milliseconds) <= found.p10_ms <= found.median_ms <= found.p90_ms <= max(milliseconds)
    assert found.spread == pytest.approx((found.p90_ms - found.p10_ms) / found.median_ms)
    assert (found.runs, found.batch, found.threads, found.runtime) == (len(milliseconds), 2, 1, "onnx")
    assert found.noisy == bool(found.noise)


@given(st.floats(0.05, 1e4), st.integers(10, 200))
def test_equal_runs_are_no_noise_and_a_step_is(milliseconds: float, count: int) -> None:
    assert noise_in([milliseconds] * count) == ""
    assert noise_in([milliseconds] * count + [1.5 * milliseconds] * count) != ""
    # A tenth of the runs that took longer moves no median.
    assert noise_in(([milliseconds] * 19 + [9 * milliseconds]) * count) == ""


def test_noise_is_told_in_words() -> None:
    rng = np.random.default_rng(0)
    assert noise_in(rng.normal(1, 0.02, 200)) == ""
    assert noise_in([2.0] * 20 + [1.5] * 20) == "the second half of the runs took 25% less than the first"
    assert noise_in([1.0, 2.0] * 20) == "one run in ten took over 100% longer than the quickest tenth"
    assert noise_in([1.0] * 20, settled=False) == "warm-up never settled"
    assert noise_in([0.001, 0.003, 0.005] * 20) == ""  # microseconds of the call from Python


def test_spread_and_flag_stand_in_json_and_follow_from_the_rest() -> None:
    found = Latency(2.0, 1.0, 4.0, 9)
    assert {each.name for each in fields(found)} >= {"noisy", "spread"}
    assert (found.spread, found.noisy, found.runtime, found.delegate) == (1.5, False, "litert", "xnnpack")
    with pytest.raises(TypeError):
        Latency(2.0, 1.0, 4.0, 9, noisy=False)


def test_a_machine_that_does_much_else_is_told() -> None:
    x = inputs = layers.Input((64, 64, 64))
    for _ in range(4):
        x = layers.Conv2D(64, 3, padding="same")(x)
    session = Session(convert(keras.Model(inputs, x)))  # some 20 ms: longer than a turn of the processor
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        time.sleep(0.5)
        found = []
        for _ in range(3):
            runs = in_turns([session], 3, 200, 2.0)
            found.append(latency_of(runs.milliseconds[0], runs.settled))
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert any(each.noisy for each in found), found
