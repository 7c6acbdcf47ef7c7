"""What masking costs: beside plain training, and beside TF-MOT as its guide uses it.

    .venv/bin/python benchmarks/masking.py [step] [predict] [start] [update] [--repeats N]

Runs that are compared take turns within one process, and a ratio is that of two runs of one turn; printed are the
median over the repeats and, behind it, the lowest and the highest. Accuracy is in masking_accuracy.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import tfprune
from tfprune.backend import keras, tf
from tfprune.masking.masked import masked_variables
from tfprune.masking.pruner import pruner_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_model_optimization as tfmot

layers = keras.layers
FREQUENCIES = (100, 10, 1)
STEPS = 100


def main() -> None:
    """Run what the command line asks for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default all")
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    for part in given.parts or PARTS:
        PARTS[part](given.repeats)


def compare(runs: dict[str, Callable[[], float]], repeats: int) -> None:
    """Let runs take turns; print the seconds of each and their ratio to the first one's.

    Args:
        runs: by name; each returns seconds.
        repeats: turns that count, after one that does not.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            seconds = run()
            if turn:
                found[name].append(seconds)
    first = next(iter(found.values()))
    for name, values in found.items():
        ratios = [value / other for value, other in zip(values, first, strict=True)]
        print(f"  {name:28} {1000 * statistics.median(values):10.2f} ms   {_spread(ratios)}", flush=True)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def timed(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compiled(model: keras.Model) -> keras.Model:
    """Compile for ten classes."""
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def cnn() -> keras.Model:
    """A CNN of 129,000 parameters for 32x32 images."""
    return keras.Sequential(
        [
            layers.Conv2D(32, 3, activation="relu", input_shape=(32, 32, 3)),
            layers.MaxPool2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPool2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(70, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )


# ------------------------------------------------------------------------------------------- training


def step(repeats: int) -> None:
    """A training step, against plain fit: batches of 32, masks growing all the while."""
    rng = np.random.default_rng(0)
    x, y = rng.random((32 * STEPS, 32, 32, 3), np.float32), rng.integers(0, 10, 32 * STEPS)
    end = STEPS * (repeats + 1)

    def fits(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Callable[[], float]:
        def fit() -> float:
            return timed(lambda: model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=list(callbacks)))

        return lambda: fit() / STEPS

    runs = {"plain fit": fits(compiled(cnn()))}
    for frequency in FREQUENCIES:
        schedule = tfprune.PolynomialDecay(final_sparsity=0.8, end_step=end, frequency=frequency)
        runs[f"tfprune, every {frequency}"] = fits(compiled(tfprune.wrap(cnn(), schedule)))
    schedule = tfprune.PolynomialDecay(final_sparsity=0.8, end_step=end, frequency=10)
    runs["tfprune, every 10, global"] = fits(compiled(tfprune.wrap(cnn(), schedule, scope="global")))
    for frequency in FREQUENCIES:
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 0, end, frequency=frequency)
        model = compiled(tfmot.sparsity.keras.prune_low_magnitude(cnn(), schedule))
        runs[f"TF-MOT, every {frequency}"] = fits(model, [tfmot.sparsity.keras.UpdatePruningStep()])
    print(f"a training step, {cnn().count_params():,} parameters, {STEPS} steps a turn")
    compare(runs, repeats)


def predict(repeats: int) -> None:
    """Predict of one Dense(4096) on 4096 features, batches of 32."""

    def dense() -> keras.Model:
        keras.utils.set_random_seed(0)
        return keras.Sequential([layers.Dense(4096, input_shape=(4096,))])

    x = np.random.default_rng(0).random((32 * 40, 4096), np.float32)
    half = tfmot.sparsity.keras.ConstantSparsity(0.5, 0)
    models = {
        "plain predict": dense(),
        "tfprune": tfprune.wrap(dense(), tfprune.ConstantSparsity(final_sparsity=0.5)),
        "TF-MOT": tfmot.sparsity.keras.prune_low_magnitude(dense(), half),
    }
    print("predict, Dense of 4096 x 4096, 40 batches of 32")
    runs = {
        name: lambda model=model: timed(lambda: model.predict(x, batch_size=32, verbose=0))
        for name, model in models.items()
    }
    compare(runs, repeats)


def start(repeats: int) -> None:
    """A new goal for a model that is being trained, to the end of its first step, against building it anew."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((32, 32, 32, 3), np.float32), rng.integers(0, 10, 32)
    batch = tf.data.Dataset.from_tensors((images, labels))
    turns = iter(range(1, 10_000))

    def build() -> keras.Model:
        # As TF-MOT needs it, and as a search without retargeting would do it.
        model = compiled(tfprune.wrap(cnn(), tfprune.ConstantSparsity(final_sparsity=0.5)))
        model.fit(batch, verbose=0)
        return model

    model = build()
    names = [layer.layer.name for layer in model.layers if hasattr(layer, "pruning_vars")]

    def aim(**changes: object) -> None:
        goal = tfprune.PolynomialDecay(final_sparsity=0.5 + next(turns) / 30_000, end_step=10, frequency=1)
        tfprune.retarget(model, goal, **changes)
        model.fit(batch, verbose=0)

    traces = model.train_function.experimental_get_tracing_count()
    print("from a new goal to the end of the first step")
    runs = {
        "build, compile, fit": lambda: timed(build),
        "retarget: schedule": lambda: timed(aim),
        "retarget: ratios by layer": lambda: timed(lambda: aim(scope=dict.fromkeys(names, 0.6))),
        "retarget: global scope": lambda: timed(lambda: aim(scope="global")),
    }
    compare(runs, repeats)
    anew = model.train_function.experimental_get_tracing_count() - traces
    print(f"  train function traced by the first fit, and {anew} times after {3 * (repeats + 1)} new goals")


