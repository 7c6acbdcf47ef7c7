"""Engines keep one contract, with toys for workers; then what each is in itself."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from toy_workers import Big, Toy, unreadable

from tfprune.errors import (
    DataError,
    DependencyError,
    Interrupted,
    RecipeError,
    TfpruneError,
    TfpruneWarning,
    TrainingError,
)
from tfprune.tuning.engines import Done, Engine, Failed, Lost, forbid_in_script_import, open_engine
from tfprune.tuning.engines.base import own_cores
from tfprune.tuning.engines.cluster import Actor, Cluster, _ray
from tfprune.tuning.engines.inline import Inline
from tfprune.tuning.engines.join import found, join, shares
from tfprune.tuning.engines.processes import Processes
from tfprune.tuning.engines.reach import why_unreachable

HERE = Path(__file__).parent
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray")
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
KINDS = ["inline", "processes", pytest.param("ray", marks=needs_ray)]
ELSEWHERE = KINDS[1:]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray cluster for the tests of this file, on this machine alone; engines find it joined already."""
    with ExitStack() as leaving, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.tuning.engines.join.own_cores", lambda: (0, 1))  # tests want two slots everywhere
        join(_ray(), None, None, leaving)
        yield


@pytest.fixture
def engine_of(request: pytest.FixtureRequest) -> Iterator[Callable[..., Engine]]:
    """Opens an engine by its kind, and closes it."""
    opened = []

    def build(kind: str, spec: Toy, slots: int = 1) -> Engine:
        if kind == "ray":
            request.getfixturevalue("cluster")
        opened.append(open_engine(kind, spec, slots if kind != "inline" else None))
        return opened[-1]

    yield build
    for engine in opened:
        engine.close()


def outcomes(engine: Engine, tasks: list) -> list:
    """Outcomes in the tasks' order; keys are their places."""
    left, found = list(enumerate(tasks)), {}
    while left or engine.free < engine.slots:
        while left and engine.free:
            engine.submit(*left.pop(0))
        outcome = engine.wait()
        found[outcome.key] = outcome
    return [found[key] for key in range(len(tasks))]


