"""A recipe's export: the file at the end of a workflow, its budgets and gates, and what is on record of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import tiny_workflow

import tfprune
from tfprune.backend import keras
from tfprune.deploy.formats import opened
from tfprune.errors import ExportError, ModelError
from tfprune.recipe import parse
from tfprune.results import RunResult
from tfprune.rounds.delivery import check_export
from tfprune.rounds.start import data_of, model_of

STRUCTURED: dict[str, Any] = {"method": "structured", "target": {"ratio": 0.36}, "rounds": 1}


def run(home: Path, name: str, **changes: Any) -> RunResult:
    changes = {"track__models": False, "prune": STRUCTURED, "train__epochs": 4, **changes}
    return tfprune.run(tiny_workflow.recipe(name=name, **changes))


@pytest.fixture(scope="module")
def int8(warm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A workflow that ends with an int8 file."""
    path = tmp_path_factory.mktemp("int8") / "tiny.tflite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))
        export = {"path": str(path), "quantize": "int8", "labels": True, "agreement": 0.9, "size_mb": 1.0}
        return run(warm_home, "int8-file", export=export)


def test_the_file_is_that_of_the_best_round(int8: RunResult) -> None:
    delivery = int8.delivery
    assert int8.target_met and delivery is not None and delivery.report is not None
    report = delivery.report
    assert report.path.exists() and not delivery.failure
    x, _ = tiny_workflow.examples()
    answers = opened("litert", report.path, int8.model)(x)
    known = int8.model.predict(x, verbose=0)
    assert np.mean(answers.argmax(axis=1) == known.argmax(axis=1)) > 0.9
    assert report.check.source == "validation"
    assert report.check.examples == 36


def test_drops_of_the_file_are_against_the_dense_model(int8: RunResult) -> None:
    assert int8.delivery is not None and int8.delivery.report is not None
    file = int8.delivery.report.check.file
    dense = int8.rounds[0].evaluation
    assert file is not None
    assert file.drop == pytest.approx(dense.accuracy - file.accuracy)


def test_stages_are_dense_pruned_and_exported(int8: RunResult) -> None:
    assert int8.delivery is not None
    dense, pruned, exported = int8.delivery.stages
    assert [dense.name, pruned.name, exported.name] == ["dense", "pruned", "pruned, int8"]
    assert dense.bytes > pruned.bytes
    assert exported.bytes == int8.delivery.report.bytes  # type: ignore[union-attr]
    assert dense.evaluation.accuracy == pytest.approx(int8.test_dense.accuracy)
    assert pruned.evaluation.accuracy == pytest.approx(int8.test.accuracy)
    assert exported.evaluation.support == int8.test.support
    assert all(each.latency.median_ms > 0 for each in int8.delivery.stages)


def test_the_outcome_and_the_record_tell_of_it(int8: RunResult) -> None:
    assert "Exported: " in int8.outcome and "tiny.tflite, litert, int8 by" in int8.outcome
    client = mlflow.MlflowClient(int8.tracking_uri)
    experiment = client.get_experiment_by_name("tfprune")
    (parent,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{int8.workflow}'")
    metrics = parent.data.metrics
    report = int8.delivery.report  # type: ignore[union-attr]
    assert metrics["export/bytes"] == report.bytes  # type: ignore[union-attr]
    assert metrics["export/written"] == 1
    assert metrics["export/agreement"] == pytest.approx(report.check.agreement)  # type: ignore[union-attr]
    assert {"stage_bytes/dense", "stage_bytes/pruned", "stage_bytes/pruned_int8"} <= set(metrics)
    assert [each.path for each in client.list_artifacts(parent.info.run_id, "export")] == ["export/tiny.tflite"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"export__size_mb": 1e-4}, "it has 0.0"),
        ({"export__latency_ms": 1e-7}, "it takes "),
    ],
)
def test_a_promise_that_the_file_does_not_keep(home: Path, tmp_path: Path, changes: Any, words: str) -> None:
    path = tmp_path / "tiny.tflite"
    result = run(home, "broken-promise", export={"path": str(path)}, **changes)
    delivery = result.delivery
    assert delivery is not None
    assert not result.target_met
    assert not path.exists()
    assert words in delivery.failure and "was not written" in delivery.failure
    assert f"Not exported: {delivery.failure}" in result.outcome
    assert delivery.report is not None and delivery.report.bytes > 0
    assert [each.name for each in delivery.stages] == ["dense", "pruned", "pruned, exported (not written)"]
    assert (result.directory / "model.keras").exists(), "the model itself is kept"


