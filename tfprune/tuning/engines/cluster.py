"""Tasks in actors of a Ray cluster: the one module that imports Ray."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tfprune.errors import DependencyError, TrainingError, warn
from tfprune.importing import one_line
from tfprune.tuning.engines.base import Reading, Spec, Worker, attempt, finish, make, packed, told_threads
from tfprune.tuning.engines.join import found, join, shares
from tfprune.tuning.engines.pool import Death, Pool, Slot

_PATIENCE = 5.0  # seconds for a worker to put its things in order
_LONG = 30.0  # seconds to wait for room in the cluster before that is told
_TAKEN_ALONG = ("MLFLOW_", "TFPRUNE_")  # variables that say where to record


class Cluster(Pool[tuple[Any, Any]]):
    """Workers in actors of Ray, with equal shares of its CPUs and GPUs.

    A cluster that this process has joined already is used and left as it is.

    Args:
        spec: put into the cluster once.
        slots: actors; each starts when its slot gets the first task. None takes one a CPU.
        address: ``host:port``, ``ray://host:port`` or ``auto``; None starts a cluster for this search, which listens on
            127.0.0.1 alone.

    Raises:
        DependencyError: Ray is not installed.
        RecipeError: more slots than CPUs.
        TrainingError: the cluster does not answer, or the spec cannot be pickled.
    """

    def __init__(self, spec: Spec, slots: int | None = None, address: str | None = None) -> None:
        self._ray = _ray()
        self._dumps = self._ray.cloudpickle.dumps
        self._loads = self._ray.cloudpickle.loads
        content = self._pickled(spec)
        with ExitStack() as leaving:
            if not self._ray.is_initialized():
                join(self._ray, slots, address, leaving)
            machines = [
                (each["Resources"].get("CPU", 0.0), each["Resources"].get("GPU", 0.0))
                for each in self._ray.nodes()
                if each["Alive"]
            ]
            super().__init__(slots or max(1, sum(int(cpus) for cpus, _ in machines)))
            self._cpus, gpus = shares(machines, self.slots)
            self._actor = self._ray.remote(Actor).options(num_cpus=self._cpus, num_gpus=gpus, max_restarts=0)
            self._spec = self._ray.put(content)
            self._arrivals: list[Any] | None = []  # None when the first was seen, or its absence told
            self._leaving = leaving.pop_all()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._leaving:
            try:
                self.cancel()
                self._say_goodbye()
            finally:
                for slot in self._slots:
                    self._end(slot)
                self._spec = None

    def _say_goodbye(self) -> None:
        idle = [slot.handle[0] for slot in self._slots if slot.handle is not None]
        with suppress(Exception):  # the user may have left the cluster
            partings = [actor.close.remote() for actor in idle]
            if partings:
                self._ray.wait(partings, num_returns=len(partings), timeout=_PATIENCE)

    def _start(self, slot: Slot[tuple[Any, Any]]) -> None:
        variables = {name: value for name, value in os.environ.items() if name.startswith(_TAKEN_ALONG)}
        worker = self._actor.remote(self._cpus, variables, str(Path.cwd()), tuple(sys.path))
        if self._arrivals is not None:
            self._arrivals.append(worker.arrive.remote())
        slot.handle = worker, worker.build.remote(self._spec)

    def _send(self, slot: Slot[tuple[Any, Any]]) -> None:
        assert slot.handle is not None
        worker, _ = slot.handle
        slot.handle = worker, worker.run.remote(slot.task)

    def _hear(self, busy: list[Slot[tuple[Any, Any]]]) -> tuple[Slot[tuple[Any, Any]], bytes | Death]:
        awaited = {slot.handle[1]: slot for slot in busy if slot.handle is not None}
        wrong = self._ray.exceptions
        deaths = (wrong.RayActorError, wrong.WorkerCrashedError, wrong.ObjectLostError, wrong.OutOfMemoryError)
        answer = self._first(list(awaited))
        try:
            return awaited[answer], self._ray.get(answer)
        except (*deaths, wrong.NodeDiedError) as error:
            return awaited[answer], Death(_cause_of_death(error))
        except wrong.RayError as error:
            raise TrainingError(f"the Ray cluster cannot go on with the search: {one_line(error)}") from error

    def _first(self, awaited: list[Any]) -> Any:
        """The first of some answers; a cluster that has no room for a single worker is worth a word."""
        while True:
            answered, _ = self._ray.wait(awaited, num_returns=1, timeout=_LONG)
            if answered:
                self._arrivals = None
                return answered[0]
            if self._arrivals and not self._ray.wait(self._arrivals, num_returns=1, timeout=0)[0]:
                warn("the Ray cluster has no room for the search's workers yet, as others use its CPUs; waiting")
                self._arrivals = None

    def _kill(self, slot: Slot[tuple[Any, Any]]) -> None:
        handle, slot.handle = slot.handle, None
        if handle is not None:
            with suppress(Exception):  # it may be dead, or the user has left the cluster
                self._ray.kill(handle[0])


class Actor:
    """What runs in a worker process of Ray; Ray makes an actor of it.

    Args:
        threads: that TensorFlow may have.
        variables: of the search's environment, for processes that did not inherit it.
        folder: where the search runs, so that relative paths mean the same.
        places: where the search finds modules; they come last here.
    """

    def __init__(self, threads: int, variables: Mapping[str, str], folder: str, places: Sequence[str]) -> None:
        os.environ.update(variables)
        # Ray sets this one to its own idea of a share.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        told_threads(threads)
        with suppress(OSError):  # another machine may not have it
            os.chdir(folder)
        sys.path.extend(place for place in places if place not in sys.path)
        self._worker: Worker | None = None

    def arrive(self) -> None:
        """Answer as soon as there is room for this actor."""

    def build(self, spec: bytes) -> bytes:
        """Make the worker."""
        self._worker, reply = make(lambda: _ray().cloudpickle.loads(spec).build())
        return packed(reply, _ray().cloudpickle.dumps)

    def run(self, task: bytes) -> bytes:
        """Run a task."""
        assert self._worker is not None
        pickling = _ray().cloudpickle
        return packed(attempt(Reading(self._worker, pickling.loads), task), pickling.dumps)

    def close(self) -> None:
        """Let the worker put its things in order."""
        finish(self._worker)


def check_cluster(address: str | None) -> None:
    """See whether there is a Ray, and somebody at the address.

    Raises:
        DependencyError: it is not installed.
        TrainingError: nothing answers there.
    """
    ray = _ray()
    if address is not None and not ray.is_initialized():
        found(ray, address)


def _ray() -> Any:
    try:
        import ray
        import ray.cloudpickle
        import ray.exceptions
    except ImportError as error:
        raise DependencyError("the engine ray needs Ray; install it: pip install 'tfprune[ray]'") from error
    return ray


def _cause_of_death(error: Exception) -> str:
    kind, missing = type(error).__name__, re.search(r"No module named '[^']+'", str(error))
    if missing:
        return f"its machine lacks what tfprune needs: {missing[0]}"
    if kind == "OutOfMemoryError":
        return "Ray ended its process, as memory ran out"
    if kind == "NodeDiedError":
        return "its machine left the Ray cluster"
    return "its process died, as happens when memory runs out"
