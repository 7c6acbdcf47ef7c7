"""Every verb from outside: what it prints where, and its exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow

import tfprune
from tfprune.cli import main

VERBS = ["run", "search", "resume", "compare", "evaluate", "inspect", "shrink", "schedules", "schedules draw", "ui"]


@pytest.fixture
def recorded(finished, monkeypatch) -> dict:
    """The result of a workflow in whose home the verbs look around."""
    folder, result = finished
    monkeypatch.setenv("TFPRUNE_HOME", str(folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return result


@pytest.fixture
def cli(monkeypatch, capfd):
    """The command line in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tfprune", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
            raise SystemExit(0)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return end.value.code or 0, out, err

    return call


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb, cli):
    code, out, _ = cli(*verb.split(), "--help")
    assert code == 0
    assert re.search(rf"Example: tfprune {verb}", out)
    assert "--json" in out


def test_bare_names_every_verb(cli):
    code, out, err = cli()
    assert code == 2
    assert all(verb.split()[0] in out + err for verb in VERBS)


# ------------------------------------------------------------------------------------------------ run


def test_run_prints_json_and_nothing_else(finished):
    _, result = finished
    assert (result["workflow"], result["target_met"], result["best"]) == ("tiny-1", True, 2)
    assert "model" not in result
    assert Path(result["directory"], "model.keras").is_file()


def test_run_in_a_terminal(home, cli, tmp_path):
    path = tiny_workflow.write(tmp_path / "recipe.yaml", name="shown", track__models=False)
    code, out, err = cli("run", path)
    assert code == 0
    assert "shown-1" in out and "r02" in out and "Target met" in out and "test split" in out
    assert "compare in a browser: tfprune ui" in out
    assert "loading data and model" in err and "r01: sparsity" in err, "progress goes to standard error"
    assert "r01: sparsity" not in out and "loading" not in out
    assert f"model: {home / 'workflows' / 'shown-1' / 'model.keras'}\n" in out


def test_gates_that_failed_are_exit_code_1(home, cli, tmp_path):
    path = tiny_workflow.write(tmp_path / "recipe.yaml", name="failing", track__models=False)
    changes = ["--set", "stop={max_drop: 0.0, patience: 1}", "--set", "prune={rounds: 1, target: {sparsity: 0.98}}"]
    changes += ["--set", "train.epochs=8", "--set", "finetune={epochs: 1, learning_rate: 1.0e-9}"]
    code, out, _ = cli("run", path, *changes, "--json")
    result = json.loads(out)
    assert (code, result["target_met"], result["best"]) == (1, False, 0)
    assert result["rounds"][1]["target"] == pytest.approx(0.98), "--set was heard"


def test_a_warning_is_one_line(home, cli, tmp_path):
    path = tiny_workflow.write(tmp_path / "recipe.yaml", name="warned", track__models=False, finetune__epochs=0)
    code, out, err = cli("run", path)
    assert code == 0 and "warning" not in out
    (line,) = [line for line in err.splitlines() if "pruned without training" in line]
    assert re.fullmatch(
        r"warning: pruned without training: accuracy [\d.]+%, [\d.]+% before, on the validation part; "
        r"fine-tune it, or prune less",
        line,
    )
    assert "UserWarning" not in err


def test_set_refuses_what_a_file_would(cli, tmp_path):
    path = tiny_workflow.write(tmp_path / "recipe.yaml")
    code, out, err = cli("run", path, "--set", "prune.target.sparsity=1.5")
    assert (code, out) == (2, "")
    assert "prune.target.sparsity: got 1.5" in err and err.count("\n") == 1


# ------------------------------------------------------------------------------------------------ search


SEARCH = {
    "prune": {"target": {"sparsity": 0.8}, "rounds": 1},
    "finetune__epochs": 1,
    "search": {"oracle": "random", "trials": 2, "sensitivity": [0.5, 0.9], "finalists": 1},
    "stop": {"max_drop": 0.9, "max_slice_drop": 0.9},
}


