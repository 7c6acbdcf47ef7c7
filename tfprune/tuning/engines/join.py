"""Joining a Ray cluster, or starting one that listens on this machine alone, and leaving it; `ray` is handed in."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tfprune.errors import RecipeError, TrainingError
from tfprune.importing import one_line
from tfprune.tuning.engines.base import own_cores
from tfprune.tuning.engines.reach import why_unreachable
from tfprune.tuning.engines.remains import Remains

_CLIENT = "ray://"
# Ray's own switch for machines where it must not open ports to the network, read by the processes it starts.
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def join(ray: Any, slots: int | None, address: str | None, leaving: ExitStack) -> None:
    """Join a cluster; what it takes to leave it goes to `leaving`.

    Args:
        ray: the module.
        slots: workers that will be wanted.
        address: None starts a cluster.
        leaving: is called when all is over.

    Raises:
        RecipeError: more slots than CPUs.
        TrainingError: the cluster does not answer, or does not start.
    """
    cores = len(own_cores())
    if address is None:
        shares([(cores, 0)], slots or 1)  # before a start of seconds
        remains = Remains()
        leaving.callback(remains.clear)
        where = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_temp_dir": remains.folder}
        alone = True
    else:
        place, alone = found(ray, address)
        where = {"address": place}
    leaving.enter_context(_without_notices(ray))
    leaving.enter_context(_sigterm_kept())
    leaving.callback(ray.shutdown)
    try:
        with _loopback(ray, alone):
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise TrainingError(f"cannot {'join' if address else 'start'} a Ray cluster: {one_line(error)}") from error


def found(ray: Any, address: str) -> tuple[str, bool]:
    """Where Ray is to connect to, and whether that cluster listens on 127.0.0.1 alone.

    Raises:
        TrainingError: nothing answers there.
    """
    if address.startswith(_CLIENT):
        ways = {address.removeprefix(_CLIENT): False}
    else:
        try:
            ways = {_place(ray, address, alone): alone for alone in (True, False)}
        except Exception as error:
            raise _silence(address, " ".join(str(error).split())) from error
    reasons = []
    for place, alone in reversed(ways.items()):
        reasons.append(why_unreachable(place))
        if not reasons[-1]:
            return address if address.startswith(_CLIENT) else place, alone
    raise _silence(address, reasons[0])


def _silence(address: str, reason: str) -> TrainingError:
    return TrainingError(
        f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, or leave the address out"
    )


def _place(ray: Any, address: str, alone: bool) -> str:
    """``host:port`` as Ray reads an address."""
    with _loopback(ray, alone):
        services = ray._private.services
        services.find_gcs_addresses.cache_clear()
        return str(services.canonicalize_bootstrap_address_or_die(address))


@contextmanager
def _loopback(ray: Any, alone: bool) -> Iterator[None]:
    """Keep Ray, where it is to be alone, from taking 127.0.0.1 for this machine's address in the network."""
    if not alone:
        yield
        return
    before = {name: os.environ.get(name) for name in _ALONE}
    ray_constants = ray._private.ray_constants
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(_ALONE)
    ray_constants.ENABLE_RAY_CLUSTER = False  # the switch was read when Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _without_notices(ray: Any) -> Iterator[None]:
    """Keep Ray from printing long notices about workers that died, which are told as outcomes."""
    before: Callable[..., None] = ray._private.worker.print_to_stdstream
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        ray._private.worker.print_to_stdstream = before


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Undo Ray's own handling of SIGTERM when it has joined."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(TypeError, ValueError):  # it was not set by Python, or we leave in another thread
            signal.signal(signal.SIGTERM, before)


def shares(machines: Sequence[tuple[float, float]], slots: int) -> tuple[int, float]:
    """CPUs and share of a GPU for each of some slots, so that all find a place.

    Args:
        machines: CPUs and GPUs of each.
        slots: to place.

    Raises:
        RecipeError: there are fewer CPUs.

    Example:
        >>> shares([(8, 0), (4, 0)], 2)
        (4, 0.0)
        >>> shares([(8, 1)], 4)
        (2, 0.25)
    """
    gpus = sum(int(gpus) for _, gpus in machines)
    share = 1 / -(-slots // gpus) if gpus else 0.0
    for gpu in dict.fromkeys((share, 0.0)):  # GPUs may stand where there are too few CPUs
        for cpus in range(sum(int(cpus) for cpus, _ in machines) // slots, 0, -1):
            places = [min(int(c) // cpus, int(g) * round(1 / gpu) if gpu else slots) for c, g in machines]
            if sum(places) >= slots:
                return cpus, gpu
    total = sum(int(cpus) for cpus, _ in machines)
    raise RecipeError(f"the Ray cluster has {total} CPUs, too few for {slots} workers; ask for at most {total}")
