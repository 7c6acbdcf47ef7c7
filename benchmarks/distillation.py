"""Distillation at fewer multiply-accumulates: fine-tuning with the dense model as a teacher, and without.

    .venv/bin/python benchmarks/distillation.py DATA resnet20.keras --divide-by 255
    .venv/bin/python benchmarks/distillation.py DATA mlperf_tiny_resnet8.h5 --dense-epochs 2

The dense model is shrunk once, to a third of its MACs. Every arm starts there and has the same budget, seed by seed:
epochs, batches of 128 in the same order, random flips and shifts, the optimizer on one half cosine, mixed_bfloat16
(structure_training.py). The teacher sees each batch as the student does. Nothing is chosen by these figures; the last
epoch counts. `--dense-epochs` trains the dense model on first in the same way, so that it is no weaker a teacher for
its augmentation than its students; MLPerf's ResNet-8 has seen all 50,000 training images, so that the validation part
flatters it. The teacher's share of the time is told twice: by how much longer an arm takes with it (noisy where the
machine is), and by its answers to a few batches, timed by themselves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from masking_accuracy import Arrays, accuracy, batches_of, read
from structure_accuracy import quick_to_follow
from structure_training import Course, Tensors, in_tensors, trained

import tfprune
from tfprune.backend import keras, tf
from tfprune.cost.measure import measure
from tfprune.models.clone import with_precision
from tfprune.rounds.distill import distill
from tfprune.rounds.teaching import seconds_a_batch
from tfprune.structure.shrink import shrink

PLAIN = "labels alone"
_TIMED = 10
Row = dict[str, Any]


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of TFRecords")
    parser.add_argument("model", type=Path, help="a trained model file")
    parser.add_argument("--divide-by", type=float, default=1.0, help="what the model wants its bytes divided by")
    parser.add_argument("--times", type=float, default=3.0, help="fewer multiply-accumulates")
    parser.add_argument("--importance", default="l2", help="of units, without data")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--dense-epochs", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=45_000, help="of the training part, the first so many")
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.5, 0.9], help="of the teacher, an arm each")
    parser.add_argument("--features", nargs="*", default=[], help="layers; one more arm with the first weight")
    parser.add_argument("--log", type=Path, help="a line an arm and seed; those in it are not run again")
    given = parser.parse_args()
    bench = Bench(given)
    for seed in range(given.seeds):
        for arm in bench.arms:
            bench.run(arm, seed)
    bench.tell()


class Bench:
    """The data, the dense and the smaller model, and what came of the arms.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._data = read(given.data, given.divide_by)
        x, y = self._data["train"]
        self._train: Tensors = in_tensors((x[: given.images], y[: given.images]))
        self._course = Course(given.epochs, 1, given.optimizer, given.rate)
        dense = quick_to_follow(tfprune.load(given.model))
        if given.dense_epochs:
            keras.utils.set_random_seed(0)
            course = Course(given.dense_epochs, 1, given.optimizer, given.rate)
            dense = trained(dense, self._train, course, seed=1_000)
        full = measure(dense)
        self._small, _ = shrink(dense, macs=int(full.macs / given.times), importance=given.importance)
        small = measure(self._small)
        print(f"dense: {_scores(dense, self._data)}; {full.macs:,} MACs, {full.parameters:,} parameters")
        print(f"smaller: {small.macs:,} MACs ({full.macs / small.macs:.2f}x fewer), {small.parameters:,} parameters")
        self._teacher = with_precision(dense, "mixed_bfloat16")
        self._rows: list[Row] = []
        if given.log is not None and given.log.exists():
            self._rows = [json.loads(line) for line in given.log.read_text().splitlines()]

    @property
    def arms(self) -> dict[str, dict[str, Any] | None]:
        """What `distill` is told in each arm; None where there is no teacher."""
        given = self._given
        arms: dict[str, dict[str, Any] | None] = {PLAIN: None}
        for weight in given.weights:
            arms[f"weight {weight:g}"] = {"temperature": given.temperature, "weight": weight}
        if given.features:
            first = {"temperature": given.temperature, "weight": given.weights[0]}
            arms[f"weight {given.weights[0]:g} and features"] = {**first, "features": given.features}
        return arms

    def run(self, arm: str, seed: int) -> None:
        """Train an arm with a seed, unless the log has it."""
        if any((row["arm"], row["seed"]) == (arm, seed) for row in self._rows):
            return
        options = self.arms[arm]

        def teach(model: keras.Model, piece: int) -> keras.Model:
            return model if options is None or piece else distill(model, self._teacher, **options)

        keras.utils.set_random_seed(seed)
        start = time.perf_counter()
        model = trained(self._small, self._train, self._course, seed=seed, narrow=teach)
        seconds = time.perf_counter() - start
        steps = self._given.epochs * -(-len(self._train[0]) // 128)
        answers = 0.0 if options is None else steps * self._seconds_of_answers()
        scores = {part: round(accuracy(model, self._data[part]), 2) for part in ("validation", "test")}
        row = {"arm": arm, "seed": seed, **scores, "seconds": round(seconds, 1), "answers": round(answers, 1)}
        self._rows.append(row)
        print(json.dumps(row), flush=True)
        if self._given.log is not None:
            with self._given.log.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def tell(self) -> None:
        """Medians and ranges over seeds, and differences from labels alone, seed by seed."""
        plain = self._of(PLAIN)
        for arm in self.arms:
            rows = self._of(arm)
            parts = [f"{part} {_spread([row[part] for row in rows])}" for part in ("validation", "test")]
            if arm != PLAIN:
                gains = [row["test"] - other["test"] for row, other in zip(rows, plain, strict=True)]
                longer = [1 - other["seconds"] / row["seconds"] for row, other in zip(rows, plain, strict=True)]
                answers = [row["answers"] / row["seconds"] for row in rows]
                parts.append(f"test against {PLAIN} {_spread(gains, '+.2f')}")
                parts.append(
                    f"teacher's share of the time {_spread(longer, '.0%')}, by itself {_spread(answers, '.0%')}"
                )
            print(f"{arm}: {'; '.join(parts)}")

    def _of(self, arm: str) -> list[Row]:
        rows = [row for row in self._rows if row["arm"] == arm and row["seed"] < self._given.seeds]
        return sorted(rows, key=lambda row: row["seed"])

    def _seconds_of_answers(self) -> float:
        """What the teacher takes for a batch."""
        answer: Callable[[Any], Any] = tf.function(lambda x: self._teacher(x, training=False))
        return seconds_a_batch(answer, [x for x, _ in batches_of(self._train, 0, 0).take(_TIMED)])


def _scores(model: keras.Model, data: dict[str, Arrays]) -> str:
    return ", ".join(f"{part} {accuracy(model, data[part]):.2f}" for part in ("validation", "test"))


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()
