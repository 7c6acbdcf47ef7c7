"""Bad data gets one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_sources import write_csv, write_images, write_module, write_npz, write_records, write_rows, write_tfrecord

from tfprune.backend import tf
from tfprune.data.load import from_arrays, load_data
from tfprune.errors import DataError
from tfprune.recipe import CsvData, DataSection, FunctionData, ImagesData, NpzData, TFRecordData


def complaint(function, *arguments, **options) -> str:
    """The one line of a DataError."""
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load_complaint(section) -> str:
    return complaint(load_data, section, 0)


NOISE = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
X, Y = np.arange(80, dtype=np.float32).reshape(40, 2), np.arange(40) % 2


def changed(array, index, value):
    copy = np.array(array, np.result_type(array, type(value)))
    copy[index] = value
    return copy


# ------------------------------------------------------------------------------------ arrays and labels


@pytest.mark.parametrize(
    ("x", "y", "section", "message"),
    [
        (
            X,
            changed(Y, 17, 10),
            {"classes": tuple("abcdefghij")},
            "label 10 at example 17 is outside the 10 classes 0..9",
        ),
        (X, changed(Y, 3, -1), {}, "label -1 at example 3 is negative; classes are numbered from 0"),
        (
            X,
            changed(Y, 4, 0.5),
            {},
            "label 0.5 at example 4 is not an integer; a label is the number of a class, from 0",
        ),
        (
            X,
            changed(Y, 5, np.nan),
            {},
            "label nan at example 5 is not an integer; a label is the number of a class, from 0",
        ),
        (X, np.array(["a", "b"] * 20), {}, "labels must be integers, but the first is 'a'"),
        (X, changed(Y, 5, 10**9), {}, "class 2 has no example to train on; labels must use every number 0..1000000000"),
        (
            X,
            Y,
            {"classes": ("a", "b", "c")},
            "class 2 (c) has no example to train on; labels must use every number 0..2",
        ),
        (X, Y * 0, {}, "all 40 examples are of one class; expected two classes or more"),
        (
            X,
            changed(np.eye(2)[Y], (6, slice(None)), 1.0),
            {},
            "labels have shape (40, 2) but row 6 is not one-hot; expected class numbers, or rows with a single 1",
        ),
        (
            X,
            Y.reshape(10, 2, 2),
            {},
            "labels have shape (10, 2, 2); expected (examples,) or one-hot (examples, classes)",
        ),
        (X[:30], Y, {}, "the train part has 30 examples in x, but 40 labels in y"),
        (X[:0], Y[:0], {}, "the train part of the data is empty; expected at least one example"),
        (changed(X, (7, 1), np.nan), Y, {}, "x of the train part has 1 NaN or infinite values, the first at example 7"),
        (changed(X, 8, np.inf), Y, {}, "x of the train part has 2 NaN or infinite values, the first at example 8"),
        (X.astype(str), Y, {}, "x of the train part holds <U32; expected numbers (for text, use source csv)"),
        (
            [[1, 2], [3]],
            [0, 1],
            {},
            "x of the train part is not one array: its examples differ in shape or are not numbers",
        ),
        (X[:, 0], Y, {}, "x of the train part has shape (40,); expected (examples, ...)"),
        (
            X[:3],
            Y[:3],
            {"validation": 0.1, "test": 0.4},
            "the validation split has 0 of 3 examples; it needs more data or a larger share than data.validation = 0.1",
        ),
        (
            X,
            Y,
            {"test": 0},
            "the test split has 0 of 40 examples; it needs more data or a larger share than data.test = 0",
        ),
    ],
)
def test_arrays(x, y, section, message):
    assert complaint(from_arrays, x, y, DataSection(**section)) == message


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"trian": (X, Y)}, "the data has a part 'trian'; expected train, validation or test; did you mean 'train'?"),
        ({"test": (X, Y)}, "the data has no part 'train', only test"),
        (
            {"train": (X, Y), "test": (X[:, :1], Y)},
            "examples of the test part have shape (1,), but those of train (2,)",
        ),
        ({"train": (X, Y), "test": (X, Y + 1)}, "label 2 at example 1 of the test part is outside the 2 classes 0..1"),
        ({"train": (X, Y), "test": (X, Y - 1)}, "label -1 at example 0 of the test part is negative"),
        ({"train": (X, Y), "validation": (X[:0], Y[:0])}, "the validation part of the data is empty"),
        ({"train": X}, "the train part is of type ndarray; expected arrays (x, y), or a dict with 'train'"),
        ({"train": (X, Y), "test": tf.data.Dataset.range(3)}, "the test part is a Dataset, but others are arrays"),
    ],
)
def test_parts(parts, message):
    assert complaint(from_arrays, parts).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.batch(4), "looks batched; call .unbatch() on it"),
        (lambda d: d.repeat(), "never ends; take out its repeat()"),
        (lambda d: d.shuffle(40), "gives another order each time; take out its shuffle"),
        (lambda d: d.map(lambda x, y: {"x": x, "y": y}), "expected a pair of tensors (x, label)"),
        (lambda d: d.take(0), "is empty"),
        (
            lambda d: d.map(lambda x, y: (x / tf.where(y == 1, 0.0, 1.0), y)),
            "NaN or infinite values, the first at example 1",
        ),
        (lambda d: d.map(lambda x, y: (tf.ensure_shape(x[: 1 + y], [2]), y)), "fails: "),
    ],
)
def test_datasets(change, message):
    dataset = change(tf.data.Dataset.from_tensor_slices((X, Y)))
    found = complaint(from_arrays, {"train": dataset})
    assert "train part" in found
    assert message in found


# ---------------------------------------------------------------------------------------------- archives


def test_npz(tmp_path):
    path = write_npz(tmp_path).section.path
    section = NpzData(source="npz", path=path)
    assert load_complaint(NpzData(source="npz", path=tmp_path / "no.npz")) == f"{tmp_path}/no.npz: no such file"
    missing = load_complaint(section.model_copy(update={"y": "yy"}))
    assert missing == f"{path}: no array 'yy'; it has x, y; did you mean 'y'?"
    np.savez(path, x=X, y=Y, x_test=X)
    assert load_complaint(section) == f"{path}: no array 'y_test'; it has x, y, x_test; did you mean 'x_test'?"
    np.savez(path, x=np.array([{}, []], object), y=[0, 1])
    assert load_complaint(section).startswith(f"{path}: not a readable .npz archive of plain arrays: Object arrays")
    path.write_bytes(b"PK\x03\x04 and then nothing")
    assert load_complaint(section).startswith(f"{path}: not a readable .npz archive")
    with path.open("wb") as stream:
        np.save(stream, X)
    assert load_complaint(section).startswith(f"{path}: not a readable .npz archive")


def test_a_damaged_byte_in_an_archive(tmp_path):
    path = write_npz(tmp_path).section.path
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)
    assert load_complaint(NpzData(source="npz", path=path)).startswith(f"{path}: not a readable .npz archive")


# ------------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": no rows; expected at least one example"),
        ("a,label\n", ": no rows; expected at least one example"),
        ("a,lable\n1,0\n", ": no column 'label'; the header has a, lable; did you mean 'lable'?"),
        ("label\n1\n", ": no column besides the label 'label'"),
        ("a,label\n1,0\n2\n", ", line 3: 1 values, but there are 2 columns"),
        ("a,label\n1,0\n\nx,1\n", ", line 4: column 'a' has 'x', which is not a number"),
        ("a,label\n1,0\n,1\n", ", line 3: column 'a' has '', which is not a number"),
        ('a,label\n"1"2,0\n', ", line 2: not valid CSV: ',' expected after '\"'"),
    ],
)
def test_csv(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert load_complaint(CsvData(source="csv", path=path, label="label")) == f"{path}{message}"


def test_csv_files_and_values(tmp_path):
    section = CsvData(source="csv", path=tmp_path / "t.csv", label="kind")
    assert load_complaint(section) == f"{tmp_path}/t.csv: no such file"
    section.path.write_bytes(b"a,kind\n\xff\xfe,1\n")
    assert load_complaint(section).startswith(f"{section.path}: not UTF-8 text")
    write_rows(section.path, ["a", "kind"], [[i if i != 9 else "nan", i % 2] for i in range(40)])
    assert load_complaint(section) == "x of the train part has 1 NaN or infinite values, the first at example 9"
    write_rows(section.path, ["a", "kind"], [[i, i % 2 - 1] for i in range(40)])
    assert load_complaint(section).startswith("label -1.0 at example 0 is negative")
    good = write_csv(tmp_path).section
    other = write_rows(tmp_path / "test.csv", ["first", "second", "kind"], [[1, 2, "aa"]])
    found = load_complaint(good.model_copy(update={"test_path": other}))
    assert found == "label 'aa' at example 0 of the test part is not one of the 3 classes; did you mean 'a'?"
    found = load_complaint(good.model_copy(update={"features": ("frist",)}))
    assert found.endswith("no column 'frist'; the header has first, second, kind; did you mean 'first'?")


# ---------------------------------------------------------------------------------------------- pictures


def test_image_folders(tmp_path):
    root = write_images(tmp_path).section.path
    section = ImagesData(source="images", path=root, size=(4, 4))
    assert load_complaint(section.model_copy(update={"path": tmp_path / "no"})) == f"{tmp_path}/no: no such folder"
    found = load_complaint(section.model_copy(update={"path": root / "a"}))
    assert found == f"{root}/a: has no folders; expected one folder of pictures a class"
    (tmp_path / "test" / "bb").mkdir(parents=True)
    found = load_complaint(section.model_copy(update={"test_path": tmp_path / "test"}))
    assert found == f"{tmp_path}/test/bb: not one of the 3 classes; did you mean 'b'?"
    (root / "d").mkdir()
    assert load_complaint(section).startswith(f"{root}/d: no picture in it; expected files that end in .jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is not a picture"),
        (tf.io.encode_jpeg(NOISE).numpy()[:-100], "is a truncated JPEG"),
        (tf.io.encode_png(NOISE).numpy()[:-300], "is corrupt: "),
    ],
)
def test_a_corrupt_picture_is_named(tmp_path, content, message):
    root = write_images(tmp_path).section.path
    (root / "b" / "bad.jpg").write_bytes(content)
    found = load_complaint(ImagesData(source="images", path=root, size=(4, 4)))
    assert found.startswith(f"{root}/b/bad.jpg: {message}")


# ----------------------------------------------------------------------------------------------- records


def test_no_record_file(tmp_path):
    section = TFRecordData(source="tfrecord", path=str(tmp_path / "no-*"), shape=(4, 4, 3))
    assert load_complaint(section) == f"no file matches '{tmp_path}/no-*'"


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"label": "lable"}, "record 0 has no feature 'lable'; it has image, label; did you mean 'label'?"),
        ({"image": "picture"}, "record 0 has no feature 'picture'; it has image, label"),
        (
            {"image": "label", "label": "image"},
            "record 0 has a feature 'label' that is not a single value of bytes",
        ),
        ({"encoding": "raw", "shape": (9, 9, 3)}, "bytes, but shape (9, 9, 3) needs 243"),
    ],
)
def test_features(tmp_path, update, message):
    section = write_tfrecord(tmp_path).section.model_copy(update=update)
    found = load_complaint(section)
    assert found.startswith(f"{tmp_path}/part-0.tfrecord: record 0")
    assert message in found


def test_one_feature_for_two(tmp_path):
    section = write_tfrecord(tmp_path).section.model_copy(update={"label": "image"})
    assert load_complaint(section) == "data.image and data.label are both 'image'; they are two features of a record"


def test_a_corrupt_record_is_named(tmp_path):
    section = write_tfrecord(tmp_path).section
    path = tmp_path / "part-1.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert load_complaint(section).startswith(f"{path}: record 34 is corrupt (")
    path.write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    assert load_complaint(section).startswith(f"{path}: record 1 is corrupt (")
    path.write_text("not records at all, but text that is long enough")
    assert load_complaint(section).startswith(f"{path}: record 0 is corrupt (")
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"no example")
    assert load_complaint(section) == f"{path}: record 0 is not a tf.train.Example"


def test_a_record_with_a_bad_image_is_named(tmp_path):
    images = [tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()] * 30
    path = tmp_path / "d.tfrecord"
    section = TFRecordData(source="tfrecord", path=str(path), shape=(4, 4, 3))
    write_records(path, [*images[:20], b"no picture", *images[21:]], [i % 2 for i in range(30)])
    assert load_complaint(section) == f"{path}: record 20 has an image that is not a picture"
    write_records(path, images, [i % 2 for i in range(30)])
    found = load_complaint(section.model_copy(update={"shape": (5, 5, 3)}))
    assert found.startswith("the first examples of the train split cannot be decoded: ")
    write_records(path, images, [i % 2 - 1 for i in range(30)])
    assert load_complaint(section).startswith("label -1 at example 0 is negative")


# --------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("content", "function", "message"),
    [
        ("def load_it(): pass", "loadit", " has no function 'loadit'; did you mean 'load_it'?"),
        ("load = 3", "load", " has no function 'load'"),
        ("def load(): return 1 / 0", "load", " raised ZeroDivisionError: division by zero"),
        ("def load(n): pass", "load", " raised TypeError: load() missing 1 required positional argument: 'n'"),
        (
            "def load(): pass",
            "load",
            "the train part is of type NoneType; expected arrays (x, y), or a dict with 'train'",
        ),
        ("import nowhere", "load", " raised ModuleNotFoundError: No module named 'nowhere'"),
        ("def load(:", "load", " raised SyntaxError: "),
        ("def load(): return [[1.0], [2.0]], [0, 2]", "load", "class 1 has no example to train on"),
    ],
)
def test_function(tmp_path, monkeypatch, content, function, message):
    monkeypatch.chdir(tmp_path)
    name = f"{write_module(tmp_path, content)}:{function}"
    found = load_complaint(FunctionData(source="function", function=name))
    assert found.startswith(f"data.function {name}")
    assert message in found


def test_no_such_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_complaint(FunctionData(source="function", function="no.such:thing"))
    assert found == f"data.function no.such:thing: no module 'no' in {Path.cwd()} or among the installed packages"
