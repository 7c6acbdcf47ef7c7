"""Scores, scopes, patterns, lottery tickets and one-shot pruning in rounds."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import tiny_workflow

import tfprune
from tfprune.backend import keras
from tfprune.errors import ImportanceError, RecipeError, SelectionError, TrainingError
from tfprune.importance.gradients import Gradients
from tfprune.masking.masked import masked_variables
from tfprune.masking.pruner import Pruner
from tfprune.recipe import parse
from tfprune.report.watch import Watch
from tfprune.results import RunResult
from tfprune.rounds import loop
from tfprune.rounds.checkpoint import Workflow
from tfprune.rounds.start import execute

pytestmark = pytest.mark.usefixtures("home")

KERNELS = ("first", "second", "last")


def recipe(name: str, **changes):
    changes = {"track__models": False, "train__epochs": 2, "finetune__epochs": 1, **changes}
    return parse(tiny_workflow.recipe(name=name, **changes))


def sparsities(model: keras.Model) -> list[float]:
    return [float((model.get_layer(name).kernel.numpy() == 0).mean()) for name in KERNELS]


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in pairs)


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    keras.utils.set_random_seed(5)
    model = tiny_workflow.build((8,), 3)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(*tiny_workflow.examples(), epochs=8, batch_size=32, verbose=0)
    return model


# -------------------------------------------------------------------------------- scores, scopes, patterns


def test_sparsities_by_layer(trained):
    result = execute(recipe("bylayer", prune__scope={"second": 0.9, "la*": 0.25}), model=trained)
    assert result.target_met and "every layer has reached its sparsity" in result.outcome
    assert sparsities(result.model) == pytest.approx([0.6, 0.9, 0.25], abs=0.02)
    assert [each.target for each in result.rounds] == pytest.approx([0, 1 - 0.4**0.5, 0.6])
    share = result.rounds[1].target / 0.6
    expected = share * (0.6 * 128 + 0.9 * 256 + 0.25 * 48) / 432
    assert result.rounds[1].sparsity == pytest.approx(expected, abs=0.005), "on the way, each has its share"


def test_floors_are_shares_of_the_final_ones(trained):
    limits = {"prune__scope": "global", "prune__floor": 0.55, "prune__ceiling": 0.65, "prune__normalize": True}
    result = execute(recipe("limits", **limits), model=trained)
    assert result.target_met
    assert all(0.54 <= each <= 0.66 for each in sparsities(result.model))


@pytest.mark.parametrize(
    ("pattern", "target"),
    [
        ("2:4", 0.5),
        pytest.param("1:4", 0.75, marks=pytest.mark.full),
        pytest.param("3:4", 0.25, marks=pytest.mark.full),
    ],
)
def test_n_of_m(pattern, target, trained):
    result = execute(
        recipe("nofm", prune={"target": {"sparsity": target}, "rounds": 2, "pattern": pattern}), model=trained
    )
    assert result.target_met and result.best_round.sparsity == target
    for name in KERNELS:
        kernel = result.model.get_layer(name).kernel.numpy()
        assert ((kernel.reshape(-1, 4, kernel.shape[1]) == 0).sum(axis=1) == 4 * target).all()


def test_a_rounded_share_becomes_that_of_the_pattern():
    model = keras.Sequential([keras.layers.Dense(9, input_shape=(9,)), keras.layers.Dense(3, "softmax")])
    x = np.random.default_rng(0).normal(size=(90, 9)).astype("float32")
    prune = {"target": {"sparsity": 0.667}, "rounds": 2, "pattern": "1:3", "scope": {"dense*": 0.667}}
    result = execute(recipe("thirds", prune=prune), model=model, data=(x, np.arange(90) % 3))
    assert result.target_met and result.best_round.sparsity == pytest.approx(2 / 3)


def test_layers_that_the_pattern_does_not_divide_are_told_once(trained):
    prune = {"target": {"sparsity": 0.5}, "rounds": 1, "pattern": "4x4"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = execute(recipe("blocks", prune=prune), model=trained)
    told = [str(each.message) for each in caught if "left dense" in str(each.message)]
    assert told == ["pattern 4x4 does not divide last (has 16 inputs and 3 outputs); left dense"]
    assert sparsities(result.model) == [0.5, 0.5, 0.0]


def test_scores_look_at_the_same_examples_each_time(monkeypatch, trained):
    seen: list[bytes] = []
    scores = Gradients.scores

    def spy(self, kinds, batches):
        batches = list(batches)
        assert [len(x) for x, _, _ in batches] == [32, 32]
        seen.append(b"".join(x.numpy().tobytes() for x, _, _ in batches))
        return scores(self, kinds, batches)

    monkeypatch.setattr(Gradients, "scores", spy)
    run = recipe("looks", prune__importance="taylor", prune__batches=2)
    execute(run, model=trained)
    assert len(seen) > 4 and len(set(seen)) == 1
    x = tiny_workflow.examples()[0]
    rows = np.frombuffer(seen[0], np.float32).reshape(-1, 8)
    order = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in rows]
    assert len(set(order)) == 64 and order != sorted(order), "of the training part, and not as the source is sorted"


def test_regrowth_brings_zeros_back(trained):
    result = execute(recipe("regrow", prune__regrow=0.3, prune__rounds=1), model=trained)
    assert result.target_met and result.best_round.sparsity == pytest.approx(0.6, abs=0.005)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"prune__scope": {"secnod": 0.5}}, RecipeError, "^prune.scope: 'secnod' matches no .* did you mean 'second'"),
        ({"prune__layers": ["last"], "prune__pattern": "4x4"}, SelectionError, "pattern 4x4 does not divide last"),
        ({"prune__pattern": "64x64"}, SelectionError, "pattern 64x64 does not divide first .*; choose another"),
        ({"prune__importance": "no_such_module:f"}, ImportanceError, "^prune.importance no_such_module:f: no module"),
        ({"prune__importance": "math:hypto"}, ImportanceError, "did you mean 'hypot'?"),
        ({"prune__importance": "own_scores:three"}, ImportanceError, "expected a name or a function of"),
        ({"prune__importance": "own_scores:fails"}, ImportanceError, "^importance fails raised RuntimeError: one two$"),
        ({"prune__importance": "own_scores:first"}, ImportanceError, "expected scores of the weights' shape"),
        (
            {"prune__importance": "own_scores:nothing"},
            ImportanceError,
            "own_scores:nothing: the scores of layer 'first'",
        ),
        (
            {"prune": {"target": {"sparsity": 0.5}, "rewind_to_epoch": 0}, "model__trained": True},
            RecipeError,
            "needs dense training, but the model is",
        ),
    ],
    ids=lambda each: str(each)[:40],
)
def test_refused_at_once(changes, kind, message, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_scores.py").write_text(OWN_SCORES)

    class NoTraining(Watch):
        def phase(self, title: str, steps: int, done: int = 0) -> None:
            raise AssertionError("training has begun")

    with pytest.raises(kind, match=message) as caught:
        execute(recipe("refused-goal", **changes), watch=NoTraining())
    assert "\n" not in str(caught.value)
    assert not list((home / "workflows").glob("refused-goal*"))


OWN_SCORES = """
import numpy as np
calls = []
def three(a, b, c): pass
def fails(weights): raise RuntimeError('one\\ntwo')
def first(weights): return weights[0]
def nothing(weights): return weights * np.nan
def smallest(weights): return -abs(weights)
def by_gradient(weights, gradients): return abs(weights * gradients)
"""


def test_a_function_of_the_users_own(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_scores.py").write_text(OWN_SCORES)
    ours = execute(recipe("own", prune__importance="own_scores:by_gradient"), model=trained)
    theirs = execute(recipe("known", prune__importance="taylor"), model=trained)
    assert same_weights(ours.model, theirs.model)
    at_once = {"prune__importance": "own_scores:smallest", "prune__rounds": 1, "finetune": {"epochs": 0}}
    with pytest.warns(UserWarning, match="pruned without training"):
        upside_down = execute(recipe("least", **at_once), model=trained)
    kernel = trained.get_layer("second").kernel.numpy()
    left = upside_down.model.get_layer("second").kernel.numpy() != 0
    assert np.abs(kernel[left]).max() < np.abs(kernel[~left]).min()


# ------------------------------------------------------------------------------------------------ one shot


def test_without_training(trained, trained_copy):
    with pytest.warns(UserWarning, match="^pruned without training: ") as caught:
        result = execute(recipe("untrained", finetune={"epochs": 0}, prune__importance="taylor"), model=trained)
    assert result.target_met and [each.history for each in result.rounds[1:]] == [(), ()]
    assert sparsities(result.model) == pytest.approx([0.6, 0.6, 0.6], abs=0.02)
    for ours, theirs in zip(result.model.get_weights(), trained_copy, strict=True):
        assert (ours[ours != 0] == theirs[ours != 0]).all(), "nothing is trained"
    after, before = result.best_round.evaluation.accuracy, result.rounds[0].evaluation.accuracy
    assert [str(each.message) for each in caught] == [
        f"pruned without training: accuracy {after:.1%}, {before:.1%} before, on the validation part; "
        "fine-tune it, or prune less"
    ]


@pytest.fixture(scope="module")
def trained_copy(trained) -> list[np.ndarray]:
    return trained.get_weights()


def test_nothing_is_told_where_nothing_was_pruned(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = execute(
            recipe(
                "hopeless-shot",
                finetune={"epochs": 0},
                stop={"max_drop": 0.0, "patience": 1},
                prune__rounds=1,
                prune__target={"sparsity": 0.98},
            ),
            model=trained,
        )
    assert (result.best, len(result.rounds)) == (0, 2)


# --------------------------------------------------------------------------------------- lottery tickets


LOTTERY = {
    "prune": {"target": {"sparsity": 0.6}, "rounds": 2, "rewind_to_epoch": 1},
    "train__epochs": 3,
    "finetune": {},
}


def early_weights(result: RunResult) -> list[np.ndarray]:
    with np.load(result.directory / "rewind.npz") as arrays:
        return [arrays[f"w{index}"] for index in range(len(arrays.files))]


@pytest.mark.parametrize("epoch", [0, 1])
def test_what_is_left_begins_anew_from_an_early_epoch(epoch, monkeypatch):
    starts: dict[str, dict] = {}
    begin = loop.train

    def spy(model, split, section, stretch, **more):
        plain = tfprune.strip(model) if stretch.label != "dense" else model
        starts[stretch.label] = {
            "weights": plain.get_weights(),
            "masks": [mask.numpy() for _, mask in masked_variables(model)],
            "iterations": int(model.optimizer.iterations),
            "moments": [np.abs(each.numpy()).max() for each in model.optimizer.variables[2:]],
            "epochs": stretch.epochs,
            "rates": [stretch.rate(0.0), stretch.rate(1.0)],
        }
        history = begin(model, split, section, stretch, **more)
        starts[stretch.label]["after"] = [mask.numpy() for _, mask in masked_variables(model)]
        starts[stretch.label]["ended"] = model.get_weights()
        return history

    monkeypatch.setattr(loop, "train", spy)
    changes = {**LOTTERY, "prune": {**LOTTERY["prune"], "rewind_to_epoch": epoch}}
    result = execute(recipe("ticket", **changes))
    assert result.target_met and sparsities(result.model) == pytest.approx([0.6] * 3, abs=0.02)
    early, trained = early_weights(result), starts["dense"]["ended"]
    if epoch == 0:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(early, starts["dense"]["weights"], strict=True))
    for label, parent in (("r01", trained), ("r02", None)):
        start = starts[label]
        kernels = iter(start["masks"])
        changed = 0
        for ours, then in zip(start["weights"], early, strict=True):
            mask = next(kernels) if ours.ndim == 2 else np.ones_like(ours)
            assert ours[mask == 1].tobytes() == then[mask == 1].tobytes(), "survivors, biases and statistics"
            assert (ours[mask == 0] == 0).all()
            changed += int((mask == 0).sum())
        assert changed / 432 == pytest.approx(result.rounds[int(label[1:])].sparsity)
        assert (start["iterations"], max(start["moments"])) == (0, 0), "a fresh optimizer"
        assert start["epochs"] == 3 - epoch
        curve = loop.learning_rate(parse(tiny_workflow.recipe(**changes)).train, epoch / 3)
        assert start["rates"] == pytest.approx([curve, 0.0])
        assert all((a == b).all() for a, b in zip(start["masks"], start["after"], strict=True)), "masks are frozen"
        if parent is not None:  # chosen by the trained weights, not by the early ones
            for mask, kernel in zip(start["masks"], [each for each in parent if each.ndim == 2], strict=True):
                assert np.abs(kernel[mask == 0]).max() <= np.abs(kernel[mask == 1]).min()
    first, second = starts["r01"]["masks"], starts["r02"]["masks"]
    assert all((two <= one).all() for one, two in zip(first, second, strict=True))


def test_rewinding_in_sixteen_bits():
    result = execute(recipe("ticket-bits", **LOTTERY, precision="mixed_bfloat16"))
    assert result.target_met and sparsities(result.model) == pytest.approx([0.6] * 3, abs=0.02)


@pytest.fixture(scope="module")
def undisturbed(warm_home) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return execute(recipe("kill", **LOTTERY))


@pytest.mark.parametrize(
    "moment",
    [
        "before progress",
        pytest.param("after progress", marks=pytest.mark.full),
        pytest.param("dense", marks=pytest.mark.full),
        "in a round",
    ],
)
def test_killed_around_the_epoch_that_is_kept(moment, undisturbed, monkeypatch):
    """The same bits, wherever it was cut off."""
    keep = Workflow.keep_progress

    def killed(self, stretch, model, history):
        if moment == "before progress" and (stretch, len(history)) == ("dense", 1):
            assert (self.folder / "rewind.npz").exists(), "written first"
            raise KeyboardInterrupt
        keep(self, stretch, model, history)
        if {"after progress": ("dense", 1), "dense": ("dense", 3), "in a round": ("r02", 1)}.get(moment) == (
            stretch,
            len(history),
        ):
            raise KeyboardInterrupt

    ours = recipe("kill", **LOTTERY)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Workflow, "keep_progress", killed)
        execute(ours, resume=False)
    result = execute(ours)
    assert result.workflow != undisturbed.workflow
    assert same_weights(result.model, undisturbed.model)
    assert (result.test, result.test_dense) == (undisturbed.test, undisturbed.test_dense)
    assert [each.evaluation for each in result.rounds] == [each.evaluation for each in undisturbed.rounds]


def test_a_model_that_is_handed_in_cannot_be_rewound(trained):
    with pytest.raises(RecipeError, match=r"^prune.rewind_to_epoch needs dense training, but the model that was given"):
        execute(recipe("ticket-given", **LOTTERY), model=trained)


# ------------------------------------------------------------------------------------ resume, and failures


@pytest.mark.parametrize("changes", [{"prune__importance": "fisher"}, {"prune__regrow": 0.3}], ids=str)
def test_resumed_with_scores_from_data(changes):
    ours = recipe("resumed", finetune__epochs=2, **changes)
    whole = execute(ours)

    class StopAt(Watch):
        rounds, steps = 0, 0

        def round(self, finished) -> None:
            self.rounds += 1

        def step(self) -> None:
            self.steps += self.rounds
            if self.steps > 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(ours, resume=False, watch=StopAt())
    again = execute(ours)
    assert again.workflow != whole.workflow
    assert same_weights(again.model, whole.model)


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_gradient_that_is_no_number_leaves_what_passed_before(epochs, trained, monkeypatch):
    def spoiled(*_):
        raise TrainingError("importance taylor: the gradients of layer 'first' are not finite; lower the rate")

    monkeypatch.setattr(Gradients, "scores", spoiled)
    result = execute(recipe("nan", prune__importance="taylor", finetune={"epochs": epochs}), model=trained)
    assert (result.target_met, result.best, len(result.rounds)) == (False, 0, 1)
    assert "the gradients of layer 'first' are not finite" in result.outcome


def test_a_function_that_fails_in_the_middle_of_a_round(trained, monkeypatch, home, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "late_scores.py").write_text(
        "calls = []\n"
        "def score(weights):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 7: raise RuntimeError('tired')\n"
        "    return abs(weights)\n"
    )
    with pytest.raises(ImportanceError, match=r"^importance score raised RuntimeError: tired$"):
        execute(recipe("tired", prune__importance="late_scores:score"), model=trained)
    folder = home / "workflows" / "tired-1"
    assert not [path for path in folder.rglob("*") if ".tmp-" in path.name]
    ledger = json.loads((folder / "ledger.json").read_text())
    assert (len(ledger["rounds"]), ledger["outcome"]) == (1, "")


def test_masks_are_updated_by_the_pruner_that_was_traced_once(trained, monkeypatch):
    made: list[Pruner] = []
    create = Pruner.__init__
    monkeypatch.setattr(Pruner, "__init__", lambda self, model: (made.append(self), create(self, model))[1])
    execute(recipe("traced", prune__importance="gradient"), model=trained)
    assert len(made) == 1
