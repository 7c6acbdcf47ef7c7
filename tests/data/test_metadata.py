"""Columns that travel with the examples: from every source, in every form, and what is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_sources import (
    CLASSES,
    COUNT,
    write_csv,
    write_dataset,
    write_function,
    write_images,
    write_module,
    write_npz,
    write_rows,
    write_tfrecord,
)

from tfprune.backend import keras, tf
from tfprune.data.columns import typed
from tfprune.data.load import from_arrays, load_data
from tfprune.data.tables import Cells, read_columns
from tfprune.errors import DataError, RecipeError
from tfprune.recipe import CsvData, DataSection, FunctionData, KerasData, NpzData, TfdsData, TFRecordData, parse

SPLITS = ("train", "validation", "test")
X, Y = np.arange(80, dtype=np.float32).reshape(40, 2), np.arange(40) % 2
AGES = np.arange(40) + 30


def splits_of(data):
    return [getattr(data, name) for name in SPLITS]


def first_values(split):
    """The first number of each example, in the order of the split."""
    return np.concatenate([x.numpy().reshape(len(x), -1)[:, 0] for x, _ in split.batches(64)])


def loaded(section, **update):
    return load_data(section.model_copy(update=update), seed=1)


def complaint(function, *arguments, **options) -> str:
    """The one line of a DataError."""
    with pytest.raises(DataError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load_complaint(section, **update) -> str:
    return complaint(load_data, section.model_copy(update=update), 0)


def ages_file(folder: Path, ages, name: str = "people.csv") -> Path:
    return write_rows(folder / name, ["age", "site"], [[age, f"s{age % 2}"] for age in ages])


# --------------------------------------------------------------------------------------- a file beside the source


def number_of(x: np.ndarray, data) -> float:
    """The number that a tiny source was made of, told from an example; of a digit, the sum of its pixels."""
    if data.vocabulary:
        words = [data.vocabulary[token] for token in x if data.vocabulary[token].startswith("bit")]
        return sum(int(word[-1]) << int(word[3]) for word in words)
    return float(x.sum()) if x.shape == (8, 8, 1) else float(x.flat[0])


def numbers_in_order(kind: str) -> list[float]:
    """The same for all examples, in the order of the source."""
    if kind == "digits":
        from sklearn import datasets

        return [float(image.sum()) for image in (datasets.load_digits().images / 16).astype(np.float32)]
    order = list(range(COUNT))
    return sorted(order, key=lambda i: (i % CLASSES, i)) if kind == "images" else order


def test_a_file_goes_with_every_source(writer, request, tmp_path):
    numbers = numbers_in_order(request.node.callspec.params["writer"])
    rows = [[number, f"n{number:.3f}", "true" if number > 5 else "False"] for number in numbers]
    path = write_rows(tmp_path / "about.csv", ["number", "word", "many"], rows)
    data = loaded(writer().section, metadata_file=path)
    for split in splits_of(data):
        expected = np.array([number_of(x.numpy(), data) for x, _ in split.examples()])
        assert list(split.metadata) == ["number", "word", "many"]
        assert [split.metadata[name].dtype.kind for name in split.metadata] == ["f", "O", "b"]
        np.testing.assert_allclose(split.metadata["number"], expected, rtol=1e-5)
        assert split.metadata["word"].tolist() == [f"n{number:.3f}" for number in split.metadata["number"]]
        assert split.metadata["many"].tolist() == (split.metadata["number"] > 5).tolist()
    some = loaded(writer().section, metadata_file=path, metadata=("many",))
    assert list(some.train.metadata) == ["many"]


def test_without_metadata_there_is_none(writer):
    for split in splits_of(load_data(writer().section, seed=1)):
        assert dict(split.metadata) == {}


def test_keras_data_sets_take_files(tmp_path, monkeypatch):
    x, y = np.arange(30, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8), np.arange(30) % 2
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((x, y), (x[:6], y[:6])))
    files = {"metadata_file": ages_file(tmp_path, range(30)), "metadata_test_file": ages_file(tmp_path, range(6), "t")}
    data = load_data(KerasData(source="keras", name="mnist", **files), seed=0)
    for split in splits_of(data):
        np.testing.assert_array_equal(split.metadata["age"], first_values(split))


def test_tfds_data_sets_take_files(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyPeople(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(4, 4, 3)), tfds.features.ClassLabel(names=["a", "b"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, _):
            return {name: self._generate_examples(count) for name, count in (("train", 30), ("validation", 8))}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 2}

    TinyPeople(data_dir=str(tmp_path)).download_and_prepare()
    section = TfdsData(source="tfds", name="tiny_people", directory=tmp_path)
    # tfds shuffles what it writes; the order of a part that is not split is that of the source.
    order = first_values(load_data(section, seed=0).validation).astype(int)
    files = {
        "metadata_file": ages_file(tmp_path, range(30)),
        "metadata_validation_file": ages_file(tmp_path, order, "v"),
    }
    data = load_data(section.model_copy(update=files), seed=0)
    np.testing.assert_array_equal(data.validation.metadata["age"], order)
    assert set(data.train.metadata["age"]) | set(data.test.metadata["age"]) == set(range(30))
    assert load_complaint(section, metadata_file=files["metadata_file"]).endswith(
        "not in the validation part; name its file in data.metadata_validation_file"
    )


def test_pictures_are_joined_by_their_paths(tmp_path):
    section = write_images(tmp_path).section
    names = [f"{'abc'[i % CLASSES]}/{i:02d}.png" for i in range(COUNT)]
    rng = np.random.default_rng(0)
    digests = set()
    for form in ("{}", "./{}"):
        rows = [[form.format(names[i]), i] for i in rng.permutation(COUNT)]
        data = loaded(section, metadata_file=write_rows(tmp_path / "m.csv", ["file", "number"], rows))
        digests.add(data.digest)
        for split in splits_of(data):
            assert list(split.metadata) == ["number"]
            np.testing.assert_allclose(split.metadata["number"], first_values(split), rtol=1e-5)
    assert len(digests) == 1, "the order of the lines is not content"
    named = loaded(section, metadata_file=tmp_path / "m.csv", metadata=("file", "number"))
    assert named.test.metadata["file"][0].endswith(f"{int(named.test.metadata['number'][0]):02d}.png")


def test_pictures_know_their_sizes(tmp_path):
    section = write_images(tmp_path).section
    Image.new("RGB", (31, 17), (200, 200, 200)).save(section.path / "a" / "wide.png")
    data = loaded(section, metadata=("width", "height"))
    sizes = [pair for s in splits_of(data) for pair in zip(s.metadata["width"], s.metadata["height"], strict=True)]
    assert sorted(sizes) == [(6, 5)] * COUNT + [(31, 17)]
    for split in splits_of(data):
        np.testing.assert_array_equal(split.metadata["width"] == 31, first_values(split) > 100)


def test_a_file_of_many_columns_is_not_kept_in_memory(tmp_path):
    rows = [[i % 3, f"{i:0200d}"] for i in range(20_000)]
    path = write_rows(tmp_path / "wide.csv", ["site", "note"], rows)
    tracemalloc.start()
    _, columns = read_columns(path, ("site",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert columns["site"][:4] == ["0", "1", "2", "0"]
    assert peak < 1_000_000  # the notes are 4 MB


# ------------------------------------------------------------------------------------ columns of the source itself


def test_columns_of_a_table(tmp_path):
    rows = [[i, i / 2, "abc"[i % 3], 90 - i, f"s{i % 4}"] for i in range(60)]
    path = write_rows(tmp_path / "t.csv", ["first", "second", "kind", "age", "site"], rows)
    section = CsvData(source="csv", path=path, label="kind", metadata=("age", "site"))
    data = load_data(section, seed=0)
    assert data.input_shape == (2,), "metadata is no feature"
    for split in splits_of(data):
        numbers = first_values(split)
        np.testing.assert_array_equal(split.metadata["age"], 90 - numbers)
        assert split.metadata["site"].tolist() == [f"s{int(number) % 4}" for number in numbers]
    both = loaded(section, features=("first", "age"))
    assert both.input_shape == (2,)
    np.testing.assert_array_equal(both.test.metadata["age"], 90 - first_values(both.test))
    text = loaded(section, text=("site",), metadata=("age",), test_path=path)
    np.testing.assert_array_equal(text.test.metadata["age"], [90 - i for i in range(60)])


def test_columns_of_a_table_and_of_a_file(tmp_path):
    section = write_csv(tmp_path).section
    data = loaded(section, metadata=("second", "age"), metadata_file=ages_file(tmp_path, range(COUNT)))
    for split in splits_of(data):
        np.testing.assert_array_equal(split.metadata["second"], first_values(split) / 2)
        np.testing.assert_array_equal(split.metadata["age"], first_values(split))


def test_arrays_of_an_archive(tmp_path):
    about = {"age": AGES, "age_test": AGES[:6], "site": np.array(["x", "y"] * 20), "site_test": np.array(["z"] * 6)}
    np.savez(tmp_path / "d.npz", x=X, y=Y, x_test=X[:6], y_test=Y[:6], **about)
    data = load_data(NpzData(source="npz", path=tmp_path / "d.npz", metadata=("age", "site")), seed=0)
    for split in splits_of(data):
        np.testing.assert_array_equal(split.metadata["age"], first_values(split) / 2 + 30)
    assert data.test.metadata["site"].tolist() == ["z"] * 6
    assert data.train.metadata["site"].tolist() == [["x", "y"][label] for label in data.train.labels]


def write_people(path: Path, count: int = 40, **features) -> TFRecordData:
    """Records whose metadata tells their number; further features, or None in place of one."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in range(count):
            content: dict = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([i] * 4)])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[i % 2])),
                "age": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
                "dose": tf.train.Feature(float_list=tf.train.FloatList(value=[i / 4])),
                "site": tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"sité {i}".encode()])),
                **(features if i == count - 1 else {}),
            }
            present = {name: value for name, value in content.items() if value is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())
    return TFRecordData(source="tfrecord", path=str(path), encoding="raw", shape=(2, 2, 1))


