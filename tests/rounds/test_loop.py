"""The whole workflow, in this process, on a tiny model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_workflow
from mlflow import MlflowClient

import tfprune
from tfprune.backend import keras, tf
from tfprune.data.load import from_arrays
from tfprune.errors import DataError, ModelError, RecipeError, SliceError
from tfprune.masking.masked import masked_layers
from tfprune.recipe import load, parse
from tfprune.report.watch import Watch
from tfprune.results import RunResult
from tfprune.rounds.start import execute, fingerprint_of
from tfprune.rounds.stop import best_round

pytestmark = pytest.mark.usefixtures("home")


def run(name: str, *, model=None, data=None, watch=None, **changes) -> RunResult:
    content = tiny_workflow.recipe(name=name, **{"track__models": False, **changes})
    return execute(parse(content), model=model, data=data, watch=watch)


def sparsity_of(model: keras.Model, layers=("first", "second", "last")) -> float:
    kernels = [model.get_layer(name).kernel.numpy() for name in layers]
    return sum(int((each == 0).sum()) for each in kernels) / sum(each.size for each in kernels)


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A dense model that answers well, trained elsewhere."""
    keras.utils.set_random_seed(5)
    model = tiny_workflow.build((8,), 3)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*tiny_workflow.examples(), epochs=8, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def trained_weights(trained) -> list[np.ndarray]:
    """As they were before anybody ran a workflow on them."""
    return trained.get_weights()


class Log(Watch):
    """Writes down what happened when."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def phase(self, title: str, steps: int, done: int = 0) -> None:
        self.events.append("training")

    def round(self, finished) -> None:
        self.events.append(finished.label)


EVENTS: list[str] = []


@pytest.fixture(scope="module")
def trained_run(trained, trained_weights, warm_home) -> RunResult:
    """What became of it; `EVENTS` tells in which order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return run("given", model=trained, watch=Log(EVENTS))


# ----------------------------------------------------------------------------------------------- the result


@pytest.fixture(scope="module")
def plain_run(warm_home) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return run("plain")


def test_the_result_is_the_recorded_round(plain_run):
    model, best = plain_run.model, plain_run.best_round
    assert (plain_run.target_met, plain_run.best, len(plain_run.rounds)) == (True, 2, 3)
    assert not masked_layers(model) and {type(each).__module__.split(".")[0] for each in model.layers} == {"tf_keras"}
    assert sparsity_of(model) == best.sparsity == pytest.approx(0.6, abs=0.005)
    assert best.measurement == tfprune.measure(model).__class__(**{**vars(tfprune.measure(model)), "layers": ()})
    written = tfprune.load(plain_run.directory / "model.keras")
    assert same_weights(written, model)
    x, _ = tiny_workflow.examples()
    np.testing.assert_array_equal(written.predict(x, verbose=0), model.predict(x, verbose=0))


def test_the_ledger_says_the_same(plain_run):
    ledger = json.loads((plain_run.directory / "ledger.json").read_text())
    assert ledger["outcome"] == plain_run.outcome
    assert [each["sparsity"] for each in ledger["rounds"]] == [each.sparsity for each in plain_run.rounds]
    assert load(plain_run.directory / "recipe.yaml").prune.target.sparsity == 0.6


def test_rounds_tell_what_happened(plain_run):
    dense, first, second = plain_run.rounds
    assert (dense.label, dense.evaluation.drop, dense.parent, dense.sparsity) == ("dense", None, 0, 0.0)
    assert [each.parent for each in (first, second)] == [0, 1]
    assert first.target == pytest.approx(1 - 0.4**0.5)
    for each in (first, second):
        assert each.evaluation.drop == pytest.approx(dense.evaluation.accuracy - each.evaluation.accuracy)
        assert [one.name for one in each.evaluation.slices] == ["class_0", "class_1", "class_2"]
        assert len(each.history) == 2 and each.seconds > 0
        assert each.measurement.nonzero < dense.measurement.nonzero
    assert dense.finished <= first.finished <= second.finished


