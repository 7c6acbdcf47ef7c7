"""Engines: where the trials of a search run."""

from __future__ import annotations

from tfprune.errors import RecipeError, nearest
from tfprune.tuning.engines.base import Done, Engine, Failed, Lost, Outcome, Spec, Worker, own_cores
from tfprune.tuning.engines.child import forbid_in_script_import

ENGINES = ("inline", "processes", "ray")

__all__ = [
    "ENGINES",
    "Done",
    "Engine",
    "Failed",
    "Lost",
    "Outcome",
    "Spec",
    "Worker",
    "check_engine",
    "forbid_in_script_import",
    "open_engine",
]


def open_engine(kind: str, spec: Spec, slots: int | None = None, address: str | None = None) -> Engine:
    """Open an engine; close it, or use it as a context manager.

    Args:
        kind: ``inline``, one task after another in this process; ``processes``, on this machine; ``ray``, in a cluster.
        spec: how a slot makes its worker.
        slots: tasks at once; None takes one for inline, else one a core.
        address: of a Ray cluster: ``host:port``, ``ray://host:port`` or ``auto``; None starts one for this search
            that nobody else can reach.

    Raises:
        RecipeError: no such engine, slots or an address that do not go with it, a search that a worker starts anew.
        TrainingError: a spec that cannot be pickled, a cluster that does not answer or has no room.
        DependencyError: Ray is not installed.

    Example:
        >>> open_engine("inlin", None)
        Traceback (most recent call last):
        tfprune.errors.RecipeError: unknown engine 'inlin'; known are inline, processes, ray; did you mean 'inline'?
    """
    check_engine(kind, slots, address)
    if kind == "inline":
        from tfprune.tuning.engines.inline import Inline

        return Inline(spec)
    if kind == "processes":
        from tfprune.tuning.engines.processes import Processes

        return Processes(spec, len(own_cores()) if slots is None else slots)
    from tfprune.tuning.engines.cluster import Cluster

    return Cluster(spec, slots, address)


def check_engine(kind: str, slots: int | None = None, address: str | None = None) -> None:
    """See early, before any training, whether an engine can be opened at all.

    Args:
        kind: as for `open_engine`.
        slots: as for `open_engine`.
        address: as for `open_engine`.

    Raises:
        RecipeError: no such engine, slots or an address that do not go with it, a search that a worker starts anew.
        DependencyError: Ray is not installed.
        TrainingError: nothing answers at the address.
    """
    forbid_in_script_import()
    if kind not in ENGINES:
        raise RecipeError(f"unknown engine {kind!r}; known are {', '.join(ENGINES)}{nearest(kind, ENGINES)}")
    if slots is not None and slots < 1:
        raise RecipeError(f"the engine {kind} needs at least one worker, got {slots}")
    if address is not None and kind != "ray":
        raise RecipeError(f"the engine {kind} takes no address, got {address!r}; leave it out, or choose ray")
    if kind == "inline" and slots is not None and slots > 1:
        raise RecipeError(f"the engine inline has one worker, got {slots}; choose the engine processes or ray")
    if kind == "ray":
        from tfprune.tuning.engines.cluster import check_cluster

        check_cluster(address)
