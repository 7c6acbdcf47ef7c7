"""Tasks in processes of this machine, each with cores of its own."""

from __future__ import annotations

import atexit
import multiprocessing
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import ModuleType

from tfprune.errors import TrainingError
from tfprune.importing import one_line
from tfprune.tuning.engines.base import Spec, own_cores
from tfprune.tuning.engines.child import forbid_in_script_import, script_of_search, work
from tfprune.tuning.engines.pool import Death, Pool, Slot

_PATIENCE = 5.0  # seconds for a worker to put its things in order
_starting = threading.Lock()


@dataclass(frozen=True)
class _Child:
    """A process and our end of its pipe."""

    process: SpawnProcess
    pipe: Connection

    def send(self, content: bytes) -> None:
        with suppress(OSError):  # a death is seen by whoever waits
            self.pipe.send_bytes(content)


class Processes(Pool[_Child]):
    """Workers in processes of their own, each on its share of this process's cores.

    Args:
        spec: sent to each process once.
        slots: processes; each starts when its slot gets the first task.

    Raises:
        TrainingError: the spec cannot be pickled.
    """

    _dumps = staticmethod(pickle.dumps)
    _loads = staticmethod(pickle.loads)

    def __init__(self, spec: Spec, slots: int) -> None:
        forbid_in_script_import()
        super().__init__(slots)
        self._spec = self._pickled(spec)
        self._script = script_of_search()
        atexit.register(self.close)

    def close(self) -> None:
        self._closed = True
        atexit.unregister(self.close)
        try:
            self.cancel()
            idle = [slot.handle for slot in self._slots if slot.handle is not None]
            for child in idle:
                child.pipe.close()  # the sign to leave
            end = time.monotonic() + _PATIENCE
            for child in idle:
                child.process.join(max(0.0, end - time.monotonic()))
        finally:
            for slot in self._slots:
                self._end(slot)
            self._spec = b""

    def _start(self, slot: Slot[_Child]) -> None:
        cores = own_cores()
        share = cores[slot.number :: self.slots] or (cores[slot.number % len(cores)],)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(theirs, share, self._script), daemon=True
        )
        slot.handle = _Child(process, ours)
        with theirs, _starting, _sigint_blocked(), _no_script():
            try:
                process.start()
            except OSError as error:
                raise TrainingError(f"cannot start a worker of the search: {one_line(error)}; ask for fewer") from error
        slot.handle.send(self._spec)

    def _send(self, slot: Slot[_Child]) -> None:
        assert slot.handle is not None
        slot.handle.send(slot.task)

    def _hear(self, busy: list[Slot[_Child]]) -> tuple[Slot[_Child], bytes | Death]:
        children = [(slot, slot.handle) for slot in busy if slot.handle is not None]
        heard = connection.wait([each for _, child in children for each in (child.pipe, child.process.sentinel)])
        slot, child = next((s, c) for s, c in children if c.pipe in heard or c.process.sentinel in heard)
        # A pipe at its end counts as something to read, but processes that the worker started may hold it open.
        with suppress(EOFError, OSError):
            if child.pipe.poll():
                return slot, child.pipe.recv_bytes()
        child.process.join(_PATIENCE)
        return slot, Death(_cause_of_death(child.process.exitcode))

    def _is_dead(self, slot: Slot[_Child]) -> bool:
        return slot.handle is not None and not slot.handle.process.is_alive()

    def _kill(self, slot: Slot[_Child]) -> None:
        child, slot.handle = slot.handle, None
        if child is not None:
            child.pipe.close()
            if child.process.pid is not None:
                child.process.kill()
                child.process.join(_PATIENCE)


def _cause_of_death(code: int | None) -> str:
    if code is None:
        return "its process no longer answers"
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
    memory = ", as happens when memory runs out" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{memory}"


@contextmanager
def _no_script() -> Iterator[None]:
    """Make multiprocessing believe that there is no script for a child to import."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start children that never see Ctrl-C, which goes to all processes of a terminal; only the search decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