def test_features_of_records(tmp_path):
    section = write_people(tmp_path / "a.tfrecord")
    (tmp_path / "0.tfrecord").write_bytes(b"")  # a file without a record
    path = str(tmp_path / "*.tfrecord")
    data = loaded(section, path=path, test_path=section.path, metadata=("site", "age", "dose", "label"))
    for split in splits_of(data):
        numbers = first_values(split)
        np.testing.assert_array_equal(split.metadata["age"], numbers)
        np.testing.assert_array_equal(split.metadata["dose"], numbers / 4)
        np.testing.assert_array_equal(split.metadata["label"], split.labels)
        assert split.metadata["site"].tolist() == [f"sité {int(number)}" for number in numbers]
    assert load_data(section, seed=1).train.labels.tolist() == loaded(section, metadata=("age",)).train.labels.tolist()


def frame(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


@pytest.mark.parametrize("form", [dict, frame], ids=["mapping", "DataFrame"])
def test_objects_of_python(form):
    about = form({"age": AGES, "site": ["x" if i % 2 else "y" for i in range(40)]})
    ways = (
        from_arrays(X, Y, metadata=about),
        from_arrays((X, Y, about)),
        from_arrays({"train": (X, Y, about), "test": (X, Y, about)}),
        from_arrays({"train": (X, Y, about)}, section=DataSection(metadata=("site", "age"))),
    )
    for data in ways:
        for split in splits_of(data):
            np.testing.assert_array_equal(split.metadata["age"], first_values(split) / 2 + 30)
            assert split.metadata["site"].tolist() == ["x" if label else "y" for label in split.labels]
    assert list(ways[0].train.metadata) == ["age", "site"]
    assert list(ways[3].train.metadata) == ["site", "age"]
    assert list(from_arrays((X, Y, about), section=DataSection(metadata=("age",))).test.metadata) == ["age"]


def people(**more):
    scalars = {"age": AGES.astype(np.int32), "site": [f"s{i}" for i in range(40)], "ill": Y == 1, **more}
    return tf.data.Dataset.from_tensor_slices((X, Y, scalars))


def test_datasets_of_triples():
    data = from_arrays({"train": people(), "test": people().take(8)})
    assert (data.train.size, data.validation.size, data.test.size) == (34, 6, 8)
    for split in splits_of(data):
        numbers = first_values(split) / 2
        np.testing.assert_array_equal(split.metadata["age"], numbers + 30)
        assert split.metadata["site"].tolist() == [f"s{int(number)}" for number in numbers]
        assert split.metadata["ill"].tolist() == (split.labels == 1).tolist()
        assert len(split.examples().element_spec) == 2
    assert list(from_arrays(people(), section=DataSection(metadata=("ill",))).train.metadata) == ["ill"]


def test_a_function_returns_triples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = write_module(
        tmp_path,
        "import numpy as np\n"
        "def load(n=40):\n"
        "    return np.arange(n * 2.0).reshape(n, 2), np.arange(n) % 2, {'age': np.arange(n) * 2}\n"
        "def parts():\n    return {'train': load(), 'validation': load(10)}\n",
    )
    for function in ("load", "parts"):
        data = load_data(FunctionData(source="function", function=f"{name}:{function}"), seed=0)
        for split in splits_of(data):
            np.testing.assert_array_equal(split.metadata["age"], first_values(split))


# ------------------------------------------------------------------------------------------------- kinds of values


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (Cells(["61", " 7.5", "-1e3"]), "f", [61, 7.5, -1000]),
        (Cells(["61", "", "nan"]), "f", [61, np.nan, np.nan]),
        (Cells(["TRUE", "false", "True"]), "b", [True, False, True]),
        (Cells(["true", "", "false"]), "f", [1, np.nan, 0]),
        (Cells(["true", "1", "false"]), "O", ["true", "1", "false"]),
        (Cells(["61", "x", ""]), "O", ["61", "x", ""]),
        (Cells(["", "", ""]), "O", ["", "", ""]),
        (Cells(["1_0", "2_0", "3_0"]), "O", ["1_0", "2_0", "3_0"]),
        (Cells(["9007199254740993", "1", "2"]), "O", ["9007199254740993", "1", "2"]),
        (np.array([1, 2, 3], np.uint8), "f", [1, 2, 3]),
        (np.array([2**53 + 1, 1, 2]), "O", [str(2**53 + 1), "1", "2"]),
        (np.array([0.5, np.nan, np.inf], np.float32), "f", [0.5, np.nan, np.inf]),
        (np.array([True, False, True]), "b", [True, False, True]),
        (np.array(["a", "b", "c"]), "O", ["a", "b", "c"]),
        (np.array([b"a", b"b", "ü".encode()], object), "O", ["a", "b", "ü"]),
        (
            np.array(["2024-01-05", "2024-02-05", "2023-01-05"], "M8[D]"),
            "O",
            ["2024-01-05", "2024-02-05", "2023-01-05"],
        ),
        ([61, None, 7.5], "f", [61, np.nan, 7.5]),
        ([True, False, None], "f", [1, 0, np.nan]),
        ([2**60 + 1, 1, 2], "O", [str(2**60 + 1), "1", "2"]),
        (["a", None, float("nan")], "O", ["a", "", ""]),
        (["a", 1, True], "O", ["a", "1", "True"]),
        ((1, 2, 3), "f", [1, 2, 3]),
    ],
    ids=str,
)
def test_values_become_numbers_truth_or_text(values, kind, expected):
    found = typed("c", {"train": values}, {"train": 3})["train"]
    assert (found.dtype.kind, found.shape) == (kind, (3,))
    assert found.dtype in (np.float64, bool, object)
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))
    assert kind != "O" or all(type(value) is str for value in found)


