"""Trials that never ran, and processes that record them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import tiny_workflow
from by_hand import an_evaluation

from tfprune.errors import TrackingError
from tfprune.recipe import TrackSection, parse
from tfprune.results import Evaluation, Measurement, SearchResult, Sensitivity, SensitivityCurve, SliceScore, Trial
from tfprune.tracking.searches import SearchTracker

STARTED = 1_700_000_000_000
DENSE = an_evaluation(0.95, slices=[SliceScore("class_0", 30, 0.97), SliceScore("class_1", 30, 0.93)])


def tried(accuracy: float = 0.9) -> Evaluation:
    """A pruned model's evaluation: `class_1` is its worst, and has lost most."""
    slices = [SliceScore("class_0", 30, accuracy + 0.02, 0.05), SliceScore("class_1", 30, accuracy - 0.1, 0.13)]
    return an_evaluation(accuracy, 0.95 - accuracy, slices)


def a_trial(number: int, **more: Any) -> Trial:
    """A completed trial of two epochs, proposed by the oracle."""
    finished = STARTED + 10_000 * (number + 1)
    epochs = [{"loss": 1 / (1 + e), "accuracy": 0.8, "ended": finished - 500 + e} for e in range(2)]
    given = {
        "number": number,
        "origin": "oracle",
        "knobs": {"first": 0.123456},
        "ratios": {"conv": 0.5, "block/dense": 0.800049},
        "epochs": 2,
        "objective": 0.8 + 0.001 * number,
        "evaluation": tried(),
        "sparsity": 0.6,
        "measurement": Measurement(100, 40, 100, 60, 5000, 400, 300),
        "seconds": 2.5,
        "finished": finished,
        "history": tuple(epochs),
    }
    return Trial(**{**given, **more})


def failed(number: int, **more: Any) -> Trial:
    """A trial that came to nothing."""
    nothing = {"objective": None, "evaluation": None, "sparsity": None, "measurement": None, "history": ()}
    return a_trial(number, **nothing, status="failed", message="the loss became NaN", **more)


def a_search(folder: Path, trials: list[Trial], finals: list[Trial]) -> SearchResult:
    """What a search came to whose first final wins."""
    (folder / "found.yaml").write_text("name: found\n")
    curve = SensitivityCurve("conv", (0.5, 0.9), (0.9, 0.4), (0.3, 2.0))
    return SearchResult(
        search="hand-1",
        outcome="Found ratios that keep 90.0 %.",
        objective="worst slice",
        dense=DENSE,
        trials=tuple(trials),
        finals=tuple(finals),
        best=finals[0].number,
        test_dense=DENSE,
        test=tried(0.88),
        sensitivity=Sensitivity("masking", 0.95, 0.3, 100, (curve,)),
        directory=folder,
        recipe=folder / "found.yaml",
        tracking_uri="uri",
    )


def begin(section: TrackSection, name: str = "hand-1", identity: str = "unique") -> SearchTracker:
    """A tracker that knows nothing of earlier ones, like a process after a kill."""
    tracker = SearchTracker(section)
    recipe = parse(tiny_workflow.recipe(track=section.model_dump()))
    tracker.begin(name, identity, recipe, {"data.digest": "d"})
    return tracker


def attach(section: TrackSection, patience: float = 60) -> SearchTracker:
    """A tracker of a process that runs trials; waits for the one that begins the search."""
    tracker, end = SearchTracker(section), time.monotonic() + patience
    while True:
        try:
            tracker.attach("hand-1", "unique")
            return tracker
        except TrackingError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def work(uri: str, worker: int, trials: int) -> None:
    """Be one of several processes: wait for a line, then record trials; the first one begins the search."""
    print("ready", flush=True)
    if not sys.stdin.readline():  # the tests are gone
        return
    section = TrackSection(uri=uri)
    tracker = attach(section) if worker else begin(section)
    for number in range(worker * trials, (worker + 1) * trials):
        tracker.record_trial(a_trial(number), DENSE)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
