"""Choices that are possible, choices that are not, and shares by layer."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfprune
from tfprune.backend import keras
from tfprune.errors import ImportanceError, ModelError, ScheduleError, SelectionError, TfpruneError
from tfprune.importance.scores import IMPORTANCES
from tfprune.masking.budget import layer_sparsities
from tfprune.masking.masked import masked_layers
from tfprune.masking.selection import SCOPES, Selection

PROPERTY = settings(max_examples=150, deadline=None)
HALF = tfprune.ConstantSparsity(final_sparsity=0.5)
EIGHT_TENTHS = tfprune.ConstantSparsity(final_sparsity=0.8)

selections = st.one_of(
    st.fixed_dictionaries(
        {
            "scope": st.just("global"),
            "floor": st.floats(0, 0.4),
            "ceiling": st.floats(0.5, 1),
            "normalize": st.booleans(),
            "pattern": st.sampled_from([None, "element", "2:4", "1x4"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "scope": st.sampled_from(SCOPES) | st.dictionaries(st.text(min_size=1), st.floats(0, 0.99), min_size=1),
            "regrow": st.floats(0, 0.99),
            "pattern": st.sampled_from([None, "4x1", "2x2"]),
        }
    ),
)


@PROPERTY
@given(selections, st.sampled_from(sorted(IMPORTANCES)), st.integers(1, 99), st.integers(0, 2**40))
def test_a_selection_goes_through_json(chosen: dict, importance: str, batches: int, seed: int) -> None:
    selection = Selection(importance=importance, batches=batches, seed=seed, **chosen)
    config = selection.get_config()
    assert config == {**config, **chosen, "importance": importance, "batches": batches, "seed": seed}
    again = Selection(**json.loads(json.dumps(config)))
    assert again == selection
    if isinstance(selection.scope, dict):
        assert list(again.scope.items()) == list(selection.scope.items()), "the first pattern counts"
        config["scope"].clear()
        assert selection.scope, "a config shares nothing with its selection"


def test_a_config_names_a_function_and_does_not_copy_it() -> None:
    class Heavy:
        def __call__(self, weights: np.ndarray) -> np.ndarray:
            return weights

        def __deepcopy__(self, memo: dict) -> None:
            raise AssertionError("copied")

        def __repr__(self) -> str:
            return "Heavy()"

    assert Selection(importance=Heavy()).get_config()["importance"] == "Heavy()"


def test_a_mapping_is_taken_as_it_is_now() -> None:
    scope = {"head": 0.5}
    selection = Selection(scope=scope)
    scope["head"] = 2.0
    assert selection.scope == {"head": 0.5}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"importance": "magnitde"}, ImportanceError, "but got 'magnitde'; did you mean 'magnitude'"),
        ({"scope": "globl"}, SelectionError, "one of layer, global, erk, or sparsities by layer name.*mean 'global'"),
        ({"scope": 0.5}, SelectionError, "but got 0.5"),
        ({"scope": None}, SelectionError, "but got None"),
        ({"scope": ["layer"]}, SelectionError, r"but got \['layer'\]"),
        ({"scope": {}}, SelectionError, "an empty mapping"),
        ({"scope": {"head": 1.0}}, SelectionError, r"scope\['head'\] must be a number in \[0, 1\), but got .*=1.0"),
        ({"scope": {"head": "0.5"}}, SelectionError, r"scope\['head'\]='0.5'"),
        ({"scope": {"head": float("nan")}}, SelectionError, r"scope\['head'\]=nan"),
        ({"pattern": "two of four"}, SelectionError, "but got 'two of four'"),
        ({"batches": 0}, SelectionError, "batches must be a whole number, 1 or more, but got batches=0"),
        ({"batches": 2.5}, SelectionError, "batches=2.5"),
        ({"batches": True}, SelectionError, "batches=True"),
        ({"seed": -1}, SelectionError, "seed must be a whole number, 0 or more, but got seed=-1"),
        ({"seed": None}, SelectionError, "seed=None"),
        ({"scope": "global", "floor": 1.0}, SelectionError, r"floor must be a number in \[0, 1\), but got floor=1.0"),
        ({"scope": "global", "floor": "low"}, SelectionError, "floor='low'"),
        ({"scope": "global", "ceiling": 0}, SelectionError, r"ceiling must be a number in \(0, 1\], but got ceiling=0"),
        ({"scope": "global", "ceiling": 1.1}, SelectionError, "ceiling=1.1"),
        ({"regrow": 1}, SelectionError, r"regrow must be a number in \[0, 1\), but got regrow=1"),
        ({"regrow": -0.1}, SelectionError, "regrow=-0.1"),
        (
            {"scope": "global", "floor": 0.5, "ceiling": 0.5},
            SelectionError,
            "floor must lie under ceiling, .*floor=0.5",
        ),
        ({"scope": "global", "floor": 0.6, "ceiling": 0.5}, SelectionError, "floor=0.6, ceiling=0.5"),
        ({"floor": 0.1}, SelectionError, "floor goes with scope='global', but scope is 'layer'"),
        ({"ceiling": 0.9, "scope": "erk"}, SelectionError, "ceiling goes with scope='global', but scope is 'erk'"),
        ({"normalize": True}, SelectionError, "normalize goes with scope='global'"),
        ({"scope": "global", "regrow": 0.1, "floor": 0.1}, SelectionError, "regrow does not go with floor or ceiling"),
        ({"scope": "global", "regrow": 0.1, "ceiling": 0.9}, SelectionError, "regrow does not go with floor or"),
        ({"scope": "erk", "pattern": "2:4"}, SelectionError, "scope 'erk' does not go with pattern '2:4'"),
    ],
)
def test_a_selection_that_cannot_be_is_told_in_one_line(arguments: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        Selection(**arguments)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ by layer

names = st.sampled_from(["conv1", "conv2", "head", "hidden"])


@PROPERTY
@given(st.lists(names, min_size=1, max_size=4), st.floats(0, 0.99), st.floats(0, 1))
def test_an_exact_name_comes_before_patterns_of_which_the_first_counts(
    layers: list[str], sparsity: float, progress: float
) -> None:
    scope = {"c*1": 0.9, "conv*": 0.8, "h*": 0.6, "conv2": 0.7, "*": 0.5}
    expected = {"conv1": 0.9, "conv2": 0.7, "head": 0.6, "hidden": 0.6}
    tensors = [(name, (4, 4)) for name in layers]
    found = layer_sparsities(scope, tensors, sparsity, progress)
    assert found == pytest.approx([expected[name] * progress for name in layers])
    unnamed = {"conv?": 0.3}
    found = layer_sparsities(unnamed, tensors, sparsity, progress)
    assert found == pytest.approx([0.3 * progress if name[0] == "c" else sparsity for name in layers])


many_shapes = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5)


@PROPERTY
@given(many_shapes, st.floats(0, 0.999) | st.just(1e-17))
def test_erk_meets_the_total_in_the_papers_proportions(shapes: list[tuple[int, ...]], sparsity: float) -> None:
    found = layer_sparsities("erk", [("layer", shape) for shape in shapes], sparsity, 1.0)
    sizes = [math.prod(shape) for shape in shapes]
    densities = [1 - each for each in found]
    assert all(-1e-9 <= each <= 1 + 1e-9 for each in densities)
    assert math.fsum(d * n for d, n in zip(densities, sizes, strict=True)) == pytest.approx(
        (1 - sparsity) * sum(sizes), rel=1e-9
    )
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    scales = [d / r for d, r in zip(densities, raw, strict=True) if d < 1]
    if scales:
        assert max(scales) == pytest.approx(min(scales), rel=1e-6), "density in proportion to sum / product"
        full = [1 / r for d, r in zip(densities, raw, strict=True) if d >= 1]
        assert all(each <= max(scales) * (1 + 1e-9) for each in full), "full are those that would pass 1 alone"


def test_erk_by_hand() -> None:
    """Evci et al. 2020: density is e * (inputs + outputs + height + width) / (their product)."""
    shapes = [(3, 3, 16, 32), (512, 10)]
    scale = 0.1 * (4608 + 5120) / (3 + 3 + 16 + 32 + 512 + 10)
    found = layer_sparsities("erk", [("a", shapes[0]), ("b", shapes[1])], 0.9, 1.0)
    assert found == pytest.approx([1 - scale * 54 / 4608, 1 - scale * 522 / 5120])


# ---------------------------------------------------------------------------------------------- in a model


def model() -> keras.Model:
    return keras.Sequential(
        [keras.layers.Dense(16, "relu", input_shape=(8,), name="hidden"), keras.layers.Dense(4, name="head")]
    )


LIMITS = {"scope": "global", "floor": 0.2, "ceiling": 0.4}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"importance": "tailor"}, ImportanceError, "got 'tailor'; did you mean 'taylor'"),
        ({"scope": {"haed": 0.5}}, SelectionError, "scope: 'haed' matches no layer that is pruned; .*'head'"),
        ({"scope": {"conv*": 0.5, "head": 0.5}}, SelectionError, r"scope: 'conv\*' matches no layer"),
        ({"scope": {"head": 0.5}, "layers": ["hidden"]}, SelectionError, "scope: 'head' matches no layer that is prun"),
        (LIMITS, SelectionError, "must lie between floor and ceiling, .*floor=0.2, ceiling=0.4 and .* ends at 0.5"),
        ({"scope": "global", "floor": 0.6}, SelectionError, "floor=0.6, ceiling=1 and a schedule that ends at 0.5"),
        ({"schedule": "cosine"}, ScheduleError, "expected a schedule such as .*, but got 'cosine'"),
        ({"seed": 1.5}, SelectionError, "seed=1.5"),
    ],
)
def test_wrap_refuses_in_one_line(arguments: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        tfprune.wrap(model(), **{"schedule": HALF, **arguments})
    assert "\n" not in str(caught.value)


def test_frozen_masks_go_with_any_limits() -> None:
    tfprune.wrap(model(), tfprune.FrozenMasks(), **LIMITS)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"scop": "global"}, SelectionError, "retarget: unknown argument 'scop'; allowed: .*; did you mean 'scope'"),
        ({"layers": ["head"]}, SelectionError, "unknown argument 'layers'"),
        ({"scope": "glob"}, SelectionError, "did you mean 'global'"),
        ({"scope": {"hed": 0.5}}, SelectionError, "'hed' matches no layer that is pruned; .*'head'"),
        ({"importance": "magnitudes"}, ImportanceError, "did you mean 'magnitude'"),
        ({"scope": "layer", "pattern": "2:4", "schedule": EIGHT_TENTHS}, SelectionError, "at most 0.5 .* ends at 0.8"),
        ({"schedule": 0.8}, ScheduleError, "but got 0.8"),
    ],
)
def test_retarget_refuses_in_one_line_and_changes_nothing(arguments: dict, error: type, words: str) -> None:
    pruned = tfprune.wrap(model(), HALF, scope="erk")
    with pytest.raises(error, match=words) as caught:
        tfprune.retarget(pruned, **arguments)
    assert "\n" not in str(caught.value)
    assert {(layer.selection.scope, layer.schedule) for layer in masked_layers(pruned)} == {("erk", HALF)}


@pytest.mark.parametrize("given_", [model, lambda: None, lambda: "model"], ids=["plain", "None", "text"])
def test_retarget_wants_a_wrapped_model(given_: object) -> None:
    with pytest.raises(ModelError, match=r"expected a model that tfprune\.wrap made"):
        tfprune.retarget(given_(), HALF)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tfprune.PolynomialDecay(final_sparsity=1.0, end_step=9),
        lambda: tfprune.CosineDecay(final_sparsity=0.5, begin_step=9, end_step=9),
        lambda: Selection(scope="none"),
        lambda: Selection(importance=lambda: 0),
    ],
)
def test_every_refusal_is_one_of_the_packages_own(make: object) -> None:
    with pytest.raises(TfpruneError) as caught:
        make()
    assert "\n" not in str(caught.value)