def test_values_of_pandas():
    pd = pytest.importorskip("pandas")
    columns = {
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "text": pd.array(["a", None, "b"], dtype="string"),
        "kind": pd.Categorical(["x", "y", "x"]),
        "truth": pd.array([True, False, True], dtype="boolean"),
        "day": pd.to_datetime(["2024-01-05", "2024-02-05", "2023-01-05"]),
    }
    about = pd.DataFrame(columns)
    found = {name: typed(name, {"train": about[name]}, {"train": 3})["train"] for name in columns}
    np.testing.assert_array_equal(found["whole"], [1, np.nan, 3])
    assert found["text"].tolist() == ["a", "", "b"]
    assert found["kind"].tolist() == ["x", "y", "x"]
    assert found["truth"].tolist() == [True, False, True]
    assert [day[:10] for day in found["day"]] == ["2024-01-05", "2024-02-05", "2023-01-05"]


def test_a_column_is_of_one_kind_in_all_parts(tmp_path):
    mixed = typed("c", {"train": Cells(["1", "2"]), "test": Cells(["x"])}, {"train": 2, "test": 1})
    assert [values.tolist() for values in mixed.values()] == [["1", "2"], ["x"]]
    promoted = typed("c", {"train": [True, False], "test": [2]}, {"train": 2, "test": 1})
    assert [values.dtype.kind for values in promoted.values()] == ["f", "f"]
    found = complaint(typed, "c", {"train": [1, 2], "test": ["x"]}, {"train": 2, "test": 1})
    assert found == "metadata column 'c' holds numbers in the train part, but text in the test part"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1, max_size=20).filter(any))
