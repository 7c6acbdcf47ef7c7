"""CIFAR-10 accuracy at fewer multiply-accumulates: which score, which scope, at once or in rounds.

Every arm starts from the trained dense model and trains for the same number of epochs on one half cosine
(structure_training.py). At once: all falls before the first epoch. In rounds: a part falls before each of the first
five epochs of the ResNet-20, half epochs of the ResNet-8; round r of 5 leaves dense MACs / times**(r/5). The dense arm
trains as long and loses nothing. Scores that look at data see 1,024 training images. Batch normalization has a
momentum of 0.9, as the statistics must follow within a hundred steps: in a trial of 24 steps, with the file's own, the
ResNet-8's arms ended near chance. All this was fixed after that trial and before the first run of these arms.

- ResNet-8 (MLPerf Tiny's, trained on all of CIFAR-10's 50,000 training images, so the validation part flatters it, and
  the dense arm most): 5 epochs of 6,000 images, Adam from 0.001, seed 0. All scores within layers; the three that are
  best on validation at 2x in 5 rounds over the whole model as well.
- ResNet-20 (trained here, 14 epochs of 45,000 images): 8 epochs of the same 45,000, SGD from 0.05, seed 0: the two
  best pairs of score and scope of the ResNet-8 at 2x in 5 rounds by validation, and the better of the two at once.

Test accuracy is looked at once, at the end, for the dense arms, the best of ResNet-8 by validation at 2x and at 3x, and
the ResNet-20's arms. Each arm is a line of FOLDER/log.jsonl, and is not run again when it has one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from masking_accuracy import Arrays, accuracy, read
from structure_training import Course, Tensors, in_tensors, trained

import tfprune
from tfprune.backend import keras
from tfprune.cost.measure import measure
from tfprune.errors import TfpruneError
from tfprune.structure.shrink import shrink

SCORES = ("l1", "l2", "taylor", "fisher", "gradient", "bn_scale", "fpgm", "apoz", "gate", "random")
ROUNDS, SEED, SCORED, BATCHES = 5, 0, 1024, 32
COURSES = {"resnet8": Course(5, 2, "adam", 0.001), "resnet20": Course(8, 1, "sgd", 0.05)}
IMAGES = {"resnet8": 6_000, "resnet20": 45_000}
DIVIDE_BY = {"resnet8": 1.0, "resnet20": 255.0}


@dataclass(frozen=True)
class Arm:
    """One way to a smaller model; `times` fewer multiply-accumulates, 1 for the dense one."""

    network: str
    score: str
    scope: str
    times: float
    rounds: int

    @property
    def file(self) -> str:
        return f"{self.network}-{self.score}-{self.scope}-{self.times:g}x-{self.rounds}.h5"


class Bench:
    """The data, the dense models and the log.

    Args:
        data: folder of TFRecords.
        folder: for the log and the models.
        models: files of the dense models by network.
    """

    def __init__(self, data: Path, folder: Path, models: dict[str, Path]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._data, self._folder, self._models = data, folder, models
        self._read: dict[str, dict[str, Arrays]] = {}
        self._parts: dict[str, tuple[Tensors, Arrays]] = {}
        self._log = folder / "log.jsonl"
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def data(self, network: str) -> dict[str, Arrays]:
        """Images as a network wants them; those of the last network asked for are kept."""
        if network not in self._read:
            self._read = {network: read(self._data, DIVIDE_BY[network])}
        return self._read[network]

    def parts(self, network: str) -> tuple[Tensors, Arrays]:
        """Training images for an arm, and the few that scores see; made once, as TensorFlow does not let go of them."""
        if network not in self._parts:
            x, y = self.data(network)["train"]
            rows = np.random.default_rng(SEED).permutation(len(x))
            part, few = rows[: IMAGES[network]], rows[:SCORED]
            self._parts[network] = in_tensors((x[part], y[part])), (x[few], y[few])
        return self._parts[network]

    def found(self, arm: Arm) -> dict[str, Any] | None:
        """An arm's line in the log."""
        return next((row for row in self._rows if row["arm"] == asdict(arm)), None)

    def validation(self, arm: Arm) -> float:
        """An arm's validation accuracy, below all where it has none."""
        return (self.found(arm) or {}).get("validation", -1.0)

    def write(self, row: dict[str, Any]) -> None:
        """Print a line, and append it to the log."""
        self._rows.append(row)
        print(json.dumps(row), flush=True)
        with self._log.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def run(self, arm: Arm) -> None:
        """Train an arm, unless it is in the log."""
        if self.found(arm):
            return
        data, course = self.data(arm.network), COURSES[arm.network]
        part, few = self.parts(arm.network)
        keras.backend.clear_session()  # of the arms before
        dense = quick_to_follow(tfprune.load(self._models[arm.network]))
        full = measure(dense).macs
        surgery = [0.0]

        def narrow(model: keras.Model, piece: int) -> keras.Model:
            if arm.times == 1 or piece >= arm.rounds:
                return model
            left = arm.times ** ((piece + 1) / arm.rounds)
            start = time.perf_counter()
            small, _ = shrink(
                model,
                macs=int(full / left),
                importance=arm.score,
                scope=arm.scope,
                data=few,
                batches=BATCHES,
                seed=SEED,
            )
            surgery[0] += time.perf_counter() - start
            return small

        keras.utils.set_random_seed(SEED)
        start = time.perf_counter()
        try:
            model = trained(dense, part, course, seed=SEED, narrow=narrow)
        except TfpruneError as error:
            self.write({"arm": asdict(arm), "error": str(error)})
            return
        tfprune.save(model, self._folder / arm.file)
        cost = measure(model)
        self.write(
            {
                "arm": asdict(arm),
                "validation": round(accuracy(model, data["validation"]), 2),
                "macs": cost.macs,
                "times": round(full / cost.macs, 3),
                "parameters": cost.parameters,
                "epochs": course.epochs,
                "images": len(part[0]),
                "seconds": round(time.perf_counter() - start),
                "surgery_seconds": round(surgery[0], 1),
            }
        )

    def test(self, arm: Arm) -> None:
        """Look at the test accuracy of an arm, once."""
        row = self.found(arm)
        key = {"test_of": asdict(arm)}
        if not row or "error" in row or any(each.get("test_of") == key["test_of"] for each in self._rows):
            return
        model = tfprune.load(self._folder / arm.file)
        test = round(accuracy(model, self.data(arm.network)["test"]), 2)
        self.write({**key, "arm": None, "validation": row["validation"], "test": test})


