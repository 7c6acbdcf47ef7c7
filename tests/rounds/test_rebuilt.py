"""Structured rounds, by themselves and with masks after them, on a tiny model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_workflow
from mlflow import MlflowClient

import tfprune
from tfprune.backend import keras
from tfprune.errors import ImportanceError, SelectionError, StorageError, SurgeryError
from tfprune.masking.masked import masked_layers
from tfprune.recipe import load, parse
from tfprune.report.watch import Watch
from tfprune.results import Plan, RunResult, best_round
from tfprune.rounds.rebuilt import RebuiltRounds
from tfprune.rounds.start import execute
from tfprune.rounds.target import Goal

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.filterwarnings("ignore:pruned without training"),  # where it is not what a test is about
]

HALF = {"method": "structured", "target": {"ratio": 0.5}, "rounds": 2}
MASKS = {"target": {"sparsity": 0.6}, "rounds": 2, "schedule": {"frequency": 2}}


def recipe(name: str, prune, **changes):
    short = {"track__models": False, "train__epochs": 1, "finetune__epochs": 1}
    return parse(tiny_workflow.recipe(name=name, **{**short, **changes, "prune": prune}))


def run(name: str, prune, *, model=None, data=None, watch=None, **changes) -> RunResult:
    # The home is one for all files of a process, and workflows in it go by their names.
    return execute(recipe(f"rebuilt-{name}", prune, **changes), model=model, data=data, watch=watch)


def widths(model: keras.Model) -> tuple[int, int]:
    return model.get_layer("first").units, model.get_layer("second").units


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


@pytest.fixture(scope="module")
def half(warm_home) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return run("half", HALF, train__epochs=2)


@pytest.fixture(scope="module")
def both(warm_home) -> RunResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return run("both", [HALF, MASKS], train__epochs=2)


# ------------------------------------------------------------------------------------------ structured alone


def test_units_leave_in_equal_steps(half):
    assert (half.target_met, half.best, len(half.rounds)) == (True, 2, 3)
    dense, first, second = half.rounds
    assert [each.method for each in half.rounds] == ["structured"] * 3
    assert [each.parent for each in half.rounds] == [0, 0, 1]
    assert [each.target for each in half.rounds] == pytest.approx([0, 1 - 0.5**0.5, 0.5])
    assert second.share == pytest.approx(1 - 16 / 22), "of what is left"
    assert (dense.removed, dense.reached) == (0, 0)
    assert first.removed == first.reached == 10 / 32, "29% of 16 are 5 whole units"
    assert second.removed == second.reached == 0.5, "what whole units took too much is made up for"
    assert widths(half.model) == (8, 8)
    assert dense.measurement.parameters > first.measurement.parameters > second.measurement.parameters
    assert half.outcome.startswith("Target met (the target of 50.0% of the units removed is reached): round 2 has ")
    assert "fewer parameters" in half.outcome and "sparsity" not in half.outcome


def test_the_result_is_a_plain_model_and_the_recorded_round(half):
    model, best = half.model, half.best_round
    assert [each.name for each in model.layers[1:]] == ["first", "norm", "relu", "dropout", "second", "last"]
    assert getattr(model, "optimizer", None) is None, "nothing of its training is left"
    assert best.measurement == tfprune.measure(model).__class__(**{**vars(tfprune.measure(model)), "layers": ()})
    assert best.sparsity == 0 == best.measurement.sparsity
    written = tfprune.load(half.directory / "model.keras")
    assert same_weights(written, model)
    x, _ = tiny_workflow.examples()
    np.testing.assert_array_equal(written.predict(x, verbose=0), model.predict(x, verbose=0))
    with np.load(half.directory / "round-02.npz") as arrays:
        assert all(arrays[f"w{index}"].tobytes() == each.tobytes() for index, each in enumerate(model.get_weights()))


def test_plans_replay_on_another_copy(half):
    model = tiny_workflow.build((8,), 3)
    for number in (1, 2):
        plan = Plan.load(half.directory / f"round-{number:02d}.plan.json")
        assert plan.units == (32, 22)[number - 1]
        model, _ = tfprune.apply(model, plan)
    assert widths(model) == (8, 8)


def test_the_same_recipe_gives_the_same_bits(half):
    again = run("half", HALF, train__epochs=2)
    assert again.workflow == "rebuilt-half-2" and same_weights(again.model, half.model)
    assert [each.evaluation for each in again.rounds] == [each.evaluation for each in half.rounds]


@pytest.mark.parametrize(
    ("target", "scope", "within"),
    [
        ({"params": 300}, "layer", lambda weight: weight.parameters <= 300),
        ({"params": 0.5}, "global", lambda weight: weight.parameters <= 531 // 2),
        ({"macs": 0.4}, "layer", lambda weight: weight.macs <= 0.4 * 432),
        ({"size_mb": 0.0011}, "global", lambda weight: weight.bytes <= 1100),
    ],
    ids=lambda each: str(each) if isinstance(each, str | dict) else "",
)
def test_budgets_are_met(target, scope, within, trained):
    prune = {"method": "structured", "target": target, "rounds": 2, "scope": scope}
    result = run("budget", prune, model=trained, finetune__epochs=0)
    assert result.rounds[0].measurement.parameters == 531
    assert result.target_met and within(result.best_round.measurement)
    assert not within(result.rounds[1].measurement), "in two steps"
    first, second = result.rounds[1:]
    assert first.reached >= first.target and second.reached >= second.target
    assert 0 < first.removed < second.removed < 1
    assert tfprune.measure(result.model).parameters == result.best_round.measurement.parameters


@pytest.mark.parametrize(
    ("scope", "ratio", "left", "rounds"),
    [
        ({"first": 0.25, "sec*": 0.75}, 0.5, (12, 4), 1),  # as the shares have it
        ({"first": 0.25, "sec*": 0.75}, 0.5, (12, 4), 3),
        ({"first": 0.1, "second": 0.3}, 0.5, (12, 4), 2),  # further, in proportion
        ({"first": 0.0, "*": 0.4}, 0.2, (16, 10), 3),
        ({"first": 0.3, "second": 0.6}, 0.7, (9, 1), 3),  # one is used up
    ],
    ids=str,
)
def test_shares_by_coupling_whatever_the_number_of_rounds(scope, ratio, left, rounds, trained):
    prune = {"method": "structured", "target": {"ratio": ratio}, "rounds": rounds, "scope": scope}
    result = run("shares", prune, model=trained, finetune__epochs=0, stop={"max_drop": None})
    assert widths(result.model) == left
    assert result.target_met and len(result.rounds) == rounds + 1
    assert result.best_round.removed == pytest.approx(1 - sum(left) / 32)


def test_shares_by_coupling_after_a_round_that_failed(trained):
    """Units that were tried and came back count for nothing."""
    prune = {"method": "structured", "target": {"ratio": 0.9}, "rounds": 2, "scope": {"first": 0.4, "second": 0.8}}
    result = run("retried", prune, model=trained, stop=STRICT, finetune__epochs=0)
    assert not all(each.verdict.passed for each in result.rounds) and result.best
    first, second = (16 - each for each in widths(result.model))
    assert second == pytest.approx(2 * first, abs=1) or second == 15


@pytest.mark.parametrize(
    ("target", "within"),
    [({"macs": 0.5}, lambda found: found.macs <= 216), ({"params": 300}, lambda found: found.parameters <= 300)],
    ids=["macs", "params"],
)
def test_budgets_are_met_with_shares_by_coupling(target, within, trained):
    prune = {"method": "structured", "target": target, "rounds": 3, "scope": {"first": 0.2, "second": 0.4}}
    result = run("proportion", prune, model=trained, finetune__epochs=0, stop={"max_drop": None})
    assert result.target_met and within(result.best_round.measurement)
    first, second = widths(result.model)
    assert 16 - second == pytest.approx(2 * (16 - first), abs=1)


def test_shares_by_coupling_in_multiples(trained):
    wide = tiny_workflow.build((8,), 3, width=24)
    scope = {"first": 1 / 3, "second": 2 / 3}
    prune = {"method": "structured", "target": {"ratio": 0.5}, "multiple_of": 8, "rounds": 3, "scope": scope}
    result = run("octets", prune, model=wide, finetune__epochs=0, stop={"max_drop": None})
    assert widths(result.model) == (16, 8) and result.target_met


def test_a_second_phase_counts_its_shares_anew(trained):
    first = {"method": "structured", "rounds": 2, "target": {"ratio": 0.25}, "scope": {"first": 0.5}}
    second = {**first, "scope": {"first": 0.5, "second": 0.25}, "target": {"ratio": 1 / 3}}
    result = run("phases", [first, second], model=trained, finetune__epochs=0, stop={"max_drop": None})
    assert widths(result.model) == (4, 12) and result.target_met


def test_a_latency(trained):
    wide = tiny_workflow.build((8,), 3, width=512)
    dense = tfprune.cost.latency.latency(wide, seconds=0.2).median_ms
    target = {"method": "structured", "target": {"latency_ms": 0.7 * dense}, "rounds": 1}
    result = run("fast", target, model=wide, finetune__epochs=0)
    assert result.target_met and result.best == 1
    assert result.best_round.reached >= result.best_round.target > 0.1
    ledger = json.loads((result.directory / "ledger.json").read_text())
    assert ledger["phases"][0]["amount"] == pytest.approx(dense, rel=0.5)
    assert ledger["phases"][0]["times"]["1"] <= 0.7 * dense


@pytest.mark.parametrize(
    "importance",  # of gradients, of activations, of weights; each of them by itself in structure/test_unit_scores.py
    [
        "taylor",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("fisher", "gradient", "gate")),
        "apoz",
        "fpgm",
        pytest.param("random", marks=pytest.mark.full),
    ],
)
def test_scores(importance, trained):
    result = run(
        "scores", {**HALF, "importance": importance, "rounds": 1, "batches": 2}, model=trained, finetune__epochs=0
    )
    assert widths(result.model) == (8, 8)


def test_a_score_that_says_nothing_of_some_units(trained):
    result = run("norms", {**HALF, "importance": "bn_scale", "rounds": 1}, model=trained, finetune__epochs=0)
    assert widths(result.model) == (8, 16), "the second layer has no normalization"
    assert not result.target_met
    assert "its limits and its score let no more fall, so 25.0% of the units is all that goes" in result.outcome


def test_a_score_of_ones_own(trained, tmp_path, monkeypatch):
    (tmp_path / "unit_scores.py").write_text("import numpy\ndef least(weights):\n    return -numpy.abs(weights)\n")
    monkeypatch.chdir(tmp_path)
    result = run("own", {**HALF, "importance": "unit_scores:least", "rounds": 1}, model=trained, finetune__epochs=0)
    assert widths(result.model) == (8, 8)
    gone = Plan.load(result.directory / "round-01.plan.json").removed
    largest = Plan.load(
        run("l1", {**HALF, "importance": "l1", "rounds": 1}, model=trained, finetune__epochs=0).directory
        / "round-01.plan.json"
    )
    assert not set(gone["first"]) & set(largest.removed["first"]), "the others fall"


def test_widths_that_kernels_like(trained):
    result = run(
        "eight", {**HALF, "target": {"ratio": 0.4}, "multiple_of": 8, "rounds": 1}, model=trained, finetune__epochs=0
    )
    assert widths(result.model) == (8, 8) and result.target_met


def test_rounds_in_multiples_go_on_to_the_target(trained):
    """Half of 24 and 24 is 12 and 12; in multiples of eight 8 and 8. The first round, to 16 and 16, is not the end."""
    wide = tiny_workflow.build((8,), 3, width=24)
    prune = {**HALF, "target": {"ratio": 0.6}, "multiple_of": 8, "rounds": 2}
    result = run("multiples", prune, model=wide, finetune__epochs=0)
    assert [each.reached for each in result.rounds] == pytest.approx([0, 1 / 3, 2 / 3])
    assert widths(result.model) == (8, 8) and result.target_met


def test_what_rounding_leaves_open_is_no_failure(trained):
    """46% of 16 are 7 units, 43.75%, and the seventh round has them: the rest, asked for in the eighth, is no unit."""
    result = run("rest", {**HALF, "target": {"ratio": 0.46}, "rounds": 8}, model=trained, finetune__epochs=0)
    assert widths(result.model) == (9, 9) and result.target_met and len(result.rounds) == 8
    assert result.rounds[-1].target < 0.45
    assert "the target of 46.0% of the units removed is reached" in result.outcome


@pytest.mark.parametrize(
    ("changes", "slack", "grain"),
    [
        ({}, 1 / 32, 0.5 * 0.5 / 16),
        ({"multiple_of": 8}, 8 / 32, 0.5 * 3.5 / 16),
        ({"multiple_of": 32}, 1 / 32, 0.5 * 0.5 / 16),
        ({"scope": "global"}, 1 / 32, 0.5 / 32),
        ({"scope": {"first": 0.5}}, 1 / 32, 0.5 / 32),
        ({"ignore": ["first"]}, 0.5 / 16, 0.5 * 0.5 / 16),
        ({"target": {"params": 0.5}}, 0, 0),
    ],
    ids=str,
)
def test_what_nearest_rounding_can_miss(changes, slack, grain, trained):
    rounds = object.__new__(RebuiltRounds)
    rounds.recipe, rounds.begun = recipe("slack", {**HALF, **changes}).phases[0], trained
    goal = rounds._of_whole_units(Goal(0.5, "units", "half"))
    assert (goal.slack, goal.grain) == (pytest.approx(slack), pytest.approx(grain, abs=1e-8))


def test_layers_that_stay(trained):
    result = run("stay", {**HALF, "ignore": ["fir*"]}, model=trained, finetune__epochs=0)
    assert widths(result.model) == (16, 8)
    assert result.rounds[-1].removed == 0.5, "of the units that may fall"


def test_no_training(trained):
    with pytest.warns(tfprune.errors.TfpruneWarning, match="pruned without training"):
        result = run("untrained", HALF, model=trained, finetune__epochs=0)
    assert widths(result.model) == (8, 8)
    assert all(not each.history for each in result.rounds)


def test_a_given_model_stays_as_it_is(trained):
    before, steps = trained.get_weights(), int(trained.optimizer.iterations)
    run("given", {**HALF, "rounds": 1}, model=trained)
    assert widths(trained) == (16, 16) and int(trained.optimizer.iterations) == steps
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, trained.get_weights(), strict=True))


def test_each_round_starts_with_a_fresh_optimizer(trained, monkeypatch):
    """What a round comes to hangs on its parent's weights alone, not on which rounds were tried in between."""
    from tfprune.rounds import rebuilt

    started = []
    compile_for_training = rebuilt.compile_for_training

    def spy(model, *rest):
        compile_for_training(model, *rest)
        started.append([float(np.abs(each.numpy()).max()) for each in model.optimizer.variables[2:]])

    monkeypatch.setattr(rebuilt, "compile_for_training", spy)
    run("fresh", HALF, model=trained, train__optimizer="adam")
    assert len(started) == 4 and all(each and not any(each) for each in started)


