"""What a search costs and finds: trials an hour, workers, the driver, memory, and accuracy at 90% sparsity.

    .venv/bin/python benchmarks/search.py digits                     trials against the hand-written way, one epoch each
    .venv/bin/python benchmarks/search.py resnet8 DATA MODEL         the same at 100 steps on CIFAR-10
    .venv/bin/python benchmarks/search.py workers                    one worker against two, each on one core
    .venv/bin/python benchmarks/search.py driver                     what the driver itself takes a trial
    .venv/bin/python benchmarks/search.py memory                     of a worker, after 5 and after 50 trials
    .venv/bin/python benchmarks/search.py accuracy DATA MODEL        found against uniform and global, 3 seeds
    .venv/bin/python benchmarks/search.py accuracy DATA resnet20.h5 --divide-by 255 --seeds 1 --epochs 3

DATA is a folder of CIFAR-10 as TFRecords, MODEL MLPerf Tiny's trained ResNet-8, resnet20.h5 what masking_accuracy.py
trains. The hand-written way is a keras-tuner Tuner whose `run_trial` clones the model, wraps every layer with TF-MOT,
compiles, fits and evaluates; it neither meets a budget nor looks at slices nor records anything. Accuracy is that of
`tfprune.run` with the same fine-tuning for every arm; only the search looks at the validation part, and nothing is
chosen by the test part.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np

import tfprune
from tfprune import recipe as recipes
from tfprune.backend import keras
from tfprune.models.clone import clone
from tfprune.report.watch import Watch
from tfprune.results import Trial
from tfprune.rounds.finetune import compile_for_training, sample_of
from tfprune.rounds.start import data_of, dense_model, model_of
from tfprune.tuning.driver import Driver
from tfprune.tuning.engines.base import Done, Engine
from tfprune.tuning.search import execute
from tfprune.tuning.trial import Outcome

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras_tuner as kt
    import tensorflow_model_optimization as tfmot

SPARSITY = 0.9


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "resnet8", "workers", "driver", "memory", "accuracy", "_one"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--divide-by", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--slots", type=int, default=1)
    given = parser.parse_args()
    if given.what == "digits":
        against_by_hand(digits(), given.trials)
    elif given.what == "resnet8":
        recipe = cifar(*given.files, given.divide_by, 0, given.epochs, given.steps, "float32")
        against_by_hand(recipe, 8)
    elif given.what == "workers":
        workers(given.trials)
    elif given.what == "_one":
        timed_workers(given.slots, given.trials)
    elif given.what == "driver":
        driver(given.trials * 4)
    elif given.what == "memory":
        memory()
    else:
        accuracy(given)


# ------------------------------------------------------------------------------------------- recipes


def digits(**search: Any) -> recipes.Recipe:
    """The shipped recipe, random trials of one epoch."""
    recipe = recipes.load("digits", ["train.epochs=5", "finetune.epochs=1"])
    section = recipes.SearchSection(oracle="random", epochs=1, finalists=1, **search)
    return recipe.model_copy(update={"search": section})


def cifar(
    data: Path, model: Path, divide_by: float, seed: int, epochs: int, steps: int, precision: str
) -> recipes.Recipe:
    """A trained model to 90% in one round; trials of so many steps."""
    return recipes.parse(
        {
            "name": f"search-{model.stem.replace('_', '-')}-{seed}",
            "seed": seed,
            "precision": precision,
            "model": {"file": str(model.absolute())},
            "data": {
                "source": "tfrecord",
                "path": f"{data.absolute()}/train-*.tfrecord",
                "test_path": f"{data.absolute()}/test.tfrecord",
                "shape": [32, 32, 3],
                "validation": 0.1,
                "divide_by": divide_by,
            },
            "train": {"epochs": 1, "batch_size": 128, "learning_rate": 0.001, "augment": ["flip", "shift"]},
            "prune": {"target": {"sparsity": SPARSITY}, "rounds": 1, "scope": "global", "schedule": {"frequency": 50}},
            "finetune": {"epochs": epochs, "learning_rate": 0.001},
            "stop": {"max_drop": None, "max_slice_drop": None},
            "track": {"models": False},
            "search": {"steps": steps, "epochs": 1, "knobs": 5, "finalists": 1},
        }
    )


# -------------------------------------------------------------------------------- the hand-written way


class ByHand(kt.Tuner):
    """What the guides of keras-tuner and TF-MOT make together."""

    def __init__(self, recipe: recipes.Recipe, dense: keras.Model, data: Any, trials: int, folder: str) -> None:
        self.recipe, self.dense, self.split = recipe, dense, data
        self.seconds: list[float] = []
        self.layers = [layer.name for layer in dense.layers if hasattr(layer, "kernel")]
        self.validation = in_memory(data.validation)
        steps = recipe.search.steps
        self.train = in_memory(data.train, None if steps is None else steps * recipe.train.batch_size)
        space = kt.HyperParameters()
        for name in self.layers:
            space.Float(name, 0.5, 0.98)
        oracle = kt.oracles.RandomSearchOracle(kt.Objective("accuracy", "max"), trials, 1, hyperparameters=space)
        super().__init__(oracle=oracle, directory=folder, project_name="by-hand")

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """One trial, from the clone to its accuracy."""
        start, batch = time.perf_counter(), self.recipe.train.batch_size
        model = keras.models.clone_model(self.dense, clone_function=lambda layer: self.masked(layer, trial))
        own = [weight for weight in model.weights if not any(n in weight.name for n in ("mask", "threshold", "step"))]
        for variable, value in zip(own, self.dense.get_weights(), strict=True):
            variable.assign(value)
        optimizer = keras.optimizers.Adam(self.recipe.train.learning_rate)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        updates = [tfmot.sparsity.keras.UpdatePruningStep()]
        model.fit(*self.train, batch_size=batch, epochs=1, callbacks=updates, verbose=0)
        accuracy = model.evaluate(*self.validation, batch_size=256, verbose=0)[1]
        self.seconds.append(time.perf_counter() - start)
        return {"accuracy": accuracy}

    def masked(self, layer: keras.layers.Layer, trial: Any) -> keras.layers.Layer:
        """A copy of a layer, wrapped where it has a kernel."""
        copy = type(layer).from_config(layer.get_config())
        if layer.name not in self.layers:
            return copy
        schedule = tfmot.sparsity.keras.ConstantSparsity(trial.hyperparameters.get(layer.name), 1, frequency=10)
        return tfmot.sparsity.keras.prune_low_magnitude(copy, pruning_schedule=schedule)


def in_memory(split: Any, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a split as two arrays."""
    x, y = zip(*split.batches(1000).as_numpy_iterator(), strict=True)
    return np.concatenate(x)[:most], np.concatenate(y)[:most]


