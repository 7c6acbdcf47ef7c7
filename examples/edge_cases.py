"""What a 90% sparse model forgets, and a gate that stops it: CIFAR-10 with two rare classes.

    .venv/bin/python examples/edge_cases.py                     downloads CIFAR-10 through keras.datasets
    .venv/bin/python examples/edge_cases.py --npz cifar10.npz   arrays x, y, x_test, y_test of your own

A small network is trained on images of which cats and dogs are one in ten of what the other classes have. Then it is
pruned twice: with a gate on the whole accuracy alone, and with one on every slice. The second keeps its promise to cats
and dogs, or stops. docs/edge-cases.md shows what came of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tfprune
from tfprune.backend import keras
from tfprune.recipe import Column, Corrupted, Label
from tfprune.results import RunResult

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RARE = (3, 5)

SLICES: list[Any] = [
    "classes",
    {"rarest_count": 2, "name": "cats_and_dogs"},
    {"hardest": 0.1},
    Column("brightness", quantiles=4),
    Corrupted("noise", severity=2),
    Corrupted("blur", severity=2),
    {"all_of": [Label(("cat", "dog")), Corrupted("blur", severity=2)], "name": "blurred_cats_and_dogs"},
    "pie",
    "discover",
]


def main() -> None:
    """Train, prune twice, and say how to compare the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", help="arrays x, y, x_test, y_test; bytes, as keras.datasets has them")
    parser.add_argument("--examples", type=int, default=20_000, help="training images before classes are made rare")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--finetune", type=int, default=3, help="epochs a round")
    given = parser.parse_args()
    dense = train(*parts(given.npz, given.examples)["train"][:2], given.epochs)
    free, guarded = prune_twice(dense, {"npz": given.npz, "examples": given.examples}, given.epochs, given.finetune)
    print(f"side by side:  tfprune compare {free.workflow} {guarded.workflow} --html edge-cases.html")


def parts(npz: str | None, examples: int) -> dict[str, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Images, labels and metadata of the train, validation and test parts; cats and dogs are rare in training."""
    if npz is None:
        (x, y), (x_test, y_test) = keras.datasets.cifar10.load_data()
    else:
        with np.load(npz) as archive:
            x, y, x_test, y_test = (archive[name] for name in ("x", "y", "x_test", "y_test"))
    y, y_test = y.reshape(-1), y_test.reshape(-1)
    order = np.random.default_rng(0).permutation(len(x))
    train, validation = order[:examples], order[examples : examples + max(1, examples // 4)]
    is_rare = np.isin(y[train], RARE)
    train = np.concatenate([train[~is_rare], train[is_rare][:: len(NAMES)]])
    chosen = {"train": (x[train], y[train]), "validation": (x[validation], y[validation]), "test": (x_test, y_test)}
    return {name: (images, labels, metadata_of(images)) for name, (images, labels) in chosen.items()}


def metadata_of(images: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of an image besides its class."""
    values = images.astype(np.float32).reshape(len(images), -1)
    return {"brightness": values.mean(axis=1), "contrast": values.std(axis=1)}


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> keras.Model:
    """A small convolutional network, trained as anybody would."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([layers.Input((32, 32, 3))])
    for width, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        model.add(layers.Conv2D(width, 3, strides, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(len(NAMES), "softmax"))
    rate = keras.optimizers.schedules.CosineDecay(0.002, epochs * -(-len(x) // 128))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x.astype(np.float32) / 255, y, batch_size=128, epochs=epochs, verbose=2)
    return model


def prune_twice(
    dense: keras.Model, arguments: dict[str, Any], epochs: int, finetune: int
) -> tuple[RunResult, RunResult]:
    """Prune with a gate on the average alone, then with one on every slice."""
    common = {
        "data": {
            "source": "function",
            "function": f"{Path(__file__).stem}:parts",
            "arguments": arguments,
            "classes": NAMES,
            "divide_by": 255,
        },
        "train": {"epochs": epochs, "batch_size": 128, "learning_rate": 0.002},
        "prune": {"target": {"sparsity": 0.9}, "rounds": 4, "scope": "global", "schedule": {"frequency": 20}},
        "finetune": {"epochs": finetune},
        "slices": SLICES,
        "track": {"register_as": "edge-cases"},
    }
    average = {"max_drop": 0.1, "max_slice_drop": None}
    every = {"max_drop": 0.1, "max_slice_drop": 0.1, "patience": 2}
    results = []
    for name, gates in (("average-only", average), ("every-slice", every)):
        results.append(tfprune.run({"name": name, "stop": gates, **common}, model=dense))
        tell(results[-1])
    return results[0], results[1]


def tell(result: RunResult) -> None:
    """The outcome, and the five slices that paid most in the last round that was tried."""
    last = result.rounds[-1]
    print(f"{result.workflow}: {result.outcome}")
    judged = [each for each in last.evaluation.judged if each.drop is not None]
    for each in sorted(judged, key=lambda score: -(score.drop or 0.0))[:5]:
        low, high = each.drop_interval or (0.0, 0.0)
        print(
            f"  {last.label} {each.name:24} {each.accuracy:6.1%} of {each.support:5}, "
            f"lost {100 * (each.drop or 0):5.1f} points ({100 * low:.1f} to {100 * high:.1f})"
        )
    for reason in last.verdict.reasons:
        print(f"  gate: {reason}")


if __name__ == "__main__":
    main()