def test_sixteen_bits(half):
    result = run("bits", [HALF, {**MASKS, "rounds": 1}], precision="mixed_bfloat16")
    assert {each.dtype_policy.name for each in result.model.layers} == {"float32"}
    assert widths(result.model) == (8, 8) and result.target_met


# -------------------------------------------------------------------------------------------------- gates


STRICT = {"max_drop": 0.1, "max_rounds": 12, "min_step": 0.01, "patience": 2}


def test_a_failed_round_is_tried_again_with_half_the_share(trained):
    prune = {"method": "structured", "target": {"ratio": 0.9}, "rounds": 2}
    result = run("gate", prune, model=trained, stop=STRICT, finetune__epochs=0)
    assert not result.target_met and not result.rounds[-1].verdict.passed
    assert 0 < result.best == best_round(result.rounds).number < len(result.rounds) - 1
    failed = next(each for each in result.rounds if not each.verdict.passed)
    retry = result.rounds[failed.number + 1]
    assert retry.parent == best_round(result.rounds[: failed.number + 1]).number
    assert retry.share == pytest.approx(failed.share / 2)
    assert retry.measurement.parameters > failed.measurement.parameters
    assert sum(widths(result.model)) == round(32 * (1 - result.best_round.removed))
    assert result.outcome.startswith("Target not met (")