class Clock(Watch):
    """When trials ended, and how long the starting allocations took."""

    def __init__(self, heard: Callable[[Trial], None] = lambda trial: None) -> None:
        self.ends: list[float] = []
        self.heard = heard

    def trial(self, trial: Trial, best: float | None) -> None:
        if trial.origin != "oracle":
            return
        if trial.status == "failed":
            raise SystemExit(f"{trial.label} failed: {trial.message}")
        self.ends.append(time.perf_counter())
        self.heard(trial)

    def seconds(self, trials: int) -> list[float]:
        """From the end of one trial of the oracle to that of the next; starting allocations and finals do not count."""
        return np.diff(self.ends[-trials:]).tolist()


def against_by_hand(recipe: recipes.Recipe, trials: int) -> None:
    """Seconds a trial: half of the hand-written ones, all of ours, the other half."""
    section = recipe.search.model_copy(update={"trials": trials, "oracle": "random", "finalists": 1})
    recipe = recipe.model_copy(update={"search": section, "finetune": recipes.FinetuneSection(epochs=1)})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFPRUNE_HOME"] = folder
        data = data_of(recipe, None)
        if recipe.model is not None and recipe.model.is_trained:
            dense = model_of(recipe, None, data)
        else:
            dense = dense_model(recipe)
            compile_for_training(dense, recipe.train, sample_of(data.train))
            dense.fit(data.train.epoch(recipe.train.batch_size, seed=0, epoch=0), epochs=recipe.train.epochs, verbose=0)
        dense = clone(dense, lambda layer: None)
        hand: list[float] = []
        clock = Clock()
        for turn in range(2):
            tuner = ByHand(recipe, dense, data, trials // 2, f"{folder}/hand{turn}")
            tuner.search(verbose=0)
            hand += tuner.seconds[1:] if not turn else tuner.seconds
            if not turn:
                execute(recipe, model=dense, watch=clock)
        ours = clock.seconds(trials)
    for name, seconds in (("by hand", hand), ("tfprune", ours)):
        middle = statistics.median(seconds)
        print(
            f"{name}: {middle:.2f} s a trial ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} trials), "
            f"{3600 / statistics.mean(seconds):,.0f} trials an hour"
        )
    print(
        f"trials an hour: {statistics.mean(hand) / statistics.mean(ours):.1f} times as many "
        f"(by medians {statistics.median(hand) / statistics.median(ours):.1f})"
    )


# ---------------------------------------------------------------------------------- workers and driver


def workers(trials: int) -> None:
    """One worker on one core against two on two, three turns each, in processes of their own."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(6):
        slots = turn % 2 + 1
        command = [sys.executable, __file__, "_one", "--slots", str(slots), "--trials", str(trials)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[slots].append(float(done.stdout.split()[-1]))
        print(f"{slots}: {found[slots][-1]:,.0f} trials an hour", flush=True)
    ratios = [two / one for one, two in zip(found[1], found[2], strict=True)]
    print(f"two workers: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times the trials")


def timed_workers(slots: int, trials: int) -> None:
    """Trials an hour of so many workers, each on one core."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:slots])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFPRUNE_HOME"] = folder
        recipe = digits(trials=trials)
        execute(recipe, engine="processes", workers=slots, watch=clock)
    ends = clock.ends[1:]  # by then every worker is warm
    print(3600 * (len(ends) - 1) / (ends[-1] - ends[0]))