def test_the_same_recipe_gives_the_same_bits(plain_run):
    again = run("plain")
    assert again.workflow == "plain-2"
    assert same_weights(again.model, plain_run.model)
    assert (again.test, again.test_dense) == (plain_run.test, plain_run.test_dense)
    assert [each.evaluation for each in again.rounds] == [each.evaluation for each in plain_run.rounds]


def test_zeros_never_come_back(plain_run):
    def zeros(number: int) -> list[np.ndarray]:
        with np.load(plain_run.directory / f"round-{number:02d}.npz") as arrays:
            return [arrays[key] == 0 for key in arrays.files if arrays[key].ndim == 2]

    for before, after in zip(zeros(1), zeros(2), strict=True):
        assert not (before & ~after).any()


# -------------------------------------------------------------------------------------------------- gates


def test_the_furthest_round_that_passed_is_the_result(trained):
    result = run(
        "gate",
        model=trained,
        finetune={"epochs": 1, "learning_rate": 1e-9},
        prune={"target": {"sparsity": 0.97}, "rounds": 3, "scope": "global"},
        stop={"max_drop": 0.1, "max_rounds": 12, "min_step": 0.01, "patience": 2},
    )
    assert not result.target_met
    assert not result.rounds[-1].verdict.passed, "the gate was to fail; the test tests nothing"
    assert 0 < result.best < len(result.rounds) - 1
    assert result.best == best_round(result.rounds).number
    assert sparsity_of(result.model) == result.best_round.sparsity
    failed = next(each for each in result.rounds if not each.verdict.passed)
    assert failed.verdict.reasons[0].startswith("accuracy fell by")
    retry = result.rounds[failed.number + 1]
    assert retry.parent == best_round(result.rounds[: failed.number + 1]).number
    assert retry.share == pytest.approx(failed.share / 2)
    assert result.outcome.startswith("Target not met (")


def test_no_round_that_passed_leaves_the_dense_model(trained):
    result = run(
        "hopeless",
        model=trained,
        finetune={"epochs": 1, "learning_rate": 1e-9},
        prune={"target": {"sparsity": 0.97}, "rounds": 1},
        stop={"max_drop": 0.0, "patience": 1},
    )
    assert (result.best, result.target_met, len(result.rounds)) == (0, False, 2)
    assert same_weights(result.model, trained)
    assert result.test.accuracy == result.test_dense.accuracy
    assert result.outcome.startswith("No round kept its promises")


# ------------------------------------------------------------------------------------- validation and test


def test_the_test_split_is_looked_at_once_at_the_end():
    events: list[str] = []
    x, y = tiny_workflow.examples(120)

    def dataset(name: str) -> tf.data.Dataset:
        def generate():
            events.append(name)
            yield from zip(x, y, strict=True)

        spec = (tf.TensorSpec((8,), tf.float32), tf.TensorSpec((), tf.int64))
        return tf.data.Dataset.from_generator(generate, output_signature=spec)

    data = {name: dataset(name) for name in ("train", "validation", "test")}
    run("touch", data=data, model=tiny_workflow.build((8,), 3), watch=Log(events))
    started, ended = events.index("training"), events.index("r02")
    assert "test" in events[:started], "it was read to be checked"
    assert "validation" in events[started:ended] and "train" in events[started:ended]
    assert "test" not in events[started:ended]
    assert events[ended:].count("test") == 2, "dense and best, and nothing else"


def test_the_test_split_decides_nothing(trained):
    x, y = tiny_workflow.examples()
    parts = {"train": (x[:120], y[:120]), "validation": (x[120:180], y[120:180])}
    good = run("blind", model=trained, data={**parts, "test": (x[180:], y[180:])})
    bad = run("blind", model=trained, data={**parts, "test": (x[180:], (y[180:] + 1) % 3)})
    assert [each.evaluation for each in good.rounds] == [each.evaluation for each in bad.rounds]
    assert same_weights(good.model, bad.model)
    assert good.test.accuracy > 0.7 > 0.3 > bad.test.accuracy
    assert good.test.support == 60


# ----------------------------------------------------------------------------------------- models and data


