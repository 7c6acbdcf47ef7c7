"""Killed at any moment, the same command goes on and ends where an undisturbed run ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow
from mlflow import MlflowClient

import tfprune
from tfprune.cli import main
from tfprune.errors import RecipeError
from tfprune.recipe import Recipe, load, parse
from tfprune.report.watch import Watch
from tfprune.results import Round
from tfprune.rounds.checkpoint import Workflow, open_workflow, unfinished
from tfprune.rounds.start import execute

Moment = Callable[[Path], bool]

# Wall time differs from run to run; everything else is the same.
CLOCK = {"seconds", "finished", "ended", "finetune/seconds"}


# ------------------------------------------------------------------------------------------ moments to kill


def changes(name: str, times: int = 1) -> Moment:
    """A file of the workflow has appeared or changed so many times since the process began."""
    seen: list[int] = []

    def happened(home: Path) -> bool:
        files = sorted((home / "workflows").glob(f"tiny-1/{name}"))
        stamp = files[0].stat().st_mtime_ns if files else 0
        if not seen or seen[-1] != stamp:
            seen.append(stamp)
        return len(seen) > times

    return happened


def appears(pattern: str) -> Moment:
    """Something new matches a pattern in the home."""
    before: set[Path] | None = None

    def happened(home: Path) -> bool:
        nonlocal before
        now = set(home.glob(pattern))
        if before is None:
            before = now
        return bool(now - before)

    return happened


def records(query: str, more: int = 1) -> Moment:
    """The database answers a count that is higher by so much."""
    first: int | None = None

    def happened(home: Path) -> bool:
        nonlocal first
        try:
            with sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True, timeout=0) as database:
                (count,) = database.execute(query).fetchone()
        except sqlite3.Error:
            return False
        first = count if first is None else first
        return count >= first + more

    return happened


def after(seconds: float) -> Moment:
    end = time.monotonic() + seconds
    return lambda home: time.monotonic() > end


def kill_at(folder: Path, home: Path, moment: Moment, number: int = signal.SIGKILL) -> subprocess.CompletedProcess[str]:
    """Run the recipe and send a signal as soon as the moment has come, or let it end."""
    process = tiny_workflow.start(folder, home, "run", "recipe.yaml")
    while process.poll() is None and not moment(home):
        time.sleep(0.002)
    if process.poll() is None:
        os.kill(process.pid, number)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess([], process.returncode, out, err)


# ---------------------------------------------------------------------------------------------- comparing


def without_clock(value):
    if isinstance(value, dict):
        return {key: without_clock(each) for key, each in value.items() if key not in CLOCK}
    return [without_clock(each) for each in value] if isinstance(value, list) else value


def ledger(home: Path, name: str = "tiny-1") -> dict:
    content = json.loads((home / "workflows" / name / "ledger.json").read_text())
    return without_clock({key: value for key, value in content.items() if key not in ("id", "created", "name")})


def arrays(home: Path, name: str = "tiny-1") -> dict[str, np.ndarray]:
    folder, found = home / "workflows" / name, {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as content:
            found |= {f"{path.name}/{key}": content[key] for key in content.files if key != "about"}
    for path in sorted(folder.glob("*.plan.json")):
        found[path.name] = np.frombuffer(path.read_bytes(), np.uint8)
    weights = tfprune.load(folder / "model.keras").get_weights()
    return {**found, **{f"model/{index}": each for index, each in enumerate(weights)}}


def recorded(home: Path) -> dict[str, dict]:
    """Every run of the experiment by its label; asserts that each metric has one point a step."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tfprune").experiment_id
    runs = client.search_runs([experiment])
    labels = Counter(run.data.tags["tfprune.label"] for run in runs)
    assert set(labels.values()) == {1}, f"runs recorded twice: {labels}"
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = {}
    for run in runs:
        curves = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        for key, points in curves.items():
            steps = [point.step for point in points]
            assert len(steps) == len(set(steps)), f"{run.info.run_name}: {key} has two points on a step: {steps}"
        models = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
        outputs = run.outputs.model_outputs if run.outputs else []
        assert [each.model_id for each in outputs] == [each.model_id for each in models]
        found[run.data.tags["tfprune.label"]] = {
            "name": run.info.run_name,
            "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
            "status": run.info.status,
            "params": run.data.params,
            "models": [str(each.status) for each in models],
            "metrics": {
                key: sorted((point.step, point.value) for point in points)
                for key, points in curves.items()
                if key not in CLOCK
            },
        }
    return found