def test_no_round_that_passed_leaves_the_dense_model(trained):
    prune = {"method": "structured", "target": {"ratio": 0.9}, "rounds": 1}
    hopeless = {"max_drop": 0.0, "patience": 1}
    result = run("hopeless", prune, model=trained, stop=hopeless, finetune__epochs=0)
    assert (result.best, result.target_met, len(result.rounds)) == (0, False, 2)
    assert same_weights(result.model, trained)


def test_a_step_without_a_whole_unit_ends_it(trained):
    prune = {"method": "structured", "target": {"ratio": 0.9}, "rounds": 1}
    stop = {**STRICT, "max_drop": 0.0, "patience": 9, "min_step": 0.001}
    result = run("whole", prune, model=trained, stop=stop, finetune__epochs=0)
    assert not result.target_met
    assert "takes no whole unit" in result.outcome
    assert not list(result.directory.glob(f"round-{len(result.rounds):02d}*"))


def test_a_target_that_limits_hold_back_is_not_called_met(trained):
    prune = {"method": "structured", "target": {"ratio": 0.9}, "rounds": 1, "minimum": 6}
    result = run("least", prune, model=trained, finetune__epochs=0)
    assert widths(result.model) == (6, 6) and not result.target_met
    assert "so 62.5% of the units is all that goes" in result.outcome