class AtOnce(Engine):
    """Ends every trial as it begins, so that what is left is the driver."""

    slots = 1

    def __init__(self, example: Trial) -> None:
        self.example, self.key, self.task = example, -1, None

    @property
    def free(self) -> int:
        return int(self.key < 0)

    def submit(self, key: int, task: Any) -> None:
        self.key, self.task = key, task

    def wait(self) -> Done:
        from dataclasses import replace

        trial = self.task.trial
        own = {name: getattr(trial, name) for name in ("number", "origin", "knobs", "ratios", "epochs")}
        key, self.key = self.key, -1
        return Done(key, Outcome(replace(self.example, **own)))

    def cancel(self) -> None:
        self.key = -1

    def close(self) -> None:
        self.cancel()


def driver(trials: int) -> None:
    """Milliseconds of the driver a trial: asking, projecting, keeping on disk, telling."""
    from tfprune.tuning.begin import begin, prepare

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFPRUNE_HOME"] = folder
        example: list[Trial] = []
        execute(digits(trials=2), watch=Clock(example.append))
        begun = begin(prepare(digits(trials=trials), None, None, Watch()), None, False, Watch())
        space = begun.space(begun.sensitivity())
        clock = Clock()
        work = Driver(begun.recipe, space, begun.folder, begun.tracker, AtOnce(example[0]), clock, begun.on_validation)
        start = time.perf_counter()
        work._fly(work._proposals())
        seconds = clock.seconds(trials)
        begun.folder.close()
        begun.tracker.leave_open("KILLED")
    print(
        f"driver: {1000 * statistics.median(seconds):.1f} ms a trial ({1000 * min(seconds):.1f} to "
        f"{1000 * max(seconds):.1f}, {len(seconds)} trials, {time.perf_counter() - start:.1f} s)"
    )


def memory() -> None:
    """Megabytes of one worker in a process of its own, after 5 and after 50 trials."""
    sizes: list[float] = []

    def heard(trial: Trial) -> None:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        pages = [int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children]
        sizes.append(max(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFPRUNE_HOME"] = folder
        execute(digits(trials=50), engine="processes", workers=1, watch=Clock(heard))
    # The starting allocations come before: the worker is warm, and these are its tenth and its last trial.
    print(f"worker: {sizes[4]:.0f} MB after 5 trials, {sizes[49]:.0f} MB after 50: {sizes[49] / sizes[4] - 1:+.1%}")


# ----------------------------------------------------------------------------------------- accuracy


def accuracy(given: argparse.Namespace) -> None:
    """Test accuracy of the found allocation, of uniform, and of global magnitude, after the same fine-tuning."""
    found: dict[str, list[float]] = {}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TFPRUNE_HOME"] = folder
            recipe = cifar(*given.files, given.divide_by, seed, given.epochs, given.steps, given.precision)
            section = recipe.search.model_copy(update={"trials": given.trials})
            recipe = recipe.model_copy(update={"search": section})
            start = time.perf_counter()
            result = execute(recipe, watch=Clock(lambda trial: print(trial.label, trial.origin, trial.objective)))
            print(result.outcome, f"{time.perf_counter() - start:.0f} s", result.winner.ratios, flush=True)
            arms: dict[str, Any] = {"uniform": "layer", "global": "global", "found": result.winner.ratios}
            for arm, scope in arms.items():
                prune = recipe.masking.model_copy(update={"scope": scope})
                run = tfprune.run(recipe.model_copy(update={"prune": prune, "name": f"{recipe.name}-{arm}"}))
                found.setdefault(arm, []).append(100 * run.test.accuracy)
                print(
                    f"seed {seed}, {arm}: test {found[arm][-1]:.2f}, "
                    f"validation {100 * run.best_round.evaluation.accuracy:.2f}, "
                    f"sparsity {run.best_round.sparsity:.4f}",
                    flush=True,
                )
    for arm, values in found.items():
        gains = [value - other for value, other in zip(found["found"], values, strict=True)]
        print(
            f"{arm:8} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}); found is "
            f"{statistics.median(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"
        )


if __name__ == "__main__":
    main()