def assert_same_files(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    different = [key for key in theirs if ours[key].tobytes() != theirs[key].tobytes()]
    assert not different


def assert_same(home: Path, undisturbed: Path) -> None:
    assert ledger(home) == ledger(undisturbed)
    assert_same_files(arrays(home), arrays(undisturbed))
    assert recorded(home) == recorded(undisturbed)
    assert not list(home.glob("workflows/**/.tmp-*")), "temporaries of killed processes are left"
    assert not [path for path in home.glob("artifacts/models/*") if not (path / "artifacts" / "MLmodel").exists()]


@pytest.fixture
def workshop(tmp_path, warm_home) -> tuple[Path, Path]:
    """A folder with the recipe, and a home whose database has its tables already."""
    home = tiny_workflow.empty_home(warm_home, tmp_path / "home")
    tiny_workflow.write(tmp_path / "recipe.yaml")
    return tmp_path, home


def test_the_undisturbed_run_is_whole(finished):
    folder, _ = finished
    found = recorded(folder / "home")
    assert set(found) == {"workflow", "dense", "r01", "r02"}
    assert {each["status"] for each in found.values()} == {"FINISHED"}
    assert [found[label]["models"] for label in ("workflow", "dense", "r01", "r02")] == [[], *[["READY"]] * 3]
    assert [step for step, _ in found["workflow"]["metrics"]["sparsity"]] == [0, 1, 2]
    assert [step for step, _ in found["r01"]["metrics"]["finetune/loss"]] == [1, 2]


# A chain of kills in one workflow: what one restart mends wrongly, the next ones show.
CHAINS = {
    "everywhere": [
        changes("progress.npz", 1),  # between two dense epochs
        changes("round-01.npz"),  # weights are kept, nothing is recorded
        records("select count(*) from logged_models"),  # while r02's model is logged
    ],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_killed_again_and_again(chain, workshop, finished):
    folder, home = workshop
    for moment in chain:
        killed = kill_at(folder, home, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert ledger(home)["outcome"] == ""
    done = tiny_workflow.tfprune(folder, home, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert "going on with tiny-1" in done.stderr
    assert_same(home, finished[0] / "home")


MOMENTS = {
    **{f"progress {times}": lambda times=times: changes("progress.npz", times) for times in range(1, 7)},
    **{f"ledger {times}": lambda times=times: changes("ledger.json", times) for times in range(1, 5)},
    **{f"round {number}": lambda number=number: changes(f"round-0{number}.npz") for number in range(3)},
    "model": lambda: changes("model.keras"),
    "first folder": lambda: appears("workflows/*"),
    "folder aside": lambda: appears("workflows/.tmp-*"),
    "database aside": lambda: appears(".tmp-*/*"),
    "database": lambda: appears("mlflow.db"),
    "writing": lambda: appears("workflows/tiny-1/.tmp-*"),
    "writing a file": lambda: appears("workflows/tiny-1/.tmp-*/*.npz"),
    "parent run": lambda: records("select count(*) from runs"),
    **{f"run {count}": lambda count=count: records("select count(*) from runs", count) for count in (2, 3, 4)},
    **{
        f"model {count}": lambda count=count: records("select count(*) from logged_models", count)
        for count in (1, 2, 3)
    },
    "model files": lambda: appears("artifacts/models/*/artifacts/*"),
    "model weights": lambda: appears("artifacts/models/*/artifacts/data/*"),
    "rounds.json": lambda: appears("artifacts/*/artifacts/rounds.json"),
    **{
        f"metrics {count}": lambda count=count: records("select count(*) from metrics", count)
        for count in (1, 5, 30, 60, 100)
    },
    **{f"delay {index}": lambda index=index: after(random.Random(index).uniform(4.0, 14.0)) for index in range(6)},
}


@pytest.mark.full
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_killed_at_any_moment(moment, tmp_path, finished):
    home = tmp_path / "home"
    tiny_workflow.write(tmp_path / "recipe.yaml")
    for _ in range(2):
        kill_at(tmp_path, home, moment())
    done = tiny_workflow.tfprune(tmp_path, home, "run", "recipe.yaml")
    if (home / "workflows" / "tiny-2").exists():  # the second kill came too late; then it was done
        assert ledger(home)["outcome"]
        pytest.skip("the workflow had ended before the moment came")
    assert done.returncode == 0, done.stderr
    assert_same(home, finished[0] / "home")


# ---------------------------------------------------------------------------------------- rebuilt models


STRUCTURED = {"method": "structured", "target": {"ratio": 0.5}, "rounds": 2}
THEN_MASKS = {"target": {"sparsity": 0.5}, "rounds": 1, "schedule": {"frequency": 2}}
QUICK = {"track__models": False, "train__epochs": 3, "train__learning_rate": 0.02}
WORKFLOWS = {
    "both": {
        "prune": [{**STRUCTURED, "rounds": 1}, THEN_MASKS],
        "train__epochs": 1,
        "stop": {"max_drop": 0.9},
        "finetune": {"epochs": 2},
    },
    # The gate fails the second round, so that the third starts from an older parent than the last.
    "gated": {
        "prune": {**STRUCTURED, "target": {"ratio": 0.75}},
        "stop": {"max_drop": 0.1, "max_rounds": 3},
        "finetune": {"epochs": 1, "learning_rate": 1e-4},
    },
}


class Killed(BaseException):
    """The process is gone."""


def killed_after_every_step(recipe: Recipe, monkeypatch) -> list[str]:
    """Run a workflow in processes that each die after one more kept step than was ever kept; returns the steps."""
    seen: list[str] = []

    def deadly(name: str):
        keep = getattr(Workflow, name)

        def keep_and_die(self, *arguments):
            keep(self, *arguments)
            about = [len(each) if isinstance(each, list) else each for each in arguments]
            step = " ".join([name, *(str(each) for each in about if isinstance(each, int | str))])
            if name == "keep":
                halted = sum(each.halt is not None for each in self.ledger.phases)
                step += f": {len(self.ledger.rounds)} rounds, {len(self.ledger.phases)} phases, {halted} halted"
                step += ", done" if self.ledger.outcome else ""
            if step not in seen:
                seen.append(step)
                raise Killed

        return keep_and_die

    with monkeypatch.context() as patch:
        for name in ("keep", "keep_round", "keep_plan", "keep_progress", "drop_plan"):
            patch.setattr(Workflow, name, deadly(name))
        while not seen or not seen[-1].endswith("done"):
            with pytest.raises(Killed):
                execute(recipe)
    return seen


@pytest.mark.parametrize("kind", ["both", pytest.param("gated", marks=pytest.mark.full)])
def test_structured_rounds_are_the_same_after_a_kill_at_every_step(kind, home, monkeypatch):
    changes = {**QUICK, **WORKFLOWS[kind]}
    recipe = parse(tiny_workflow.recipe(name=kind, **changes))
    whole = execute(recipe)
    methods = [each.method for each in whole.rounds[1:]]
    if kind == "both":
        assert methods == ["structured", "masking"]
    else:
        assert [(each.parent, each.verdict.passed) for each in whole.rounds[1:]] == [(0, True), (1, False), (1, True)]
    steps = killed_after_every_step(recipe, monkeypatch)
    for number, method in enumerate(methods, 1):
        assert f"keep_round {number}" in steps and f"keep_progress r{number:02d} 1" in steps
        assert (f"keep_plan {number}" in steps) == (method == "structured")
    first = steps.index("keep_plan 1")
    assert first < steps.index("keep_progress r01 1"), "the plan is kept before what is trained on it"
    assert ledger(home, f"{kind}-2") == ledger(home, f"{kind}-1")
    assert_same_files(arrays(home, f"{kind}-2"), arrays(home, f"{kind}-1"))


STRUCTURED_MOMENTS = {
    "plan": lambda: changes("round-01.plan.json"),
    "second plan": lambda: changes("round-02.plan.json"),
    "progress": lambda: changes("progress.npz", 3),
    "between phases": lambda: changes("ledger.json", 4),
    "masks": lambda: changes("round-03.npz"),
    "writing": lambda: appears("workflows/tiny-1/.tmp-*"),
}


@pytest.fixture(scope="module")
def structured_whole(tmp_path_factory) -> Path:
    """The home of a structured workflow that nobody disturbed."""
    folder = tmp_path_factory.mktemp("structured")
    tiny_workflow.write(folder / "recipe.yaml", prune=[STRUCTURED, THEN_MASKS])
    done = tiny_workflow.tfprune(folder, folder / "home", "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    return folder / "home"


@pytest.mark.full
@pytest.mark.parametrize("moment", STRUCTURED_MOMENTS.values(), ids=STRUCTURED_MOMENTS)
def test_structured_rounds_killed_at_any_moment(moment, tmp_path, structured_whole):
    home = tmp_path / "home"
    tiny_workflow.write(tmp_path / "recipe.yaml", prune=[STRUCTURED, THEN_MASKS])
    killed = kill_at(tmp_path, home, moment())
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = tiny_workflow.tfprune(tmp_path, home, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert_same(home, structured_whole)


# ------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_keeps_the_state_and_resume_ends_the_same(workshop, finished):
    folder, home = workshop
    stopped = kill_at(folder, home, changes("progress.npz", 3), signal.SIGINT)
    assert stopped.returncode == 130
    lines = [line for line in stopped.stderr.splitlines() if "stopped by the user" in line]
    assert len(lines) == 1 and "Traceback" not in stopped.stderr
    assert recorded_statuses(home) == {"workflow": "KILLED", "dense": "FINISHED", "r01": "KILLED"}
    assert len(ledger(home)["rounds"]) == 1
    done = tiny_workflow.tfprune(folder, home, "resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["workflow"] == "tiny-1"
    assert_same(home, finished[0] / "home")


def recorded_statuses(home: Path) -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tfprune").experiment_id])
    return {run.data.tags["tfprune.label"]: run.info.status for run in runs}


def test_ctrl_c_before_anything_has_begun(workshop):
    folder, home = workshop
    shutil.rmtree(home)
    (folder / "slow.py").write_text("import time\ndef data():\n    print('at work', flush=True)\n    time.sleep(60)\n")
    tiny_workflow.write(folder / "recipe.yaml", data__function="slow:data")
    process = tiny_workflow.start(folder, home, "run", "recipe.yaml")
    assert process.stdout.readline() == "at work\n"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; what was finished is kept"
    assert "Traceback" not in err
    assert not home.exists()


# ------------------------------------------------------------------------------- which workflow is taken up


class StopAfter(Watch):
    """Presses Ctrl-C when a round is settled."""

    def __init__(self, label: str = "dense") -> None:
        self._label = label

    def round(self, finished: Round) -> None:
        if finished.label == self._label:
            raise KeyboardInterrupt


def stopped(name: str, label: str = "dense", **changes) -> Recipe:
    """Leave an unfinished workflow behind."""
    recipe = parse(tiny_workflow.recipe(name=name, track__models=False, **changes))
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, watch=StopAfter(label))
    return recipe


def cli(monkeypatch, capfd, *arguments: str) -> tuple[int, str, str]:
    """The command line in this process: exit code, standard output, standard error."""
    monkeypatch.setattr("sys.argv", ["tfprune", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
        raise SystemExit(0)
    return (end.value.code or 0, *capfd.readouterr())


def test_what_is_finished_is_not_resumed(home, monkeypatch, capfd):
    recipe = stopped("again")
    assert execute(recipe).workflow == "again-1"
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, watch=StopAfter())
    assert not json.loads((home / "workflows/again-2/ledger.json").read_text())["outcome"]
    code, out, err = cli(monkeypatch, capfd, "resume", "again-1", "--json")
    assert (code, out) == (2, "")
    assert err == "error: workflow 'again-1' is finished; see it with tfprune compare again-1\n"


def test_resume_takes_the_workflow_that_is_named(home, monkeypatch, capfd):
    recipe = stopped("named")
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, resume=False, watch=StopAfter())
    code, out, _ = cli(monkeypatch, capfd, "resume", "named-1", "--json")
    assert (code, json.loads(out)["workflow"]) == (0, "named-1")
    code, out, err = cli(monkeypatch, capfd, "resume", "named-3")
    assert (code, out) == (2, "")
    assert err.startswith("error: workflow 'named-3': not in ") and err.count("\n") == 1
    assert not (home / "workflows" / "named-3").exists()


def test_nothing_to_resume(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path / "nowhere"))
    code, _, err = cli(monkeypatch, capfd, "resume")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: nothing to resume")
    assert not (tmp_path / "nowhere").exists()


def test_resume_ends_as_if_nothing_had_happened(home):
    recipe = stopped("same", "r01")
    again = execute(recipe)
    whole = execute(recipe, resume=False)
    assert (again.workflow, whole.workflow) == ("same-1", "same-2")
    for ours, theirs in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert (again.test, again.test_dense) == (whole.test, whole.test_dense)


def test_fresh_begins_anew(home, monkeypatch, capfd, tmp_path):
    stopped("fresh")
    path = tiny_workflow.write(tmp_path / "recipe.yaml", name="fresh", track__models=False)
    code, out, _ = cli(monkeypatch, capfd, "run", str(path), "--fresh", "--json")
    assert (code, json.loads(out)["workflow"]) == (0, "fresh-2")


def test_other_data_begins_anew(home, monkeypatch):
    """The recipe is the same to the letter; what its function returns is not."""
    recipe = stopped("other")
    monkeypatch.setattr(tiny_workflow.examples, "__defaults__", (240, 0.6, 9))
    with pytest.raises(RecipeError, match="'other-1': its data, model or recipe has changed"):
        execute(recipe, only="other-1")
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, watch=StopAfter())
    assert (home / "workflows" / "other-2" / "ledger.json").exists()


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"finetune__epochs": 1}, {"model__arguments": {"width": 12}}, {"stop__patience": 1}],
    ids=str,
)
def test_another_recipe_begins_anew(change, tmp_path, monkeypatch):
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path))
    for changes, number in (({}, 1), ({}, 1), (change, 2), ({}, 1), (change, 2)):
        workflow = open_workflow(parse(tiny_workflow.recipe(**changes)), "data", 0)
        workflow.close()
        assert workflow.ledger.name == f"tiny-{number}"


