"""Tasks one after another in this process."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tfprune.errors import Interrupted
from tfprune.tuning.engines.base import Done, Engine, Failed, Outcome, Spec, Worker, attempt, finish, make, refusal


class Inline(Engine):
    """One slot; `wait` runs the task.

    Args:
        spec: its worker is made with the first task.

    Example:
        >>> class Doubling:
        ...     def build(self):
        ...         return self
        ...     def run(self, task):
        ...         return 2 * task
        >>> with Inline(Doubling()) as engine:
        ...     engine.submit(7, 21)
        ...     engine.wait()
        Done(key=7, value=42)
    """

    slots = 1

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._worker: Worker | None = None
        self._waiting: list[tuple[int, Any]] = []
        self._closed = False

    @property
    def free(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, key: int, task: Any) -> None:
        if self._closed or self._waiting:
            raise RuntimeError("the engine is closed" if self._closed else "no slot is free; wait for an outcome first")
        self._waiting.append((key, task))

    def wait(self) -> Outcome:
        if not self._waiting:
            raise RuntimeError("nothing was submitted")
        key, task = self._waiting.pop()
        if self._worker is None:
            self._worker, (kind, said) = make(self._spec.build)
            if self._worker is None:
                raise refusal(said)
        kind, value = attempt(self._worker, task, through=(Interrupted,))
        return Done(key, value) if kind == "done" else Failed(key, value)

    def cancel(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self._closed = True
        self.cancel()
        worker, self._worker = self._worker, None
        with suppress(Exception):  # as in the other engines, where nobody would hear it
            finish(worker)
