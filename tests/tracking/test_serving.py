"""Logged models in processes that know nothing of tfprune: served over HTTP, loaded, and asked from the shell."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.models import Model

import tfprune
from tfprune.backend import keras, tf
from tfprune.errors import TfpruneWarning
from tfprune.recipe import TrackSection
from tfprune.tracking.served import LARGEST_EXAMPLE, inputs_of, outputs_of, own_objects
from tfprune.tracking.store import Store

layers = keras.layers
BIN = Path(sys.executable).parent
OWN_LAYER = """
from tfprune.backend import keras

@keras.utils.register_keras_serializable("shop")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x

@keras.utils.register_keras_serializable("shop")
def shifted(x):
    return x + 1
"""
# As above, but without tfprune, which a server does not have.
OWN_LAYER_SERVED = OWN_LAYER.replace("from tfprune.backend import keras", "import tf_keras as keras")


@dataclass(frozen=True)
class Logged:
    """A model that was logged: its run, a batch of inputs, and what the model itself answers."""

    run: str
    place: Path
    x: Any
    answers: list[np.ndarray]

    @property
    def request(self) -> dict[str, Any]:
        """The batch as the body of a request."""
        as_lists = (
            {name: each.tolist() for name, each in self.x.items()} if isinstance(self.x, dict) else self.x.tolist()
        )
        return {"inputs": as_lists}


def images() -> tuple[keras.Model, Any]:
    """A softmax of images, its masks stripped; half of the weights are zeros."""
    model = keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.layers[1].set_weights([np.linspace(0.5, 1.5, 4)] * 4)  # statistics that training=True would not use
    with pytest.warns(TfpruneWarning, match="pruned without training"):
        model = tfprune.prune(model, 0.5)
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    return tfprune.strip(tfprune.wrap(model, tfprune.FrozenMasks())), x


def loss_of_their_own(labels: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(answers)


def tokens() -> tuple[keras.Model, Any]:
    """Logits of texts of any length, compiled with a loss that no server knows."""
    model = keras.Sequential(
        [layers.Embedding(20, 4, input_shape=(None,)), layers.GlobalAveragePooling1D(), layers.Dense(2)]
    )
    model.compile("adam", loss_of_their_own)
    return model, np.random.default_rng(1).integers(0, 20, (3, 7))


def several() -> tuple[keras.Model, Any]:
    """Two inputs and two outputs, all named."""
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    both = layers.Concatenate()([left, right])
    model = keras.Model([left, right], [layers.Dense(2, name="kind")(both), layers.Dense(1, name="size")(left)])
    rng = np.random.default_rng(2)
    return model, {name: rng.normal(size=(4, width)).astype(np.float32) for name, width in (("left", 3), ("right", 2))}


def texts() -> tuple[keras.Model, Any]:
    """Raw strings, with a vocabulary in the model."""
    words = layers.TextVectorization(10, output_sequence_length=4, vocabulary=["good", "bad"])
    model = keras.Sequential(
        [
            keras.Input((1,), dtype=tf.string),
            words,
            layers.Embedding(12, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )
    return model, np.array([["good"], ["bad bad"]], dtype=object)


def own() -> tuple[keras.Model, Any]:
    """A layer and an activation of the user's."""
    import shop_layers

    model = keras.Sequential([layers.Dense(2, activation=shop_layers.shifted, input_shape=(3,)), shop_layers.Doubled()])
    return model, np.ones((2, 3), np.float32)


MODELS = (images, tokens, several, texts, own)


def answers(model: keras.Model, x: Any) -> list[np.ndarray]:
    found = model.predict(x, verbose=0)
    return found if isinstance(found, list) else [found]


def first(x: Any) -> Any:
    return {name: each[:1] for name, each in x.items()} if isinstance(x, dict) else x[:1]


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> Iterator[Path]:
    """A folder with the user's module as a server would have it; this process has one that goes with tfprune."""
    folders = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("served")
    for folder, text in zip(folders, (OWN_LAYER, OWN_LAYER_SERVED), strict=True):
        (folder / "shop_layers.py").write_text(text)
    sys.path.insert(0, str(folders[0]))
    yield folders[1]
    sys.path.remove(str(folders[0]))


