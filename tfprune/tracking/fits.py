"""One `model.fit` on record."""

from __future__ import annotations

import time
from typing import Any

from tfprune.recipe import TrackSection
from tfprune.tracking.metrics import safe_name
from tfprune.tracking.store import Store


class FitTracker:
    """Records a `model.fit`: in the active MLflow run where there is one, else in a run of its own.

    Args:
        section: URI and experiment.

    Raises:
        TrackingError: the store does not answer or refuses the experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self._store = Store(section)

    def begin(self, name: str, params: dict[str, Any]) -> None:
        """Open the run."""
        with self._store.speaking():
            active = self._store.join_active()
            self._ours = active is None
            self._run = active or self._store.make(name, {"tfprune.kind": "fit"})
            self._store.log_new_params(self._run, params)

    def record_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Write the figures of one epoch."""
        now = int(time.time() * 1000)
        with self._store.speaking():
            self._store.log(self._run, [(safe_name(key), value, now, epoch) for key, value in metrics.items()])

    def end(self) -> None:
        """Close the run, unless it is the caller's."""
        if self._ours:
            with self._store.speaking():
                self._store.end(self._run)
