"""What an engine is: tasks go in, one outcome each comes out, and the workers in between stay warm."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from tfprune import errors
from tfprune.errors import TfpruneError, TrainingError
from tfprune.importing import one_line


class Worker(Protocol):
    """Lives in one slot for the whole search and holds what is dear to make. It may have a `close()`."""

    def run(self, task: Any) -> Any:
        """Return the value of one task."""


class Spec(Protocol):
    """How a slot makes its worker; can be pickled."""

    def build(self) -> Worker:
        """Make the worker; called once a slot, in the process where its tasks will run."""


@dataclass(frozen=True)
class Done:
    """A task that gave a value."""

    key: int
    value: Any


@dataclass(frozen=True)
class Failed:
    """A task that raised; its worker lives on."""

    key: int
    message: str


@dataclass(frozen=True)
class Lost:
    """A task whose worker died; the slot gets a new one."""

    key: int
    reason: str


Outcome = Done | Failed | Lost


class Engine(ABC):
    """Runs tasks in warm workers, one task a slot; also a context manager.

    Attributes:
        slots: tasks that can run at once.
    """

    slots: int

    @property
    @abstractmethod
    def free(self) -> int:
        """Slots without a task."""

    @abstractmethod
    def submit(self, key: int, task: Any) -> None:
        """Give a task to a free slot; `key` comes back with its outcome.

        Raises:
            RuntimeError: no slot is free, or the engine is closed.
        """

    @abstractmethod
    def wait(self) -> Outcome:
        """Block until any task has an outcome.

        Raises:
            TfpruneError: a worker could not be made: what its `build` raised, in one line.
            RuntimeError: nothing was submitted.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Drop all tasks, at once; the engine can go on with others."""

    @abstractmethod
    def close(self) -> None:
        """Drop all tasks and end the workers; may be called again."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


# ------------------------------------------------------------------------- what engines have in common


def attempt(worker: Worker, task: Any, through: tuple[type[Exception], ...] = ()) -> tuple[str, Any]:
    """Run a task where it belongs: ``("done", value)`` or ``("failed", line)``; what is in `through` is raised."""
    try:
        return "done", worker.run(task)
    except through:
        raise
    except (Exception, SystemExit) as error:  # a function of the user's may call exit()
        return "failed", one_line(error)


class Reading:
    """A worker whose tasks come as bytes; one that cannot be read fails like any other."""

    def __init__(self, worker: Worker, loads: Callable[[bytes], Any]) -> None:
        self._worker, self._loads = worker, loads

    def run(self, task: bytes) -> Any:
        """Return the value of one task."""
        return self._worker.run(self._loads(task))


def packed(reply: tuple[str, Any], dumps: Callable[[Any], bytes]) -> bytes:
    """A reply as bytes; a value that cannot be pickled makes it a failure."""
    try:
        return dumps(reply)
    except Exception as error:
        return dumps(("failed", f"what the task returned cannot be pickled: {one_line(error)}"))


def unpacked(content: bytes, loads: Callable[[bytes], Any]) -> tuple[str, Any]:
    """The reply in bytes; a value that cannot be read here makes it a failure."""
    try:
        kind, value = loads(content)
        return kind, value
    except Exception as error:
        return "failed", f"what the task returned cannot be read by the search: {one_line(error)}"


def make(build: Callable[[], Worker]) -> tuple[Worker | None, tuple[str, Any]]:
    """Make a worker where it belongs: it and ``("ready", None)``, or None and ``("refused", (class, line))``."""
    try:
        return build(), ("ready", None)
    except TfpruneError as error:
        known = next(each.__name__ for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
        return None, ("refused", (known, str(error)))
    except (Exception, SystemExit) as error:
        return None, ("refused", (TrainingError.__name__, f"a worker of the search cannot start: {one_line(error)}"))


def refusal(said: tuple[str, str]) -> TfpruneError:
    """The error that a worker told instead of getting ready; its class and line are kept."""
    name, message = said
    error: TfpruneError = getattr(errors, name)(message)
    return error


def finish(worker: Worker | None) -> None:
    """Let a worker put its things in order, where it wants to."""
    close = getattr(worker, "close", None)
    if close is not None:
        close()


def own_cores() -> tuple[int, ...]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def told_threads(threads: int) -> None:
    """Tell TensorFlow, which is not loaded yet, how many threads it may have; what the user has set stays.

    Workers may share a GPU, so TensorFlow must not take all of its memory at once.
    """
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
