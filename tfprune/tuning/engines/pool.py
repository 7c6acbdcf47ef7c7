"""What engines with workers elsewhere have in common: who has which task, and what becomes of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tfprune.errors import TrainingError
from tfprune.importing import one_line
from tfprune.tuning.engines.base import Done, Engine, Failed, Lost, Outcome, Spec, refusal, unpacked

Handle = TypeVar("Handle")

_MAX_DEATHS = 3  # in a row, of a slot's workers before they were ready


@dataclass
class Slot(Generic[Handle]):
    """A place for a worker, and the task it has.

    Attributes:
        number: from 0.
        handle: on the worker; None before the first task and after a death.
        ready: it is built and takes tasks.
        deaths: in a row, before it was ready.
        key: of its task; None where it is free.
        task: as bytes, kept for a worker that dies before it is ready.
        failure: why the task cannot be sent.
    """

    number: int
    handle: Handle | None = None
    ready: bool = False
    deaths: int = 0
    key: int | None = None
    task: bytes = b""
    failure: str = ""

    def vacate(self) -> int:
        """Take the task away; returns its key."""
        assert self.key is not None
        key, self.key, self.task, self.failure = self.key, None, b"", ""
        return key


@dataclass(frozen=True)
class Death:
    """What is heard of a worker that died."""

    reason: str


class Pool(Engine, Generic[Handle]):
    """An engine whose workers take bytes and answer with bytes.

    A worker is made with the first task of its slot. One that dies in its task loses it; one that dies before it was
    ready does not, as the task is not to blame: the slot's next worker gets it.
    """

    _dumps: Callable[[Any], bytes]
    _loads: Callable[[bytes], Any]

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._slots: list[Slot[Handle]] = [Slot(number) for number in range(slots)]
        self._closed = False

    # What a kind of worker says about itself.

    @abstractmethod
    def _start(self, slot: Slot[Handle]) -> None:
        """Start a worker, which will answer that it is ready, or why not."""

    @abstractmethod
    def _send(self, slot: Slot[Handle]) -> None:
        """Give the slot's task to its worker; a dead one is told by `_hear`."""

    @abstractmethod
    def _hear(self, busy: list[Slot[Handle]]) -> tuple[Slot[Handle], bytes | Death]:
        """Block until one of the workers has answered or died."""

    @abstractmethod
    def _kill(self, slot: Slot[Handle]) -> None:
        """End the worker of a slot, whatever it does, and take its handle away; nothing where there is none."""

    def _is_dead(self, slot: Slot[Handle]) -> bool:
        """Whether a worker is known to have died between tasks."""
        return False

    # What holds for all.

    @property
    def free(self) -> int:
        return sum(slot.key is None for slot in self._slots)

    def submit(self, key: int, task: Any) -> None:
        vacant = [slot for slot in self._slots if slot.key is None]
        if self._closed or not vacant:
            raise RuntimeError("the engine is closed" if self._closed else "no slot is free; wait for an outcome first")
        slot = next((slot for slot in vacant if slot.ready), vacant[0])  # a warm one, where there is one
        slot.key = key
        try:
            slot.task = self._dumps(task)
        except Exception as error:
            slot.failure = f"the task cannot be pickled: {one_line(error)}"
            return
        if slot.handle is not None and self._is_dead(slot):
            self._end(slot)
        if slot.handle is None:
            self._start(slot)
        elif slot.ready:
            self._send(slot)

    def wait(self) -> Outcome:
        if self.free == self.slots:
            raise RuntimeError("nothing was submitted")
        while True:
            for slot in self._slots:
                if slot.failure:
                    failure = slot.failure
                    return Failed(slot.vacate(), failure)
            slot, heard = self._hear([slot for slot in self._slots if slot.key is not None])
            outcome = self._mourn(slot, heard.reason) if isinstance(heard, Death) else self._settle(slot, heard)
            if outcome is not None:
                return outcome

    def cancel(self) -> None:
        for slot in self._slots:
            if slot.key is not None:
                slot.vacate()
                self._end(slot)

    def _settle(self, slot: Slot[Handle], answer: bytes) -> Outcome | None:
        """What an answer means for the task; None where it only begins now."""
        kind, value = unpacked(answer, self._loads)
        if kind == "ready":
            slot.ready = True
            self._send(slot)
            return None
        key = slot.vacate()
        if kind == "refused":
            self._end(slot)
            raise refusal(value)
        slot.deaths = 0
        return Done(key, value) if kind == "done" else Failed(key, value)

    def _mourn(self, slot: Slot[Handle], reason: str) -> Outcome | None:
        """What a death means for the task; None where another worker takes it."""
        was_ready = slot.ready
        self._end(slot)
        if was_ready:
            return Lost(slot.vacate(), reason)
        slot.deaths += 1
        if slot.deaths == _MAX_DEATHS:
            slot.vacate()
            raise TrainingError(
                f"a worker of the search died {_MAX_DEATHS} times in a row before it was ready ({reason}); "
                "see whether memory is enough, or ask for fewer workers"
            )
        self._start(slot)
        return None

    def _end(self, slot: Slot[Handle]) -> None:
        slot.ready = False
        self._kill(slot)

    def _pickled(self, spec: Spec) -> bytes:
        """The spec as bytes.

        Raises:
            TrainingError: it cannot be pickled.
        """
        try:
            return self._dumps(spec)
        except Exception as error:
            raise TrainingError(
                f"the search cannot be handed to other processes: {one_line(error)}; use the engine inline"
            ) from error
