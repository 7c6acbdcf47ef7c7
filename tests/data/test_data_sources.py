"""What single sources do beyond the contract."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sources import COUNT, write_images, write_module, write_records, write_rows, write_text

from tfprune.backend import tf
from tfprune.data.keras_datasets import network_timeout, tidy
from tfprune.data.load import from_arrays, load_data
from tfprune.data.streams import shuffle_windows
from tfprune.errors import DataError, DependencyError
from tfprune.recipe import (
    CsvData,
    DataSection,
    DigitsData,
    FunctionData,
    ImagesData,
    KerasData,
    NpzData,
    TfdsData,
    TFRecordData,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"


def toy(count: int = 40, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).random((count, 3), np.float32), np.arange(count) % classes


def test_digits_are_scaled_images():
    data = load_data(DigitsData(source="digits"), seed=0)
    x, _ = next(iter(data.train.batches(2000)))
    assert data.input_shape == (8, 8, 1)
    assert (x.numpy().min(), x.numpy().max()) == (0, 1)
    assert np.ptp(np.bincount(data.test.labels)) <= 2


def test_own_test_part_of_an_archive_is_kept_whole(tmp_path):
    x, y = toy()
    np.savez(tmp_path / "d.npz", a=x, b=y, a_test=x[:7] + 5, b_test=y[:7])
    data = load_data(NpzData(source="npz", path=tmp_path / "d.npz", x="a", y="b"), seed=0)
    assert (data.train.size, data.validation.size, data.test.size) == (34, 6, 7)
    np.testing.assert_array_equal(next(iter(data.test.batches(7)))[0], x[:7] + 5)


def test_own_test_part_of_folders_and_tables(tmp_path):
    folder = write_images(tmp_path).section.path
    data = load_data(ImagesData(source="images", path=folder, test_path=folder, size=(4, 4)), seed=0)
    assert (data.train.size + data.validation.size, data.test.size) == (COUNT, COUNT)
    assert data.classes == ("a", "b", "c")
    text = write_text(tmp_path).section
    data = load_data(text.model_copy(update={"test_path": text.path}), seed=0)
    assert (data.train.size + data.validation.size, data.test.size) == (COUNT, COUNT)


def test_images_are_resized_scaled_and_grey_where_asked(tmp_path):
    folder = write_images(tmp_path).section.path
    Image.new("RGB", (9, 9), (200, 200, 200)).save(folder / "a" / "more.gif")
    Image.new("L", (9, 9), 200).save(folder / "a" / "more.jpg")
    Image.new("RGB", (9, 9), (200, 200, 200)).save(folder / "a" / "more.bmp")
    section = ImagesData(source="images", path=folder, size=(3, 7), channels=1, divide_by=200)
    data = load_data(section, seed=0)
    assert data.input_shape == (3, 7, 1)
    values = [x.numpy() for split in (data.train, data.validation, data.test) for x, _ in split.examples()]
    assert sum(bool(np.allclose(x, 1, atol=0.02)) for x in values) == 3


def test_classes_rename_or_reorder(tmp_path):
    section = write_images(tmp_path).section
    renamed = load_data(section.model_copy(update={"classes": ("cat", "dog", "eel")}), seed=0)
    reordered = load_data(section.model_copy(update={"classes": ("c", "b", "a")}), seed=0)
    assert renamed.classes == ("cat", "dog", "eel")
    assert reordered.classes == ("c", "b", "a")
    for data, sign in ((renamed, 1), (reordered, -1)):
        for x, y in data.test.examples():
            assert int(y) == (sign * int(x[0, 0, 0]) + (sign < 0) * 2) % 3


def test_table_columns_and_numbering(tmp_path):
    rows = [[i, i * 2, 1 + i % 4, "noise"] for i in range(40)]
    path = write_rows(tmp_path / "t.csv", ["a", "b", "class", "note"], rows)
    section = CsvData(source="csv", path=path, label="class", features=("b", "a"))
    data = load_data(section, seed=0)
    assert data.classes == ("1", "2", "3", "4")
    for x, y in data.train.examples():
        assert float(x[0]) == 2 * float(x[1])
        assert int(y) == int(x[1]) % 4
    named = load_data(section.model_copy(update={"classes": ("w", "x", "y", "z")}), seed=0)
    assert named.classes == ("w", "x", "y", "z")
    np.testing.assert_array_equal(named.train.labels, data.train.labels)


def test_vocabulary_is_learnt_from_training_texts_only(tmp_path):
    rows = [[f"only{i} kind{i % 2}", "no" if i % 2 else "yes"] for i in range(40)]
    path = write_rows(tmp_path / "t.csv", ["text", "answer"], rows)
    data = load_data(CsvData(source="csv", path=path, label="answer", text=("text",), length=3), seed=0)
    assert data.classes == ("no", "yes")
    assert (data.input_shape, data.input_dtype) == ((3,), "int64")
    assert sum(word.startswith("only") for word in data.vocabulary) == data.train.size
    unknown = data.vocabulary.index("[UNK]")
    for x, y in data.test.examples():
        assert x.numpy()[0] == unknown
        assert data.vocabulary[x.numpy()[1]] == ("kind1" if int(y) == 0 else "kind0")


def test_one_hot_columns_and_dicts_from_hand():
    x, y = toy(60, 3)
    plain, one_hot, column = (from_arrays(x, labels) for labels in (y, np.eye(3)[y], y[:, None]))
    np.testing.assert_array_equal(plain.train.labels, one_hot.train.labels)
    np.testing.assert_array_equal(plain.train.labels, column.train.labels)
    assert from_arrays((x, y)).digest == plain.digest
    parts = from_arrays({"train": (x, y), "validation": (x[:5], y[:5]), "test": (x[:9], y[:9])})
    assert (parts.train.size, parts.validation.size, parts.test.size) == (60, 5, 9)
    named = from_arrays(x, y, DataSection(classes=("a", "b", "c"), divide_by=2), 3)
    assert named.classes == ("a", "b", "c")
    assert float(next(iter(named.train.batches(60)))[0].numpy().max()) <= 0.5


def test_token_ids_stay_whole_numbers():
    ids = np.arange(80).reshape(40, 2)
    data = from_arrays(ids, np.arange(40) % 2)
    assert data.input_dtype == "int64"
    assert from_arrays(ids.astype(np.uint8), np.arange(40) % 2).input_dtype == "float32"
    dataset = tf.data.Dataset.from_tensor_slices((ids, np.arange(40) % 2))
    assert from_arrays({"train": dataset}).input_dtype == "int64"


def test_windows_shuffle_every_element_once():
    order = list(shuffle_windows(tf.data.Dataset.range(100), 30, seed=1).as_numpy_iterator())
    assert sorted(order) == list(range(100))
    assert sorted(order[:30]) == list(range(30))
    assert order[:30] != list(range(30))
    assert [o % 30 for o in order[:30]] != [o % 30 for o in order[30:60]]


def test_keras_arrays_get_a_channel_axis_and_one_length():
    assert tidy(np.zeros((4, 5, 6), np.uint8), np.zeros(4))[0].shape == (4, 5, 6, 1)
    assert tidy(np.zeros((4, 5, 6, 3), np.uint8), np.zeros(4))[0].shape == (4, 5, 6, 3)
    ragged = np.array([[1, 2], [3] * 300], object)
    x, _ = tidy(ragged, np.zeros(2))
    assert x.shape == (2, 256)
    assert x[0, :3].tolist() == [1, 2, 0]


def test_keras_names_are_checked():
    with pytest.raises(DataError, match=r"^data.name: got 'mnits', expected one of .*; did you mean 'mnist'\?$"):
        load_data(KerasData(source="keras", name="mnits"), seed=0)


def test_keras_without_network_says_so_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port where nobody answers: no network
    begin = time.monotonic()
    with pytest.raises(DataError) as caught:
        load_data(KerasData(source="keras", name="reuters"), seed=0)
    assert time.monotonic() - begin < 30
    assert "'reuters' is not on this machine, and its first use needs a network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_silent_sockets_give_up_only_inside():
    before = socket.getdefaulttimeout()
    with network_timeout(2.5):
        assert socket.getdefaulttimeout() == 2.5
    assert socket.getdefaulttimeout() == before


def test_tfds_names_its_package():
    try:
        import tensorflow_datasets  # noqa: F401
    except ImportError:
        with pytest.raises(DependencyError, match="pip install tensorflow-datasets"):
            load_data(TfdsData(source="tfds", name="mnist"), seed=0)
    else:
        pytest.skip("tensorflow-datasets is installed")


def test_tfds_reads_what_lies_on_this_machine(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyThings(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(4, 4, 3)), tfds.features.ClassLabel(names=["a", "b", "c"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, _):
            return {"train": self._generate_examples(0, 60), "test": self._generate_examples(60, 90)}

        def _generate_examples(self, begin, end):
            for i in range(begin, end):
                yield i, {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 3}

    TinyThings(data_dir=str(tmp_path)).download_and_prepare()
    data = load_data(TfdsData(source="tfds", name="tiny_things", directory=tmp_path), seed=0)
    assert (data.train.size, data.validation.size, data.test.size) == (51, 9, 30)
    assert data.classes == ("a", "b", "c")
    for split in (data.train, data.validation, data.test):
        for x, y in split.examples():
            assert int(x[0, 0, 0]) % 3 == int(y)


def test_function_gets_its_arguments_and_may_give_datasets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = write_module(
        tmp_path,
        "import numpy as np\nfrom tfprune.backend import tf\n"
        "def parts(count):\n"
        "    x, y = np.arange(count * 2.0).reshape(count, 2), np.eye(2)[np.arange(count) % 2]\n"
        "    give = lambda n: tf.data.Dataset.from_tensor_slices((x[:n], y[:n]))\n"
        "    return {'train': give(count), 'test': give(8)}\n",
    )
    section = FunctionData(source="function", function=f"{name}:parts", arguments={"count": 50}, divide_by=2)
    data = load_data(section, seed=0)
    assert (data.train.size, data.validation.size, data.test.size) == (42, 8, 8)
    x, y = next(iter(data.test.batches(8)))
    np.testing.assert_array_equal(x, np.arange(16).reshape(8, 2) / 2)
    np.testing.assert_array_equal(y, np.arange(8) % 2)


def test_records_of_a_second_glob_are_the_test_part(tmp_path):
    images = [np.full((2, 2, 1), i, np.uint8).tobytes() for i in range(30)]
    write_records(tmp_path / "a.tfrecord", images, [i % 2 for i in range(30)])
    write_records(tmp_path / "b.tfrecord", images[:6], [i % 2 for i in range(6)])
    section = TFRecordData(
        source="tfrecord",
        path=str(tmp_path / "a*"),
        test_path=str(tmp_path / "b*"),
        encoding="raw",
        shape=(2, 2, 1),
        divide_by=255,
    )
    data = load_data(section, seed=0)
    assert (data.train.size + data.validation.size, data.test.size) == (30, 6)
    assert float(next(iter(data.test.batches(6)))[0][5, 0, 0, 0]) == pytest.approx(5 / 255)


def test_real_records():
    if not (SHARED / "cifar10" / "test.tfrecord").is_file():
        pytest.skip("the CIFAR-10 records are not beside the project")
    path = str(SHARED / "cifar10" / "test.tfrecord")
    data = load_data(TFRecordData(source="tfrecord", path=path, shape=(32, 32, 3), divide_by=255), seed=0)
    assert (data.train.size, data.validation.size, data.test.size) == (3500, 750, 750)
    x, y = next(iter(data.train.epoch(64, seed=0, epoch=0)))
    assert x.shape == (64, 32, 32, 3)
    assert 0 <= float(tf.reduce_min(x)) < float(tf.reduce_max(x)) <= 1
    assert len(set(y.numpy().tolist())) > 5


def test_real_texts(tmp_path):
    articles = SHARED / "ag_news" / "articles.csv"
    if not articles.is_file():
        pytest.skip("the AG News articles are not beside the project")
    with articles.open(encoding="utf-8") as stream:
        lines = [next(stream) for _ in range(300)]
    (tmp_path / "news.csv").write_text("".join(lines), "utf-8")
    section = CsvData(
        source="csv",
        path=tmp_path / "news.csv",
        label="class",
        columns=("class", "title", "text"),
        text=("title", "text"),
        classes=("World", "Sports", "Business", "Sci/Tech"),
    )
    data = load_data(section, seed=0)
    assert data.classes[3] == "Sci/Tech"
    assert data.train.size + data.validation.size + data.test.size == 300
    assert data.input_shape == (64,)
    assert "the" in data.vocabulary