@pytest.fixture(scope="module")
def store(warm_home) -> Store:
    return Store(TrackSection(uri=f"sqlite:///{warm_home / 'mlflow.db'}", experiment="serving"))


@pytest.fixture(scope="module")
def logged(store, modules) -> dict[str, Logged]:
    """Models of each kind, logged as rounds are."""
    found = {}
    for make in MODELS:
        model, x = make()
        run = store.make(make.__name__, {})
        store.log_model(run, model, first(x))
        place = Path(store.logged_model(run).artifact_location.removeprefix("file://"))
        found[make.__name__] = Logged(run, place, x, answers(model, x))
    return found


def bare(store: Store, modules: Path, **more: str) -> dict[str, str]:
    """A plain shell that knows where records are: no TF_USE_LEGACY_KERAS, nothing of tfprune's."""
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # an active environment: mlflow starts uvicorn from there
    return {**kept, "PATH": path, "MLFLOW_TRACKING_URI": store.uri, "PYTHONPATH": str(modules), **more}


@contextmanager
def serving(model: str, environment: dict[str, str], folder: Path) -> Iterator[int]:
    """``mlflow models serve`` on a free port of 127.0.0.1; stopped, with all that it started, in any case."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    log = folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while not is_up(port):
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.1)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def is_up(port: int) -> bool:
    try:
        return ask(port, "GET", "/ping")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# ------------------------------------------------------------------------------------------------ served


def test_a_server_answers_as_the_model_does(store, logged, modules, tmp_path):
    each = logged["images"]
    with serving(f"runs:/{each.run}/model", bare(store, modules), tmp_path) as port:
        by_inputs = ask(port, "POST", "/invocations", each.request)
        by_instances = ask(port, "POST", "/invocations", {"instances": each.x.tolist()})
        alone = ask(port, "POST", "/invocations", {"inputs": each.x[:1].tolist()})
        wrong = ask(port, "POST", "/invocations", {"inputs": each.x[:, :4].tolist()})
    for status, text in (by_inputs, by_instances):
        assert status == 200, text
        np.testing.assert_allclose(json.loads(text)["predictions"], each.answers[0], atol=1e-5)
    np.testing.assert_allclose(json.loads(alone[1])["predictions"], each.answers[0][:1], atol=1e-5)
    assert wrong[0] == 400
    assert "does not match expected shape (-1, 8, 8, 1)" in wrong[1]
    assert not is_up(port), "the server was left running"


@pytest.mark.full
@pytest.mark.parametrize("kind", ["tokens", "several", "texts", "own"])
def test_every_kind_is_served(kind, store, logged, modules, tmp_path):
    each = logged[kind]
    with serving(f"runs:/{each.run}/model", bare(store, modules), tmp_path) as port:
        status, text = ask(port, "POST", "/invocations", each.request)
    assert status == 200, text
    found = json.loads(text)["predictions"]
    for part, expected in zip(found if kind == "several" else [found], each.answers, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-5)


@pytest.mark.full
def test_asked_from_the_shell(store, logged, modules, tmp_path):
    """`mlflow models predict`, given the example that is kept with the model."""
    each = logged["images"]
    command = ["models", "predict", "-m", f"runs:/{each.run}/model", "--env-manager", "local", "-t", "json"]
    files = ["-i", str(each.place / "serving_input_example.json"), "-o", str(tmp_path / "out.json")]
    subprocess.run([BIN / "mlflow", *command, *files], env=bare(store, modules), cwd=tmp_path, check=True, timeout=300)
    found = json.loads((tmp_path / "out.json").read_text())["predictions"]
    np.testing.assert_allclose(found, each.answers[0][:1], atol=1e-5)


# ------------------------------------------------------------------------------------------------ loaded


SCRIPT = """
    import json, sys
    sys.modules["tfprune"] = None  # as where it is not installed
    import mlflow
    from mlflow.pyfunc.scoring_server import infer_and_parse_data
    found = {}
    for name, (run, request) in json.load(sys.stdin).items():
        function = mlflow.pyfunc.load_model(f"runs:/{run}/model")
        given = infer_and_parse_data(request, function.metadata.get_input_schema())
        answers = function.predict(given)
        model = mlflow.tensorflow.load_model(f"runs:/{run}/model", keras_model_kwargs={"compile": False})
        again = model.predict(given, verbose=0)
        as_lists = [[each.tolist() for each in (a if isinstance(a, list) else [a])] for a in (answers, again)]
        found[name] = [type(model).__module__.split(".")[0], *as_lists]
    json.dump(found, open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("legacy", ["", pytest.param("1", marks=pytest.mark.full)], ids=["unset", "set"])
def test_loaded_where_nobody_chose_a_keras(legacy, store, logged, modules, tmp_path):
    """And where tfprune is not installed: by its own function and as a tf_keras model."""
    environment = bare(store, modules, **({"TF_USE_LEGACY_KERAS": legacy} if legacy else {}))
    asked = json.dumps({name: (each.run, each.request) for name, each in logged.items()})
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "found.json")],
        input=asked,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {make.__name__ for make in MODELS}
    for name, (module, *both) in found.items():
        assert module == "tf_keras", name
        for parts in both:
            for part, expected in zip(parts, logged[name].answers, strict=True):
                np.testing.assert_allclose(part, expected, atol=1e-5, err_msg=name)