def test_a_model_that_is_small_enough(trained):
    result = run("small", {"method": "structured", "target": {"params": 9000}}, model=trained)
    assert (result.target_met, len(result.rounds)) == (True, 1)
    assert result.outcome == "Target met: the model is that small already."


# ------------------------------------------------------------------------------------------- both together


def test_masks_start_at_the_best_structured_round(both, half):
    assert both.target_met and both.best == 4
    assert [each.method for each in both.rounds] == ["structured"] * 3 + ["masking"] * 2
    assert [each.number for each in both.rounds] == [0, 1, 2, 3, 4], "numbered through"
    assert [each.phase for each in both.rounds] == [0, 0, 0, 1, 1]
    assert [each.parent for each in both.rounds] == [0, 0, 1, 2, 3]
    assert [each.target for each in both.rounds[3:]] == pytest.approx([1 - 0.4**0.5, 0.6])
    assert [each.evaluation for each in both.rounds[:3]] == [each.evaluation for each in half.rounds]
    assert [each.removed for each in both.rounds] == [0, 10 / 32, 0.5, 0.5, 0.5]
    assert widths(both.model) == (8, 8) and not masked_layers(both.model)
    kernels = [both.model.get_layer(name).kernel.numpy() for name in ("first", "second", "last")]
    sparsity = sum(int((each == 0).sum()) for each in kernels) / sum(each.size for each in kernels)
    assert sparsity == both.best_round.sparsity == pytest.approx(0.6, abs=0.01)
    assert both.rounds[2].sparsity == 0
    assert both.outcome.startswith(
        "Target met (structured: the target of 50.0% of the units removed is reached; "
        "masking: the target of 60% sparsity is reached): round 4 has "
    )
    assert "of the units removed, and " in both.outcome and "sparsity" in both.outcome