def test_numbers_in_cells_are_read_exactly(values):
    cells = Cells(["" if value is None else repr(value) for value in values])
    found = typed("c", {"train": cells}, {"train": len(values)})["train"]
    np.testing.assert_array_equal(found, np.array(values, np.float64))
    np.testing.assert_array_equal(found, typed("c", {"train": values}, {"train": len(values)})["train"])


# ----------------------------------------------------------------------------------------------- values stay put


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(30, 90),
    shares=st.tuples(st.floats(0.05, 0.45), st.floats(0.05, 0.45)),
    own=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31 - 1),
)
def test_values_stay_with_their_examples(count, shares, own, seed):
    def part(begin, size):
        numbers = np.arange(begin, begin + size)
        x = np.repeat(numbers[:, None].astype(np.float32), 3, axis=1)
        return x, numbers % 2, {"number": numbers, "word": [f"w{n}" for n in numbers], "odd": numbers % 2 == 1}

    parts = {"train": part(0, count)}
    parts |= {name: part(1000 * i, 10) for i, name in ((1, "validation"), (2, "test")) if own[i - 1]}
    data = from_arrays(parts, section=DataSection(validation=shares[0], test=shares[1]), seed=seed)
    for split in splits_of(data):
        numbers = first_values(split)
        np.testing.assert_array_equal(split.metadata["number"], numbers)
        assert split.metadata["word"].tolist() == [f"w{int(number)}" for number in numbers]
        assert split.metadata["odd"].tolist() == (split.labels == 1).tolist()