# -------------------------------------------------------------------------------- what is logged with it


def test_signatures(logged):
    found = {name: Model.load(each.place).signature for name, each in logged.items()}
    described = {
        name: [[(spec.name, str(spec.type), spec.shape) for spec in side] for side in (both.inputs, both.outputs)]
        for name, both in found.items()
    }
    assert described == {
        "images": [[(None, "float32", (-1, 8, 8, 1))], [(None, "float32", (-1, 3))]],
        "tokens": [[(None, "int64", (-1, -1))], [(None, "float32", (-1, 2))]],
        "several": [
            [("left", "float32", (-1, 3)), ("right", "float32", (-1, 2))],
            [("kind", "float32", (-1, 2)), ("size", "float32", (-1, 1))],
        ],
        "texts": [[(None, "object", (-1, 1))], [(None, "float32", (-1, 2))]],
        "own": [[(None, "float32", (-1, 3))], [(None, "float32", (-1, 2))]],
    }


def test_only_what_the_model_is_made_of(logged):
    """Nothing of tfprune, whatever this process has registered; code as pickles only where the user's is needed."""
    pickles = {name: [path.name for path in each.place.rglob("*pickle*")] for name, each in logged.items()}
    assert pickles == {name: ["custom_objects.cloudpickle"] if name == "own" else [] for name in logged}
    for name, each in logged.items():
        needs = [line.partition("==")[0] for line in (each.place / "requirements.txt").read_text().splitlines()]
        assert needs == ["mlflow", "tensorflow", "tf_keras", *(["cloudpickle"] if name == "own" else [])]
    assert set(own_objects(own()[0])) == {"shop>Doubled", "shop>shifted"}
    assert any(name.startswith("tfprune>") for name in keras.saving.get_custom_objects())


def test_large_examples_are_not_kept(store):
    width = LARGEST_EXAMPLE
    sizes = {}
    for more in (0, 1):
        model = keras.Sequential([layers.Dense(1, input_shape=(width + more,))])
        run = store.make(f"wide {more}", {})
        store.log_model(run, model, np.zeros((1, width + more), np.float32))
        place = Path(store.logged_model(run).artifact_location.removeprefix("file://"))
        sizes[more] = (place / "serving_input_example.json").is_file()
    assert sizes == {0: True, 1: False}


def test_types_are_the_examples():
    """Data of bytes goes into a model of floats: who serves it has bytes, and MLflow refuses any other type."""
    model = keras.Sequential([layers.Rescaling(1 / 255, input_shape=(None, None, 3)), layers.GlobalMaxPooling2D()])
    specs = inputs_of(model, np.zeros((1, 32, 48, 3), np.uint8))
    assert specs == [(np.dtype("uint8"), (-1, -1, -1, 3), None)]
    assert outputs_of(model) == [(np.dtype("float32"), (-1, 3), None)]


def test_logging_stays_fast(store):
    """MLflow takes seconds where it looks for the requirements itself."""
    taken = []
    for _ in range(3):
        model, x = tokens()
        run = store.make("fast", {})
        start = time.perf_counter()
        store.log_model(run, model, first(x))
        taken.append(time.perf_counter() - start)
    assert min(taken) < 1