def test_what_is_recorded_of_both(both):
    client = MlflowClient(both.tracking_uri)
    runs = client.search_runs(["1"], f"tags.`tfprune.workflow` = '{both.workflow}'")
    labels = {each.data.tags["tfprune.label"]: each for each in runs}
    assert set(labels) == {"workflow", "dense", "r01", "r02", "r03", "r04"}
    for each in both.rounds:
        metrics = labels[each.label].data.metrics
        assert metrics["units_removed"] == pytest.approx(each.removed)
        assert metrics["parameters"] == each.measurement.parameters and metrics["macs"] == each.measurement.macs
        assert metrics["sparsity"] == pytest.approx(each.sparsity, abs=1e-6)
    assert "target_removed" in labels["r01"].data.params and "target_sparsity" in labels["r03"].data.params
    params = labels["workflow"].data.params
    assert (params["prune.0.target.ratio"], params["prune.1.target.sparsity"]) == ("0.5", "0.6")
    note = labels["workflow"].data.tags["mlflow.note.content"]
    assert "| round | removed | parameters | MACs | MB | sparsity |" in note
    assert load(both.directory / "recipe.yaml").sections[0].method == "structured"


def test_a_phase_that_fails_hands_on_its_best(trained):
    prune = [{"method": "structured", "target": {"ratio": 0.9}, "rounds": 1}, {**MASKS, "rounds": 1}]
    stop = {"max_drop": 0.25, "patience": 2, "max_rounds": 9}
    result = run("onwards", prune, model=trained, stop=stop, finetune__epochs=0)
    first = [each for each in result.rounds if each.phase == 0]
    assert not result.target_met and any(not each.verdict.passed for each in first[1:])
    second = [each for each in result.rounds if each.phase == 1]
    assert second and second[0].parent == best_round(first).number
    assert second[0].removed == best_round(first).removed
    assert result.outcome.startswith(("Target not met (structured: ", "No round kept"))


