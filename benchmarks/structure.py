"""What rebuilding a model smaller costs, and what it gains.

    .venv/bin/python benchmarks/structure.py rebuild [--repeats 5]      seconds and memory, and how they grow
    .venv/bin/python benchmarks/structure.py latency [--turns 300]      MobileNet in LiteRT: dense, shrunk, from scratch
    .venv/bin/python benchmarks/structure.py train DATA MODEL           the dense ResNet-20 that `accuracy` starts from
    .venv/bin/python benchmarks/structure.py accuracy DATA FOLDER --resnet8 MODEL --resnet20 MODEL
                                                                        CIFAR-10; see structure_accuracy.py

Models that are compared for speed take turns, and a ratio is that of two runs of one turn; printed are medians and,
behind them, the lowest and the highest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfprune.backend import keras
from tfprune.cost.latency import latencies
from tfprune.cost.measure import measure
from tfprune.litert.convert import convert
from tfprune.litert.session import Session
from tfprune.structure.shrink import apply, plan, shrink

RATIO = 0.5
GROWING = ("ResNet50", "ResNet101", "ResNet152", "ResNetRS420")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("rebuild")
    part.add_argument("--repeats", type=int, default=5)
    part.add_argument("--models", nargs="+", choices=GROWING, default=list(GROWING))
    part = parts.add_parser("latency")
    part.add_argument("--turns", type=int, default=300)
    part.add_argument("--size", type=int, default=224)
    part = parts.add_parser("train")
    part.add_argument("data", type=Path, help="folder of TFRecords")
    part.add_argument("model", type=Path, help="where to write it, .h5")
    part = parts.add_parser("accuracy")
    part.add_argument("data", type=Path, help="folder of TFRecords")
    part.add_argument("folder", type=Path, help="for the log and the models; what is in the log is not run again")
    part.add_argument("--resnet8", type=Path, required=True, help="trained model, of images in 0..255")
    part.add_argument("--resnet20", type=Path, required=True, help="trained model, of images in 0..1")
    part.add_argument("--stages", nargs="+", default=None, help="of structure_accuracy.STAGES; by default all")
    given = parser.parse_args()
    if given.part == "rebuild":
        rebuild(given.models, given.repeats)
    elif given.part == "latency":
        latency(given.turns, given.size)
    else:
        train_or_prune(given)


def train_or_prune(given: argparse.Namespace) -> None:
    """The parts that need data; apart, for TF-MOT's import is slow and of no use to the others."""
    import structure_accuracy
    import structure_training
    from masking_accuracy import read

    if given.part == "train":
        structure_training.train_dense(read(given.data, 255.0), given.model)
    else:
        structure_accuracy.run(given.data, given.folder, given.resnet8, given.resnet20, given.stages)


# ------------------------------------------------------------------------------------------- rebuilding


def rebuild(names: Sequence[str], repeats: int) -> None:
    """Plan and rebuild models; each in a process of its own, or memory that one left would be taken for free."""
    print(f"planning and rebuilding at ratio {RATIO}, scores l2; memory is that of the first time")
    for name in names:
        process = multiprocessing.get_context("spawn").Process(target=rebuild_one, args=(name, repeats))
        process.start()
        process.join()


def rebuild_one(name: str, repeats: int) -> None:
    """Seconds and memory of one model."""
    model = getattr(keras.applications, name)(weights=None)
    size = sum(weight.dtype.size * int(np.prod(weight.shape)) for weight in model.weights)
    planning, building = [], []
    memory = 0
    for turn in range(repeats):
        before = forget_peak()
        start = time.perf_counter()
        made = plan(model, ratio=RATIO)
        planned = time.perf_counter()
        small, _ = apply(model, made)
        building.append(time.perf_counter() - planned)
        planning.append(planned - start)
        if not turn:
            memory = peak() - before
    seconds = [sum(pair) for pair in zip(planning, building, strict=True)]
    print(
        f"  {name:12} {len(model.layers):5} layers, {model.count_params() / 1e6:6.1f} million parameters, "
        f"{small.count_params() / 1e6:.1f} left: {spread(seconds)} s "
        f"(plan {statistics.median(planning):.2f}, rebuild {statistics.median(building):.2f}), "
        f"{1000 * statistics.median(seconds) / len(model.layers):.2f} ms a layer, "
        f"memory {memory / size:.2f} times the model's {size / 1e6:.0f} MB",
        flush=True,
    )


def forget_peak() -> int:
    """Let Linux count this process' peak memory anew, and return what it has now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most memory that this process had since, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


# ------------------------------------------------------------------------------------------- latency


def latency(turns: int, size: int) -> None:
    """MobileNet in LiteRT, one thread, batch size 1."""
    dense = keras.applications.MobileNet((size, size, 3), weights=None)
    small, _ = shrink(dense, ratio=RATIO)
    models: dict[str, Callable[[], keras.Model]] = {
        "dense": lambda: dense,
        "shrunk": lambda: small,
        "scratch, same widths": lambda: type(small).from_config(small.get_config()),
        "scratch, alpha 0.5": lambda: keras.applications.MobileNet((size, size, 3), alpha=0.5, weights=None),
    }
    built = {name: build() for name, build in models.items()}
    sessions = {name: Session(convert(model)) for name, model in built.items()}
    latencies([*sessions.values()], seconds=4)  # warm
    seconds = {name: [session.seconds()] for name, session in sessions.items()}
    for _ in range(turns - 1):
        for name, session in sessions.items():
            seconds[name].append(session.seconds())
    print(f"MobileNet of {size}x{size} pixels at ratio {RATIO}, LiteRT float32, one thread, {turns} turns")
    for name, values in seconds.items():
        quick, median, slow = (1000 * float(np.percentile(values, at)) for at in (10, 50, 90))
        print(
            f"  {name:22} {median:7.3f} ms, tenth {quick:.3f}, nine tenths {slow:.3f}; "
            f"{measure(built[name]).macs / 1e6:.1f} million MACs"
        )
    for over, under in (("dense", "shrunk"), ("shrunk", "scratch, same widths"), ("shrunk", "scratch, alpha 0.5")):
        ratios = np.divide(seconds[over], seconds[under])
        low, median, high = np.percentile(ratios, [10, 50, 90])
        print(
            f"  {over} / {under}: median of the turns {median:.3f} (tenth {low:.3f}, nine tenths {high:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