def test_search(home, cli, tmp_path):
    path = tiny_workflow.write(tmp_path / "recipe.yaml", name="sought", track__models=False, **SEARCH)
    code, out, err = cli("search", path, "--sensitivity-only", "--json")
    assert code == 0 and all(each.startswith("warning: finetune.epochs: after 6 steps") for each in err.splitlines())
    curves = json.loads(out)
    assert [each["name"] for each in curves["sensitivity"]["curves"]] == ["first", "second", "last"]
    assert Path(curves["file"]).read_bytes().startswith(b"\x89PNG")
    code, out, err = cli("search", path, "--sensitivity-only")
    assert code == 0 and "sensitivity is known from an earlier search" in err
    assert "second" in out and "90%" in out and f"drawn to {curves['file']}" in out

    code, out, err = cli("search", path, "-o", tmp_path / "found.yaml", "--json")
    assert code == 0 and all(each.startswith("warning: finetune.epochs: after 6 steps") for each in err.splitlines())
    result = json.loads(out)
    assert result["search"] == "sought-1", "it goes on from what sensitivity has left"
    assert len(result["trials"]) == 7 and result["best"] in [each["number"] for each in result["finals"]]
    assert "model" not in result and result["recipe"] == str(tmp_path / "found.yaml")

    code, out, err = cli("search", path, "--set", "search.trials=1")
    assert code == 0
    assert "sought-2" in out and "uniform" in out and "oracle" in out
    assert "t000 uniform" in err and "t000 uniform: accuracy" not in out, "progress goes to standard error"
    found = home / "searches" / "sought-2" / "found.yaml"
    assert f"recipe: {found}\n" in out and f"run it: tfprune run {found}\n" in out
    assert cli("run", found, "--json")[0] == 0


# -------------------------------------------------------------------------------------- compare, inspect


def test_compare(recorded, cli):
    code, out, _ = cli("compare", "tiny-1")
    assert code == 0
    assert recorded["outcome"].split(";")[0] in " ".join(out.split())
    assert "dense" in out and "tiny-1 r02" in out and "class_2" in out
    code, out, err = cli("compare", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"tiny-1": {"outcome": recorded["outcome"], "rounds": recorded["rounds"]}}


def test_compare_two(home, cli, tmp_path):
    path = tiny_workflow.write(
        tmp_path / "recipe.yaml",
        name="twice",
        train__epochs=1,
        finetune__epochs=1,
        track__models=False,
        track__experiment="pairs",
        prune__rounds=1,
    )
    for seed in (1, 2):
        assert cli("run", path, "--set", f"seed={seed}")[0] == 0
    code, out, _ = cli("compare", "--experiment", "pairs", "--json")
    assert code == 0
    assert list(json.loads(out)) == ["twice-2", "twice-1"], "the latest two"
    code, out, _ = cli("compare", "twice-1", "twice-2", "--experiment", "pairs")
    assert "best rounds, validation split" in out and "calibration error" in out and "churn" in out
    header = next(line for line in out.splitlines() if line.count("twice-") == 2 and "r01" in line)
    assert re.findall(r"twice-\d \w+", header) == ["twice-1 r01", "twice-2 r01"]
    page = tmp_path / "page.html"
    code, out, _ = cli("compare", "twice-1", "twice-2", "--experiment", "pairs", "--html", page)
    assert code == 0 and f"page: {page}" in out
    text = page.read_text("utf-8")
    assert (
        "twice-1" in text
        and "twice-2" in text
        and "class_2" in text
        and "http://" not in text.replace("http://www.w3.org", "")
    )


# ---------------------------------------------------------------------------------------------- evaluate


@pytest.fixture
def evaluated(finished, cli):
    """Evaluates the best round of the recorded workflow on its validation split."""
    folder, result = finished

    def call(*arguments: str) -> tuple[int, str, str]:
        return cli("evaluate", Path(result["directory"], "model.keras"), *arguments)

    return call, folder / "recipe.yaml", result


def test_evaluate_says_what_the_rounds_say(evaluated):
    call, recipe, result = evaluated
    code, out, _ = call("--data", recipe, "--json")
    whole = json.loads(out)["evaluation"]["whole"]
    best = result["rounds"][result["best"]]["evaluation"]["whole"]
    assert (code, whole["support"], whole["score"]) == (0, best["support"], best["score"])
    code, out, _ = call("--data", recipe, "--slices", "classes", "--slices", "hardest: 0.5", "--min-support", "1")
    assert code == 0
    assert all(name in out for name in ("class_0", "class_2", "hardest", "accuracy"))


