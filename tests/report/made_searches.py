"""Searches made by hand: what one might have come to."""

from __future__ import annotations

import math
from pathlib import Path

from made_rounds import evaluation

from tfprune.results import Measurement, SearchResult, Sensitivity, SensitivityCurve, Trial

RATIOS = (0.3, 0.5, 0.7, 0.9)
STARTS = ("uniform", "erk", "lamp", "global", "sensitivity")


def weighing(size: int | None, plain: int = 800_000) -> Measurement:
    """A model of so many bytes after gzip."""
    return Measurement(200_000, 20_000, 190_000, 171_000, 5_000_000, plain, size)


def trial(number: int, accuracy: float | None, origin: str = "oracle", **more) -> Trial:
    """A trial whose two slices lie under the whole, class_1 by 5 points more; without an accuracy it failed."""
    ratios = more.pop("ratios", {"conv1": 0.3 + 0.01 * number, "conv2": 0.6, "dense": 0.95 - 0.01 * number})
    if accuracy is None:
        told = {"status": "failed", "message": "a weight is not finite", **more}
        return Trial(number, origin, {}, ratios, 0, **told)
    scores = evaluation(accuracy, 0.95 - accuracy, 0.95 - accuracy, 1.0 - accuracy)
    told = {
        "objective": accuracy,
        "evaluation": scores,
        "sparsity": 0.9,
        "measurement": weighing(100_000 + 1_000 * number),
        "seconds": 1.5,
        **more,
    }
    knobs = {} if origin != "oracle" else {"conv1": 0.5}
    return Trial(number, origin, knobs, ratios, **{"epochs": 2, **told})


def sensitivity(layers: int = 3, ratios: tuple[float, ...] = RATIOS, method: str = "masking") -> Sensitivity:
    """Layer i of n falls the steeper, the larger i is; the first one hardly moves."""
    curves = []
    for place in range(layers):
        steep = 0.85 * (place + 0.02) / layers
        scores = tuple(0.95 - steep * ratio**3 for ratio in ratios)
        losses = tuple(0.2 + 2 * steep * ratio for ratio in ratios)
        curves.append(SensitivityCurve(f"block{place // 4}/conv{place}", ratios, scores, losses))
    return Sensitivity(method, 0.95, 0.2, 360, tuple(curves))


STARTED = tuple(trial(place, 0.90 + 0.004 * place, origin) for place, origin in enumerate(STARTS))
"""0.900 for uniform, 0.912 for global."""

ASKED = (
    trial(5, 0.93),
    trial(6, None),
    trial(7, 0.89, status="stopped", message="it cannot come up to the best"),
    trial(8, 0.925, measurement=weighing(90_000)),
)
TRIALS = (*STARTED, *ASKED)


def result(
    finals: tuple[Trial, ...] | None = None, trials: tuple[Trial, ...] = TRIALS, best: int = 5, **more
) -> SearchResult:
    """A search whose finals are its best trial, uniform and global, all after 6 epochs."""
    if finals is None:
        finals = (trial(5, 0.94, epochs=6), trial(0, 0.92, "uniform", epochs=6), trial(3, 0.93, "global", epochs=6))
    told = {
        "search": "digits-1",
        "outcome": "",
        "objective": "accuracy",
        "dense": evaluation(0.95, None, None, None),
        "test_dense": evaluation(0.955, None, None, None),
        "test": evaluation(0.935, 0.02, 0.01, 0.05),
        "sensitivity": sensitivity(),
        "directory": Path("/somewhere/digits-1"),
        "recipe": Path("found.yaml"),
        "tracking_uri": "sqlite:///a.db",
        **more,
    }
    return SearchResult(trials=trials, finals=finals, best=best, **told)


def long_search(count: int = 60) -> tuple[Trial, ...]:
    """The starts and then trials of all sizes, which go up and down; every tenth fails."""
    asked = []
    for number in range(5, count):
        if number % 10 == 9:
            asked.append(trial(number, None))
            continue
        wave = 0.915 + 0.02 * math.sin(1.7 * number)
        size = weighing(95_000 + 37 * (number * 7919 % 500))
        asked.append(trial(number, wave, measurement=size))
    return (*STARTED, *asked)


def many_finals(count: int, layers: int) -> SearchResult:
    """So many finals of the oracle's, the first the winner, over so many layers with long names."""
    ratios = {f"[bold]block_{place}/{'deep_' * 16}conv": 0.5 + place / (3 * layers) for place in range(layers)}
    finals = [trial(number, 0.95 - 0.001 * number, epochs=6, ratios=ratios) for number in range(5, 5 + count)]
    return result(tuple(finals), best=5)
