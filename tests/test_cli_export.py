"""`tfprune export` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow
from typer.testing import CliRunner

import tfprune
from tfprune.backend import keras
from tfprune.cli import app, main
from tfprune.results import RunResult


@pytest.fixture(scope="module")
def workflow(warm_home: Path) -> RunResult:
    """A finished workflow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        return tfprune.run(tiny_workflow.recipe(name="typed", train__epochs=4, prune__rounds=1))


def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the real entry point."""
    monkeypatch.setattr("sys.argv", ["tfprune", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        main()
        raise SystemExit(0)
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_a_workflow_brings_its_data(workflow, home, tmp_path, capsys, monkeypatch) -> None:
    path = tmp_path / "tiny.tflite"
    given = ("export", workflow.workflow, "-o", str(path), "--quantize", "int8", "--agreement", "0.9", "--labels")
    code, out, _ = typed(capsys, monkeypatch, *given, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["bytes"] == path.stat().st_size
    assert report["check"]["source"] == "validation" and report["check"]["agreement"] >= 0.9
    assert [each["name"] for each in report["check"]["file"]["slices"]] == ["class_0", "class_1", "class_2"]
    code, _, err = typed(capsys, monkeypatch, *given)
    assert code == 2 and "exists; give --force" in err and err.count("\n") == 1
    code, out, _ = typed(capsys, monkeypatch, *given, "--force")
    assert code == 0 and "agreement" in out and f"exported: {path}" in out


def test_a_model_on_record(workflow, home, tmp_path, capsys, monkeypatch) -> None:
    import mlflow

    client = mlflow.MlflowClient(workflow.tracking_uri)
    experiment = client.get_experiment_by_name("tfprune")
    wanted = f"attributes.run_name = '{workflow.workflow} r01'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    path = tmp_path / "tiny.onnx"
    code, out, err = typed(
        capsys, monkeypatch, "export", f"runs:/{run.info.run_id}/model", "-o", str(path), "--difference", "0.01"
    )
    assert code == 0, err
    assert "32 random examples" in out and path.exists()


def test_several_inputs_from_one_archive(tmp_path, capsys, monkeypatch) -> None:
    inputs = {name: keras.Input((5,), name=name) for name in ("numbers", "also")}
    x = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()([inputs["numbers"], inputs["also"]]))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    arrays = {name: np.random.default_rng(0).normal(size=(96, 5)).astype(np.float32) for name in inputs}
    np.savez(tmp_path / "several.npz", y=model.predict(arrays, verbose=0).argmax(axis=1), **arrays)
    tfprune.save(model, tmp_path / "several.keras")
    code, out, _ = typed(
        *(capsys, monkeypatch, "export", str(tmp_path / "several.keras"), "-o", str(tmp_path / "several.tflite")),
        *("--data", str(tmp_path / "several.npz"), "--quantize", "int8", "--agreement", "0.9"),
    )
    assert code == 0 and "96 several.npz examples" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere", "-o", "x.tflite"), 2, "no model file, no workflow in"),
        (("MODEL", "-o", "x.tflite", "--quantize", "int8"), 2, "int8 needs a calibration set"),
        (("MODEL", "-o", "x.zip"), 2, "cannot tell a format by '.zip'"),
        (("MODEL", "-o", "x.tflite", "--labels"), 2, "give --data RECIPE"),
        (("MODEL", "-o", "x.tflite", "--data", "nothing.npz"), 2, "nothing.npz"),
        (("MODEL", "-o", "x", "--latency-ms", "1"), 2, "measured in LiteRT and onnxruntime"),
        (("MODEL", "-o", "x.tflite", "--size-mb", "0.0001"), 1, "x.tflite was not written: it has 0.0"),
        (("runs:/0123/model", "-o", "x.tflite"), 2, "no model is recorded there"),
        (("MODEL", "-o", "x.onnx", "--labels", "--data", "digits"), 2, "--labels goes with litert"),
        (("MODEL", "-o", "x.tflite", "--qat-epochs", "2"), 2, "leads to int8 in litert"),
        (("MODEL", "-o", "x.tflite", "--calibration", "mine.npz"), 2, "a calibration set goes with quantize int8"),
    ],
)
def test_bad_input_is_one_line(arguments, code, words, workflow, home, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(workflow.directory / "model.keras")
    found, out, err = typed(capsys, monkeypatch, "export", *(model if each == "MODEL" else each for each in arguments))
    assert (found, out) == (code, "")
    assert words in err and err.startswith("error: ") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_edge_camera_recipe_ends_with_a_table(home, tmp_path, capsys, monkeypatch) -> None:
    """The shipped recipe, on data that needs no network and in one short round."""
    changes = (
        "data={source: digits}",
        "model={builtin: digits-cnn}",
        "precision=float32",
        *("train.epochs=3", "train.optimizer=adam", "train.learning_rate=0.002", "train.augment=[]"),
        *("finetune.epochs=1", "prune.rounds=1", "prune.target.params=0.8"),
        *("stop.max_drop=0.9", "stop.max_slice_drop=0.9", "export.agreement=0.5"),
        f"export.path={tmp_path / 'edge.tflite'}",
    )
    given = [each for change in changes for each in ("--set", change)]
    code, out, err = typed(capsys, monkeypatch, "run", "edge-camera", *given)
    assert code == 0, err
    table = out[out.index("from dense to exported") :]
    for words in ("dense", "pruned", "pruned, int8", "smaller", "faster", "Exported: ", "edge.tflite"):
        assert words in table
    assert "The dense model taught" in out
    assert (tmp_path / "edge.tflite").exists()


def test_help_has_an_example() -> None:
    shown = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert "Example: tfprune export digits-1 -o digits.tflite --quantize int8" in shown.output