# ------------------------------------------------------------------------------------------- masks


class PeakMemory:
    """The most memory that this process took beyond what it had, in bytes, sampled every millisecond."""

    def __enter__(self) -> PeakMemory:
        self._before = self._most = _resident()
        self._over = threading.Event()

        def watch() -> None:
            while not self._over.wait(0.001):
                self._most = max(self._most, _resident())

        self._watcher = threading.Thread(target=watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    @property
    def bytes(self) -> int:
        return self._most - self._before


def _resident() -> int:
    """Bytes of memory that this process has, as Linux counts them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def update(repeats: int) -> None:
    """Mask updates of a whole ResNet50, 25.5 million prunable weights; each kind in a process of its own."""
    for kind in (("global", "magnitude"), ("layer", "magnitude"), ("global", "lamp")):
        context = multiprocessing.get_context("spawn")  # or memory that an earlier kind left would be taken for free
        process = context.Process(target=update_of, args=(*kind, repeats))
        process.start()
        process.join()


def update_of(scope: str, importance: str, repeats: int) -> None:
    """Mask updates of one kind."""
    dense = keras.applications.ResNet50(weights=None)
    pruned = tfprune.wrap(dense, tfprune.ConstantSparsity(final_sparsity=0.9), scope=scope, importance=importance)
    size = sum(int(np.prod(weight.shape)) for weight, _ in masked_variables(pruned))
    with PeakMemory() as peak:
        first = timed(lambda: pruner_of(pruned).update(0.1))
    sparsities = np.linspace(0.2, 0.9, repeats).tolist()
    seconds = [timed(partial(pruner_of(pruned).update, sparsity)) for sparsity in sparsities]
    print(f"a mask update, {size:,} weights, {scope} {importance}")
    print(f"  seconds                     {_spread(seconds)}, the first, which traces: {first:.3f}")
    print(f"  memory / weights' memory    {peak.bytes / (4 * size):.2f}, of the first", flush=True)


PARTS = {"step": step, "predict": predict, "start": start, "update": update}

if __name__ == "__main__":
    main()
