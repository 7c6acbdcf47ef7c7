"""Each layer alone: the same numbers as by hand, a model left bit for bit as it came, and curves that are kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_search
import tiny_workflow

import tfprune
from tfprune.backend import keras
from tfprune.masking.pruner import pruner_of
from tfprune.recipe import Recipe, parse
from tfprune.report.watch import Watch
from tfprune.results import Sensitivity, SensitivityCurve
from tfprune.rounds.start import data_of
from tfprune.slices.asking import asker
from tfprune.structure.ignore import UnitMask
from tfprune.tuning import sensitivity
from tfprune.tuning.sensitivity import key_of, of_masks, of_units, read_known, to_json, write_known
from tfprune.tuning.trial import wrapped_for_search

RATIOS = (0.5, 0.9)


def a_recipe(**changes: Any) -> Recipe:
    return parse(tiny_search.recipe(**changes))


@pytest.fixture(scope="module")
def setting() -> tuple[Recipe, Any, keras.Model]:
    """A recipe, its data, and a model that is trained a little."""
    recipe = a_recipe()
    data = data_of(recipe, None)
    keras.utils.set_random_seed(2)
    dense = tiny_workflow.build((8,), 3)
    dense.compile("adam", "sparse_categorical_crossentropy")
    dense.optimizer.learning_rate = 0.02
    dense.fit(data.train.batches(32), epochs=4, verbose=0)
    return recipe, data, dense


def by_hand(model: keras.Model, data: Any) -> tuple[float, float]:
    """Accuracy and cross-entropy over the whole validation part."""
    batches = list(data.validation.batches(64))
    x, y = (np.concatenate([np.asarray(batch[place]) for batch in batches]) for place in (0, 1))
    given = model.predict(x, verbose=0).astype(np.float64)
    return float((given.argmax(axis=1) == y).mean()), float(-np.log(given[np.arange(len(y)), y]).mean())


def without_smallest(kernel: np.ndarray, ratio: float) -> np.ndarray:
    gone = np.argsort(np.abs(kernel), axis=None)[: round(ratio * kernel.size)]
    found = kernel.copy()
    found.flat[gone] = 0
    return found


def state_of(model: keras.Model) -> list[bytes]:
    return [each.numpy().tobytes() for each in model.weights]


def test_masks_of_one_layer_are_what_zeroing_by_hand_gives(setting: tuple) -> None:
    recipe, data, dense = setting
    wrapped = wrapped_for_search(recipe, dense, data)
    before, goal = state_of(wrapped), pruner_of(wrapped).goal
    found = of_masks(recipe, wrapped, data.validation, Watch())
    assert state_of(wrapped) == before
    assert pruner_of(wrapped).goal == goal
    assert (found.method, found.examples) == ("masking", data.validation.size)
    assert (found.score, found.loss) == pytest.approx(by_hand(dense, data), rel=1e-5)
    assert [curve.name for curve in found.curves] == ["first", "second", "last"]
    for curve in found.curves:
        assert curve.ratios == RATIOS
        for ratio, score, loss in zip(curve.ratios, curve.scores, curve.losses, strict=True):
            copy = keras.models.clone_model(dense)
            copy.set_weights(dense.get_weights())
            kernel = copy.get_layer(curve.name).kernel
            kernel.assign(without_smallest(kernel.numpy(), ratio))
            assert (score, loss) == pytest.approx(by_hand(copy, data), rel=1e-5)


def test_it_is_the_same_again_and_traces_once(setting: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data, dense = setting
    wrapped = wrapped_for_search(recipe, dense, data)
    traces, step = [], wrapped.predict_step

    def counted(given: Any) -> Any:
        traces.append(1)
        return step(given)

    monkeypatch.setattr(wrapped, "predict_step", counted, raising=False)
    first = of_masks(recipe, wrapped, data.validation, Watch())
    assert len(traces) <= 1
    ask = asker(wrapped)
    assert of_masks(recipe, wrapped, data.validation, Watch()) == first
    assert asker(wrapped) is ask
    assert len(traces) <= 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["error", "interrupt"])
def test_a_failure_leaves_the_model_as_it_came(
    setting: tuple, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    recipe, data, dense = setting
    wrapped = wrapped_for_search(recipe, dense, data)
    before, turns = state_of(wrapped), iter(range(100))

    def fail(*given: Any) -> Any:
        if next(turns) == 3:
            raise error
        return sensitivity_answer(*given)

    sensitivity_answer = sensitivity.answer
    monkeypatch.setattr(sensitivity, "answer", fail)
    with pytest.raises(error):
        of_masks(recipe, wrapped, data.validation, Watch())
    assert state_of(wrapped) == before


def test_units_of_one_coupling_are_what_a_smaller_model_gives(setting: tuple) -> None:
    _, data, dense = setting
    structured = a_recipe(prune=tiny_search.STRUCTURED)
    before = state_of(dense)
    units = UnitMask(dense, ignore=["last"])
    found = of_units(structured, dense, units, data.validation, Watch())
    assert state_of(dense) == before
    assert found.method == "structured"
    assert (found.score, found.loss) == pytest.approx(by_hand(dense, data), rel=1e-5)
    assert [curve.name for curve in found.curves] == list(units.names) == ["first", "second"]
    for curve in found.curves:
        for ratio, score, loss in zip(curve.ratios, curve.scores, curve.losses, strict=True):
            share = round(ratio * 16) / 32  # of the units of both
            small, report = tfprune.shrink(dense, ratio=share, scope={curve.name: ratio})
            assert len(report.plan.removed[curve.name]) == round(ratio * 16)
            assert (score, loss) == pytest.approx(by_hand(small, data), rel=1e-4)


def test_examples_are_as_many_as_asked_and_of_all_classes(setting: tuple) -> None:
    _, data, dense = setting
    few = a_recipe(search__examples=12)
    wrapped = wrapped_for_search(few, dense, data)
    assert of_masks(few, wrapped, data.validation, Watch()).examples == 12
    taken = list(sensitivity._sample(data.validation, 12, few.seed))
    assert set(np.concatenate([y for _, y in taken])) == {0, 1, 2}
    whole = list(sensitivity._sample(data.validation, 10**6, few.seed))
    assert sum(len(y) for _, y in whole) == data.validation.size


# ------------------------------------------------------------------------------------ known from before

CURVES = Sensitivity("masking", 0.9, 0.1, 10, (SensitivityCurve("a/b", (0.5, 0.9), (0.8, 1 / 3), (0.1 + 0.2, 4.0)),))


def test_curves_are_read_back(tmp_path: Path) -> None:
    write_known(tmp_path / "deep" / "known.json", CURVES)
    assert read_known(tmp_path / "deep" / "known.json") == CURVES


@pytest.mark.parametrize("bad", [math.inf, math.nan], ids=str)
def test_losses_that_are_no_numbers_are_read_back(tmp_path: Path, bad: float) -> None:
    given = replace(CURVES, curves=(replace(CURVES.curves[0], losses=(0.5, bad)),))
    write_known(tmp_path / "known.json", given)
    found = read_known(tmp_path / "known.json")
    assert found is not None
    assert repr(found) == repr(given)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", b'{"method": "masking"}'], ids=repr)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "known.json"
    if content is not None:
        path.write_bytes(content)
    assert read_known(path) is None


def test_text_is_that_of_the_file(tmp_path: Path) -> None:
    write_known(tmp_path / "known.json", CURVES)
    assert (tmp_path / "known.json").read_text() == to_json(CURVES)


MATTERS = {
    "importance": {"prune__importance": "lamp"},
    "batches": {"prune__batches": 3},
    "layers": {"prune__layers": ["first"]},
    "pattern": {"prune__pattern": "1x4"},
    "shares": {"search__sensitivity": [0.5, 0.8]},
    "examples": {"search__examples": 50},
    "seed": {"seed": 4},
    "batch-size": {"train__batch_size": 16},
    "epochs": {"train__epochs": 9},
    "learning-rate": {"train__learning_rate": 0.5},
    "optimizer": {"train__optimizer": "sgd"},
    "precision": {"precision": "mixed_bfloat16"},
    "method": {"prune": tiny_search.STRUCTURED},
}
NO_MATTER = {
    "name": {"name": "other"},
    "target": {"prune__target": {"sparsity": 0.3}},
    "scope": {"prune__scope": "erk"},
    "rounds": {"prune__rounds": 4},
    "oracle": {"search__oracle": "grid"},
    "trials": {"search__trials": 9},
    "objective": {"search__objective": "worst_slice"},
    "finetune": {"finetune": {"epochs": 7}},
    "gates": {"stop__max_drop": 0.5},
    "record": {"track": {"experiment": "other"}},
}


@pytest.mark.parametrize("changes", MATTERS.values(), ids=MATTERS)
def test_what_matters_has_curves_of_its_own(changes: dict[str, Any]) -> None:
    assert key_of(a_recipe(**changes), "print") != key_of(a_recipe(), "print")


@pytest.mark.parametrize("changes", NO_MATTER.values(), ids=NO_MATTER)
def test_what_does_not_matter_finds_the_same_curves(changes: dict[str, Any]) -> None:
    assert key_of(a_recipe(**changes), "print") == key_of(a_recipe(), "print")


def test_how_a_model_was_trained_before_is_in_its_weights() -> None:
    model = {"model": {"file": "a.keras"}}
    assert key_of(a_recipe(**model, train__epochs=9), "print") == key_of(a_recipe(**model), "print")
    assert key_of(a_recipe(**model, train__batch_size=9), "print") != key_of(a_recipe(**model), "print")


def test_another_model_has_curves_of_its_own() -> None:
    assert key_of(a_recipe(), "print") != key_of(a_recipe(), "other")
    assert len(key_of(a_recipe(), "print")) == 16


def test_units_that_are_kept_matter() -> None:
    keys = {
        key_of(a_recipe(prune={**tiny_search.STRUCTURED, **more}), "print")
        for more in ({}, {"ignore": ["last"]}, {"units": ["filters"]}, {"importance": "l1"})
    }
    assert len(keys) == 4