@settings(deadline=None, max_examples=6)
@given(shares=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)), seed=st.integers(0, 2**31 - 1))
def test_values_stay_with_examples_that_stream(shares, seed):
    section = DataSection(validation=shares[0], test=shares[1], shuffle_buffer=8)
    for split in splits_of(from_arrays(people(), section=section, seed=seed)):
        np.testing.assert_array_equal(split.metadata["age"], first_values(split) / 2 + 30)


def test_metadata_cannot_be_changed_and_is_a_copy():
    ages = AGES.astype(np.float64)
    split = from_arrays(X, Y, metadata={"age": ages}).train
    with pytest.raises(ValueError, match="read-only"):
        split.metadata["age"][0] = 1
    with pytest.raises(TypeError):
        split.metadata["other"] = ages
    ages[:] = -1
    assert split.metadata["age"].min() >= 30


# ------------------------------------------------------------------------------------------------------- digests


def test_digests_without_metadata_are_those_of_before(tmp_path):
    assert from_arrays(X, Y).digest.startswith("82d608f0a4c83cdb")
    assert from_arrays({"train": tf.data.Dataset.from_tensor_slices((X, Y))}).digest.startswith("12580637df374e41")
    assert load_data(write_npz(tmp_path).section, 1).digest.startswith("b149aeead8355f7e")
    assert load_data(write_csv(tmp_path).section, 1).digest.startswith("c7b12f5c7f6dec3c")


