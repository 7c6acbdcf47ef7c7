"""Whole searches, inline: what is tried, what is found, what is on record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_search
import tiny_workflow
from mlflow import MlflowClient

import tfprune
from tfprune.cost.measure import measure
from tfprune.data.splits import ArraySplit
from tfprune.errors import TfpruneWarning
from tfprune.recipe import load, parse
from tfprune.report.watch import Watch
from tfprune.tuning.found import found_recipe
from tfprune.tuning.search import execute

WEIGHTS = 8 * 16 + 16 * 16 + 16 * 3


class Looking(Watch):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.trials: list[tuple[int, str, float | None]] = []
        self.phases: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def phase(self, title: str, steps: int, done: int = 0) -> None:
        self.phases.append(title)

    def trial(self, trial: tfprune.results.Trial, best: float | None) -> None:
        self.trials.append((trial.number, trial.status, best))


def artifacts(uri: str, run_id: str) -> set[str]:
    client = MlflowClient(uri)
    found, waiting = set(), [""]
    while waiting:
        for each in client.list_artifacts(run_id, waiting.pop()):
            waiting.append(each.path) if each.is_dir else found.add(each.path)
    return found


# ----------------------------------------------------------------------------------------------- masks


def test_a_search_for_masks(home, monkeypatch, tmp_path):
    passes: Counter = Counter()
    take = ArraySplit._in_order

    def counted(self, ordinals, batch_size):
        passes[self.name] += len(ordinals) == self.size
        return take(self, ordinals, batch_size)

    monkeypatch.setattr(ArraySplit, "_in_order", counted)
    watch = Looking()
    recipe = parse(tiny_search.recipe(name="masks"))
    result = execute(recipe, output=tmp_path / "there" / "found.yaml", watch=watch)

    assert [each.number for each in result.trials] == list(range(8))
    assert [each.origin for each in result.trials] == [*tiny_search.STARTS, *["oracle"] * 3]
    for each in result.trials:
        assert (each.status, each.epochs, len(each.history), each.attempts) == ("completed", 1, 1, 1)
        assert each.sparsity == pytest.approx(round(0.8 * WEIGHTS) / WEIGHTS, abs=1e-9), "to the weight"
        assert each.knobs if each.origin == "oracle" else not each.knobs
        assert list(each.ratios) == ["first", "second", "last"]
        assert each.objective == each.evaluation.accuracy
        assert each.evaluation.drop is not None
    assert len({str(each.ratios) for each in result.trials}) == 8
    assert [(number, status) for number, status, _ in watch.trials[:8]] == [(n, "completed") for n in range(8)]

    assert passes["test"] == 2, "the dense model and the winner"
    assert len(result.finals) == 2 and result.winner in result.finals
    assert all(len(each.history) == each.epochs == 2 for each in result.finals)
    assert all(each.sparsity == result.trials[0].sparsity for each in result.finals)
    starts = [each for each in result.finals if each.origin != "oracle"]
    assert starts and all(result.winner.objective >= each.objective for each in starts)
    best = max(each.objective for each in result.trials)
    assert max(result.trials[each.number].objective for each in result.finals) == best

    assert result.recipe == tmp_path / "there" / "found.yaml"
    assert not (result.directory / "found.yaml").exists() or result.recipe.read_text()
    wanted = {name: round(ratio, 9) for name, ratio in result.winner.ratios.items()}
    read = load(str(result.recipe))
    assert read.prune.scope == wanted
    assert measure(result.model).sparsity == pytest.approx(result.winner.sparsity, abs=0.03)
    zeros = {each.name: np.mean(each.get_weights()[0] == 0) for each in result.model.layers if each.name in wanted}
    assert zeros == pytest.approx(wanted, abs=1e-6)
    kept = tfprune.load(result.directory / "model.keras")
    assert all(map(np.array_equal, kept.get_weights(), result.model.get_weights()))

    check_records(result)
    check_run(result.recipe, wanted, result.winner.sparsity)
    check_reuse(recipe)


def check_records(result) -> None:
    runs = tiny_search.recorded(result.tracking_uri, result.search)
    finals = [f"{each.label} final" for each in result.finals]
    assert sorted(runs) == sorted(["search", *(each.label for each in result.trials), *finals])
    parent = runs["search"]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    children = [run for label, run in runs.items() if label != "search"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    for trial in result.trials:
        run = runs[trial.label]
        ratios = {name: run.data.params[f"ratio/{name}"] for name in trial.ratios}
        assert {name: float(ratio) for name, ratio in ratios.items()} == pytest.approx(trial.ratios, abs=1e-4)
        assert run.data.params["origin"] == trial.origin
        assert run.data.metrics["accuracy"] == pytest.approx(trial.objective)
    assert parent.data.tags["tfprune.outcome"] == result.outcome
    assert parent.data.tags["tfprune.best"] == result.winner.label
    assert parent.data.metrics["test/accuracy"] == pytest.approx(result.test.accuracy)
    files = {Path(each).name for each in artifacts(result.tracking_uri, parent.info.run_id)}
    assert {"sensitivity.png", "sensitivity.json", "pareto.png", "allocation.png", "found.yaml"} <= files


def check_run(recipe, ratios, sparsity) -> None:
    """The recipe that was found runs as it is."""
    done = tfprune.run(recipe)
    last = done.rounds[-1]
    assert last.sparsity == pytest.approx(sparsity, abs=1e-9)
    zeros = {each.name: np.mean(each.get_weights()[0] == 0) for each in done.model.layers if each.name in ratios}
    assert zeros == pytest.approx(ratios, abs=1e-6)


def check_reuse(recipe) -> None:
    """Another search of the same model takes the curves as they are."""
    watch = Looking()
    again = execute(recipe.model_copy(update={"search": recipe.search.model_copy(update={"trials": 1})}), watch=watch)
    assert "sensitivity is known from an earlier search" in watch.notes
    assert not any("sensitivity" in each for each in watch.phases)
    assert len(again.trials) == 6 and again.search == "masks-2"
    assert again.directory.joinpath("sensitivity.json").is_file()


def test_objects_in_place_of_sections(home, tmp_path):
    content = tiny_search.recipe(
        name="objects", search__trials=1, search__objective={"accuracy": 0.5, "worst_slice": 0.5}
    )
    content["stop"]["min_slice_size"] = 5
    del content["model"], content["data"]
    model = tiny_workflow.build((8,), 3)
    before = [each.copy() for each in model.get_weights()]
    x, y = tiny_workflow.examples(300)
    data = {"train": (x[:200], y[:200]), "validation": (x[200:260], y[200:260]), "test": (x[260:], y[260:])}
    result = tfprune.search(content, model=model, data=data, directory=tmp_path / "kept")
    assert all(map(np.array_equal, before, model.get_weights())), "the model that was given stays as it was"
    assert result.directory == tmp_path / "kept"
    assert result.recipe == tmp_path / "kept" / "found.yaml"
    assert result.objective == "0.5 accuracy + 0.5 worst slice"
    for each in result.trials:
        worst = each.evaluation.worst_scored
        assert each.objective == pytest.approx(0.5 * each.evaluation.accuracy + 0.5 * worst.score)
    found = load(str(result.recipe))
    assert found.model is None and found.data is None
    done = tfprune.run(found, model=model, data=data)
    assert done.rounds[-1].sparsity == pytest.approx(result.winner.sparsity, abs=1e-9)


# ------------------------------------------------------------------------------------------- structured


BUDGETS = {"ratio": {"ratio": 0.5}, "macs": {"macs": 0.4}}


@pytest.mark.parametrize("budget", [pytest.param("ratio", marks=pytest.mark.full), "macs"])
def test_a_search_for_widths(budget, home):
    prune = {"method": "structured", "target": BUDGETS[budget]}
    recipe = parse(tiny_search.recipe(name=f"widths-{budget}", prune=prune, search__trials=2, search__finalists=1))
    result = execute(recipe)
    origins = [each.origin for each in result.trials]
    assert origins[0] == "uniform" and origins[-2:] == ["oracle"] * 2
    assert set(origins[:-2]) <= {"uniform", "global", "sensitivity"} and len(set(origins)) == len(origins) - 1
    dense = measure(tiny_workflow.build((8,), 3))
    for each in result.trials:
        assert each.status == "completed", each.message
        assert list(each.ratios) == list(result.trials[0].ratios)
        if budget == "macs":
            assert each.measurement.macs <= 0.4 * dense.macs
        else:
            assert each.measurement.parameters < dense.parameters
    if budget == "macs":
        assert len(result.finals) == 1 or any(each.origin != "oracle" for each in result.finals)
    found = load(str(result.recipe))
    assert found.prune.scope == {name: round(r, 9) for name, r in result.winner.ratios.items() if r > 0}
    done = tfprune.run(result.recipe)
    last = done.rounds[-1]
    assert last.measurement.macs == result.winner.measurement.macs
    assert last.measurement.parameters == result.winner.measurement.parameters == measure(result.model).parameters


# ------------------------------------------------------------------------------------ longer and shorter


def test_hyperband_goes_on_from_shorter_trials(home):
    search = {"oracle": "hyperband", "epochs": 4, "factor": 2, "trials": None, "sensitivity": [0.5, 0.9]}
    result = execute(
        parse(tiny_search.recipe(name="hyper", search={**search, "stop_hopeless": False}, finetune__epochs=1))
    )
    asked = [each for each in result.trials if each.origin == "oracle"]
    assert {each.epochs for each in result.trials if each.origin != "oracle"} == {4}
    lengths = Counter(each.epochs for each in asked)
    assert set(lengths) == {1, 2, 4}
    warm = [each for each in asked if each.warm_start is not None]
    assert warm
    by_number = {each.number: each for each in result.trials}
    for each in warm:
        start = by_number[each.warm_start]
        assert start.epochs < each.epochs == len(each.history)
        assert each.history[: start.epochs] == start.history, "what it went on from is its past, to the millisecond"
        assert each.ratios == start.ratios
        assert (result.directory / "trials" / f"{start.label}.npz").is_file()
    first = Counter(each.epochs for each in asked if each.warm_start is None)
    assert first[1] > lengths[2] - first[2] > 0, "fewer of the trials are longer"
    assert {each.epochs for each in result.finals} == {1}
    assert all(not each.is_file() for each in [result.directory / "trials" / "t000.npz"])


def test_hopeless_trials_are_cut_short(home):
    search = {"oracle": "random", "epochs": 3, "trials": 6, "sensitivity": [0.5, 0.9], "finalists": 1}
    arguments = {"count": 900, "noise": 1.5}
    result = execute(parse(tiny_search.recipe(name="hopeless", search=search, data__arguments=arguments)))
    stopped = [each for each in result.trials if each.status == "stopped"]
    assert stopped, [each.objective for each in result.trials]
    for each in stopped:
        assert each.number >= 4, "four have to have passed before"
        assert 1 <= len(each.history) == each.epochs < 3
        assert each.message == f"hopeless after epoch {each.epochs}"
        assert each.objective is not None
        earlier = [t for t in result.trials[: each.number] if len(t.history) >= each.epochs]  # cut short or not
        median = np.median([t.history[each.epochs - 1]["objective"] for t in earlier])
        assert each.objective < median
    assert all(result.trials[each.number].status == "completed" for each in result.finals)
    runs = tiny_search.recorded(result.tracking_uri, result.search)
    assert {runs[each.label].data.tags["tfprune.status"] for each in stopped} == {"stopped"}


def test_trials_without_training(home):
    search = {"oracle": "random", "trials": 2, "sensitivity": [0.5, 0.9], "finalists": 1}
    result = execute(parse(tiny_search.recipe(name="untrained", search=search, finetune__epochs=0)))
    assert {each.epochs for each in (*result.trials, *result.finals)} == {0}
    assert all(each.status == "completed" and not each.history for each in result.trials)
    assert any(each.origin != "oracle" for each in result.finals)


def test_what_is_found_keeps_the_rest_of_the_recipe():
    stop = {"max_drop": None, "max_slice_drop": None}
    recipe = parse(tiny_search.recipe(name="gates", stop=stop, prune__scope="global", prune__floor=0.1))
    found = found_recipe(recipe, {"first": 0.25, "second": 0.0})
    assert found.stop.max_drop is None and found.stop.max_slice_drop is None
    assert found.prune.scope == {"first": 0.25, "second": 0.0} and found.prune.floor == 0.0
    same = recipe.model_copy(update={"name": "found-gates", "prune": found.prune, "search": found.search})
    assert found == same


# ----------------------------------------------------------------------------------------- sensitivity


def test_sensitivity_alone(home):
    recipe = tiny_search.recipe(name="alone", seed=5)
    known = home / "searches" / "sensitivity"
    before = set(known.glob("*"))
    curves = tfprune.sensitivity(recipe)
    assert curves.method == "masking" and [each.name for each in curves.curves] == ["first", "second", "last"]
    assert all(each.ratios == (0.5, 0.9) for each in curves.curves)
    folder = home / "searches" / "alone-1"
    assert (folder / "sensitivity.json").is_file()
    assert [each.suffix for each in sorted(set(known.iterdir()) - before)] == [".json", ".png"]
    watch = Looking()
    result = execute(parse(recipe), watch=watch)
    assert result.search == "alone-1", "the search goes on from the dense model that is there"
    assert result.sensitivity == curves
    assert not any(each.startswith(("sensitivity", "training dense")) for each in watch.phases)
    assert tiny_search.recorded(result.tracking_uri, "alone-1")["search"].info.status == "FINISHED"
    assert tfprune.sensitivity(recipe) == curves
    assert not (folder.parent / "alone-2").exists(), "known curves need no dense model"


# ------------------------------------------------------------------------------------------------ knobs


def test_more_knobs_than_the_bayesian_oracle_takes_well_are_told(home):
    search = {"oracle": "bayesian", "trials": 1, "knobs": 12, "sensitivity": [0.5, 0.9], "finalists": 1, "steps": 1}
    recipe = tiny_search.recipe(name="knobs", model={"function": "tiny_search:deep"}, search=search, finetune__epochs=1)
    with pytest.warns(TfpruneWarning, match="search.knobs leaves 12 knobs: .* lower search.knobs, or set") as caught:
        result = tfprune.search(recipe)
    assert len([each for each in caught if each.category is TfpruneWarning]) == 1, "once a search"
    assert len(result.trials[-1].knobs) == 12
