"""Answers to each example as columns, and as a Parquet file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_workflow
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import StorageError
from tfprune.slices import records
from tfprune.slices.answers import Answers
from tfprune.slices.define import Slice
from tfprune.slices.records import examples_pieces, write_examples
from tfprune.slices.score import score
from tfprune.slices.tasks import Reader, Task

NAMES = ["cat", "dog", "owl"]


def examples_table(*given: Any) -> pa.Table:
    """All pieces together."""
    return pa.Table.from_batches(examples_pieces(*given))


def read(task: Task, outputs: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> Answers:
    """Answers as a pass of a model gives them."""
    reader = Reader(task)
    reader.read(outputs, labels)
    return Answers(**vars(reader.columns()), task=task, **more)


def multiclass(count: int, seed: int = 0, classes: int = 3) -> Answers:
    rng = np.random.default_rng(seed)
    outputs = rng.dirichlet(np.ones(classes), count)
    return read("multiclass", outputs, np.arange(count) % classes)


def some(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < 0.5


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """So that a few examples already make several."""
    monkeypatch.setattr(records, "_ROWS", 7)


# ------------------------------------------------------------------------------------------------- columns


def test_a_row_an_example_and_variant():
    now = {"": multiclass(20), "blur_3": multiclass(20, 1)}
    dense = {"": multiclass(20, 2), "blur_3": multiclass(20, 3)}
    slices = [
        Slice("odd", some(20)),
        Slice("blur_3", np.ones(20, bool), "blur_3"),
        Slice("both", some(20, 1), "blur_3"),
    ]
    table = examples_table(now, dense, slices, NAMES)
    assert table.column_names == [
        *("variant", "example", "label", "answer", "correct", "margin", "confidence", "loss", "changed"),
        *("slice/odd", "slice/blur_3", "slice/both"),
    ]
    found = table.to_pydict()
    assert found["variant"] == [""] * 20 + ["blur_3"] * 20
    assert found["example"] == [*range(20), *range(20)]
    for name, at in (("", 0), ("blur_3", 20)):
        part = {key: values[at : at + 20] for key, values in found.items()}
        assert part["label"] == [NAMES[each] for each in now[name].labels]
        assert part["answer"] == [NAMES[each] for each in now[name].answer]
        assert part["correct"] == list(now[name].answer == now[name].labels)
        assert part["changed"] == list(now[name].answer != dense[name].answer)
        for column in ("margin", "confidence", "loss"):
            assert part[column] == list(getattr(now[name], column))
        for each in slices:
            expected = list(each.members) if each.variant == name else [False] * 20
            assert part[f"slice/{each.name}"] == expected


def test_types_are_small():
    table = examples_table({"": multiclass(5)}, None, [Slice("odd", some(5))], NAMES)
    words = pa.dictionary(pa.int32(), pa.string())
    expected = {"variant": words, "example": pa.int32(), "label": words, "answer": words, "correct": pa.bool_()}
    expected |= {"margin": pa.float32(), "confidence": pa.float32(), "loss": pa.float32(), "changed": pa.bool_()}
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == {**expected, "slice/odd": pa.bool_()}


def test_without_a_dense_model():
    assert examples_table({"": multiclass(9)}, None, [])["changed"].null_count == 9


def test_classes_without_names_are_numbers():
    table = examples_table({"": multiclass(9)}, None, [], ["cat"]).to_pydict()
    assert table["label"] == ["cat", "1", "2"] * 3


def test_binary():
    now = read("binary", np.array([[0.9], [0.2], [0.6]]), np.array([1, 1, 0]))
    table = examples_table({"": now}, None, [], ["no", "yes"]).to_pydict()
    assert table["label"] == ["yes", "yes", "no"]
    assert table["answer"] == ["yes", "no", "yes"]
    assert table["correct"] == [True, False, False]


def test_several_labels():
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]] * 3, np.uint8)
    outputs = labels * 0.8 + 0.1
    outputs[2] = 0.9
    now, dense = read("multilabel", outputs, labels), read("multilabel", labels * 0.8 + 0.1, labels)
    table = examples_table({"": now}, {"": dense}, [], ["cat", "dog"]).to_pydict()
    assert table["label"][:4] == [["cat", "2"], [], ["dog"], ["cat", "dog", "2"]]
    assert table["label"][8:] == table["label"][:4], "also in later pieces"
    assert table["correct"] == [place != 2 for place in range(12)]
    assert table["changed"] == [place == 2 for place in range(12)]
    assert table["answer"][2] == table["answer"][3] != table["answer"][0]
    assert table["confidence"] == [None] * 12


def test_a_regression():
    now = read("regression", np.array([[1.0], [2.5], [-1.0]]), np.array([1.0, 2.0, 1.0]))
    table = examples_table({"": now}, {"": now}, [Slice("first", np.array([True, False, False]))]).to_pydict()
    assert (table["label"], table["answer"], table["error"]) == ([1, 2, 1], [1, 2.5, -1], [0, 0.5, 2])
    assert "correct" not in table
    assert table["changed"] == table["confidence"] == [None] * 3
    assert table["slice/first"] == [True, False, False]


def test_a_regression_of_several_numbers():
    labels = np.arange(20.0).reshape(10, 2)
    table = examples_table({"": read("regression", labels + 0.5, labels)}, None, []).to_pydict()
    assert table["label"] == labels.tolist()
    assert table["error"] == [0.5] * 10


def test_weights_are_kept_where_there_are_some():
    weights = np.linspace(0, 1, 9, dtype=np.float32)
    now = replace(multiclass(9), weights=weights)
    assert examples_table({"": now}, None, [])["weight"].to_pylist() == list(weights)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.integers(0, 99))
def test_scores_follow_from_the_records(count, parts, seed):
    """Accuracy, churn and what was lost, recomputed from the table, are those of the evaluation."""
    now = {"": multiclass(count, seed), "blur_3": multiclass(count, seed + 1)}
    dense = {"": multiclass(count, seed + 2), "blur_3": multiclass(count, seed + 3)}
    slices = [Slice(f"s{at}", some(count, at), ("", "blur_3")[at % 2]) for at in range(parts)]
    slices = [each for each in slices if each.members.any()]
    frame = examples_table(now, dense, slices, NAMES).to_pandas()
    evaluation = score(now, slices, dense)
    for each in evaluation.slices:
        rows = frame[frame[f"slice/{each.name}"]]
        assert len(rows) == each.support
        assert rows["correct"].mean() == pytest.approx(each.accuracy)
        assert rows["changed"].mean() == pytest.approx(each.churn)
    assert frame[frame["variant"] == ""]["loss"].mean() == pytest.approx(evaluation.loss, rel=1e-5)


# -------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("whole", [True, False])
def test_written_and_read(tmp_path, whole):
    now = {"": multiclass(20), "blur_3": multiclass(20, 1)}
    slices = [Slice("age > 60", some(20)), Slice("a/b", some(20, 1), "blur_3")]
    path = tmp_path / "examples.parquet"
    table = examples_table(now, now, slices, NAMES)
    write_examples(table if whole else examples_pieces(now, now, slices, NAMES), path)
    file = pq.ParquetFile(path)
    assert file.read().equals(table)
    assert file.metadata.num_row_groups == 6
    assert {file.metadata.row_group(0).column(at).compression for at in range(11)} == {"ZSTD"}
    assert list(tmp_path.iterdir()) == [path]


def test_several_labels_are_written(tmp_path):
    labels = np.eye(3, dtype=np.uint8)[[0, 1, 2] * 5] | np.eye(3, dtype=np.uint8)[[2, 0, 1] * 5]
    table = examples_table({"": read("multilabel", labels * 0.8 + 0.1, labels)}, None, [], NAMES)
    write_examples(table, tmp_path / "examples.parquet")
    assert pq.read_table(tmp_path / "examples.parquet").equals(table)


def test_a_disk_that_refuses(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*examples\.parquet"):
        write_examples(examples_table({"": multiclass(9)}, None, []), tmp_path / "file" / "examples.parquet")


# ------------------------------------------------------------------------------------------------- memory

PROGRAM = """
import resource, sys
from pathlib import Path
from typing import Any
import numpy as np
from tfprune.slices.answers import Answers
from tfprune.slices.define import Slice
from tfprune.slices.records import examples_pieces, write_examples

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, count, rng = peak(), 1_000_000, np.random.default_rng(0)
def answers():
    values = [rng.random(count, dtype=np.float32) for _ in range(5)]
    return Answers(rng.integers(0, 10, count), rng.integers(0, 10, count), *values, "multiclass")
now, dense = {"": answers()}, {"": answers()}
slices = [Slice(f"s{at}", rng.random(count, dtype=np.float32) > 0.9) for at in range(50)]
held = peak()
write_examples(examples_pieces(now, dense, slices), Path(sys.argv[1]))
print(peak() - before, peak() - held)
"""


def test_a_million_examples_and_fifty_slices_in_bounded_memory(tmp_path):
    """Answers of both models, slices and the writing of their file, in MB over what was imported."""
    path = tmp_path / "examples.parquet"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env=tiny_workflow.environment(Path(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    whole, own = map(float, done.stdout.split())
    assert whole < 500
    assert own < 150
    assert pq.ParquetFile(path).metadata.num_rows == 1_000_000