def alive(pid: int) -> bool:
    """Whether a process is there and more than a name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(true: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())


def pids(folder: Path, what: str) -> list[int]:
    return [int(path.name.split("-")[-1 if what == "asleep" else 2]) for path in folder.glob(f"{what}-*")]


def one_line_of(caught: pytest.ExceptionInfo) -> str:
    text = str(caught.value)
    assert text and "\n" not in text and "Traceback" not in text
    return text


# ------------------------------------------------------------------------------------------ the contract


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_has_its_outcome_and_workers_stay_warm(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path), 2)
    assert engine.free == engine.slots == (1 if kind == "inline" else 2)
    numbers = [float(n) for n in range(8)] + [math.nan, math.inf]
    found = outcomes(engine, [("double", number) for number in numbers])
    assert [each.value for each in found[:8]] == [2.0 * n for n in range(8)]
    assert math.isnan(found[8].value) and found[9].value == math.inf
    assert all(isinstance(each, Done) for each in found)
    assert len(list(tmp_path.glob("built-*"))) == engine.slots
    assert engine.free == engine.slots


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_large_passes(kind, engine_of, tmp_path):
    (found,) = outcomes(engine_of(kind, Toy(tmp_path, unless="x" * 5_000_000)), [("double", bytes(3_000_000))])
    assert found == Done(0, bytes(6_000_000))


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_raises_fails_in_one_line_and_the_worker_lives_on(kind, engine_of, tmp_path):
    tasks = [("raise", "first\nsecond"), ("exit", 3), ("double", 1), ("nothing", 0), ("double", 2)]
    found = outcomes(engine_of(kind, Toy(tmp_path)), tasks)
    assert found[0] == Failed(0, "ValueError: first second")
    assert found[1] == Failed(1, "SystemExit: 3")
    assert isinstance(found[3], Failed) and found[3].message.startswith("AttributeError")
    assert [found[2], found[4]] == [Done(2, 2), Done(4, 4)]
    assert len(list(tmp_path.glob("built-*"))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_past_tasks_is_kept(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path))
    found = []
    for key in range(4):
        engine.submit(key, ("keep", Big()))
        found.append(engine.wait())
    assert found == [Done(key, 0) for key in range(4)]


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_cannot_be_pickled_or_read_fails_with_a_line(kind, engine_of, tmp_path):
    tasks = [("double", threading.Lock()), ("lock", 0), ("double", unreadable()), ("double", 4)]
    found = outcomes(engine_of(kind, Toy(tmp_path)), tasks)
    assert all(isinstance(each, Failed) and "\n" not in each.message for each in found[:3])
    assert "the task cannot be pickled" in found[0].message and "lock" in found[0].message
    assert "what the task returned cannot be pickled" in found[1].message
    assert found[2].message == "ValueError: read elsewhere"
    assert found[3] == Done(3, 8)


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_worker_that_dies_loses_its_task_once(kind, engine_of, tmp_path):
    found = outcomes(engine_of(kind, Toy(tmp_path)), [("double", 1), ("die", 0), ("leave", 3), ("double", 2)])
    assert [found[0], found[3]] == [Done(0, 2), Done(3, 4)]
    assert all(isinstance(each, Lost) and "\n" not in each.reason for each in found[1:3])
    assert "memory" in found[1].reason
    if kind == "processes":
        assert "SIGKILL" in found[1].reason and "exit code 3" in found[2].reason


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_build_is_the_same_here(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path, "DataError"))
    engine.submit(0, ("double", 1))
    with pytest.raises(DataError) as caught:
        engine.wait()
    assert one_line_of(caught) == "no such data"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_in_build_is_one_line(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path, "bug"))
    engine.submit(0, ("double", 1))
    with pytest.raises(TfpruneError) as caught:
        engine.wait()
    assert one_line_of(caught) == "a worker of the search cannot start: ValueError: no such data"


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_death_in_build_is_not_the_tasks_fault(kind, engine_of, tmp_path):
    assert outcomes(engine_of(kind, Toy(tmp_path, "killed", unless="once")), [("double", 1)]) == [Done(0, 2)]
    assert len(list(tmp_path.glob("built-*"))) == 2


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_deaths_in_build_end(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path, "killed"))
    engine.submit(0, ("double", 1))
    with pytest.raises(TrainingError, match="3 times in a row") as caught:
        engine.wait()
    assert "memory" in one_line_of(caught)
    assert len(list(tmp_path.glob("built-*"))) == 3


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as a terminal gives it: what runs in the background, as some test runs do, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_cancel_drops_what_runs_at_once_and_the_engine_goes_on(kind, engine_of, tmp_path, ctrl_c):
    engine = engine_of(kind, Toy(tmp_path), 2)
    engine.submit(0, ("double", 1))
    assert engine.wait() == Done(0, 2)
    (idle,) = pids(tmp_path, "built")
    engine.submit(1, ("sleep", 60))
    engine.submit(2, ("spin", 60))
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        engine.wait()
    begin = time.monotonic()
    engine.cancel()
    assert time.monotonic() - begin < 2
    assert engine.free == 2
    assert until(lambda: not any(map(alive, pids(tmp_path, "built")))), idle
    assert outcomes(engine, [("double", 2)]) == [Done(0, 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_close_lets_idle_workers_finish_and_leaves_no_process(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path), 2)
    outcomes(engine, [("sleep", 0.1)] * 2)
    workers = [pid for pid in pids(tmp_path, "built") if pid != os.getpid()]
    engine.submit(5, ("sleep", 60))
    begin = time.monotonic()
    engine.close()
    assert time.monotonic() - begin < 8
    engine.close()
    assert len(list(tmp_path.glob("closed-*"))) == 1
    assert until(lambda: not any(map(alive, workers)))
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(6, ("double", 1))


@pytest.mark.parametrize("kind", KINDS)
def test_misuse_is_told(kind, engine_of, tmp_path):
    engine = engine_of(kind, Toy(tmp_path))
    with pytest.raises(RuntimeError, match="nothing was submitted"):
        engine.wait()
    engine.submit(0, ("double", 1))
    assert engine.free == 0
    with pytest.raises(RuntimeError, match="no slot is free"):
        engine.submit(1, ("double", 1))
    engine.cancel()
    assert engine.free == 1


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_workers_know_their_share_and_never_see_ctrl_c(kind, engine_of, tmp_path, monkeypatch):
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFPRUNE_TOY", "taken along")
    cores = own_cores()
    slots = min(2, len(cores))
    engine = engine_of(kind, Toy(tmp_path), slots)
    for key in range(slots):
        engine.submit(key, ("look", 0))
    seen = [engine.wait().value for _ in range(slots)]
    threads = str((len(cores) if kind == "processes" else 2) // slots)
    for each in seen:
        assert each["pid"] != os.getpid() and not each["tensorflow"]
        assert each["folder"] == str(tmp_path)
        assert each["variables"].pop("TFPRUNE_TOY") == "taken along"
        assert set(each["variables"].values()) == {threads}
    if kind == "processes":
        assert sorted(core for each in seen for core in each["cores"]) == list(cores)
    found = outcomes(engine, [("sigint", 0)] * slots)
    assert {each.value for each in found} <= {each["pid"] for each in seen}


# ------------------------------------------------------------------------------------------------- inline


def test_inline_lets_an_interrupt_through(tmp_path):
    with Inline(Toy(tmp_path)) as engine:
        engine.submit(0, ("error", "Interrupted"))
        with pytest.raises(Interrupted, match="asked to stop"):
            engine.wait()
        assert engine.free == 1
    assert list(tmp_path.glob("closed-*"))


def test_inline_lets_ctrl_c_through(tmp_path):
    with Inline(Toy(tmp_path)) as engine:
        engine.submit(0, ("sigint", 0))
        with pytest.raises(KeyboardInterrupt):
            engine.wait()


# ---------------------------------------------------------------------------------------------- processes


def test_more_processes_than_cores_share_them(tmp_path):
    slots = len(own_cores()) + 1
    with Processes(Toy(tmp_path), slots) as engine:
        for key in range(slots):
            engine.submit(key, ("look", 0))
        seen = [engine.wait().value["cores"] for _ in range(slots)]
    assert all(len(cores) == 1 for cores in seen)
    assert {cores[0] for cores in seen} == set(own_cores())


def test_an_idle_worker_that_died_costs_no_task(tmp_path):
    with Processes(Toy(tmp_path), 1) as engine:
        assert outcomes(engine, [("double", 1)]) == [Done(0, 2)]
        (pid,) = pids(tmp_path, "built")
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: not alive(pid))
        assert outcomes(engine, [("double", 2)]) == [Done(0, 4)]


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_spec_that_cannot_be_pickled_is_told(kind, engine_of):
    spec = Toy(threading.Lock())
    with pytest.raises(TrainingError, match="cannot be handed to other processes") as caught:
        engine_of(kind, spec)
    assert "inline" in one_line_of(caught)


SCRIPT = """
    import sys
    from pathlib import Path
    from toy_workers import Toy
    from tfprune.errors import TfpruneError
    from tfprune.tuning.engines import open_engine

    with open("imported", "a") as file:
        file.write(__name__ + "\\n")

    class Own(Toy):
        def build(self):
            return super().build()

    def search(spec):
        try:
            with open_engine("processes", spec(Path.cwd()), 2) as engine:
                engine.submit(0, ("double", 4))
                print(engine.wait())
        except TfpruneError as error:
            print(type(error).__name__, error)