def test_evaluate_holds_a_model_against_a_baseline_and_gates(evaluated, tmp_path):
    call, recipe, _ = evaluated
    from tfprune.backend import keras

    inverse = keras.Sequential([keras.layers.Dense(3, "softmax", input_shape=(8,))])
    path = tfprune.save(inverse, tmp_path / "untrained.keras")
    given = ["--data", recipe, "--min-support", "1", "--examples", tmp_path / "answers.parquet"]
    code, out, _ = call(*given, "--baseline", path)
    assert code == 0 and "lost" in out and (tmp_path / "answers.parquet").is_file()
    code, out, _ = call(*given, "--baseline", path, "--max-drop", "0.5", "--max-slice-drop", "0.99")
    assert code == 0
    same = Path(evaluated[2]["directory"], "model.keras")
    code, out, _ = call(*given, "--baseline", same, "--max-slice-drop", "0", "--confidence", "0.95", "--json")
    assert code == 0 and json.loads(out)["verdict"] == {"passed": True, "reasons": []}


def test_evaluate_holds_a_regression_against_a_gate_with_confidence(cli, tmp_path):
    from tfprune.backend import keras

    x = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
    np.savez(tmp_path / "line.npz", x=x, y=3 * x[:, 0])
    for name, slope in (("dense", 3.0), ("small", 1.0)):
        model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
        model.set_weights([np.array([[slope]]), np.zeros(1)])
        tfprune.save(model, tmp_path / f"{name}.keras")
    given = ["--data", tmp_path / "line.npz", "--slices", "hardest: 0.5", "--baseline", tmp_path / "dense.keras"]
    for confidence in ([], ["--confidence", "0.95"]):
        code, out, _ = cli(
            "evaluate", tmp_path / "small.keras", *given, "--max-drop", "0.5", "--max-slice-drop", "0.5", *confidence
        )
        assert code == 1
        assert re.search(r"gate failed: the error rose by 1\.\d+ on 200 examples \(95% interval 1\.\d+ to 1\.\d+;", out)
        assert "gate failed: slice hardest has an error higher by" in out
        code, _, _ = cli("evaluate", tmp_path / "dense.keras", *given, "--max-drop", "0.01", *confidence)
        assert code == 0


def test_evaluate_names_a_column_that_does_not_line_up(evaluated, tmp_path):
    call, _, _ = evaluated
    x, y = tiny_workflow.examples(60)
    np.savez(tmp_path / "short.npz", x=x, y=y, age=np.arange(50.0))
    code, _, err = call("--data", tmp_path / "short.npz", "--slices", "column: age")
    assert code == 2 and "metadata column 'age' has 50 values for 60 examples" in err and err.count("\n") == 1


def test_evaluate_fails_where_a_gate_does(evaluated, cli, tmp_path):
    _, recipe, result = evaluated
    from tfprune.backend import keras

    path = tfprune.save(
        keras.Sequential([keras.layers.Dense(3, input_shape=(8,), kernel_initializer="zeros")]),
        tmp_path / "nothing.keras",
    )
    dense = Path(result["directory"], "model.keras")
    given = ["evaluate", path, "--data", recipe, "--baseline", dense, "--max-drop", "0.1"]
    code, out, _ = cli(*given, "--confidence", "0.95")
    assert code == 1 and "with 95% confidence, p = " in out
    code, out, _ = cli(*given)
    assert code == 1
    assert re.search(r"gate failed: accuracy fell by [\d.]+ points on 36 examples \(95% interval", out)