def test_gates_hold_for_the_file_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that answers otherwise than the round that passed fails the gates of the recipe."""
    from tfprune.deploy import deliver, formats

    def spoilt(model: keras.Model, conversion: Any = None) -> bytes:
        other = keras.models.clone_model(model)
        other.set_weights([np.zeros_like(each) for each in model.get_weights()])
        return real(other, conversion)

    real = formats.convert
    monkeypatch.setattr(formats, "convert", spoilt)
    monkeypatch.setattr(deliver, "outside", lambda check, tolerance: "")
    result = run(
        home,
        "spoilt-file",
        export={"path": str(tmp_path / "tiny.tflite")},
        stop={"max_drop": 0.2, "max_slice_drop": None},
    )
    assert result.delivery is not None and "accuracy fell by" in result.delivery.failure
    assert not result.target_met and not (tmp_path / "tiny.tflite").exists()


@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_other_formats_replace_what_is_there(home: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tiny{ending}"
    if ending:
        path.write_bytes(b"of an earlier run")
    result = run(home, "other-format", export={"path": str(path)})
    assert result.delivery is not None and not result.delivery.failure
    assert path.exists() and not result.delivery.stages


@pytest.mark.parametrize(
    ("export", "error", "words"),
    [
        ({"path": "tiny.tflite", "quantize": "none", "integer_io": True}, ExportError, "--integer-io goes with"),
        ({"path": "tiny.pt"}, ExportError, "cannot tell a format"),
        ({"path": "tiny.keras", "quantize": "int8"}, ExportError, "goes with litert and onnx"),
        ({"path": "tiny.keras", "latency_ms": 1}, ExportError, "measured in LiteRT and onnxruntime"),
    ],
)
def test_what_cannot_be_exported_is_told_before_training(export: Any, error: type[Exception], words: str) -> None:
    recipe = parse(tiny_workflow.recipe(export=export))
    data = data_of(recipe, None)
    with pytest.raises(error, match=words):
        check_export(recipe, model_of(recipe, None, data), data)


def test_an_operation_that_litert_lacks_is_told_before_training() -> None:
    from tfprune.backend import tf

    inputs = keras.Input((9,))
    values = tf.linalg.det(keras.layers.Reshape((3, 3))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Reshape((1,))(values)))
    recipe = parse(tiny_workflow.recipe(export={"path": "tiny.tflite"}))
    with pytest.raises(ModelError, match="MatrixDeterminant"):
        check_export(recipe, model, data_of(recipe, None))


def test_objects_from_python(home: Path, tmp_path: Path) -> None:
    """What inputs are divided by is the recipe's also where data are handed in, and such a workflow exports by name."""
    from tfprune.litert.metadata import read_metadata
    from tfprune.rounds.exporting import Examples, export_to, source_at

    x, y = tiny_workflow.examples()
    changes: dict[str, Any] = {
        "data": {"source": "digits", "divide_by": 4.0},
        "track__models": False,
        "prune__rounds": 1,
    }
    export = {"path": str(tmp_path / "tiny.tflite"), "labels": True}
    recipe = tiny_workflow.recipe(name="objects", **changes, export=export)
    result = tfprune.run(recipe, model=tiny_workflow.build((8,), 3), data=(4 * x, y))
    assert result.delivery is not None and not result.delivery.failure
    assert read_metadata((tmp_path / "tiny.tflite").read_bytes()).std == (4.0,)
    from tfprune.deploy.choices import Choices

    report = export_to(source_at(result.workflow), tmp_path / "again.tflite", Choices(), Examples())
    assert report.check.source == "random"


def test_training_that_fails_does_not_take_the_workflow_with_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfprune.errors import TrainingError

    def nothing(*given: Any) -> keras.Model:
        raise TrainingError("the loss became nan")

    monkeypatch.setattr("tfprune.deploy.formats.quantized", nothing)
    export = {"path": str(tmp_path / "tiny.tflite"), "quantize": "int8", "agreement": 1.0, "difference": 0.0}
    monkeypatch.setattr("tfprune.deploy.deliver.outside", lambda check, tolerance: "as it were")
    result = run(home, "failed-training", export=export)
    assert result.delivery is not None and "as it were" in result.delivery.failure
    assert [each.way for each in result.delivery.report.attempts][-1] == "training"  # type: ignore[union-attr]
    assert not result.target_met and (result.directory / "model.keras").exists()


def test_interrupted_while_it_exports_and_taken_up_again(home: Path, tmp_path: Path) -> None:
    from tfprune.errors import Interrupted
    from tfprune.report.watch import Watch
    from tfprune.rounds.start import execute

    class StopAtExport(Watch):
        def note(self, text: str) -> None:
            if text.startswith("exporting"):
                signal.raise_signal(signal.SIGINT)

    path = tmp_path / "tiny.tflite"
    recipe = parse(
        tiny_workflow.recipe(name="stopped", track__models=False, prune=STRUCTURED, export={"path": str(path)})
    )
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        execute(recipe, watch=StopAtExport())
    assert not path.exists()
    again = execute(recipe)
    assert again.workflow == "stopped-1" and path.exists() and len(again.rounds) == 2