"""
STARTS = {
    "no-guard": "search(Toy)",
    "guard-own-class": "if __name__ == '__main__':\n    search(Own)",
    "no-guard-own-class": "search(Own)",
}


def run_script(folder: Path, source: str, wait: bool = True) -> subprocess.Popen:
    (folder / "script.py").write_text(textwrap.dedent(source), "utf-8")
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if wait:
        process.said, process.complained = process.communicate(timeout=60)
    return process


@pytest.mark.parametrize("start", STARTS)
def test_a_script_starts_its_search_once(start, tmp_path):
    done = run_script(tmp_path, textwrap.dedent(SCRIPT) + STARTS[start])
    imported = (tmp_path / "imported").read_text("utf-8").split()
    assert done.complained == ""
    if start == "no-guard-own-class":
        assert "RecipeError workers import this script" in done.said
        assert 'if __name__ == "__main__":' in done.said
        assert imported == ["__main__", "__mp_main__"]
    else:
        assert done.said == "Done(key=0, value=8)\n"
        assert imported == (["__main__"] if start == "no-guard" else ["__main__", "__mp_main__"])


def test_no_search_in_a_worker_that_imports_the_script(monkeypatch, tmp_path):
    forbid_in_script_import()
    monkeypatch.setattr("tfprune.tuning.engines.child._importing_script", True)
    with pytest.raises(RecipeError, match="__main__"):
        open_engine("inline", Toy(tmp_path))


DRIVER = """
    import sys
    from pathlib import Path
    from toy_workers import Toy
    from tfprune.tuning.engines import open_engine

    if __name__ == "__main__":
        engine = open_engine("{kind}", Toy(Path.cwd()), 2)
        engine.submit(0, ("sleep", 100))
        engine.submit(1, ("spin", 100))
        try:
            engine.wait()
        except KeyboardInterrupt:
            engine.close()
            print("closed", flush=True)