def test_evaluate_an_archive_with_metadata(evaluated, tmp_path):
    call, _, _ = evaluated
    x, y = tiny_workflow.examples(60)
    np.savez(tmp_path / "mine.npz", x=x, y=y, age=np.arange(60.0), other=np.zeros(3))
    slices = ["--slices", "{column: age, range: [30, null]}", "--slices", "[classes]"]
    code, out, _ = call("--data", tmp_path / "mine.npz", *slices, "--json")
    scores = json.loads(out)["evaluation"]["slices"]
    assert code == 0 and [(each["name"], each["support"]) for each in scores] == [
        ("age_from_30", 30),
        ("class_0", 20),
        ("class_1", 20),
        ("class_2", 20),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "recipe 'nowhere': no such file"),
        (["--data", "nowhere.npz"], "nowhere.npz: no such file"),
        (["--data", "RECIPE", "--slices", "hardst: 0.1"], "did you mean 'hardest'?"),
        (["--data", "RECIPE", "--slices", "{a: [b"], "--slices '{a: [b': not YAML"),
        (["--data", "RECIPE", "--slices", "column: age"], "the validation split has no metadata column 'age'"),
        (
            ["--data", "RECIPE", "--slices", "corrupted: blur"],
            "corruption 'blur' is for image data, not for table data",
        ),
        (["--data", "RECIPE", "--split", "tests"], "did you mean 'test'?"),
        (["--data", "RECIPE", "--max-drop", "0.1"], "gates hold a model against a dense one; add --baseline MODEL"),
        (["--data", "RECIPE", "--max-drop", "2", "--baseline", "digits"], "--max-drop: got 2.0, expected: "),
        (["--data", "RECIPE", "--confidence", "0.9"], "add --max-drop or --max-slice-drop"),
    ],
    ids=str,
)
def test_a_mistake_in_evaluate_is_one_line(arguments, words, evaluated):
    call, recipe, _ = evaluated
    code, out, err = call(*[recipe if each == "RECIPE" else each for each in arguments])
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and words in err and err.count("\n") == 1


def test_json_stays_plain_where_colours_are_forced(finished):
    folder, result = finished
    done = tiny_workflow.tfprune(folder, folder / "home", "compare", "--json", FORCE_COLOR="1", COLUMNS="20")
    assert json.loads(done.stdout)["tiny-1"]["outcome"] == result["outcome"]
    assert (done.returncode, done.stderr) == (0, "")


def test_inspect_a_recipe_a_model_and_a_wrapped_model(recorded, cli, tmp_path):
    recipe = tiny_workflow.write(tmp_path / "recipe.yaml")
    wrapped = tfprune.wrap(tiny_workflow.build((8,), 3), tfprune.ConstantSparsity(final_sparsity=0.5))
    wrapped.save(tmp_path / "wrapped.keras")
    best = Path(recorded["directory"], "model.keras")
    found = {}
    for name in (recipe, best, tmp_path / "wrapped.keras"):
        code, out, err = cli("inspect", name, "--json")
        assert (code, err) == (0, "")
        found[name] = json.loads(out)
    assert {each["prunable"] for each in found.values()} == {8 * 16 + 16 * 16 + 16 * 3}
    assert {each["macs"] for each in found.values()} == {432}
    assert found[recipe]["zeros"] == 0
    assert found[best]["zeros"] / 432 == recorded["rounds"][2]["sparsity"]
    assert [each["name"] for each in found[tmp_path / "wrapped.keras"]["layers"] if each["prunable"]] == [
        "first",
        "second",
        "last",
    ]
    code, out, _ = cli("inspect", best)
    assert "BatchNormalization" in out and "432 MACs" in " ".join(out.split())
    overall = 1 - found[best]["nonzero"] / found[best]["parameters"]
    assert f"60.2% of those zero, {overall:.1%} of all" in " ".join(out.split())


def test_inspect_a_shipped_recipe(cli):
    code, out, _ = cli("inspect", "digits", "--json")
    assert code == 0 and json.loads(out)["prunable"] > 10_000


def test_inspect_with_latency(cli, tmp_path):
    tiny_workflow.build((8,), 3).save(tmp_path / "model.keras")
    code, out, err = cli("inspect", tmp_path / "model.keras", "--latency", "--threads", "2")
    text = " ".join(out.split())
    assert (code, err) == (0, "")
    assert re.search(r"LiteRT │ *[\d.]+│ *[\d.]+│ *[\d,]+%│ *[\d,]+│ *2│ *1│xnnpack", text)
    assert re.search(r"TensorFlow│ *[\d.]+│ *[\d.]+│ *[\d,]+%│ *[\d,]+│ *2│ *1│none", text)
    assert "432 MACs" in text and re.search(r"As a LiteRT file [\d.]+ kB; its arena without a delegate \d+ bytes", text)


