"""Plans: what they say, how they travel, and what a report tells of one that was followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

import tfprune
from tfprune.backend import keras
from tfprune.errors import StorageError, SurgeryError
from tfprune.results import Plan

layers = keras.layers
Input, Dense = keras.Input, layers.Dense


@pytest.fixture(autouse=True)
def small_memory() -> Iterator[None]:
    """Names start anew; to collect such small models after every test would take longer than the tests."""
    yield
    keras.backend.clear_session()


def model_of(seed: int = 0, width: int = 8) -> keras.Model:
    """Filters, heads, branches and a model inside, each in a coupling of its own."""
    inputs = Input((5, 6))
    x = Dense(width, name="stem")(inputs)
    y = layers.MultiHeadAttention(4, 3, name="mha")(x, x)
    x = layers.Add(name="sum")([x, y])
    inner = keras.Sequential(
        [Dense(6, activation="relu", input_shape=(5, width), name="up"), Dense(width, name="down")], name="inner"
    )
    x = layers.Add(name="sum2")([x, inner(x)])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return oracle.randomise(keras.Model(inputs, Dense(2, name="out")(Dense(10, name="mid")(x)), name="model"), seed)


def assert_same_model(one: keras.Model, other: keras.Model) -> None:
    assert one.get_config() == other.get_config()
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


OPTIONS: list[dict[str, Any]] = [
    {"ratio": 0.5},
    {"ratio": 0.4, "scope": "global", "units": ("filters", "heads", "key_size")},
    {"ratio": 0.5, "units": ("blocks",)},
    {"params": 250, "units": ("filters", "heads", "blocks"), "scope": "global"},
    {"macs": 900, "multiple_of": 2},
    {"ratio": 0.5, "importance": "random", "seed": 4, "ignore": ["mid", "inner"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_planned_saved_read_and_applied_is_shrunk(options: dict[str, Any], tmp_path: Path) -> None:
    model = model_of()
    small, report = tfprune.shrink(model, **options)
    plan = tfprune.plan(model, **options)
    assert plan == report.plan
    plan.save(tmp_path / "plan.json")
    read = Plan.load(str(tmp_path / "plan.json"))
    assert read == plan
    again, told = tfprune.apply(model, read)
    assert_same_model(again, small)
    assert told.plan == plan and (told.removed, told.units) == (report.removed, report.units)
    assert told.removed == sum(map(len, plan.removed.values())) + len(plan.blocks) > 0
    assert told.blocks == report.blocks == plan.blocks
    assert set(told.layers) == set(report.layers) and told.after == report.after


def test_a_plan_is_plain_json(tmp_path: Path) -> None:
    plan = tfprune.plan(model_of(), ratio=0.5, units=("filters", "blocks"))
    plan.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    assert set(content) == {"format", "removed", "sizes", "blocks", "units"}
    assert content["removed"] == {name: list(gone) for name, gone in plan.removed.items()}
    assert set(content["sizes"]) == set(content["removed"])
    with pytest.raises(StorageError):
        plan.save(tmp_path / "plan.json" / "plan.json")


def test_planning_builds_nothing_and_changes_nothing() -> None:
    model = model_of()
    before, nodes = model.get_weights(), [len(layer.inbound_nodes) for layer in model.layers]
    tfprune.plan(model, ratio=0.5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert nodes == [len(layer.inbound_nodes) for layer in model.layers]


def test_another_copy_with_other_weights_loses_the_same_units() -> None:
    plan = tfprune.plan(model_of(0), ratio=0.5)
    other = model_of(1)
    small, report = tfprune.apply(other, plan)
    assert report.plan == plan and report.plan.removed != tfprune.plan(other, ratio=0.5).removed
    oracle.assert_equal(small, other, report, oracle.random_inputs(other))
    oracle.assert_slices(small, other, report)


def test_a_copy_from_a_file_loses_the_same_units(tmp_path: Path) -> None:
    model = model_of()
    model.save(tmp_path / "model.keras")
    plan = tfprune.plan(model, ratio=0.5, units=("filters", "heads", "blocks"))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_model(tfprune.apply(loaded, plan)[0], tfprune.apply(model, plan)[0])


def test_no_plan_is_a_copy() -> None:
    model = model_of()
    small, report = tfprune.apply(model, Plan({}, {}))
    assert report.removed == 0 and not report.layers and report.before == report.after
    for one, other in zip(model.weights, small.weights, strict=True):
        assert one is not other
        np.testing.assert_array_equal(one, other)


# ----------------------------------------------------------------------------------- plans that do not fit


def refused(model: keras.Model, plan: Plan, words: str) -> None:
    before = model.get_weights()
    with pytest.raises(SurgeryError, match=words) as caught:
        tfprune.apply(model, plan)
    assert "\n" not in str(caught.value)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plan_of_another_architecture_is_refused() -> None:
    wide = tfprune.plan(model_of(width=12), ratio=0.5)
    refused(model_of(), wide, "of 12 units of 'stem', but model 'model' has 8 there; give it the model")
    other = keras.Sequential([Dense(4, input_shape=(3,), name="else"), Dense(2)], name="other")
    refused(other, tfprune.plan(model_of(), ratio=0.5), "model 'other' has none there")
    blocks = tfprune.plan(model_of(), ratio=0.5, units=["blocks"])
    refused(other, blocks, "removes a branch at 'sum2?', but model 'other' has none")


@pytest.mark.parametrize(
    ("removed", "sizes", "blocks", "words"),
    [
        ({"mid": (0, 10)}, {"mid": 10}, (), "takes 2 of 10 units of 'mid'"),
        ({"mid": (-1,)}, {"mid": 10}, (), "takes 1 of 10 units of 'mid'"),
        ({"mid": (0,)}, {"mid": 9}, (), "of 9 units of 'mid', but model 'model' has 10"),
        ({"mid": (0,)}, {}, (), "of None units of 'mid'"),
        ({"mdi": (0,)}, {"mdi": 10}, (), "of 'mdi', but model 'model' has none there"),
        ({"mid": tuple(range(10))}, {"mid": 10}, (), "leaves nothing of an axis of 10"),
        ({"mha/heads": (0, 1, 2, 3)}, {"mha/heads": 4}, (), "leaves nothing of an axis of 4"),
        ({"inner/up": tuple(range(6))}, {"inner/up": 6}, (), "leaves nothing of an axis of 6"),
        ({}, {}, ("sum3",), "branch at 'sum3'"),
    ],
)
def test_a_plan_that_was_changed_by_hand_is_looked_at(removed: dict, sizes: dict, blocks: tuple, words: str) -> None:
    refused(model_of(), Plan(removed, sizes, blocks), words)


def test_a_plan_that_leaves_nothing_of_a_part_is_refused() -> None:
    """Each unit by itself may go, but a piece of a concatenated axis would be empty."""
    inputs = Input((4,))
    x = layers.Concatenate()([Dense(2, name="a")(inputs), Dense(3, name="b")(inputs)])
    model = keras.Model(inputs, Dense(2)(x), name="model")
    refused(model, Plan({"a": (0, 1)}, {"a": 2}), "leaves nothing of an axis of 2")


def test_a_branch_may_lose_all_its_units_where_it_goes_whole() -> None:
    model = model_of()
    small, report = tfprune.apply(model, Plan({"inner/up": (0, 1)}, {"inner/up": 6}, ("sum2",)))
    assert "inner" not in [layer.name for layer in small.layers] and report.blocks == ("sum2",)
    assert not [name for name in report.layers if name.startswith("inner")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "it is no plan"),
        ("[]", "it is no plan"),
        ("null", "it is no plan"),
        ("{}", "it is no plan"),
        ('{"format": 2, "removed": {}, "sizes": {}, "blocks": [], "units": 1}', "of another version"),
        ('{"format": 1, "sizes": {}, "blocks": [], "units": 1}', "it is no plan"),
        ('{"format": 1, "removed": {"a": "x"}, "sizes": {"a": 1}, "blocks": [], "units": 1}', "it is no plan"),
        ('{"format": 1, "removed": [1], "sizes": {}, "blocks": [], "units": 1}', "it is no plan"),
        ('{"format": 1, "removed": {}, "sizes": {}, "blocks": null, "units": 1}', "it is no plan"),
        ("\x00\xff binary", "it is no plan"),
    ],
)
def test_a_file_that_is_no_plan(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(SurgeryError, match=words) as caught:
        Plan.load(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="No such file"):
        Plan.load(tmp_path / "plan.json")
    with pytest.raises(SurgeryError, match="directory"):
        Plan.load(tmp_path)


def test_units_said_twice_are_removed_once(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"format": 1, "removed": {"mid": [3, 1, 3]}, "sizes": {"mid": 10}, "blocks": [], "units": 0}')
    plan = Plan.load(file)
    assert plan.removed == {"mid": (1, 3)}
    assert tfprune.apply(model_of(), plan)[0].get_layer("mid").units == 8


# ------------------------------------------------------------------------------------------------- reports


def test_a_report_names_indices_into_the_original() -> None:
    model = model_of()
    small, report = tfprune.apply(
        model, Plan({"stem": (1, 4), "mid": (0,), "inner/up": (5,), "mha/heads": (2,)},
                    {"stem": 8, "mid": 10, "inner/up": 6, "mha/heads": 4})
    )  # fmt: skip
    stem, mid, up = np.delete(np.arange(8), [1, 4]), np.arange(1, 10), np.arange(5)
    kept = {
        "stem": (np.arange(6), stem, [(np.arange(6), stem), (stem,)]),
        "inner/up": (stem, up, [(stem, up), (up,)]),
        "inner/down": (up, stem, [(up, stem), (stem,)]),
        "mid": (stem, mid, [(stem, mid), (mid,)]),
        "out": (mid, np.arange(2), [(mid, np.arange(2)), (np.arange(2),)]),
    }
    for name, (inputs, outputs, weights) in kept.items():
        found = report.layers[name]
        assert (found.name, found.kind, found.exact) == (name, "Dense", True)
        for indices, expected in ((found.kept_inputs, inputs), (found.kept_outputs, outputs)):
            assert indices.dtype.kind == "i"
            np.testing.assert_array_equal(indices, expected)
        for one, other in zip(found.kept, weights, strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)
    heads = np.array([0, 1, 3])
    attention = report.layers["mha"]
    assert attention.kind == "MultiHeadAttention"
    np.testing.assert_array_equal(attention.kept_inputs, stem)
    np.testing.assert_array_equal(attention.kept_outputs, stem)
    for axes, expected in zip(attention.kept[0], (stem, heads, np.arange(3)), strict=True):
        np.testing.assert_array_equal(axes, expected)
    assert list(report.layers) == ["stem", "mha", "inner/up", "inner/down", "mid", "out"], "in order, changed ones only"
    oracle.assert_slices(small, model, report)
    assert report.exact and report.removed == 5


def test_channels_are_named_where_the_layer_has_them() -> None:
    """Also where none of them may fall, and where another axis loses some too."""
    inputs = Input((3, 8, 9))
    x = layers.Conv2D(4, 3, data_format="channels_first", name="a")(inputs)
    model = keras.Model(inputs, layers.Conv2D(6, 2, data_format="channels_first", name="b")(x))
    _, report = tfprune.shrink(model, ratio=0.5)
    assert [len(report.layers["a"].kept_inputs), len(report.layers["a"].kept_outputs)] == [3, 2]
    assert [len(report.layers["b"].kept_inputs), len(report.layers["b"].kept_outputs)] == [2, 6]
    inputs = Input((5, 3, 8, 9))
    x = layers.ConvLSTM2D(4, 3, data_format="channels_first", name="c")(inputs)
    model = keras.Model(inputs, layers.Conv2D(6, 2, data_format="channels_first")(x))
    _, report = tfprune.shrink(model, ratio=0.5)
    assert [len(report.layers["c"].kept_inputs), len(report.layers["c"].kept_outputs)] == [3, 2]
    inputs = Input((5, 7))
    x = layers.Permute((2, 1))(Dense(8, name="first")(inputs))
    x = layers.BatchNormalization(axis=1, name="norm")(Dense(6, name="second")(x))
    _, report = tfprune.shrink(keras.Model(inputs, Dense(2)(layers.Flatten()(x))), ratio=0.5)
    np.testing.assert_array_equal(report.layers["norm"].kept_outputs, report.layers["first"].kept_outputs)
    assert [len(each) for each in (report.layers["norm"].kept_inputs, report.layers["second"].kept_outputs)] == [4, 3]


def test_a_report_holds_costs_before_and_after() -> None:
    model = model_of()
    small, report = tfprune.shrink(model, ratio=0.5)
    assert report.before.parameters == model.count_params() and report.after.parameters == small.count_params()
    for found, measured in ((report.before, model), (report.after, small)):
        expected = tfprune.measure(measured)
        assert (found.macs, found.bytes, found.nonzero) == (expected.macs, expected.bytes, expected.nonzero)
    assert report.latency_ms is None and report.units == 8 + 10 + 6 + 4


def test_a_report_says_what_is_not_exact_and_where() -> None:
    inputs = Input((5, 4))
    x = layers.LayerNormalization(name="norm")(Dense(8, name="a")(inputs))
    x = Dense(6, activation="relu", name="b")(Dense(6, name="c")(x))
    model = oracle.randomise(keras.Model(inputs, Dense(2, name="out")(x)))
    _, exact = tfprune.shrink(model, ratio=0.5)
    assert exact.exact and all(each.exact for each in exact.layers.values()) and set(exact.layers) == {"c", "b", "out"}
    _, report = tfprune.shrink(model, ratio=0.5, units=("filters", "hidden"))
    assert not report.exact
    assert {name: each.exact for name, each in report.layers.items()} == {
        "a": False,
        "norm": False,
        "c": False,
        "b": True,
        "out": True,
    }


def test_a_report_says_what_was_frozen_and_why() -> None:
    inputs = Input((4,))
    x = layers.Lambda(lambda x: 2 * x, name="own")(Dense(6, name="a")(inputs))
    x = Dense(5, name="c")(Dense(6, name="b")(x))
    _, report = tfprune.shrink(keras.Model(inputs, Dense(2, name="out")(x)), ratio=0.5, ignore=["b"])
    assert report.frozen == {
        "own": "Lambda has no rule",
        "b": "it is to be ignored",
        "out": "its outputs are the model's",
    }
    assert set(report.layers) == {"c", "out"}