"""


def family(folder: Path, driver: int) -> set[int]:
    """The driver's descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text("utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, size = {driver}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {driver}


def listening(processes: set[int]) -> list[str]:
    """Addresses, in hexadecimal, at which processes listen."""
    inodes = set()
    for pid in processes:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(file.readlink()))
            except OSError:
                continue
    text = "".join(Path(f"/proc/net/{name}").read_text("utf-8") for name in ("tcp", "tcp6"))
    lines = [line.split() for line in text.splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


@needs_proc
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_no_process_outlives_the_search(kind, sign, tmp_path):
    if kind == "ray" and len(own_cores()) < 2:
        pytest.skip("needs two cores")
    driver = run_script(tmp_path, DRIVER.format(kind=kind), wait=False)
    try:
        assert until(lambda: len(pids(tmp_path, "asleep")) == 2, 60)
        processes = family(tmp_path, driver.pid)
        assert set(pids(tmp_path, "asleep")) <= processes
        if kind == "ray":
            addresses = listening(processes | {driver.pid})
            assert addresses and all(each.split(":")[0] in LOOPBACK for each in addresses)
        if sign == signal.SIGKILL:
            driver.kill()
        else:
            os.killpg(driver.pid, sign)
        assert until(lambda: not any(map(alive, processes)), 15)
        said, complained = driver.communicate(timeout=15)
        assert "Traceback" not in complained
        assert said == ("" if sign == signal.SIGKILL else "closed\n")
    finally:
        driver.kill()
        driver.communicate()


# ---------------------------------------------------------------------------------------------------- ray


@needs_ray
def test_a_cluster_that_was_joined_stays_joined(cluster, tmp_path):
    import ray

    with Cluster(Toy(tmp_path)) as engine:
        assert engine.slots == 2
        assert outcomes(engine, [("double", 2)]) == [Done(0, 4)]
    assert ray.is_initialized()
    with pytest.raises(RecipeError, match="ask for at most"):
        Cluster(Toy(tmp_path), 1000)


@needs_ray
def test_waiting_for_room_is_told_once(cluster, tmp_path, monkeypatch, recwarn):
    import ray

    monkeypatch.setattr("tfprune.tuning.engines.cluster._LONG", 0.5)
    others = ray.remote(Actor).options(num_cpus=2).remote(1, {}, ".", ())
    ray.get(others.arrive.remote())
    threading.Timer(2.0, lambda: ray.kill(others)).start()
    with Cluster(Toy(tmp_path), 1) as engine:
        assert outcomes(engine, [("double", 1)]) == [Done(0, 2)]
    assert [str(each.message).partition(",")[0] for each in recwarn if each.category is TfpruneWarning] == [
        "the Ray cluster has no room for the search's workers yet"
    ]


JOINER = """
    import sys
    from pathlib import Path
    from toy_workers import Toy
    from tfprune.tuning.engines import open_engine
    import ray

    with open_engine("ray", Toy(Path.cwd()), 1, {address!r}) as engine:
        engine.submit(0, ("double", 4))
        print(engine.wait())
    print(ray.is_initialized())
"""


@needs_ray
def test_a_cluster_is_joined_by_its_address_and_left(cluster, tmp_path):
    import ray

    done = run_script(tmp_path, JOINER.format(address=ray.get_runtime_context().gcs_address))
    assert done.said == "Done(key=0, value=8)\nFalse\n", done.complained
    assert ray.is_initialized() and ray.nodes()[0]["Alive"]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@needs_ray
@pytest.mark.parametrize(
    "form",
    ["127.0.0.1:1", "ray://127.0.0.1:1", "localhost:{port}", "ray://127.0.0.1:{port}", "x", "host:y"],
    ids=["dead", "dead-client", "silent", "silent-client", "no-port", "no-number"],
)
def test_an_address_without_a_cluster_is_told(form, silent_port, monkeypatch):
    monkeypatch.setattr("tfprune.tuning.engines.reach._WAIT", 0.2)
    address = form.format(port=silent_port)
    with pytest.raises(TrainingError, match="ray start --head") as caught:
        found(_ray(), address)
    assert one_line_of(caught).startswith(f"no Ray cluster answers at {address} (")


@needs_ray
def test_an_address_without_a_cluster_costs_no_minutes(tmp_path):
    begin = time.monotonic()
    done = run_script(tmp_path, JOINER.format(address="127.0.0.1:1"))
    assert time.monotonic() - begin < 20
    assert done.returncode == 1
    last = done.complained.strip().splitlines()[-1]
    assert last.startswith("tfprune.errors.TrainingError: no Ray cluster answers at 127.0.0.1:1 (Connection refused)")


def test_what_is_not_ray_is_seen():
    def answer(server: socket.socket) -> None:
        wire, _ = server.accept()
        with wire:
            wire.recv(100)
            wire.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        assert why_unreachable(f"127.0.0.1:{server.getsockname()[1]}") == "something else than Ray answers"
    assert why_unreachable("127.0.0.1:x")
    assert "port" in why_unreachable("host")


def test_ray_that_is_not_installed_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"pip install 'tfprune\[ray\]'"):
        open_engine("ray", Toy(tmp_path))