def quick_to_follow(model: keras.Model) -> keras.Model:
    """The model, its normalizations with statistics of the last few steps."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return model


# ------------------------------------------------------------------------------------------- stages


def dense_of(network: str) -> Arm:
    """The arm that trains as long and loses nothing."""
    return Arm(network, "none", "layer", 1, 1)


def in_rounds(times: float) -> Iterator[Arm]:
    """All scores on ResNet-8, within layers, in rounds."""
    return (Arm("resnet8", score, "layer", times, ROUNDS) for score in SCORES)


def best(bench: Bench, arms: Iterator[Arm], count: int) -> list[Arm]:
    """The arms with the highest validation accuracy; the control is no candidate."""
    return sorted((arm for arm in arms if arm.score != "random"), key=bench.validation, reverse=True)[:count]


def over_the_model(bench: Bench, times: float, rounds: int) -> list[Arm]:
    """The three best scores, over the whole model."""
    chosen = best(bench, in_rounds(2), 3)
    return [replace(arm, scope="global", times=times, rounds=rounds) for arm in chosen]


def candidates(bench: Bench, times: float, rounds: int) -> Iterator[Arm]:
    """All arms of ResNet-8 of one kind."""
    yield from (replace(arm, rounds=rounds) for arm in in_rounds(times))
    yield from over_the_model(bench, times, rounds)


def finalists(bench: Bench) -> list[Arm]:
    """ResNet-20's arms."""
    first, second = (replace(arm, network="resnet20") for arm in best(bench, candidates(bench, 2, ROUNDS), 2))
    return [first, dense_of("resnet20"), second, replace(first, rounds=1)]


def chosen_for_test(bench: Bench) -> list[Arm]:
    """The arms whose test accuracy is looked at."""
    of_resnet8 = [
        best(bench, (arm for rounds in (1, ROUNDS) for arm in candidates(bench, times, rounds)), 1)[0]
        for times in (2, 3)
    ]
    return [dense_of("resnet8"), *of_resnet8, *finalists(bench)]


STAGES: dict[str, Callable[[Bench], list[Arm]]] = {
    "scores": lambda bench: [dense_of("resnet8"), *in_rounds(2)],
    "scopes": lambda bench: over_the_model(bench, 2, ROUNDS),
    "finals": finalists,
    "once": lambda bench: list(candidates(bench, 2, 1)),
    "three": lambda bench: [*candidates(bench, 3, ROUNDS), *candidates(bench, 3, 1)],
}


def run(data: Path, folder: Path, resnet8: Path, resnet20: Path, stages: list[str] | None) -> None:
    """Run stages of the benchmark, in their order; the test accuracies come last, when all have run."""
    bench = Bench(data, folder, {"resnet8": resnet8, "resnet20": resnet20})
    for name in stages or STAGES:
        if name != "test":
            for arm in STAGES[name](bench):
                bench.run(arm)
    if not stages or "test" in stages:
        for arm in sorted(chosen_for_test(bench), key=lambda arm: arm.network):
            bench.test(arm)
