"""Every allocation of a search meets the budget: to the weight with masks, to a few units with widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny_search
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfprune
from tfprune.backend import keras
from tfprune.errors import SelectionError, TfpruneError
from tfprune.masking.masked import masked_layers
from tfprune.masking.pruner import pruner_of
from tfprune.masking.wrap import retarget
from tfprune.recipe import parse
from tfprune.results import Sensitivity, SensitivityCurve
from tfprune.rounds.state import State
from tfprune.structure.ignore import UnitMask
from tfprune.tuning.masks import MaskSpace, sizes_of, sparsities_of
from tfprune.tuning.space import Space
from tfprune.tuning.widths import WidthSpace, budget_of

layers = keras.layers
STARTS = ["uniform", "erk", "lamp", "global", "sensitivity"]
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain() -> keras.Model:
    """A convolution, a large layer and a small one."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(24, activation="relu", name="wide"),
            layers.Dense(10, activation="relu", name="narrow"),
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )


def residual() -> keras.Model:
    """Two blocks over one stream."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for block in (1, 2):
        y = layers.Conv2D(12, 3, padding="same", activation="relu", name=f"in{block}")(x)
        y = layers.Conv2D(8, 3, padding="same", name=f"out{block}")(layers.BatchNormalization()(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    outputs = layers.Dense(3, activation="softmax", name="last")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


MODELS = {"plain": plain, "residual": residual}


def curves(names: Any, method: str = "masking") -> Sensitivity:
    """Made up: each layer more sensitive than the one before, and none lost."""
    made = [
        SensitivityCurve(name, (0.5, 0.9), (0.9, 0.8), (0.2 + 0.1 * place, 0.5 + 0.3 * place))
        for place, name in enumerate(names)
    ]
    return Sensitivity(method, 0.9, 0.1, 100, tuple(made))


def objectives(space: Space, best: str = "lamp") -> dict[str, float]:
    return {name: 0.9 if name == best else 0.8 - 0.01 * place for place, name in enumerate(space.starts)}


def masked(model: keras.Model, sensitivity: Callable[..., Sensitivity] = curves, **prune: Any) -> tuple[Any, Any]:
    """A space of masks and the wrapped model that it is of."""
    recipe = parse(tiny_search.recipe(prune={"target": {"sparsity": 0.77}, **prune}))
    wrapped = tfprune.wrap(model, tfprune.ConstantSparsity(final_sparsity=0.77), layers=recipe.masking.layers)
    wrapped.compile("adam", "sparse_categorical_crossentropy")
    return MaskSpace(recipe, model, wrapped, sensitivity(sizes_of(wrapped))), wrapped


def zeros_of(wrapped: keras.Model, ratios: dict[str, float]) -> int:
    """How many zeros masks of these ratios have, as a trial sets them."""
    fresh = State(wrapped)
    retarget(wrapped, tfprune.ConstantSparsity(final_sparsity=0.77), scope=ratios)
    pruner_of(wrapped).update(0.77)
    found = [mask.numpy() for layer in masked_layers(wrapped) for _, mask, _ in layer.pruning_vars]
    fresh.restore()
    return sum(int((mask == 0).sum()) for mask in found)


def total_of(wrapped: keras.Model) -> int:
    return sum(map(sum, sizes_of(wrapped).values()))


@pytest.fixture(scope="module", params=MODELS)
def mask_space(request: pytest.FixtureRequest) -> tuple[MaskSpace, keras.Model]:
    return masked(MODELS[request.param]())


# ------------------------------------------------------------------------------------------------ masks


def test_every_start_has_as_many_zeros_as_asked(mask_space: tuple) -> None:
    space, wrapped = mask_space
    assert list(space.starts) == STARTS
    for name, start in space.starts.items():
        assert list(start.ratios) == list(sizes_of(wrapped))
        assert zeros_of(wrapped, start.ratios) == round(0.77 * total_of(wrapped)), name


@quick
@given(st.data())
def test_so_has_whatever_the_knobs_ask(mask_space: tuple, data: st.DataObject) -> None:
    space, wrapped = mask_space
    board = space.board(objectives(space, data.draw(st.sampled_from(STARTS))))
    values = {knob.name: data.draw(st.floats(knob.low, knob.high)) for knob in board.knobs}
    ratios = space.on_budget(board.densities(values)).ratios
    assert zeros_of(wrapped, ratios) == round(0.77 * total_of(wrapped))


def test_knobs_at_nought_are_the_best_start(mask_space: tuple) -> None:
    space, wrapped = mask_space
    board = space.board(objectives(space, "erk"))
    found = space.on_budget(board.densities({knob.name: 0.0 for knob in board.knobs})).ratios
    sizes = {name: sum(each) for name, each in sizes_of(wrapped).items()}
    grouped = {member for knob in board.knobs for member in knob.members}
    assert grouped == set(sizes)
    for name, ratio in found.items():
        assert abs(ratio - space.starts["erk"].ratios[name]) * sizes[name] <= 1 + 1e-6


@pytest.mark.parametrize(
    ("start", "choices"),
    [
        ("uniform", {"scope": "layer"}),
        ("erk", {"scope": "erk"}),
        ("lamp", {"scope": "global", "importance": "lamp"}),
        ("global", {"scope": "global"}),
    ],
    ids=STARTS[:4],
)
@pytest.mark.parametrize("model", MODELS)
def test_starts_are_what_wrap_gives(model: str, start: str, choices: dict[str, str]) -> None:
    space, _ = masked(MODELS[model]())
    wrapped = tfprune.wrap(MODELS[model](), tfprune.ConstantSparsity(final_sparsity=0.77), **choices)
    pruner_of(wrapped).update(0.77)
    sizes = {name: sum(each) for name, each in sizes_of(wrapped).items()}
    for name, share in sparsities_of(wrapped).items():
        assert abs(space.starts[start].ratios[name] - share) * sizes[name] <= 1.01, name


def test_layers_of_one_stream_share_a_knob() -> None:
    space, _ = masked(residual())
    assert space.groups == [("stem", "out1", "out2"), ("in1",), ("in2",), ("last",)]


@pytest.mark.parametrize("schedule", ["constant", "polynomial"])
def test_the_model_is_left_as_it_came(schedule: str) -> None:
    recipe = parse(tiny_search.recipe(prune={"target": {"sparsity": 0.77}}))
    goal = {
        "constant": tfprune.ConstantSparsity(final_sparsity=0.77),
        "polynomial": tfprune.PolynomialDecay(final_sparsity=0.5, end_step=50),
    }[schedule]
    wrapped = tfprune.wrap(plain(), goal, scope="erk", importance="lamp")
    wrapped.compile("adam", "sparse_categorical_crossentropy")
    wrapped.optimizer.build(wrapped.trainable_variables)
    before = [each.numpy().tobytes() for each in (*wrapped.weights, *wrapped.optimizer.variables)]
    selection = masked_layers(wrapped)[0].selection
    MaskSpace(recipe, plain(), wrapped, curves(sizes_of(wrapped)))
    assert [each.numpy().tobytes() for each in (*wrapped.weights, *wrapped.optimizer.variables)] == before
    assert all(layer.selection == selection for layer in masked_layers(wrapped))
    assert all(layer.schedule == goal for layer in masked_layers(wrapped))


def test_a_scope_of_the_recipe_is_a_start_too() -> None:
    assert list(masked(plain(), scope="layer")[0].starts) == STARTS
    assert list(masked(plain(), scope="global")[0].starts) == STARTS
    own, wrapped = masked(plain(), scope={"last": 0.1})
    assert set(own.starts) == {*STARTS, "recipe"}
    for start in own.starts.values():
        assert zeros_of(wrapped, start.ratios) == round(0.77 * total_of(wrapped))


def test_a_layer_of_several_tensors() -> None:
    model = keras.Sequential(
        [keras.Input((5, 6)), layers.LSTM(7, name="lstm"), layers.Dense(40, name="wide"), layers.Dense(3, name="last")]
    )
    space, wrapped = masked(model)
    for start in space.starts.values():
        assert zeros_of(wrapped, start.ratios) == round(0.77 * total_of(wrapped))


def test_a_single_layer_has_one_allocation() -> None:
    def lost(names: Any) -> Sensitivity:
        made = [SensitivityCurve(name, (0.5, 0.9), (0.1, 0.1), (3.0, 4.0)) for name in names]
        return Sensitivity("masking", 0.9, 0.1, 100, tuple(made))

    for width in (7, 10, 12):
        model = keras.Sequential([keras.Input((width,)), layers.Dense(3, name="only")])
        space, wrapped = masked(model, lost)
        board = space.board(objectives(space))
        for value in (board.knobs[0].low, 0.0, board.knobs[0].high):
            ratios = space.on_budget(board.densities({"only": value})).ratios
            assert zeros_of(wrapped, ratios) == round(0.77 * 3 * width)


def test_a_layer_that_is_pruned_only_where_it_is_named() -> None:
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.DepthwiseConv2D(3, name="depth"),
            layers.Conv2D(8, 1, name="point"),
            layers.Flatten(),
            layers.Dense(3, name="last"),
        ]
    )
    space, wrapped = masked(model, layers=["depth", "point"])
    board = space.board(objectives(space))
    assert {member for knob in board.knobs for member in knob.members} == {"depth", "point"}
    ratios = space.on_budget(board.densities({knob.name: knob.high for knob in board.knobs})).ratios
    assert zeros_of(wrapped, ratios) == round(0.77 * total_of(wrapped))


def sparse(share: float) -> keras.Model:
    """A model of which most is pruned already, in its largest layer."""
    model = plain()
    kernel = model.get_layer("wide").kernel
    values = kernel.numpy()
    values.flat[np.argsort(np.abs(values), axis=None)[: round(share * values.size)]] = 0
    kernel.assign(values)
    return model


def test_zeros_that_a_model_brings_count() -> None:
    space, wrapped = masked(sparse(0.8))
    for name, start in space.starts.items():
        assert zeros_of(wrapped, start.ratios) == round(0.77 * total_of(wrapped)), name
    board = space.board(objectives(space))
    ratios = space.on_budget(board.densities({knob.name: knob.high for knob in board.knobs})).ratios
    assert zeros_of(wrapped, ratios) == round(0.77 * total_of(wrapped))


def test_more_zeros_than_asked_are_one_line() -> None:
    with pytest.raises(SelectionError, match=r"are zero already, and stay so; ask for more sparsity$"):
        masked(sparse(0.98))


def test_a_layer_that_would_be_lost_is_held() -> None:
    def fragile(names: Any) -> Sensitivity:
        made = [SensitivityCurve(name, (0.5, 0.9), (0.9, 0.1 if name == "last" else 0.9), (0.2, 0.3)) for name in names]
        return Sensitivity("masking", 0.9, 0.1, 100, tuple(made))

    space, wrapped = masked(plain(), fragile)
    most = max(0.5, *(start.ratios["last"] for start in space.starts.values()))
    found = space.on_budget({**dict.fromkeys(sizes_of(wrapped), 1.0), "last": 1e-6})
    assert found.ratios["last"] == pytest.approx(most, abs=1 / 30)


def test_a_sparsity_that_leaves_no_weight_for_each_layer() -> None:
    recipe = parse(tiny_search.recipe(prune={"target": {"sparsity": 0.9999}}))
    wrapped = tfprune.wrap(plain(), tfprune.ConstantSparsity(final_sparsity=0.77))
    wrapped.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(SelectionError, match=r"no allocation keeps 0 of [\d,]+ weights.*wide 1 of") as caught:
        MaskSpace(recipe, plain(), wrapped, curves(sizes_of(wrapped)))
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------- widths


def widths(model: keras.Model, target: dict[str, float], **more: Any) -> WidthSpace:
    section = {"method": "structured", "target": target, **more}
    recipe = parse(tiny_search.recipe(prune=section))
    units = UnitMask(model, ignore=recipe.structured.ignore)
    return WidthSpace(recipe, model, units, None, curves(units.names, "structured"))


TARGETS = {
    "ratio": {"ratio": 0.5},
    "params": {"params": 0.4},
    "macs": {"macs": 0.5},
    "size_mb": {"size_mb": 0.008},
}


def cost_of(model: keras.Model, target: str) -> float:
    cost = tfprune.measure(model)
    return {"params": cost.parameters, "macs": cost.macs, "size_mb": cost.bytes / 1e6}[target]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", MODELS)
def test_plans_meet_the_bound_and_are_near_it(model: str, target: str) -> None:
    dense = MODELS[model]()
    before = [each.tobytes() for each in dense.get_weights()]
    space = widths(dense, TARGETS[target])
    assert {"uniform"} <= set(space.starts) <= {"uniform", "global", "sensitivity"}  # equal ones are one
    board = space.board(objectives(space, "global"))
    rng = np.random.default_rng(3)
    tries = [{knob.name: rng.uniform(knob.low, knob.high) for knob in board.knobs} for _ in range(1)]
    tries += [
        {knob.name: (knob.low, knob.high)[(place + way) % 2] for place, knob in enumerate(board.knobs)}
        for way in (0, 1)
    ]
    found = [*space.starts.values(), *(space.on_budget(board.densities(values)) for values in tries)]
    whole = sum(space._sizes.values())
    for each in found:
        assert each.plan is not None
        gone = sum(map(len, each.plan.removed.values()))
        assert sum(ratio * space._sizes[name] for name, ratio in each.ratios.items()) == pytest.approx(gone)
        assert all(0 <= ratio < 1 for ratio in each.ratios.values())
        if target == "ratio":
            assert abs(gone - whole / 2) <= len(space._sizes) / 2
            continue
        small, _ = tfprune.apply(dense, each.plan)
        bound = next(iter(budget_of_(dense, target).values()))
        assert 0.85 * bound <= cost_of(small, target) <= bound
    assert [each.tobytes() for each in dense.get_weights()] == before


def budget_of_(dense: keras.Model, target: str) -> dict[str, float]:
    return budget_of(parse(tiny_search.recipe(prune={"method": "structured", "target": TARGETS[target]})), dense)


def test_a_coupling_that_is_asked_to_keep_all_still_gives_what_the_budget_needs() -> None:
    """The large layers hold nearly all parameters, so that the small one cannot make up for them."""
    space = widths(plain(), {"params": 0.9})
    found = space.on_budget({"conv": 100.0, "wide": 100.0, "narrow": 0.01})
    small, _ = tfprune.apply(plain(), found.plan)
    assert tfprune.measure(small).parameters <= int(0.9 * tfprune.measure(plain()).parameters)


def test_a_target_under_a_single_unit_is_one_line() -> None:
    with pytest.raises(TfpruneError) as caught:
        widths(plain(), {"ratio": 0.004})
    assert "\n" not in str(caught.value)
    assert "unit" in str(caught.value)
    assert "scope" not in str(caught.value)  # which the recipe says nothing of