def test_inspect_the_structure(cli, tmp_path):
    recipe = tiny_workflow.write(tmp_path / "recipe.yaml")
    tiny_workflow.build((8,), 3).save(tmp_path / "model.keras")
    for model, more in ((recipe, []), (tmp_path / "model.keras", []), (recipe, ["--importance", "taylor"])):
        code, out, err = cli("inspect", model, "--structure", "--json", *more)
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert [(each["name"], each["kind"], each["size"]) for each in found] == [
            ("first", "filters", 16),
            ("second", "filters", 16),
        ]
        assert found[0]["layers"] == ["first", "norm", "second"] and found[0]["exact"] and found[0]["score"] > 0
        assert (found[0]["parameters"], found[0]["macs"]) == (8 + 1 + 4 + 16, 8 + 16)
    code, out, _ = cli("inspect", recipe, "--structure")
    assert code == 0 and re.search(r"second +│filters│ +16│ +20│ +19│", out)
    assert "2 couplings with units that can be removed: 32 of filters." in out


def test_scores_that_say_nothing_of_some_units_are_json(cli, tmp_path):
    tiny_workflow.build((8,), 3).save(tmp_path / "model.keras")
    arguments = ("inspect", tmp_path / "model.keras", "--structure", "--importance", "bn_scale")
    code, out, err = cli(*arguments, "--json")
    assert (code, err) == (0, "") and "Infinity" not in out and "NaN" not in out
    assert [each["score"] for each in json.loads(out)] == [1.0, 0.0]
    assert cli(*arguments)[0] == 0


# ------------------------------------------------------------------------------------------------ shrink


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory) -> Path:
    model = tiny_workflow.build((8,), 3)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*tiny_workflow.examples(32), verbose=0)
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    model.save(path)
    return path


@pytest.fixture
def model_file(trained_file, tmp_path) -> Path:
    return Path(shutil.copy(trained_file, tmp_path / "model.keras"))


def test_shrink(cli, model_file, tmp_path):
    code, out, err = cli("shrink", model_file, "-o", tmp_path / "small.keras", "--ratio", "0.5")
    assert (code, err) == (0, "")
    assert "16 of 32 units removed (50.0%)" in out and f"model: {tmp_path / 'small.keras'}" in out
    assert re.search(r"parameters +│ +531 +│ +203 +│ +2.6x", out) and re.search(r"second *│Dense *│ +8│ +8│", out)
    small = tfprune.load(tmp_path / "small.keras")
    assert (small.get_layer("first").units, small.get_layer("second").units) == (8, 8)
    assert int(small.optimizer.iterations) == 1, "it was compiled, and goes on with its momentum"


