"""However tfprune is installed, it finds its recipes, its rooms and its command, and starts fast."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIND_DIGITS = "from tfprune import recipe; print(recipe.load('digits').name, recipe.find('digits').resolve())"
HEAVY = ("tensorflow", "tf_keras", "tensorflow_model_optimization", "mlflow", "keras_tuner", "sklearn", "matplotlib")
# Where the package that is installed has another name than the module that is imported.
PACKAGE_OF = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
# Imported where they are used, with a DependencyError that names the pip command.
OPTIONAL = {"ai_edge_quantizer", "onnx", "onnxruntime", "ray", "tensorflow_datasets", "tf2onnx"}

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").is_file(), reason="not run from a checkout")


def python(*arguments: str, cwd: Path, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run this Python elsewhere, with one folder on its path and nothing of this test's environment."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "VIRTUAL_ENV", "TF_USE_LEGACY_KERAS")
    }
    if path is not None:
        clean["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def settings() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser()
    parsed.read(ROOT / "setup.cfg", encoding="utf-8")
    return parsed


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of all that belongs to the project, so that building leaves the checkout as it was."""
    target = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target)
    for name in ("tfprune", "schedules", "tests", "benchmarks", "examples"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return target


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source), cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


# ------------------------------------------------------------------------------------------- the wheel


