"""Workers without TensorFlow, in a module that other processes can import."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfprune import errors


class Big:
    """Something that a task brings, and that must not stay."""


@dataclass(frozen=True)
class Toy:
    """Makes a worker that does what its tasks say.

    Attributes:
        folder: where each build leaves a file, and each worker's end another.
        trouble: what goes wrong in `build`: the name of an error, "exit" or "killed".
        unless: a file; where it is, nothing goes wrong.
    """

    folder: Path
    trouble: str = ""
    unless: str = ""

    def build(self) -> ToyWorker:
        count = len(list(self.folder.glob("built-*")))
        (self.folder / f"built-{count}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if self.trouble and not (self.unless and (self.folder / self.unless).exists()):
            if self.unless:
                (self.folder / self.unless).touch()
            if self.trouble == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.trouble == "exit":
                os._exit(7)
            raise getattr(errors, self.trouble, ValueError)(
                "no such\ndata" if self.trouble == "bug" else "no such data"
            )
        return ToyWorker(self.folder)


class ToyWorker:
    """Runs tasks of the form ``(what, argument)``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: list[weakref.ref[Any]] = []

    def run(self, task: tuple[str, Any]) -> Any:
        what, argument = task
        return getattr(self, f"_{what}")(argument)

    def close(self) -> None:
        (self._folder / f"closed-{os.getpid()}").touch()

    def _double(self, number: float) -> float:
        return 2 * number

    def _raise(self, message: str) -> None:
        raise ValueError(message)

    def _error(self, name: str) -> None:
        raise getattr(errors, name)("asked to stop")

    def _exit(self, code: int) -> None:
        sys.exit(code)

    def _die(self, _: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _leave(self, code: int) -> None:
        os._exit(code)

    def _sleep(self, seconds: float) -> int:
        (self._folder / f"asleep-{os.getpid()}").touch()
        time.sleep(seconds)
        return os.getpid()

    def _spin(self, seconds: float) -> int:
        """Be busy in Python all the time."""
        (self._folder / f"asleep-{os.getpid()}").touch()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sum(range(10_000))
        return os.getpid()

    def _lock(self, _: Any) -> Any:
        return threading.Lock()

    def _keep(self, big: Big) -> int:
        """How many of the objects that past tasks brought are still there."""
        gc.collect()
        alive = sum(each() is not None for each in self._seen)
        self._seen.append(weakref.ref(big))
        return alive

    def _sigint(self, _: Any) -> int:
        """Live through a Ctrl-C, also where the code of the task asks for it."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return os.getpid()

    def _look(self, _: Any) -> dict[str, Any]:
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "TFPRUNE_TOY")
        return {
            "pid": os.getpid(),
            "folder": str(Path.cwd()),
            "cores": sorted(os.sched_getaffinity(0)),
            "variables": {name: os.environ.get(name) for name in names},
            "tensorflow": "tensorflow" in sys.modules,
        }


class Unreadable:
    """Can be pickled, but not read where the task runs or its value arrives."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __setstate__(self, state: dict[str, int]) -> None:
        if state["pid"] != os.getpid():
            raise ValueError("read elsewhere")
        self.__dict__.update(state)


def unreadable() -> Unreadable:
    """One that only this process can read."""
    return Unreadable(os.getpid())