@pytest.mark.parametrize(
    ("budget", "reached"),
    [
        (["--params", "300"], lambda after: after["parameters"] <= 300),
        (["--macs", "200", "--scope", "global"], lambda after: after["macs"] <= 200),
        (["--size-mb", "0.0015", "--importance", "fpgm"], lambda after: after["bytes"] <= 1500),
        (["--ratio", "0.4", "--multiple-of", "8", "--minimum", "2"], lambda after: after["parameters"] == 203),
        (["--ratio", "0.5", "--ignore", "fir*", "--ceiling", "0.25"], lambda after: after["parameters"] == 451),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_shrink_to_a_budget(budget, reached, cli, model_file, tmp_path):
    code, out, err = cli("shrink", model_file, "-o", tmp_path / "small.h5", *budget, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)["report"]
    assert reached(report["after"]) and report["before"]["parameters"] == 531
    assert tfprune.measure(tfprune.load(tmp_path / "small.h5")).parameters == report["after"]["parameters"]


def test_shrink_to_a_latency(cli, tmp_path):
    tiny_workflow.build((8,), 3, width=512).save(tmp_path / "wide.keras")
    out = ["-o", tmp_path / "small.keras"]
    code, text, err = cli("shrink", tmp_path / "wide.keras", *out, "--latency-ms", "0.05")
    assert code == 0, err
    assert re.search(r"ms in LiteRT +│ +[\d.]+ +│ +0\.0\d+ +│", text)


def test_a_plan_is_saved_and_replayed(cli, model_file, tmp_path):
    plan = tmp_path / "plan.json"
    arguments = ("--params", "300", "--importance", "random", "--seed", "4", "--save-plan", plan)
    assert cli("shrink", model_file, "-o", tmp_path / "one.keras", *arguments)[0] == 0
    code, out, _ = cli("shrink", model_file, "-o", tmp_path / "two.keras", "--plan", plan)
    assert code == 0 and "of 32 units removed" in out
    one, two = (tfprune.load(tmp_path / f"{name}.keras").get_weights() for name in ("one", "two"))
    assert all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(one, two, strict=True))


def test_scores_that_need_data(cli, model_file, tmp_path):
    recipe = tiny_workflow.write(tmp_path / "recipe.yaml")
    out = ["-o", tmp_path / "small.keras", "--ratio", "0.5", "--importance", "taylor", "--batches", "2"]
    code, text, err = cli("shrink", model_file, *out)
    assert (code, text) == (2, "") and "importance taylor needs" in err and err.count("\n") == 1
    assert not (tmp_path / "small.keras").exists()
    assert cli("shrink", model_file, *out, "--data", recipe)[0] == 0
    assert cli("shrink", recipe, *out, "--units", "filters", "--units", "blocks")[0] == 0, "of a recipe its own"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give exactly one of --ratio, --params, --macs, --latency-ms, --size-mb, --plan, but got none"),
        (["--ratio", "0.5", "--macs", "3"], "but got --ratio and --macs"),
        (["--ratio", "0.5", "--plan", "plan.json"], "but got --ratio and --plan"),
        (["--plan", "nowhere.json"], "nowhere.json: No such file"),
        (["--plan", "model.keras"], "model.keras: it is no plan"),
        (["--ratio", "1.5"], "ratio"),
        (["--params", "3"], "out of reach"),
        (["--ratio", "0.5", "--importance", "l3"], "did you mean 'l"),
        (["--ratio", "0.5", "--importance", "nowhere:f"], "no module 'nowhere'"),
        (["--ratio", "0.5", "--ignore", "frist"], "did you mean 'first'"),
        (["--ratio", "0.5", "--units", "filter"], "did you mean 'filters'"),
        (["--ratio", "0.5", "--scope", "globl"], "scope must be one of layer, global"),
        (["--ratio", "0.5", "--multiple-of", "0"], "multiple_of"),
        (["--ratio", "0.5", "--importance", "apoz", "--data", "nowhere.yaml"], "no such file"),
        (["--ratio", "0.5", "-o", "small.onnx"], "cannot write '.onnx'"),
        (["--ratio", "0.5", "-o", "model.keras/small.keras"], "cannot write model.keras/small.keras"),
        (["--ratio", "0.5", "--save-plan", "model.keras/plan.json"], "cannot write model.keras/plan.json"),
        (["--ratio", "1.5", "--save-plan", "new/folders/plan.json"], "ratio"),
        (["--ratio", "0.5", "--save-plan", "."], ".: a folder is in the way of the plan"),
        (["--ratio", "0.5", "--save-plan", "small.keras"], "small.keras: the smaller model is in the way of the plan"),
        (
            ["--plan", "plan.json", "--multiple-of", "8", "--seed", "0"],
            "--plan says all that falls, and goes without --multiple-of and --seed",
        ),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_mistake_in_shrink_is_one_line(arguments, words, cli, model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    output = [] if "-o" in arguments else ["-o", "small.keras"]
    code, out, err = cli("shrink", "model.keras", *output, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and words in err and err.count("\n") == 1, err
    assert sorted(tmp_path.iterdir()) == before


# ------------------------------------------------------------------------------------------- schedules, ui


def test_schedules(cli):
    code, out, err = cli("schedules", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["digits"]["prune"]["rounds"] == 4
    code, out, _ = cli("schedules")
    assert re.search(r"digits .* digits-cnn .* masking, 92% zeros in 4 rounds", out)
    assert re.search(r"structured .* digits-cnn .* structured, 67% of units in 5", out)


def test_draw(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("schedules", "draw", "digits", "--json", "--set", "prune.target.sparsity=0.75")
    content = json.loads(out)
    assert (code, err, content["file"]) == (0, "", None)
    assert content["targets"][-1] == pytest.approx(0.75) and content["points"][-1] == [4000, pytest.approx(0.75)]
    assert not list(tmp_path.iterdir())
    code, out, _ = cli("schedules", "draw", "digits", "-o", "deep/plan.svg")
    assert code == 0 and "drawn to deep/plan.svg" in out
    assert (tmp_path / "deep" / "plan.svg").read_text().startswith("<?xml")
    assert cli("schedules", "draw", "digits")[0] == 0
    assert (tmp_path / "digits-schedule.png").is_file()
    code, out, err = cli("schedules", "draw", "digits", "-o", "plan.txt")
    assert (code, out) == (2, "") and "the ending must be one of" in err


def test_draw_rounds_that_prune_at_once(cli):
    content = json.loads(cli("schedules", "draw", "lottery-ticket", "--json", "--steps", "10")[1])
    jumps = [(number * 10, pytest.approx(target)) for number, target in enumerate(content["targets"][1:])]
    assert [tuple(each) for each in content["points"]] == [(0, 0), *jumps, (40, pytest.approx(0.8))]


def test_draw_rounds_that_remove_units(cli, tmp_path):
    content = json.loads(cli("schedules", "draw", "structured", "--json", "--steps", "10")[1])
    assert content["targets"] == pytest.approx([1 - 0.8**number for number in range(6)])
    assert content["points"][-1] == [50, pytest.approx(0.67232)]
    plan = tmp_path / "plan.svg"
    code, out, _ = cli("schedules", "draw", "structured-then-masks", "--steps", "10", "-o", plan)
    assert code == 0 and out.count("targets by round") == 2 and plan.exists()
    content = json.loads(cli("schedules", "draw", "structured-then-masks", "--json", "--steps", "10")[1])
    assert [each["label"] for each in content["phases"]] == ["structured", "masking"]
    assert content["phases"][1]["points"][0] == [30, 0.0]
    code, _, err = cli("schedules", "draw", "structured", "--set", "prune.target={macs: 5000}")
    assert code == 2 and "prune.target.macs 5000 is an amount" in err and err.count("\n") == 1


def test_draw_over_steps(cli):
    arguments = ("schedules", "draw", "digits", "--set", "prune.schedule={kind: stepped, steps: 2}", "--json")
    content = json.loads(cli(*arguments, "--steps", "60")[1])
    assert (content["steps"], len(content["targets"])) == (60, 5)
    # Each round jumps on its first step and in its middle, from where half of it recovers.
    assert [step for step, _ in content["points"]] == [0, 0, 30, 60, 90, 120, 150, 180, 210, 240]
    assert content["points"][2][1] == content["targets"][1]


def test_draw_kinds(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("schedules", "draw", "--json")
    content = json.loads(out)
    assert (code, err, content["file"], content["steps"]) == (0, "", None, 1000)
    assert list(content["kinds"]) == ["polynomial", "linear", "exponential", "cosine", "stepped", "constant"]
    assert {tuple(points[-1]) for points in content["kinds"].values()} == {(1000, 0.9)}
    assert not list(tmp_path.iterdir())
    changes = ["--final", "0.6", "--steps", "30", "--frequency", "10"]
    code, out, _ = cli("schedules", "draw", "--kind", "linear", "--kind", "constant", *changes, "--json", "-o", "a.svg")
    content = json.loads(out)
    assert content["kinds"]["linear"] == [[0, 0], [10, pytest.approx(0.2)], [20, pytest.approx(0.4)], [30, 0.6]]
    assert content["kinds"]["constant"] == [[0, 0], [0, 0.6], [30, 0.6]]
    assert (code, content["file"]) == (0, "a.svg") and (tmp_path / "a.svg").is_file()
    assert cli("schedules", "draw")[1] == "drawn to kinds-schedule.png\n"
    assert (tmp_path / "kinds-schedule.png").is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_ui_serves_until_it_is_stopped(number, code, finished):
    folder, _ = finished
    process = tiny_workflow.start(folder, folder / "home", "ui", "--port", "0")
    line = process.stdout.readline()
    url = line.removeprefix("runs: ").strip()
    place = r"http://127.0.0.1:\d+/#/experiments/\d+/runs\?workflowType=machine_learning"
    assert re.fullmatch(place + "&compareRunsMode=CHART&viewStateShareKey=rounds", url), line
    assert urllib.request.urlopen(url.partition("/#")[0] + "/health", timeout=10).read() == b"OK"
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in out + err
    with pytest.raises(OSError):
        urllib.request.urlopen(url.partition("/#")[0] + "/health", timeout=2)


def test_ui_as_json(finished):
    folder, _ = finished
    process = tiny_workflow.start(folder, folder / "home", "ui", "--port", "0", "--json")
    text = ""
    while not text.rstrip().endswith("}"):
        text += process.stdout.readline()
    server = json.loads(text)
    os.kill(server["pid"], signal.SIGTERM)  # the server itself ends: so does the verb
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "") and "Traceback" not in err


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "digist"], "did you mean 'digits'?"),
        (["run", "nowhere.yaml"], "no such file"),
        (["inspect", "nowhere.keras"], "there is no such model file"),
        (["inspect", "digits", "--importance", "l1"], "--importance is for the score that --structure shows"),
        (["inspect", "digits", "--batch", "2"], "--batch is for what --latency measures; add --latency"),
        (["inspect", "digits", "--latency", "--threads", "0"], "threads must be a whole number of 1 or more"),
        (["inspect", "digits", "--latency", "--structure"], "--structure and --latency show different things"),
        (["inspect", "digits", "--data", "digits"], "--data is for the score that --structure shows"),
        (["schedules", "draw", "digist"], "did you mean 'digits'?"),
        (["schedules", "draw", "digits", "--kind", "cosine"], "--kind, --final and --frequency go without a recipe"),
        (["schedules", "draw", "digits", "--frequency", "1"], "a recipe with --set, e.g. --set prune.schedule.kind"),
        (["schedules", "draw", "digits", "--steps", "0"], "steps a round must be from 1 to 1000000, but got 0"),
        (["schedules", "draw", "--steps", "-5"], "steps a round must be from 1 to 1000000, but got -5"),
        (["schedules", "draw", "--kind", "cosin"], "did you mean 'cosine'?"),
        (
            ["schedules", "draw", "--final", "1"],
            "--final 1.0 --frequency 100: prune.target.sparsity: got 1.0",
        ),
        (["schedules", "draw", "--final", "nan"], "prune.target.sparsity: got nan, expected"),
        (["schedules", "draw", "--frequency", "0"], "prune.schedule.frequency: got 0, expected"),
        (["schedules", "draw", "--set", "seed=3"], "--set 'seed=3' changes a recipe, but no recipe is given"),
        (["compare", "tiny-9"], "did you mean 'tiny-1'?"),
        (["resume", "tiny-9"], "workflow 'tiny-9': not in "),
        (["resume"], "nothing to resume"),
        (["compare", "--experiment", "none"], "there is no experiment 'none'"),
        (["ui", "--experiment", "none"], "there is no experiment 'none'"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(arguments, words, recorded, cli):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and words in err and err.count("\n") == 1


def test_unknown_options_are_exit_code_2(cli):
    for arguments in (["run"], ["run", "digits", "--no-such"], ["rnu"], ["ui", "--port", "x"]):
        code, out, _ = cli(*arguments)
        assert (code, out) == (2, "")


def test_a_fault_of_our_own_is_one_line_and_exit_code_3(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("tfprune.recipe.names", lambda: 1 / 0)
    code, out, err = cli("schedules")
    assert (code, out) == (3, "")
    assert err.startswith("internal error: ZeroDivisionError") and err.count("\n") == 1