def test_wheel_holds_every_module_and_recipe(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tfprune").rglob("*.py")}
    recipes = {f"tfprune/schedules/{path.name}" for path in (ROOT / "schedules").glob("*.yaml")}
    assert "tfprune/schedules/digits.yaml" in recipes
    assert modules | recipes <= inside, "a new room goes into `packages` in setup.cfg"


def test_wheel_holds_nothing_else(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    strange = [name for name in inside if not re.match(r"tfprune/|tfprune-[\d.]+\w*\.dist-info/", name)]
    assert not strange
    assert not [name for name in inside if re.search(r"(^|/)(tests?|__pycache__)/|/test_|conftest", name)]


def test_every_room_is_a_package():
    folders = {path.parent for path in (ROOT / "tfprune").rglob("*.py")}
    assert not [folder.name for folder in folders if not (folder / "__init__.py").is_file()]


def test_wheel_metadata(unpacked):
    (information,) = unpacked.glob("*.dist-info")
    text = (information / "METADATA").read_text("utf-8")
    assert "Name: tfprune\n" in text
    assert "Requires-Python: >=3.11\n" in text
    assert re.search(r"^Requires-Dist: tensorflow-model-optimization", text, re.MULTILINE)
    extras = set(re.findall(r"^Provides-Extra: (\w+)$", text, re.MULTILINE))
    assert extras == {"dev", "onnx", "postgresql", "quantizer", "ray"}
    assert "tfprune = tfprune.cli:main" in (information / "entry_points.txt").read_text("utf-8")
    (licence,) = information.rglob("LICENSE")
    assert "Apache License" in licence.read_text("utf-8")


# ------------------------------------------------------------------- finding recipes, three ways to install


def test_wheel_finds_its_recipes(unpacked, tmp_path):
    done = python("-c", FIND_DIGITS, cwd=tmp_path, path=unpacked)
    assert done.stdout.split() == ["digits", str((unpacked / "tfprune/schedules/digits.yaml").resolve())], done.stderr


def test_clone_finds_its_recipes(tmp_path):
    done = python("-c", FIND_DIGITS, cwd=tmp_path, path=ROOT)
    assert done.stdout.split() == ["digits", str(ROOT / "schedules/digits.yaml")], done.stderr


def test_editable_install_finds_its_recipes(source, tmp_path):
    # A venv takes seconds to make; a --target folder made into a site directory is the same to the import system.
    # --no-build-isolation and --no-deps keep the network out.
    site = tmp_path / "site"
    done = python(
        *("-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--target", str(site), "-e", str(source)),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (site / "tfprune").exists(), "an editable install copies nothing"
    # -S and site.addsitedir: only this install and the dependencies, whatever is installed beside them.
    dependencies = [str(Path(place)) for place in sys.path if Path(place).name == "site-packages"]
    code = (
        f"import site, sys; site.addsitedir({str(site)!r}); sys.path += {dependencies!r}; {FIND_DIGITS}; "
        "import importlib.metadata as m; print(m.version('tfprune'))"
    )
    done = python("-S", "-c", code, cwd=tmp_path)
    name, found, version = done.stdout.split() or [done.stderr, "", ""]
    assert name == "digits"
    assert Path(found) == (source / "schedules/digits.yaml").resolve()
    assert version in (source / "tfprune/__init__.py").read_text("utf-8")


# -------------------------------------------------------------------------------------- a light start


def loaded(done: subprocess.CompletedProcess) -> set[str]:
    """Top-level packages in the report of -X importtime."""
    return {m.split(".")[0] for m in re.findall(r"^import time:.*\|\s+([\w.]+)$", done.stderr, re.MULTILINE)}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import tfprune, tfprune.recipe, tfprune.results, tfprune.errors"),
        ("-c", "import tfprune; dir(tfprune); tfprune.__version__"),
        ("-m", "tfprune", "--help"),
        ("-m", "tfprune", "run", "--help"),
        ("-m", "tfprune", "schedules"),
    ],
    ids=" ".join,
)
def test_what_needs_no_tensorflow_does_not_load_it(arguments):
    done = python("-X", "importtime", *arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tfprune" in loaded(done)
    assert not loaded(done) & set(HEAVY)


@pytest.mark.parametrize("verb", ["--help", "schedules"])
def test_what_needs_no_tensorflow_is_there_within_a_second(verb):
    python("-m", "tfprune", verb, cwd=ROOT)  # the first call writes the byte code
    seconds = []
    for _ in range(5):  # the best of them, as the machine may be busy
        start = time.perf_counter()
        assert python("-m", "tfprune", verb, cwd=ROOT).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def test_the_import_chooses_tf_keras():
    code = "import tfprune, tensorflow as tf; print(tf.keras.Sequential.__module__)"
    done = python("-c", code, cwd=ROOT)
    assert done.stdout.startswith("tf_keras."), done.stderr


def test_shipped_recipes_are_listed():
    done = python("-m", "tfprune", "schedules", cwd=ROOT)
    assert all(path.stem in done.stdout for path in (ROOT / "schedules").glob("*.yaml")), done.stderr


# --------------------------------------------------------------------------------- files beside the code


def test_pyproject_says_only_how_to_build():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(content) == {"build-system"}


def test_constraints_pin_plain_names():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", pin) for pin in pins), "no addresses, hashes or folders"
    assert "tfprune" not in {pin.split("==")[0].lower() for pin in pins}


def test_constraints_cover_every_requirement(settings):
    def plain(requirement: str) -> str:
        return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")

    wanted = settings["options"]["install_requires"].split() + settings["options.extras_require"]["dev"].split("\n")
    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert {plain(requirement) for requirement in wanted if requirement} <= pinned, "run: make constraints"


def test_constraints_keep_to_the_bounds(settings):
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)}
    for line in (settings["options"]["install_requires"] + settings["options.extras_require"]["dev"]).split("\n"):
        if line.strip():
            requirement = Requirement(line.strip())
            assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_outside_import_is_required(settings):
    from packaging.utils import canonicalize_name

    required = {
        canonicalize_name(re.split(r"[<>=]", line)[0]) for line in settings["options"]["install_requires"].split()
    }
    imported = set()
    for path in (ROOT / "tfprune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"tfprune"} - OPTIONAL
    needed = {canonicalize_name(PACKAGE_OF.get(module, module)) for module in outside}
    assert needed <= required, "add it to install_requires in setup.cfg, or to OPTIONAL here"


def test_no_machine_path_or_host_is_left_in_packaging_files():
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text("utf-8")
        assert not re.search(r"/home/|/root/|/tmp/|https?://|--(extra-)?index-url|--find-links", text), name


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_refuses_an_old_python_with_a_clear_line(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n', "utf-8")
    old.chmod(0o755)
    for interpreter, shown in ((str(old), "Python 3.9.1"), ("no-such-python", "missing")):
        done = subprocess.run(
            ["make", "-C", str(ROOT), "check-python", f"PYTHON={interpreter}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "tfprune needs Python 3.11 or newer" in done.stderr
        assert shown in done.stderr


def test_ci_runs_make_test():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text("utf-8")
