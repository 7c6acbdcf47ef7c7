"""Workflows read back from their records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.errors import StorageError, TrackingError, nearest
from tfprune.recipe import TrackSection
from tfprune.results import Round
from tfprune.tracking.server import shown
from tfprune.tracking.store import Store
from tfprune.tracking.tables import read_rounds

if TYPE_CHECKING:
    from tfprune.backend import keras


class Recorded:
    """Workflows as they are recorded in an experiment.

    Args:
        section: URI and experiment.

    Raises:
        TrackingError: the store does not answer, or there is no such experiment.
    """

    def __init__(self, section: TrackSection) -> None:
        self._store = Store(section, make=False)
        self.uri, self.experiment_id = self._store.uri, self._store.experiment_id

    def names(self) -> list[str]:
        """Workflows, the latest first."""
        with self._store.speaking():
            runs = self._store.runs(kind="workflow")
        self._runs: dict[str, Any] = {}
        for run in runs:
            self._runs.setdefault(run.info.run_name, run)
        return list(self._runs)

    def workflow(self, name: str) -> tuple[tuple[Round, ...], str]:
        """Rounds and outcome of a workflow; of several of a name, the latest.

        Raises:
            TrackingError: no such workflow, or none of its rounds is finished.
        """
        known = self.names()
        if name not in known:
            there = f"{', '.join(known)}{nearest(name, known)}"
            raise TrackingError(f"no workflow {name!r} is recorded at {shown(self.uri)}; there: {there}")
        run, client = self._runs[name], self._store.client
        with self._store.speaking():
            artifacts = [each.path for each in client.list_artifacts(run.info.run_id)]
            if "rounds.json" not in artifacts:
                raise TrackingError(f"workflow {name!r} has no finished round yet")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(client.download_artifacts(run.info.run_id, "rounds.json", folder))
                text = path.read_text(encoding="utf-8")
        return read_rounds(text, name), run.data.tags.get("tfprune.outcome", "")

    def save_views(self, views: Callable[[Sequence[Collection[str]], int], Mapping[str, str]]) -> Mapping[str, str]:
        """Keep views of the UI in tags of the experiment.

        Args:
            views: makes the tags, given the names of the metrics of each of the latest rounds and the time in
                milliseconds at which the experiment was made.

        Returns:
            The tags; none of a store that takes none, as the runs can be seen without.
        """
        client = self._store.client
        with suppress(TrackingError, StorageError), self._store.speaking():
            experiment = client.get_experiment(self.experiment_id)
            rounds = self._store.runs(200, kind="round")
            tags = views([sorted(run.data.metrics) for run in rounds], experiment.creation_time)
            for key, value in tags.items():
                if experiment.tags.get(key) != value:
                    client.set_experiment_tag(self.experiment_id, key, value)
            return tags
        return {}


def model_on_record(section: TrackSection, name: str) -> keras.Model:
    """The Keras model that is recorded under ``runs:/…/model`` or ``models:/…``.

    Raises:
        TrackingError: no such record, or there is no model of ours in it.
    """
    from tfprune.masking.files import load  # loads TensorFlow, which reading rounds does without

    store = Store(section, make=False)
    with tempfile.TemporaryDirectory() as folder:
        with store.speaking():
            files = sorted(store.fetch(name, folder).rglob("model.keras"))
        if not files:
            raise TrackingError(f"{name}: holds no Keras model; give the model of a round, e.g. runs:/ID/model")
        return load(files[0])