def test_rounds_count_per_workflow(trained):
    result = run("few", [HALF, MASKS], model=trained, stop={"max_drop": 0.9, "max_rounds": 3}, finetune__epochs=0)
    assert len(result.rounds) == 4 and not result.target_met
    assert "masking: all 3 rounds are used" in result.outcome


@pytest.mark.parametrize("second", [{"ratio": 0.25}, {"size_mb": 0.0006}], ids=str)
def test_a_second_structured_phase_counts_anew(second, trained):
    first = {"method": "structured", "rounds": 1, "target": {"ratio": 0.5}}
    result = run("again", [first, {**first, "target": second}], model=trained, finetune__epochs=0)
    assert result.target_met and [each.phase for each in result.rounds] == [0, 0, 1]
    last = result.rounds[-1]
    assert last.removed == pytest.approx(1 - sum(widths(result.model)) / 32)
    assert last.reached == pytest.approx(0.25) if "ratio" in second else last.measurement.bytes <= 600


def test_two_structured_phases(trained):
    wide = {"method": "structured", "rounds": 1, "ignore": ["second"], "target": {"ratio": 0.5}}
    less = {"method": "structured", "rounds": 1, "target": {"params": 0.25}, "scope": "global"}
    result = run("twice", [wide, less], model=trained, finetune__epochs=0)
    assert result.target_met and [each.phase for each in result.rounds] == [0, 0, 1]
    assert result.best_round.measurement.parameters <= 531 / 4, "a share of the dense model"
    assert result.rounds[1].removed == 0.5 and result.rounds[2].removed > 0.5


# ------------------------------------------------------------------------------- refused before any training


class NoTraining(Watch):
    def phase(self, title: str, steps: int, done: int = 0) -> None:
        raise AssertionError("training has begun")


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"ignore": ["secnod"]}, SurgeryError, "'secnod'.*did you mean 'second'"),
        ({"ignore": ["first", "second"]}, SurgeryError, "nothing to remove"),
        ({"units": ["heads"]}, SurgeryError, "nothing to remove"),
        ({"target": {"params": 5}}, SurgeryError, "out of reach"),
        ({"target": {"macs": 0.01}}, SurgeryError, "out of reach"),
        ({"scope": {"secnod": 0.5}}, SelectionError, "'secnod' matches no coupling.*did you mean 'second'"),
        ({"scope": {"first": 0.5}, "target": {"ratio": 0.6}}, SurgeryError, "0.6 is out of reach: .* a ratio of 0.468"),
        ({"scope": {"first": 0.5}, "target": {"macs": 0.1}}, SurgeryError, "out of reach.*in last .*scope"),
        ({"scope": {"x*": 0.5}, "target": {"latency_ms": 5}}, SelectionError, r"'x\*' matches no coupling"),
        ({"importance": "no_such_module:f"}, ImportanceError, "no module 'no_such_module'"),
    ],
    ids=str,
)
def test_refused_at_once(change, kind, message, home):
    before = set((home / "workflows").glob("rebuilt-refused*"))
    with pytest.raises(kind, match=message) as caught:
        run("refused", {**HALF, **change}, watch=NoTraining())
    assert "\n" not in str(caught.value)
    assert set((home / "workflows").glob("rebuilt-refused*")) <= before


def test_a_damaged_plan_is_one_line(trained):
    class StopAfterOne(Watch):
        def round(self, finished) -> None:
            if finished.number == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("damage", HALF, watch=StopAfterOne())
    (folder,) = (tfprune.storage.home() / "workflows").glob("rebuilt-damage-*")
    (folder / "round-01.plan.json").write_text("{")
    with pytest.raises(StorageError, match=r"round-01.plan.json: is missing or damaged; remove .*damage-1 and run"):
        run("damage", HALF)
