"""The main job, measured: accuracy and slices kept against weights removed, over several seeds.

    .venv/bin/python benchmarks/main_job.py                      start-up and digits
    .venv/bin/python benchmarks/main_job.py --cifar DATA MODEL   CIFAR-10 and the MLPerf Tiny ResNet-8

Each seed splits, trains and prunes anew. Rounds are chosen on the validation split; the figures are from the
test split. Printed are the median over the seeds and, behind it, the lowest and the highest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tfprune import recipe as recipes
from tfprune.results import RunResult

CIFAR = Path(__file__).parent / "cifar_resnet8.yaml"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cifar", nargs=2, metavar=("DATA", "MODEL"), help="folder of TFRecords, trained .h5 model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["TFPRUNE_HOME"] = home
        if given.cifar:
            data, model = map(Path, given.cifar)
            files = [f"data.path={data}/train-*.tfrecord", f"data.test_path={data}/test.tfrecord"]
            recipe = recipes.load(CIFAR, [*files, f"model.file={model}"])
            workflow("CIFAR-10, ResNet-8", recipe, given.seeds)
        else:
            start_up(given.seeds)
            workflow("digits", recipes.load("digits"), given.seeds)


def start_up(repeats: int) -> None:
    """Seconds that a verb takes which needs no TensorFlow."""
    for words in (["--help"], ["schedules"]):
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "tfprune", *words], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        show(f"tfprune {words[0]}", "seconds", seconds)


def workflow(title: str, recipe: recipes.Recipe, seeds: int) -> None:
    """Run a recipe with several seeds and show what was lost and what was saved."""
    from tfprune.rounds.start import execute

    rows: list[dict[str, float]] = []
    for seed in range(seeds):
        start = time.perf_counter()
        result = execute(recipe.model_copy(update={"seed": seed}), resume=False)
        rows.append({**figures(result), "seconds": time.perf_counter() - start})
        print(f"{title}, seed {seed}: {result.outcome}", flush=True)
    for name in rows[0]:
        show(title, name, [row[name] for row in rows])


def figures(result: RunResult) -> dict[str, float]:
    """What is quoted of one run."""
    classes = [each for each in result.test.slices if each.name.startswith("class_")]
    dense, best = result.rounds[0].measurement, result.best_round
    return {
        "sparsity (%)": 100 * best.sparsity,
        "times fewer nonzero weights": dense.nonzero / best.measurement.nonzero,
        "dense test accuracy (%)": 100 * result.test_dense.accuracy,
        "test accuracy lost (points)": 100 * (result.test.drop or 0.0),
        "most lost by a class (points)": 100 * max(each.drop or 0.0 for each in classes),
        "rounds": len(result.rounds) - 1,
    }


def show(title: str, name: str, values: Sequence[float]) -> None:
    """One line: median, lowest, highest."""
    print(
        f"{title:22} {name:32} {statistics.median(values):8.2f}   ({min(values):.2f} to {max(values):.2f})", flush=True
    )


if __name__ == "__main__":
    main()