def test_tracking_and_export_may_change(home, tmp_path):
    stopped("moved")
    recipe = parse(tiny_workflow.recipe(name="moved", track__models=False, export__path=str(tmp_path / "out.h5")))
    assert execute(recipe).workflow == "moved-1"
    assert tfprune.load(tmp_path / "out.h5").output_shape == (None, 3)


def test_a_workflow_that_somebody_works_on_is_left_alone(home, monkeypatch, capfd):
    recipe = stopped("held")
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); input()"
    lock = str(home / "workflows" / "held-1" / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", script, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        code, _, err = cli(monkeypatch, capfd, "resume", "held-1")
        assert (code, err.splitlines()[-1]) == (2, "error: workflow 'held-1': another process is at work on it")
        assert unfinished_names(home, "held") == []
        with pytest.raises(KeyboardInterrupt):
            execute(recipe, watch=StopAfter())
        assert (home / "workflows" / "held-2").exists()
        other.stdin.close()
    assert unfinished_names(home, "held") == ["held-1", "held-2"]


def unfinished_names(home: Path, name: str) -> list[str]:
    """What `unfinished` would choose from, one after the other."""
    others = [path for path in (home / "workflows").iterdir() if path.is_dir() and not path.name.startswith(f"{name}-")]
    aside = home / "aside"
    aside.mkdir(exist_ok=True)
    for path in others:
        path.rename(aside / path.name)
    found = []
    try:
        while True:
            folder = unfinished()
            found.append(folder.name)
            folder.rename(aside / folder.name)
    except RecipeError:
        return sorted(found)
    finally:
        for path in aside.iterdir():
            path.rename(home / "workflows" / path.name)
        aside.rmdir()


def test_many_at_once_never_share_a_workflow(tmp_path, monkeypatch):
    monkeypatch.setenv("TFPRUNE_HOME", str(tmp_path))
    recipe = parse(tiny_workflow.recipe(name="crowd"))

    def take(number: int) -> list[str]:
        names = []
        for _ in range(10):
            workflow = open_workflow(recipe, "data", 0)
            assert workflow.ledger.id not in at_work
            at_work.add(workflow.ledger.id)
            names.append(workflow.ledger.name)
            at_work.remove(workflow.ledger.id)
            workflow.close()
        return names

    at_work: set[str] = set()
    with ThreadPoolExecutor(8) as pool:
        names = {name for found in pool.map(take, range(8)) for name in found}
    assert names <= {f"crowd-{number}" for number in range(1, 9)}


# ------------------------------------------------------------------------------------------ damaged files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(bytes([255]) * 100)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    """Arrays of another model."""
    np.savez(path, w0=np.zeros(3), about=np.array(json.dumps({"stretch": "r01", "history": []})))


@pytest.fixture(scope="module")
def half_done(warm_home) -> Path:
    """A workflow with one settled round and progress in the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPRUNE_HOME", str(warm_home))

        class InTheNextRound(Watch):
            rounds, steps = 0, 0

            def round(self, finished: Round) -> None:
                self.rounds += 1

            def step(self) -> None:
                self.steps += self.rounds
                if self.steps > 7:
                    raise KeyboardInterrupt

        recipe = parse(tiny_workflow.recipe(name="damaged", track__models=False))
        with pytest.raises(KeyboardInterrupt):
            execute(recipe, watch=InTheNextRound())
    return warm_home / "workflows" / "damaged-1"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("progress.npz", damage) for damage in (cut, flip, empty, swap)),
        *(("ledger.json", damage) for damage in (cut, overwrite)),
        *(("round-00.npz", damage) for damage in (cut, Path.unlink)),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_damaged_file_is_one_line(name, damage, half_done, home, tmp_path, monkeypatch, capfd):
    kept = tmp_path / "kept"
    shutil.copytree(half_done, kept)
    try:
        damage(half_done / name)
        code, out, err = cli(monkeypatch, capfd, "resume", "damaged-1", "--json")
    finally:
        shutil.rmtree(half_done)
        kept.rename(half_done)
    assert (code, out) == (2, ""), err
    assert err == (f"error: {half_done / name}: is missing or damaged; remove {half_done} and run the recipe again\n")


def test_undamaged_it_goes_on(half_done, home):
    assert execute(load(half_done / "recipe.yaml"), only="damaged-1").target_met
