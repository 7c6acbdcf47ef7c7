"""Two hundred damaged files of each kind: one line each, no crash, no hang, nothing left behind."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_workflow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfprune import recipe as recipes
from tfprune.backend import keras
from tfprune.data.load import load_data
from tfprune.errors import DataError, ModelError, RecipeError, TfpruneError
from tfprune.models import files
from tfprune.models.hdf5 import check_hdf5

layers = keras.layers

FEW = settings(
    max_examples=200, deadline=20_000, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
MANY = settings(FEW, max_examples=600, deadline=60_000)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What happens to a file: bits flip, bytes are set, a piece moves, is doubled or lost, or the end is."""
    kind = draw(st.sampled_from(["flip", "flip", "set", "swap", "drop", "double", "cut", "grow"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=6))
    values = draw(st.binary(min_size=4, max_size=4))
    length = draw(st.sampled_from([1, 4, 16, 200]))

    def damaged(content: bytes) -> bytes:
        new = bytearray(content)
        at = [int(place * len(content)) for place in places]
        if kind == "flip":
            for place in at:
                new[place] ^= 1 << values[0] % 8
        elif kind == "set":
            for place in at:
                new[place : place + 4] = values
            del new[len(content) :]
        elif kind == "swap":
            one, other = new[at[0] : at[0] + length], new[at[1] : at[1] + length]
            new[at[0] : at[0] + length], new[at[1] : at[1] + length] = other, one
        elif kind == "drop":
            del new[at[0] : at[0] + length]
        elif kind == "double":
            new[at[0] : at[0]] = new[at[1] : at[1] + length]
        elif kind == "cut":
            del new[at[0] :]
        else:
            new += values * length
        return bytes(new)

    return damaged


@st.composite
def members(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """What happens inside an archive whose sums are right: a member is damaged, missing, or takes another's name."""
    change = draw(st.sampled_from(["damage", "damage", "damage", "drop", "rename"]))
    which, damaged = draw(st.integers(0, 9)), draw(damages())

    def packed(content: bytes) -> bytes:
        new = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(new, "w") as archive:
            names = old.namelist()
            chosen = names[which % len(names)]
            for name in names:
                inner = old.read(name)
                if name == chosen and change == "drop":
                    continue
                if name == chosen and change == "damage":
                    inner = damaged(inner)
                other = names[(which + 1) % len(names)]
                renamed = {chosen: other, other: chosen}.get(name, name) if change == "rename" else name
                archive.writestr(renamed, inner)
        return new.getvalue()

    return packed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A valid file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.BatchNormalization(), layers.Softmax()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = {ending: files.save(model, folder / f"model{ending}") for ending in (".keras", ".h5", "")}
    keras3 = pytest.importorskip("keras", minversion="3")
    found["keras3"] = folder / "three.keras"
    keras3.Sequential([keras3.layers.Input((4,)), keras3.layers.Dense(3)]).save(found["keras3"])
    x, y = tiny_workflow.examples(30)
    found["npz"] = folder / "data.npz"
    np.savez(found["npz"], x=x, y=y)
    found["yaml"] = tiny_workflow.write(folder / "recipe.yaml")
    return found


def survives(path: Path, read: Callable[[Path], object], error: type[TfpruneError]) -> None:
    """Reading gives something or one line of ours, and leaves the folder of temporaries as it was."""
    usual, tempfile.tempdir = tempfile.tempdir, str(path.parent / "temporary")
    try:
        read(path)
    except error as caught:
        assert "\n" not in str(caught) and len(str(caught)) < 600
    finally:
        kept = [each for each in Path(tempfile.tempdir).iterdir() if "autograph" not in each.name]
        tempfile.tempdir = usual
    assert kept == []


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path


def read_npz(path: Path) -> object:
    return load_data(recipes.NpzData(source="npz", path=path), 0)


def check(kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path) -> None:
    """Damage a file of a kind and read it."""
    source = whole[kind]
    if kind == "":
        path = room / "model"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(source, path)
        (path / "saved_model.pb").write_bytes(damaged((path / "saved_model.pb").read_bytes()))
    else:
        path = room / source.name
        path.write_bytes(damaged(source.read_bytes()))
    read: Callable[[Path], object] = {"npz": read_npz, "yaml": recipes.load}.get(kind, files.load)
    survives(path, read, {"npz": DataError, "yaml": RecipeError}.get(kind, ModelError))


@pytest.mark.parametrize("kind", [".keras", "keras3", "npz", "yaml"])
@FEW
@given(damaged=damages())
def test_damaged(kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path) -> None:
    check(kind, damaged, whole, room)


@FEW
@given(damaged=damages())
def test_damaged_weights(damaged: Callable[[bytes], bytes], whole: dict[str, Path]) -> None:
    with zipfile.ZipFile(whole[".keras"]) as archive:
        content = damaged(archive.read("model.weights.h5"))
    assert "\n" not in check_hdf5(io.BytesIO(content), len(content))


@pytest.mark.full
@pytest.mark.parametrize("kind", [".keras", "keras3", "npz"])
@MANY
@given(damaged=members())
def test_damaged_inside(kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path) -> None:
    check(kind, damaged, whole, room)


@pytest.mark.full
@pytest.mark.parametrize("kind", [".h5", ""])
@settings(MANY, max_examples=200)
@given(damaged=damages())
def test_damaged_at_length(kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path) -> None:
    check(kind, damaged, whole, room)


@settings(FEW, max_examples=12)
@given(damaged=damages())
@pytest.mark.parametrize("kind", [".h5", ""])
def test_damaged_a_few_times(kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path) -> None:
    check(kind, damaged, whole, room)


@settings(FEW, max_examples=20)
@given(damaged=members())
@pytest.mark.parametrize("kind", [".keras", "npz"])
def test_damaged_inside_a_few_times(
    kind: str, damaged: Callable[[bytes], bytes], whole: dict[str, Path], room: Path
) -> None:
    check(kind, damaged, whole, room)