def test_digest_tells_metadata():
    def digest(seed=0, **columns):
        return from_arrays(X, Y, seed=seed, metadata=columns).digest

    changed = AGES.copy()
    changed[-1] += 1
    words = [f"s{i % 2}" for i in range(40)]
    digests = [
        from_arrays(X, Y).digest,
        digest(age=AGES),
        digest(age=changed),
        digest(years=AGES),
        digest(age=words),
        digest(age=["s1", *words[1:]]),
        digest(age=AGES, site=words),
        digest(age=AGES > 50),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(each) == 64 and int(each, 16) for each in digests)
    assert digest(seed=3, site=words, age=AGES.astype(np.float32)) == digests[6]
    assert digest() == digests[0]


def test_digest_tells_metadata_of_streams(tmp_path):
    section = write_tfrecord(tmp_path).section
    one, other = (ages_file(tmp_path, range(start, start + COUNT), f"{start}.csv") for start in (0, 1))
    digests = {loaded(section, metadata_file=path).digest for path in (None, one, other)}
    assert len(digests) == 3


# ------------------------------------------------------------------------------------------------------- recipes


def test_recipes_write_what_is_given_only():
    def recipe(**data):
        content = {"name": "a", "prune": {"target": {"sparsity": 0.5}}, "data": {"source": "npz", "path": "a", **data}}
        return parse(content)

    plain = recipe()
    assert "metadata" not in plain.to_yaml()
    assert not any("metadata" in key for key in plain.model_dump(mode="json")["data"])
    given_keys = {"metadata": ["age"], "metadata_file": "a.csv", "metadata_test_file": "b.csv"}
    full = recipe(**given_keys)
    assert {key: value for key, value in full.model_dump(mode="json")["data"].items() if "meta" in key} == given_keys
    assert "metadata_file: a.csv" in full.to_yaml() and "metadata_validation_file" not in full.to_yaml()
    assert parse(full.model_dump(mode="json")) == full
    with pytest.raises(RecipeError, match=r"data.metadata: got 'age', expected a list"):
        recipe(metadata="age")
    some = [recipe(**{key: value}).digest for key, value in given_keys.items()]
    assert len({plain.digest, full.digest, *some}) == 5


# -------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (
            {"age": AGES[:30]},
            "metadata column 'age' of the train part has 30 values, but there are 40 examples",
        ),
        (
            {"age": np.stack([AGES, AGES], 1)},
            "metadata column 'age' of the train part has shape (40, 2); expected one value an example",
        ),
        (
            {"age": [[1], [2, 3]] * 20},
            "metadata column 'age' of the train part has a list at example 0; expected one value an example",
        ),
        (
            {"age": [1, (2, 3)] * 20},
            "metadata column 'age' of the train part has a tuple at example 1; expected one value an example",
        ),
        (
            {"age": [np.zeros((2, 2)), np.zeros((2, 3))]},
            "metadata column 'age' of the train part is ragged; expected one value an example",
        ),
        (
            {"age": 3},
            "metadata column 'age' of the train part has shape (); expected one value an example",
        ),
        (
            {"age": [b"a", b"\xff"] * 20},
            r"metadata column 'age' of the train part has bytes that are not UTF-8 text: b'\xff'",
        ),
        ({3: AGES}, "a metadata column is named 3; expected text"),
        ({"": AGES}, "a metadata column is named ''; expected text"),
        (
            AGES,
            "the metadata of the train part is of type ndarray; expected columns by name or a DataFrame",
        ),
        (
            None,
            "the metadata of the train part is of type NoneType; expected columns by name or a DataFrame",
        ),
    ],
)
def test_bad_columns_of_python(about, message):
    assert complaint(from_arrays, (X, Y, about)) == message


