"""From a dense ResNet-20 to a file on a device: size, speed, accuracy; int8 against float; the Keras 3 bridge.

    python benchmarks/deploy.py train DATA resnet20.keras     # the dense model, as schedules/edge-camera.yaml trains it
    python benchmarks/deploy.py edge DATA resnet20.keras      # that recipe from there on; --set changes it
    python benchmarks/deploy.py int8 DATA MODEL               # each way to int8, held against float
    python benchmarks/deploy.py bridge                        # ResNet50 to Keras 3 and back

DATA is a folder of CIFAR-10 as TFRecords, train-*.tfrecord and test.tfrecord. Records go to a temporary home.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import tfprune
from tfprune import recipe as recipes
from tfprune.backend import keras, make_deterministic
from tfprune.recipe import Recipe


def edge_camera(data: Path, overrides: list[str], model: Path | None = None) -> Recipe:
    """The shipped recipe on TFRecords, from a trained model where there is one."""
    shipped = recipes.load("edge-camera").data
    assert shipped is not None
    source = {"source": "tfrecord", "path": str(data / "train-*.tfrecord"), "test_path": str(data / "test.tfrecord")}
    known = {name: getattr(shipped, name) for name in ("divide_by", "validation")}
    given = json.dumps({**source, **known, "shape": [32, 32, 3], "classes": shipped.classes})
    trained = [] if model is None else [f"model={{file: '{model}'}}"]
    return recipes.load("edge-camera", [f"data={given}", *trained, *overrides])


def train_dense(data: Path, path: Path) -> None:
    """Train the dense model alone, on the recipe's split, and write it after each epoch."""
    from tfprune.models.clone import with_precision
    from tfprune.report.watch import Watch
    from tfprune.rounds.finetune import Stretch, compile_for_training, learning_rate, sample_of, train
    from tfprune.rounds.start import data_of, model_of

    recipe = edge_camera(data, [])
    make_deterministic(recipe.seed)
    parts = data_of(recipe, None)
    model = with_precision(model_of(recipe, None, parts), recipe.precision)
    compile_for_training(model, recipe.train, sample_of(parts.train))
    start = time.perf_counter()

    def keep(history: list[dict[str, float]]) -> None:
        plain = with_precision(model, "float32")
        tfprune.save(plain, path)
        plain.compile(metrics=["accuracy"])
        found = plain.evaluate(parts.validation.batches(512), verbose=0)[1]
        print(f"{len(history)}: validation {found:.2%}, {time.perf_counter() - start:.0f} s", flush=True)

    rate = partial(learning_rate, recipe.train)
    stretch = Stretch("dense", recipe.train.epochs, rate, recipe.seed)
    train(model, parts.train, recipe.train, stretch, history=[], watch=Watch(), stop_asked=lambda: False, keep=keep)


def edge(data: Path, model: Path, overrides: list[str]) -> None:
    """Run the recipe and print its table."""
    from rich.console import Console

    from tfprune.report.export import export_table, stages_markdown
    from tfprune.report.progress import ProgressWatch
    from tfprune.report.tables import rounds_table
    from tfprune.rounds.start import execute

    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("TFPRUNE_HOME", folder)
        recipe = edge_camera(data, [f"export.path={folder}/edge-camera.tflite", *overrides], model)
        start = time.perf_counter()
        result = execute(recipe, watch=ProgressWatch(console))
        console.print(rounds_table(result.workflow, result.rounds, result.best))
        if result.delivery is not None:
            if result.delivery.report is not None:
                console.print(export_table(result.delivery.report))
            print(stages_markdown(result.delivery.stages))
        print(f"{result.outcome}\n{time.perf_counter() - start:.0f} s")


def int8(data: Path, model: Path, qat_epochs: int) -> None:
    """Each way to int8: agreement with the float model, and both accuracies, on validation."""
    from tfprune.deploy.calibration import calibration_of
    from tfprune.deploy.choices import Choices
    from tfprune.deploy.formats import Material, opened, ways_to
    from tfprune.deploy.qat import distilling
    from tfprune.deploy.verify import verify
    from tfprune.rounds.examine import examination
    from tfprune.rounds.start import data_of

    recipe = edge_camera(data, [])
    divide_by = 1.0 if model.suffix == ".h5" else 255.0  # MLPerf Tiny's reference model takes bytes
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"divide_by": divide_by})})
    parts, dense = data_of(recipe, None), tfprune.load(model)
    batches = parts.train.epoch(recipe.train.batch_size, seed=recipe.seed, epoch=0)
    material = Material(dense, calibration_of(dense, batches), distilling(dense, batches, qat_epochs))
    with tempfile.TemporaryDirectory() as folder:
        for way in ways_to("litert", material, Choices(quantize="int8")):
            path = Path(folder, f"{way.name}.tflite")
            way.write(path)
            check = verify(dense, opened("litert", path, dense), examination(parts.validation, recipe, parts))
            assert check.agreement is not None and check.file is not None and check.model is not None
            print(
                f"{way.name}: agreement {check.agreement:.2%}, accuracy {check.file.accuracy:.2%} "
                f"({check.model.accuracy:.2%} in float), {path.stat().st_size:,} bytes",
                flush=True,
            )


def bridge(turns: int = 5) -> None:
    """Seconds of ResNet50, weights included, from Keras 3 to tf_keras and back."""
    from tfprune.keras3 import from_keras3, to_keras3

    model = keras.applications.ResNet50(weights=None)
    times: dict[str, list[float]] = {"to Keras 3": [], "to tf_keras": []}
    for _ in range(turns):
        start = time.perf_counter()
        other = to_keras3(model)
        middle = time.perf_counter()
        from_keras3(other)
        times["to Keras 3"].append(middle - start)
        times["to tf_keras"].append(time.perf_counter() - middle)
    for name, found in times.items():
        print(f"ResNet50 {name}: {statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "edge", "int8", "bridge"), nargs="?", default="bridge")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--qat-epochs", type=int, default=2)
    given: Any = parser.parse_args()
    if given.what != "bridge" and given.model is None:
        parser.error(f"{given.what} needs DATA and MODEL")
    if given.what == "train":
        train_dense(given.data, given.model)
    elif given.what == "edge":
        edge(given.data, given.model, given.overrides)
    elif given.what == "int8":
        int8(given.data, given.model, given.qat_epochs)
    else:
        bridge()


if __name__ == "__main__":
    main()
