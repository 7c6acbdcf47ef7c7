"""What slices cost: time beside one plain predict, memory of a million examples, and a round on record.

    .venv/bin/python benchmarks/slices.py [pass] [memory] [log] [--repeats N]

Runs that are compared take turns within one process, and a ratio is that of two runs of one turn; printed are the
median over the repeats and, behind it, the lowest and the highest.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

EXAMPLES = 10_000
MANY = 1_000_000
BATCH = 256


def main() -> None:
    """Run what the command line asks for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "alone", []], help="by default all")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    if given.parts == ["alone"]:  # a process of its own, which `memory` starts
        alone()
        return
    for part in given.parts or PARTS:
        PARTS[part](given.repeats)


def one_pass(repeats: int) -> None:
    """50 slices of 10,000 images against `model.predict` in batches of the same size."""
    import tfprune
    from tfprune.models.builtin import digits_cnn, resnet8
    from tfprune.recipe import Column

    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, EXAMPLES)
    columns = {f"c{number}": rng.normal(size=EXAMPLES) for number in range(4)}
    slices = ["classes", *(Column(name, quantiles=10) for name in columns)]
    for name, build, shape in (("resnet8", resnet8, (32, 32, 3)), ("digits-cnn", digits_cnn, (8, 8, 1))):
        model = build(shape, 10)
        x = rng.random((EXAMPLES, *shape), np.float32)
        runs: dict[str, Callable[[], object]] = {
            "predict": lambda model=model, x=x: model.predict(x, batch_size=BATCH, verbose=0),
            "50 slices": lambda model=model, x=x: tfprune.evaluate(
                model, (x, y), slices=slices, metadata=columns, batch_size=BATCH
            ),
        }
        found: dict[str, list[float]] = {key: [] for key in runs}
        for turn in range(repeats + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                run()
                if turn:
                    found[key].append(time.perf_counter() - start)
        ratios = [slow / fast for slow, fast in zip(found["50 slices"], found["predict"], strict=True)]
        show(f"{name}: predict, seconds", found["predict"])
        show(f"{name}: 50 slices, as a ratio to predict", ratios)


def memory(repeats: int) -> None:
    """Peak memory of a million examples with 50 slices, a baseline and Parquet, over a plain pass of the model."""
    command = [sys.executable, __file__, "alone"]
    found = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]) for _ in range(3)
    ]
    show("a million examples, 50 slices: MB over a plain pass", found)


def alone() -> None:
    """One such process: print by how much its peak rose, in MB."""
    import tfprune  # noqa: F401 - chooses tf_keras
    from tfprune.backend import keras, tf
    from tfprune.recipe import Column
    from tfprune.slices.evaluate import examine
    from tfprune.slices.records import examples_pieces, write_examples

    columns = {f"c{number}": np.random.default_rng(number).normal(size=MANY) for number in range(4)}

    def make(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.sin(tf.cast(numbers, tf.float32)[:, None] * tf.range(1.0, 17.0))
        return x, numbers % 10

    batches = tf.data.Dataset.range(MANY).batch(1024).map(make)
    dense, pruned = (keras.Sequential([keras.layers.Dense(10, "softmax", input_shape=(16,))]) for _ in range(2))
    for x, _ in batches:
        dense.predict_on_batch(x)
    plain = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slices = ["classes", *(Column(name, quantiles=10) for name in columns)]
    exam = examine(batches, slices, metadata=columns)
    exam.compare_with(exam.sit(dense))
    now = exam.sit(pruned)
    evaluation = exam.evaluate(now)
    assert (evaluation.support, len(evaluation.slices)) == (MANY, 50)
    with tempfile.TemporaryDirectory() as folder:
        write_examples(examples_pieces(now, exam.dense, exam.slices(now)), Path(folder, "examples.parquet"))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - plain) / 1000)


def log(repeats: int) -> None:
    """A round with 100 slice metrics of each kind, its table and 10,000 examples, to SQLite."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["TFPRUNE_HOME"] = home
        from tfprune import recipe as recipes
        from tfprune.recipe import TrackSection
        from tfprune.results import Evaluation, Measurement, Round, SliceScore, Verdict
        from tfprune.slices.answers import Answers
        from tfprune.slices.define import Slice
        from tfprune.slices.records import examples_pieces, write_examples
        from tfprune.tracking.workflows import Tracker

        rng = np.random.default_rng(0)
        labels, known = rng.integers(0, 10, EXAMPLES), rng.random(EXAMPLES, np.float32)
        right = (known > 0.2).astype(np.float32)
        sitting = {"": Answers(labels, labels, right, known, known, known, known, "multiclass")}
        slices = [Slice(f"slice_{number}", rng.random(EXAMPLES) < 0.1) for number in range(100)]
        weight = Measurement(1000, 500, 1000, 500, 1, 4000, 2000)
        tracker = Tracker(TrackSection(models=False))
        tracker.begin("bench-1", "bench", recipes.load("digits"), {})
        rounds: list[Round] = []
        seconds = []
        for number in range(repeats + 1):
            scores = tuple(
                SliceScore(
                    each.name,
                    1000,
                    0.8,
                    0.01,
                    interval=(0.7, 0.9),
                    drop_interval=(0.0, 0.02),
                    lost=20,
                    gained=10,
                    p_value=0.1,
                    p_adjusted=1.0,
                    calibration_error=0.1,
                    churn=0.1,
                )
                for each in slices
            )
            evaluation = Evaluation(SliceScore("all", EXAMPLES, 0.8, 0.01, lost=200, gained=100), 0.5, scores)
            rounds.append(
                Round(number, max(0, number - 1), 0.5, 0.5, 0.1, evaluation, weight, Verdict(True), finished=number)
            )
            start = time.perf_counter()
            path = Path(home, "examples.parquet")
            write_examples(examples_pieces(sitting, sitting, slices), path)
            tracker.open_round(rounds[-1].label)
            tracker.record_round(rounds, None, np.zeros((1, 4), np.float32), "a note", path)
            if number:
                seconds.append(time.perf_counter() - start)
        show("a round with 100 slices on record, seconds", seconds)


PARTS: dict[str, Callable[[int], None]] = {"pass": one_pass, "memory": memory, "log": log}


def show(what: str, values: Sequence[float]) -> None:
    """Print the median, the lowest and the highest."""
    print(f"{what}: {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})", flush=True)


if __name__ == "__main__":
    main()