def test_columns_that_do_not_exist():
    section = DataSection(metadata=("agee",))
    found = complaint(from_arrays, (X, Y, {"age": AGES, "site": AGES}), section=section)
    assert found == "data.metadata: no column 'agee'; there are age, site; did you mean 'age'?"
    found = complaint(from_arrays, X, Y, section)
    assert found == "data.metadata: no column 'agee'; the source has none, name a file in data.metadata_file"
    found = complaint(from_arrays, X, None, metadata={"age": AGES})
    assert found == "metadata is given without y; give it beside y, or as the third item of (x, y, metadata)"


def test_columns_of_one_part_only(tmp_path):
    about = {"age": AGES}
    found = complaint(from_arrays, {"train": (X, Y, about), "test": (X, Y)})
    assert found == "metadata column 'age' is in the train part, but not in the test part"
    found = complaint(from_arrays, {"train": (X, Y), "validation": (X, Y, about)})
    assert found == "metadata column 'age' is in the validation part, but not in the train part"
    section = DataSection(metadata_file=ages_file(tmp_path, AGES))
    found = complaint(from_arrays, {"train": (X, Y), "test": (X, Y)}, section=section)
    assert found == (
        "metadata column 'age' is in the train part, but not in the test part; name its file in data.metadata_test_file"
    )
    found = complaint(from_arrays, {"train": (X, Y), "test": (X, Y[:30], about)})
    assert found == "the test part has 40 examples in x, but 30 labels in y"
    found = complaint(from_arrays, {"train": (X, Y, about), "test": (X[:9], Y[:9], about)})
    assert found == "metadata column 'age' of the test part has 40 values, but there are 9 examples"


@pytest.mark.parametrize(
    ("content", "update", "message"),
    [
        ("age\n1\n2\n", {}, ": 2 lines below the header, but the train part has 60 examples"),
        ("age,age\n1,2\n", {}, ": the header has 'age' twice; a column needs a name of its own"),
        ("", {}, ": no rows; expected at least one example"),
        ("age,site\n1,a\n2\n", {}, ", line 3: 1 values, but there are 2 columns"),
        ('age\n"1"2\n', {}, ", line 2: not valid CSV: ',' expected after '\"'"),
    ],
)
def test_bad_files(tmp_path, content, update, message):
    (tmp_path / "m.csv").write_text(content)
    found = load_complaint(write_npz(tmp_path).section, metadata_file=tmp_path / "m.csv", **update)
    assert found == f"{tmp_path}/m.csv{message}"


def test_files_that_are_not_there_or_not_needed(tmp_path):
    section, path = write_npz(tmp_path).section, ages_file(tmp_path, range(COUNT))
    assert load_complaint(section, metadata_file=tmp_path / "no.csv") == f"{tmp_path}/no.csv: no such file"
    found = load_complaint(section, metadata_file=path, metadata_test_file=path)
    assert found == (
        f"data.metadata_test_file: got '{path}', but the source has no test part of its own; leave it out: columns go "
        "along when the train part is split"
    )
    assert load_complaint(section, metadata_validation_file=path).startswith("data.metadata_validation_file: got ")
    found = load_complaint(section, metadata_file=path, metadata=("aeg",))
    assert found == "data.metadata: no column 'aeg'; there are age, site; did you mean 'age'?"


def test_a_column_without_a_name_stays_behind(tmp_path):
    path = write_rows(tmp_path / "m.csv", ["", "age"], [[i, i] for i in range(COUNT)])
    assert list(loaded(write_npz(tmp_path).section, metadata_file=path).train.metadata) == ["age"]


def test_columns_in_two_places(tmp_path):
    section = write_csv(tmp_path).section
    path = write_rows(tmp_path / "m.csv", ["first"], [[i] for i in range(COUNT)])
    found = load_complaint(section, metadata_file=path, metadata=("first",))
    assert found == f"metadata column 'first' is in {path} and in the train part of the data itself"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: [*names, "a/99.png"], "'a/99.png' is not a file of the train part; did you mean 'a/39.png'?"),
        (lambda names: names[1:], "no line for the file 'a/00.png' of the train part; expected one line an example"),
        (lambda names: [*names, names[0]], "'a/00.png' stands twice in column 'file'; expected one line an example"),
    ],
)
def test_pictures_that_cannot_be_joined(tmp_path, change, message):
    section = write_images(tmp_path).section
    names = sorted(path.relative_to(section.path).as_posix() for path in section.path.rglob("*.png"))
    path = write_rows(tmp_path / "m.csv", ["file", "age"], [[name, 1] for name in change(names)])
    for metadata in ((), ("age",)):
        assert load_complaint(section, metadata_file=path, metadata=metadata) == f"{path}: {message}"


