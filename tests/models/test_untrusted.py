"""Model files that would do something else than be a model: none does it, each gives one line."""

from __future__ import annotations

import json
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import tfprune
from tfprune.backend import keras, tf
from tfprune.cli import main
from tfprune.errors import ModelError
from tfprune.models import files, trust
from tfprune.models.named import is_computing, is_known

layers = keras.layers


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model with an operation in it, in each format."""
    inputs = keras.Input((3,), name="given")
    outputs = layers.Dense(2, name="scores", activation="relu")(inputs) * 2.0
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    folder = tmp_path_factory.mktemp("plain")
    return {ending: files.save(model, folder / f"model{ending}") for ending in (".keras", ".h5", "")}


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing stays in the folder of temporaries."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert [each.name for each in folder.iterdir() if "autograph" not in each.name] == []


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the working directory; the file is there once it was imported."""
    sprung = tmp_path / "sprung"
    (tmp_path / "trap_module.py").write_text(f"open({str(sprung)!r}, 'w')\ndef snap(x): return x\nclass Snap: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield sprung
    sys.modules.pop("trap_module", None)


def rewritten(path: Path, new: Path, change: Callable[[dict[str, Any]], Any], member: str = "config.json") -> Path:
    """A .keras file with another text in it."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
        for each in old.infolist():
            content = old.read(each)
            if each.filename == member:
                config = json.loads(content)
                content = json.dumps(change(config) or config).encode()
            archive.writestr(each, content)
    return new


def rewritten_h5(path: Path, new: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """An .h5 file with another description in it."""
    shutil.copy(path, new)
    with h5py.File(new, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)
    return new


def complaint(path: Path, **how: Any) -> str:
    with pytest.raises(ModelError) as caught:
        files.load(path, **how)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{path}: ") and len(line) < 500
    return line.removeprefix(f"{path}: ")


def dense(config: dict[str, Any]) -> dict[str, Any]:
    """What describes the layer `scores`."""
    return next(each for each in config["config"]["layers"] if each["config"]["name"] == "scores")


# ------------------------------------------------------------------------------------------------- Lambda


def doubled() -> keras.Model:
    inner = keras.Sequential([layers.Input((3,)), layers.Lambda(lambda x: x * 2, name="double")], name="inner")
    return keras.Sequential([layers.Input((4, 3)), layers.TimeDistributed(inner, name="each"), layers.Dense(2)])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_a_lambda_deep_inside_is_refused_by_name_and_runs_when_trusted(ending: str, tmp_path: Path) -> None:
    model = doubled()
    path = files.save(model, tmp_path / f"model{ending}")
    line = "layer 'double' is a Lambda layer, code that would run here; give --trust (trust=True) if you trust the file"
    assert complaint(path) == line
    x = np.random.default_rng(0).random((2, 4, 3), np.float32)
    np.testing.assert_array_equal(tfprune.load(path, trust=True)(x), model(x))
    with trust.trusting():
        np.testing.assert_array_equal(tfprune.load(path)(x), model(x))
    assert complaint(path) == line


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    files.save(doubled(), tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    for options, code in ((["--trust"], 0), ([], 2)):
        monkeypatch.setattr("sys.argv", ["tfprune", "inspect", "model.keras", "--json", *options])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert (end.value.code or 0) == code, err
        assert ("parameters" in out) == bool(options)
        assert options or (err.startswith("error: model.keras: layer 'double' is a Lambda") and err.count("\n") == 1)


def test_a_lambda_as_an_activation(plain: dict[str, Path], tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        dense(config)["config"]["activation"] = {"class_name": "__lambda__", "config": {"value": ["4w==", None, None]}}

    path = rewritten(plain[".keras"], tmp_path / "a.keras", change)
    assert complaint(path).startswith("layer 'scores' is a Lambda layer")


def test_a_lambda_as_a_loss_is_left_out(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
    model.compile("sgd", lambda truth, answer: tf.reduce_mean(answer - truth))
    again = files.load(files.save(model, tmp_path / "model.keras"))
    assert not again._is_compiled
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("disguise", ["class", "registered", "function"])
def test_a_lambda_under_another_name(disguise: str, plain: dict[str, Path], tmp_path: Path) -> None:
    entry: dict[str, Any] = {"class_name": "Dense", "config": {"name": "x", "function_type": "lambda"}}
    if disguise == "registered":
        entry = {"class_name": "Dense", "registered_name": "any>Lambda", "config": {"name": "x"}}
    if disguise == "function":  # Keras builds the class that is registered, from a mapping in place of a name
        entry = {"class_name": "function", "module": "keras", "registered_name": "Lambda", "config": {"name": "x"}}
    path = rewritten(plain[".keras"], tmp_path / "a.keras", lambda config: config["config"]["layers"].insert(0, entry))
    assert "Lambda layer" in complaint(path)
    path = rewritten_h5(plain[".h5"], tmp_path / "a.h5", lambda config: config["config"]["layers"].insert(0, entry))
    assert "Lambda layer" in complaint(path)


# -------------------------------------------------------------------------------------- names of anything

FOREIGN = {
    "os.system": {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    "subprocess": {"module": "subprocess", "class_name": "Popen", "config": {"args": "x"}, "registered_name": None},
    "eval": {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
    "get_file": {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": None},
    "load_model": {"module": "keras.models", "class_name": "function", "config": "load_model", "registered_name": "x"},
    "deserialize": {"module": "keras.layers", "class_name": "function", "config": "deserialize", "registered_name": ""},
    "numpy": {"module": "numpy", "class_name": "function", "config": "fromfile", "registered_name": "fromfile"},
    "trap": {"module": "trap_module", "class_name": "function", "config": "snap", "registered_name": "snap"},
    "trap class": {"module": "trap_module", "class_name": "Snap", "config": {}, "registered_name": None},
    "marshal": {"module": "tf_keras.src.utils.generic_utils", "class_name": "marshal", "config": {}},
    "sequence": {"module": "keras.utils", "class_name": "Progbar", "config": {"target": 1}, "registered_name": None},
    "write_file": {
        "module": "tensorflow",
        "class_name": "function",
        "config": "io.write_file",
        "registered_name": None,
    },
    "spec": {
        "class_name": "__typespec__",
        "spec_name": "Popen",
        "module": "subprocess",
        "config": [],
        "registered_name": None,
    },
}


@pytest.mark.parametrize("place", ["activation", "kernel_initializer", "build_config"])
@pytest.mark.parametrize("entry", FOREIGN.values(), ids=FOREIGN)
def test_what_a_file_names_is_neither_imported_nor_called(
    entry: dict[str, Any], place: str, plain: dict[str, Path], trap: Path, tmp_path: Path
) -> None:
    def change(config: dict[str, Any]) -> None:
        if place == "build_config":
            dense(config)["build_config"] = {"input_shape": entry}
        else:
            dense(config)["config"][place] = entry

    assert "needs the custom layer" in complaint(rewritten(plain[".keras"], tmp_path / "a.keras", change))
    if place == "activation":
        assert "needs the custom layer" in complaint(rewritten_h5(plain[".h5"], tmp_path / "a.h5", change))
    assert not trap.exists()


def test_training_state_that_names_anything_is_left_out(plain: dict[str, Path], trap: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["compile_config"]["loss"] = FOREIGN["trap"]

    assert not files.load(rewritten(plain[".keras"], tmp_path / "a.keras", change))._is_compiled
    assert not trap.exists()
    assert files.load(plain[".keras"])._is_compiled


@pytest.mark.parametrize(
    "symbol", ["io.write_file", "io.read_file", "io.gfile.remove", "py_function", "print", 3, None]
)
def test_operations_that_are_none_on_tensors(symbol: Any, plain: dict[str, Path], tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        operation = next(each for each in config["config"]["layers"] if each["class_name"] == "TFOpLambda")
        operation["config"]["function"] = symbol

    assert "is no operation on tensors" in complaint(rewritten(plain[".keras"], tmp_path / "a.keras", change))
    assert "is no operation on tensors" in complaint(rewritten_h5(plain[".h5"], tmp_path / "a.h5", change))


def test_attributes_that_are_none_of_tensors(plain: dict[str, Path], tmp_path: Path) -> None:
    entry = {"class_name": "InstanceProperty", "config": {"name": "out", "attr_name": "__class__"}}
    path = rewritten(plain[".keras"], tmp_path / "a.keras", lambda config: config["config"]["layers"].append(entry))
    assert "reaches for '__class__'" in complaint(path)


def test_a_vocabulary_that_is_a_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one\ntwo\n")
    lookup = layers.StringLookup(vocabulary=str(tmp_path / "secret"), name="words")
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup])
    assert complaint(files.save(model, tmp_path / "a.keras")).startswith("layer 'words' reads the file ")


def test_operations_of_applications_compute() -> None:
    names = (
        "math.add nn.convolution reshape compat.v1.transpose __operators__.getitem image.resize strings.lower concat"
    )
    assert [name for name in names.split() if not is_computing(name)] == []
    refused = "io.read_file raw_ops.ReadFile load_library saved_model.load keras.utils.get_file keras.activations.get"
    assert [name for name in refused.split() if is_computing(name)] == []


@keras.utils.register_keras_serializable("untrusted_tests")
class Registered(layers.Layer):
    """A layer that this process knows."""


@keras.utils.register_keras_serializable("untrusted_tests")
def registered_activation(x):
    return 2 * x


@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_what_is_registered_and_what_computes_is_let_through(ending: str, tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3), name="given")
    x = layers.Conv2D(2, 3, activation=tf.nn.relu6, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    x = tf.nn.gelu(tf.concat([x[:, :1], x[:, 1:] + 1.0], 1))
    own = None if ending == ".h5" else registered_activation  # Keras itself does not read it back from HDF5
    x = layers.Dense(2, own, dtype="mixed_bfloat16")(Registered()(x))
    model = keras.Model(inputs, x)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.MeanSquaredError(), [keras.metrics.AUC()])
    again = files.load(files.save(model, tmp_path / f"model{ending}"))
    given = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(again(given), model(given))
    assert again._is_compiled


@pytest.mark.parametrize("room", ["activations", "losses", "metrics", "initializers", "regularizers", "constraints"])
def test_all_that_keras_has_is_known(room: str) -> None:
    """Parts and functions by the names under which Keras writes them."""
    for name, part in vars(getattr(keras, room)).items():
        entry = {"module": f"keras.{room}", "class_name": name, "config": {}, "registered_name": None}
        if hasattr(part, "from_config"):
            assert is_known(entry), name
        elif callable(part) and not isinstance(part, type) and name not in ("get", "serialize", "deserialize"):
            function = {**entry, "class_name": "function", "config": name, "registered_name": name}
            assert is_known(function) and is_known({**function, "module": "builtins"}), name


def test_every_layer_of_keras_is_known_but_those_of_code() -> None:
    kinds = {name: kind for name, kind in vars(layers).items() if isinstance(kind, type) and name != "InputSpec"}
    refused = [
        name
        for name in kinds
        if trust.objection({"module": "keras.layers", "class_name": name, "config": {}, "registered_name": None})
    ]
    assert len(kinds) > 120
    assert sorted(refused) == ["Lambda", "TFSMLayer"] or refused == ["Lambda"]


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["ConvNeXtTiny", "EfficientNetV2B0", "InceptionResNetV2", "MobileNetV3Small", "NASNetMobile"]
)
def test_applications_are_let_through(name: str, tmp_path: Path) -> None:
    model = getattr(keras.applications, name)(weights=None, include_top=False)
    again = files.load(files.save(model, tmp_path / "model.h5"))
    assert again.count_params() == model.count_params()


def test_an_optimizer_that_scales_the_loss_is_known(tmp_path: Path) -> None:
    model = keras.Sequential([layers.Dense(2, input_shape=(3,))])
    model.compile(keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(0.5)), "mse", ["accuracy"])
    with zipfile.ZipFile(files.save(model, tmp_path / "model.keras")) as archive:
        assert trust.objection(json.loads(archive.read("config.json"))["compile_config"]) == ""


# -------------------------------------------------------------------------------------------- SavedModels


def test_a_graph_that_reaches_for_files(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("one\n")

    @keras.utils.register_keras_serializable("untrusted_tests")
    class Reader(layers.Layer):
        def call(self, inputs):
            return inputs + tf.cast(tf.strings.length(tf.io.read_file(str(tmp_path / "words"))), tf.float32)

    path = files.save(keras.Sequential([layers.Input((3,)), Reader()]), tmp_path / "model")
    assert "its graph holds ReadFile" in complaint(path) and "give --trust" in complaint(path)
    assert files.load(path, trust=True).output_shape == (None, 3)


def test_an_asset_outside_the_folder(plain: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(plain[""], tmp_path / "model")
    meta = tf.__internal__.saved_model.parse_saved_model(str(path))
    meta.meta_graphs[0].asset_file_def.add(filename="../../etc/passwd")
    (path / "saved_model.pb").write_bytes(meta.SerializeToString())
    assert "leads out of the folder" in complaint(path)
    assert "leads out of the folder" in complaint(path, trust=True)


# ----------------------------------------------------------------------------------------------- archives


def bomb(path: Path, size: int, name: str = "model.weights.h5") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open(name, "w") as file:
            for _ in range(size // 2**20):
                file.write(bytes(2**20))
    return path


def test_a_bomb(tmp_path: Path) -> None:
    assert "unpacks to" in complaint(bomb(tmp_path / "a.keras", 300 * 2**20))


def test_a_description_too_large_to_be_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "[" + "[]," * (11 * 2**20) + "[]]")
    assert "bytes long, of which" in complaint(tmp_path / "a.keras")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "C:\\x", "..\\x", "C:x"])
def test_names_that_lead_out(name: str, plain: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(plain[".keras"], tmp_path / "a.keras"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    assert "which leads out of its folder" in complaint(path)


def test_links_twins_and_odd_packing(plain: dict[str, Path], tmp_path: Path) -> None:
    link = zipfile.ZipInfo("assets")
    link.external_attr = 0o120777 << 16
    twin = zipfile.ZipInfo("config.json")
    odd = zipfile.ZipInfo("assets/x")
    odd.compress_type = zipfile.ZIP_LZMA
    for info, words in ((link, "with a link"), (twin, "two files of the name 'config.json'"), (odd, "an unusual way")):
        path = Path(shutil.copy(plain[".keras"], tmp_path / "a.keras"))
        with zipfile.ZipFile(path, "a") as archive:
            if info is twin:
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr(info, "{}")
            else:
                archive.writestr(info, "/etc")
        assert words in complaint(path)


@pytest.mark.parametrize(
    "text", [b"", b"no json", b"[1, 2]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 600 + b"1" + b"}" * 600]
)
def test_descriptions_that_are_none(text: bytes, plain: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(plain[".keras"]) as old, zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", old.read("model.weights.h5"))
    assert "its description is" in complaint(tmp_path / "a.keras")


def test_a_size_that_is_a_lie(plain: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(plain[".keras"].read_bytes())
    place = content.rindex(b"PK\x01\x02")
    for size in (0, 7, 2**31):
        content[place + 24 : place + 28] = struct.pack("<I", size)
        (tmp_path / "a.keras").write_bytes(content)
        assert complaint(tmp_path / "a.keras")


def test_pickled_weights_and_no_model(tmp_path: Path) -> None:
    for name, words in (
        ("model.weights.npz", "holds pickled content"),
        ("x.h5", "Keras"),
    ):
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            if name.endswith("npz"):
                archive.writestr("config.json", "{}")
            archive.writestr(name, "x")
        assert words in complaint(tmp_path / "a.keras") or "holds weights only" in complaint(tmp_path / "a.keras")


def test_a_version_yet_to_come(plain: dict[str, Path], tmp_path: Path) -> None:
    def change(about: dict[str, Any]) -> None:
        about["keras_version"] = "4.1.0"

    path = rewritten(plain[".keras"], tmp_path / "a.keras", change, "metadata.json")
    assert complaint(path) == "written by Keras 4.1.0; tfprune reads those of Keras 3 and tf_keras"


# ------------------------------------------------------------------------------------------------ weights


def with_weights(path: Path, new: Path, change: Callable[[h5py.File], None]) -> Path:
    """A .keras file whose weights were changed."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        weights = Path(folder, "weights.h5")
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
            weights.write_bytes(old.read("model.weights.h5"))
            with h5py.File(weights, "r+") as file:
                change(file)
            for name in old.namelist():
                archive.writestr(name, weights.read_bytes() if name.endswith(".h5") else old.read(name))
    return new


def sparse(file: h5py.File) -> None:
    file.create_dataset("huge", (2**20, 2**20), "float32", chunks=(2**10, 2**10))


def outside(file: h5py.File) -> None:
    file.create_dataset("stolen", (4,), "uint8", external=[("/etc/passwd", 0, 4)])


def linked(file: h5py.File) -> None:
    file["stolen"] = h5py.ExternalLink("/etc/other.h5", "/x")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "uint8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (4,))
    file.create_virtual_dataset("stolen", layout)


def circular(file: h5py.File) -> None:
    file.create_group("around")["around"] = file["/"]


WEIGHTS = {
    sparse: "more than a file of",
    outside: "lies in another file",
    linked: "is a link to another place",
    virtual: "lies in another file",
    circular: "stands in it twice",
}


@pytest.mark.parametrize("change", WEIGHTS, ids=lambda each: each.__name__)
def test_weights_of_elsewhere(change: Callable[[h5py.File], None], plain: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(plain[".h5"], tmp_path / "a.h5"))
    with h5py.File(path, "r+") as file:
        change(file)
    assert WEIGHTS[change] in complaint(path)
    assert WEIGHTS[change] in complaint(with_weights(plain[".keras"], tmp_path / "a.keras", change))


def test_a_description_of_weights_that_no_file_holds(plain: dict[str, Path], tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        dense(config)["config"]["units"] = 2**40

    words = "bytes of weights or more, but holds"
    assert words in complaint(rewritten(plain[".keras"], tmp_path / "a.keras", change))
    assert words in complaint(rewritten_h5(plain[".h5"], tmp_path / "a.h5", change))
