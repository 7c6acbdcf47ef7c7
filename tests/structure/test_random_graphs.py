"""Whatever model is drawn: what shrink gives is the model with the removed units cut off, or a refusal."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_models import Spec, specs

import tfprune
from tfprune.backend import keras
from tfprune.errors import SurgeryError

KINDS = ("filters", "heads", "key_size", "blocks", "hidden")


@dataclass(frozen=True)
class Options:
    """What shrink is asked for."""

    ratio: float
    scope: str
    units: tuple[str, ...]
    multiple_of: int

    def shrink(self, model: keras.Model) -> tuple[keras.Model, Any]:
        return tfprune.shrink(model, ratio=self.ratio, scope=self.scope, units=self.units, multiple_of=self.multiple_of)


options = st.builds(
    Options,
    ratio=st.sampled_from((0.5, 0.25, 0.75)),
    scope=st.sampled_from(("layer", "global")),
    units=st.sets(st.sampled_from(KINDS), min_size=1).map(lambda kinds: tuple(sorted(kinds))),
    multiple_of=st.sampled_from((1, 2)),
)


def examine(spec: Spec, asked: Options, gradients: bool = False, saving: bool = False) -> bool:
    """Prove one example; tells whether anything was removed."""
    model = oracle.randomise(spec.build(), spec.seed)
    before = model.get_weights()
    calls = [len(layer.inbound_nodes) for layer in model.layers]
    try:
        shrunk, report = asked.shrink(model)
    except SurgeryError as error:
        assert "nothing to remove" in str(error), error
        assert not surely_prunable(model, asked), f"refused, though {surely_prunable(model, asked)} may shrink: {error}"
        return False
    finally:
        assert [len(layer.inbound_nodes) for layer in model.layers] == calls, "the argument's layers were called"
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new, err_msg="the argument was changed")
    if report.removed:
        assert report.after.parameters < report.before.parameters
    else:  # small couplings, of which the share is less than one unit
        assert not surely_prunable(model, asked), f"nothing removed, though {surely_prunable(model, asked)} may shrink"
    assert type(shrunk) is type(model) and shrunk.name == model.name
    kinds = {name: type(layer) for name, layer in oracle.walk(model)}
    assert all(kinds[name] is type(layer) for name, layer in oracle.walk(shrunk))
    mine = {id(weight) for weight in model.weights}
    assert not any(id(weight) in mine for weight in shrunk.weights), "weights are shared with the argument"
    inputs = oracle.random_inputs(model, spec.seed)
    oracle.assert_slices(shrunk, model, report)
    if all(layer.exact for layer in report.layers.values()) or not unknown_without(model):
        oracle.assert_equal(shrunk, model, report, inputs)
    if gradients and all(layer.exact for layer in report.layers.values()):
        oracle.assert_same_gradients(shrunk, model, report, inputs)
    if saving and _saves(model):
        oracle.assert_saves(shrunk, inputs)
    return report.removed > 0


def unknown_without(model: keras.Model) -> bool:
    """Whether the reference does not know what a model answers once inexact units are gone.

    It knows of LayerNormalization and GroupNormalization. Where other figures are taken over all channels (softmax,
    means, products), or may be since axes change places, it does not tell over which channels.
    """
    names = {type(layer).__name__ + getattr(layer, "symbol", "") for _, layer in oracle.walk(model)}
    activations = {str(layer.get_config().get("activation")) for _, layer in oracle.walk(model)}
    taken = ("Softmax", "softmax", "UnitNormalization", "reduce_", "Attention", "Dot", "matmul", "einsum")
    turned = ("Permute", "transpose", "reshape", "Reshape", "expand_dims", "stack", "Flatten")
    pooled = ("Global", "Pooling", "GroupNormalization", "RNN", "Conv2DTranspose")
    return (
        "softmax" in activations
        or _any(names, taken)
        or (_any(names, turned) and _any(names, pooled))
        or any(getattr(layer, "data_format", "") == "channels_first" for _, layer in oracle.walk(model))
    )


def _any(names: set[str], parts: tuple[str, ...]) -> bool:
    return any(part in name for name in names for part in parts)


PLAIN = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def surely_prunable(model: keras.Model, asked: Options) -> list[str]:
    """Plain layers of 8 channels or more, called once, that only another such layer reads: these have to shrink."""
    outputs = {id(tensor) for tensor in model.outputs}
    found = []
    for layer in model.layers if "filters" in asked.units else ():
        if type(layer) not in PLAIN or len(layer.inbound_nodes) != 1 or id(layer.output) in outputs:
            continue
        readers = [node.layer for node in layer.outbound_nodes]
        plain = all(
            type(each) in PLAIN and getattr(each, "data_format", "") != "channels_first" for each in [*readers, layer]
        )
        grouped = any(getattr(reader, "groups", 1) > 1 for reader in [*readers, layer])
        if readers and plain and not grouped and layer.output.shape[-1] >= 8 and asked.ratio >= 0.5:
            found.append(layer.name)
    return found


def _saves(model: keras.Model) -> bool:
    """Whether Keras itself can save and load this model."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for ending in ("keras", "h5"):
                model.save(file := Path(folder) / f"model.{ending}")
                keras.models.load_model(file, compile=False, safe_mode=False)
    except Exception:  # whatever it raises, it is not the shrunk model's fault
        return False
    return True


def prove(examples: int, **also: bool) -> None:
    """Examine so many examples, of which most have to be prunable at all."""
    done: Counter[bool] = Counter()

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(specs, options)
    def check(spec: Spec, asked: Options) -> None:
        done[examine(spec, asked, **also)] += 1

    check()
    assert done[True] >= 0.4 * done.total(), f"only {done[True]} of {done.total()} examples had anything to remove"


def test_random_graphs() -> None:
    prove(50)  # the first of the thousand below


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_random_graphs_by_the_thousand() -> None:
    prove(1000, gradients=True)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_random_graphs_are_saved_and_loaded() -> None:
    prove(200, saving=True)


def test_a_wrong_slice_is_noticed() -> None:
    """The reference itself is tested: two rows of any kernel that change places show, and so do wrong indices."""
    model = oracle.randomise(Spec(seed=3, blocks=0).build())
    shrunk, report = Options(0.5, "layer", ("filters",), 1).shrink(model)
    inputs = oracle.random_inputs(model)
    oracle.assert_equal(shrunk, model, report, inputs)
    for weight in shrunk.weights:
        if len(weight.shape) < 2 or weight.shape[-2] < 2:
            continue
        right = weight.numpy()
        weight.assign(np.flip(right, axis=-2))
        with pytest.raises(AssertionError, match="off by"):
            oracle.assert_equal(shrunk, model, report, inputs)
        with pytest.raises(AssertionError):
            oracle.assert_slices(shrunk, model, report)
        weight.assign(right)
    oracle.assert_equal(shrunk, model, report, inputs)