def test_pictures_without_a_column_of_names(tmp_path):
    section = write_images(tmp_path).section
    path = ages_file(tmp_path, range(COUNT - 1))
    found = load_complaint(section, metadata_file=path)
    assert found == f"{path}: 59 lines below the header, but the train part has 60 examples"
    found = load_complaint(section, metadata=("widht",))
    assert found == "data.metadata: no column 'widht'; there are width, height; did you mean 'width'?"


def test_bad_columns_of_tables_and_archives(tmp_path):
    section = write_csv(tmp_path).section
    found = load_complaint(section, metadata=("frist",))
    assert found == "data.metadata: no column 'frist'; there are first, second, kind; did you mean 'first'?"
    found = load_complaint(section, metadata=("first", "second"))
    assert found == f"{section.path}: no column besides the label 'kind' and metadata"
    path = tmp_path / "d.npz"
    np.savez(path, x=X, y=Y, x_test=X, y_test=Y, age=AGES)
    archive = NpzData(source="npz", path=path)
    found = load_complaint(archive, metadata=("age",))
    assert found == f"{path}: no array 'age_test'; it has x, y, x_test, y_test, age; did you mean 'y_test'?"
    found = load_complaint(archive, metadata=("agee",))
    assert found == "data.metadata: no column 'agee'; there are age; did you mean 'age'?"
    np.savez(path, x=X, y=Y, age=AGES[:7])
    found = load_complaint(archive, metadata=("age",))
    assert found == "metadata column 'age' of the train part has 7 values, but there are 40 examples"


def test_bad_features_of_records(tmp_path):
    path = tmp_path / "a.tfrecord"
    section = write_people(path)
    found = load_complaint(section, metadata=("agee",))
    assert found == "data.metadata: no column 'agee'; there are age, dose, label, site; did you mean 'age'?"
    write_people(path, age=None)
    found = load_complaint(section, metadata=("age",))
    assert found == f"{path}: record 39 has no feature 'age'; it has dose, image, label, site; did you mean 'image'?"
    assert load_data(section, seed=0).train.size == 28, "what is not asked for may be missing"
    write_people(path, dose=tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2])))
    found = load_complaint(section, metadata=("dose",))
    assert found == f"{path}: record 39 has a feature 'dose' that is not a single value of float"
    write_people(path, site=tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\xff"])))
    found = load_complaint(section, metadata=("site",))
    assert found == r"metadata column 'site' of the train part has bytes that are not UTF-8 text: b'\xff'"
    path.write_bytes(path.read_bytes()[5:])
    assert load_complaint(section, metadata=("age",)).startswith(f"{path}: record 0 is corrupt (")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda: people(age=X), "metadata column 'age' of the train part has shape (40, 2); expected one value an"),
        (
            lambda: people().map(lambda x, y, m: (x, y, m["age"])),
            "the Dataset of the train part gives a third item TensorSpec(shape=(), dtype=tf.int32, name=None)",
        ),
        (
            lambda: people().map(lambda x, y, m: (x, y, {"deep": m})),
            "the Dataset of the train part gives (TensorSpec",
        ),
        (lambda: people().batch(4), "the Dataset of the train part looks batched; call .unbatch() on it"),
        (lambda: people().map(lambda x, y, m: (x, y, m, m)), "the Dataset of the train part gives (TensorSpec"),
    ],
)
def test_bad_datasets(dataset, message):
    assert complaint(from_arrays, {"train": dataset()}).startswith(message)


def test_errors_of_a_function_name_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (write_function, write_dataset):
        section = write(tmp_path).section
        found = load_complaint(section, metadata=("age",))
        assert found.startswith(
            f"data.function {section.function}: data.metadata: no column 'age'; the source has none"
        )