def test_a_given_model_counts_as_trained_and_stays_as_it_is(trained, trained_weights, trained_run):
    assert all(a.tobytes() == b.tobytes() for a, b in zip(trained_weights, trained.get_weights(), strict=True))
    assert int(trained.optimizer.iterations) == 8 * 8
    assert not masked_layers(trained)
    assert EVENTS == ["dense", "training", "r01", "training", "r02"]
    assert trained_run.rounds[0].history == ()
    with np.load(trained_run.directory / "round-00.npz") as arrays:
        assert all(arrays[f"w{index}"].tobytes() == each.tobytes() for index, each in enumerate(trained_weights))


def test_data_as_a_pair_and_an_export(trained, tmp_path):
    path = tmp_path / "deep" / "best.h5"
    recipe = tiny_workflow.recipe(name="pair", track__models=False, export__path=str(path), prune__rounds=1)
    result = tfprune.run(recipe, model=trained, data=tiny_workflow.examples(200))
    assert (result.rounds[0].evaluation.support, result.test.support) == (30, 30)
    x, _ = tiny_workflow.examples()
    expected = result.model.predict(x, verbose=0)
    np.testing.assert_allclose(tfprune.load(path).predict(x, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruned_from_zeros_that_are_there(scope):
    model = tiny_workflow.build((8,), 3)
    kernel = model.get_layer("second").kernel
    holes = np.zeros(kernel.shape, bool)
    holes[:12] = True
    kernel.assign(np.where(holes, 0, kernel.numpy()))
    result = run("holes", model=model, prune__scope=scope)
    assert result.rounds[0].sparsity == pytest.approx(holes.sum() / 432)
    assert result.rounds[1].target == pytest.approx(1 - ((1 - result.rounds[0].sparsity) * 0.4) ** 0.5)
    assert (result.model.get_layer("second").kernel.numpy()[holes] == 0).all()
    # Ranked by layer, a layer that was sparser than the target stays so, and the others reach it.
    if scope == "global":
        assert result.best_round.sparsity == pytest.approx(0.6, abs=0.005)
    else:  # one layer stays sparser than asked of each, so all together are
        assert result.target_met and result.best_round.sparsity > 0.6


def test_some_layers_only(trained):
    result = run("some", model=trained, prune__layers=["sec*"], prune__rounds=1)
    assert result.best_round.sparsity == pytest.approx(0.6, abs=0.005)
    assert sparsity_of(result.model, ["second"]) == result.best_round.sparsity
    assert sparsity_of(result.model, ["first", "last"]) == 0


def test_scope(trained, trained_run):
    everywhere = run("global", model=trained, prune__scope="global", prune__rounds=1).model
    for name in ("first", "second", "last"):
        assert sparsity_of(trained_run.model, [name]) == pytest.approx(0.6, abs=0.02)
    spread = [sparsity_of(everywhere, [name]) for name in ("first", "second", "last")]
    assert max(spread) - min(spread) > 0.05
    assert sparsity_of(everywhere) == pytest.approx(0.6, abs=0.005)


def test_logits(trained, trained_run):
    logits = tiny_workflow.build((8,), 3, logits=True)
    logits.set_weights(trained.get_weights())
    ours = run("logits", model=logits)
    assert ours.rounds[0].evaluation.accuracy == trained_run.rounds[0].evaluation.accuracy
    assert ours.rounds[0].evaluation.loss == pytest.approx(trained_run.rounds[0].evaluation.loss, rel=1e-4)
    assert ours.rounds[1].history[0]["loss"] == pytest.approx(trained_run.rounds[1].history[0]["loss"], rel=0.01)


def test_sixteen_bits(plain_run):
    result = run("bits", precision="mixed_bfloat16")
    assert {each.dtype_policy.name for each in result.model.layers} == {"float32"}
    assert all(each.dtype == np.float32 for each in result.model.get_weights())
    assert result.best_round.sparsity == plain_run.best_round.sparsity == sparsity_of(result.model)
    assert result.rounds[0].history[-1]["loss"] < result.rounds[0].history[0]["loss"], "it learns"
    assert not same_weights(result.model, plain_run.model)


def test_all_at_once(trained):
    result = run("constant", model=trained, prune__schedule={"kind": "constant"})
    assert [each.sparsity for each in result.rounds[1:]] == pytest.approx([1 - 0.4**0.5, 0.6], abs=0.005)


# ------------------------------------------------------------------------------- refused before any training


class NoTraining(Watch):
    def phase(self, title: str, steps: int, done: int = 0) -> None:
        raise AssertionError("training has begun")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"prune__layers": ["secnod"]}, ModelError, "'secnod' matches no layer .* did you mean 'second'"),
        ({"prune__layers": ["norm"]}, ModelError, "nothing to prune"),
        ({"stop": {"slice_drops": {"class_7": 0.1}}}, SliceError, "no slice is named 'class_7'"),
        ({"model": None}, RecipeError, "model: is missing"),
        ({"data": None}, RecipeError, "data: is missing"),
        ({"data__arguments": {"count": 3}}, DataError, "the validation split has 0 of 3 examples"),
        ({"slices": ["classes"], "data__test": 0.01}, SliceError, "has no example in the test split"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_refused_at_once(changes, kind, message, home):
    before = set((home / "workflows").glob("*")) if (home / "workflows").exists() else set()
    with pytest.raises(kind, match=message) as caught:
        execute(parse(tiny_workflow.recipe(name="refused", **changes)), watch=NoTraining())
    assert "\n" not in str(caught.value)
    assert set((home / "workflows").glob("refused*")) <= before


def test_a_loss_that_is_no_number_leaves_what_passed_before(trained):
    result = run("explodes", model=trained, finetune__learning_rate=1e30, train__optimizer="sgd")
    assert not result.target_met
    assert (result.best, len(result.rounds)) == (0, 1)
    assert "lower the learning rate" in result.outcome
    runs = MlflowClient(result.tracking_uri).search_runs(["1"], f"tags.`tfprune.workflow` = '{result.workflow}'")
    assert sorted((each.info.run_name, each.info.status) for each in runs) == [
        (result.workflow, "FINISHED"),
        (f"{result.workflow} dense", "FINISHED"),
        (f"{result.workflow} r01", "FAILED"),
    ]


def test_what_tensorflow_refuses_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short_vocabulary.py").write_text(
        "from tfprune.backend import keras\n"
        "def build(input_shape, classes):\n"
        "    layers = keras.layers\n"
        "    parts = [layers.Embedding(4, 3, input_length=5), layers.Flatten(), layers.Dense(classes, 'softmax')]\n"
        "    return keras.Sequential(parts)\n"
    )
    ids, labels = np.random.default_rng(0).integers(0, 50, (60, 5)), np.arange(60) % 3
    recipe = tiny_workflow.recipe(name="ids", model={"function": "short_vocabulary:build"})
    with pytest.raises(DataError, match="TensorFlow stopped") as caught:
        execute(parse(recipe), data=(ids, labels))
    assert "\n" not in str(caught.value)


def test_what_is_handed_in_is_not_recorded_as_the_recipe_names_it(trained):
    result = run("handed", model=trained, data=tiny_workflow.examples(), prune__rounds=1)
    recorded = (result.directory / "recipe.yaml").read_text()
    assert "model:" not in recorded and "data:" not in recorded


def test_another_architecture_is_another_workflow():
    def fingerprint(activation: str) -> str:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Dense(3, activation, input_shape=(8,))])
        return fingerprint_of(model, from_arrays(*tiny_workflow.examples()))

    assert fingerprint("relu") == fingerprint("relu")  # whatever number Keras gives to the layer
    assert fingerprint("relu") != fingerprint("tanh")


def test_float16_is_trained_with_loss_scaling():
    result = run("half", precision="mixed_float16", track__models=False)
    assert result.target_met
    with np.load(result.directory / "progress.npz") as arrays:
        assert any(arrays[key].size == 1 and arrays[key] >= 2**10 for key in arrays.files if key.startswith("o"))
