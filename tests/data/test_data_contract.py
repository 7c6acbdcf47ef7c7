"""What every data source promises, tried on one source of each kind."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
from tiny_sources import write_tfrecord

from tfprune.backend import tf
from tfprune.data.load import load_data

SPLITS = ("train", "validation", "test")


def everything(dataset):
    """All (x, y) of a batched dataset."""
    pairs = list(dataset)
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def contents(data):
    return {name: everything(getattr(data, name).batches(32)) for name in SPLITS}


def test_splits_are_complete_disjoint_and_aligned(writer):
    source = writer()
    data = load_data(source.section, seed=1)
    found = contents(data)
    assert sum(getattr(data, name).size for name in SPLITS) == source.count
    assert data.validation.size == round(0.15 * source.count) == data.test.size
    seen = Counter(x.tobytes() for xs, _ in found.values() for x in xs)
    assert len(seen) == source.count, "an example is missing or came twice"
    for name, (xs, ys) in found.items():
        split = getattr(data, name)
        assert split.name == name
        assert split.labels.dtype == np.int64
        assert split.labels.tolist() == ys.tolist() == [source.label_of(x, data) for x in xs]
        assert set(ys.tolist()) == set(range(len(data.classes))), "not every class is in every split"


def test_shapes_and_cardinalities_are_known(writer):
    data = load_data(writer().section, seed=1)
    for split in (data.train, data.validation, data.test):
        x, y = split.examples().element_spec
        assert tuple(x.shape) == data.input_shape
        assert x.dtype.name == data.input_dtype == ("int64" if data.vocabulary else "float32")
        assert (y.shape, y.dtype) == ((), tf.int64)
        assert split.examples().cardinality() == split.size
        for batched in (split.batches(8), split.epoch(8, seed=0, epoch=0)):
            assert batched.cardinality() == -(-split.size // 8)
    first_x, first_y = next(iter(data.train.examples()))
    assert first_x.shape == data.input_shape
    assert first_y == data.train.labels[0]


def test_same_seed_same_splits_other_seed_other_splits(writer):
    source = writer()
    once, twice, other = (contents(load_data(source.section, seed)) for seed in (1, 1, 2))
    for name in SPLITS:
        np.testing.assert_array_equal(once[name][0], twice[name][0])
        np.testing.assert_array_equal(once[name][1], twice[name][1])
    assert any(not np.array_equal(once[name][0], other[name][0]) for name in SPLITS)


def test_an_epoch_follows_from_seed_and_number_alone(writer):
    data = load_data(writer().section, seed=1)
    fixed, _ = everything(data.train.batches(8))
    tf.random.set_seed(1)
    x, y = everything(data.train.epoch(8, seed=5, epoch=3))
    tf.random.set_seed(2)
    again, again_y = everything(data.train.epoch(8, seed=5, epoch=3))
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(y, again_y)
    assert Counter(v.tobytes() for v in x) == Counter(v.tobytes() for v in fixed)
    pairs = {v.tobytes(): label for v, label in zip(fixed, data.train.labels, strict=True)}
    assert [pairs[v.tobytes()] for v in x] == y.tolist()
    for other in (fixed, *(everything(data.train.epoch(8, seed=s, epoch=e))[0] for s, e in ((5, 4), (6, 3)))):
        assert not np.array_equal(x, other)


def test_digest_tells_content(writer, request):
    once, twice = load_data(writer().section, seed=1), load_data(writer().section, seed=2)
    assert once.digest == twice.digest
    assert int(once.digest, 16) > 0
    if "digits" not in request.node.name:  # nobody can change scikit-learn's digits
        assert load_data(writer(changed=True).section, seed=1).digest != once.digest


def test_another_process_draws_the_same_epoch(tmp_path):
    section = write_tfrecord(tmp_path).section
    program = (
        "import sys, numpy as np; from tfprune.backend import tf; from tfprune.data.load import load_data;"
        "from tfprune.recipe import TFRecordData; tf.random.set_seed(77);"
        "data = load_data(TFRecordData.model_validate_json(sys.argv[1]), seed=1);"
        "print([int(x[0, 0, 0]) for xs, _ in data.train.epoch(8, seed=5, epoch=3) for x in xs.numpy()])"
    )
    command = [sys.executable, "-c", program, section.model_dump_json()]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    here, _ = everything(load_data(section, seed=1).train.epoch(8, seed=5, epoch=3))
    assert there == str([int(x[0, 0, 0]) for x in here])