@pytest.mark.parametrize(
    ("machines", "slots", "expected"),
    [
        ([(8, 0)], 3, (2, 0.0)),
        ([(8, 0), (4, 0)], 3, (4, 0.0)),
        ([(5, 0), (3, 0)], 2, (3, 0.0)),
        ([(8, 2)], 3, (2, 0.5)),
        ([(2, 1), (8, 0)], 3, (2, 0.0)),
        ([(4, 1)], 1, (4, 1.0)),
        ([(0, 0), (1, 0)], 1, (1, 0.0)),
    ],
    ids=["one", "two", "uneven", "gpus", "gpu-without-cpus", "whole-gpu", "head-without-cpus"],
)
def test_shares_find_a_place(machines, slots, expected):
    assert shares(machines, slots) == expected


# ------------------------------------------------------------------------------------------------ opening


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("proceses",), "did you mean 'processes'"),
        (("inline", 2), "has one worker"),
        (("processes", 0), "at least one worker, got 0"),
        (("processes", 2, "auto"), "takes no address"),
    ],
    ids=["unknown", "inline-2", "none", "address"],
)
def test_what_does_not_go_together_is_told(arguments, said, tmp_path):
    kind, *rest = arguments
    with pytest.raises(RecipeError, match=said) as caught:
        open_engine(kind, Toy(tmp_path), *rest)
    one_line_of(caught)
