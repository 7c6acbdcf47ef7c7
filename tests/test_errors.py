"""The exception tree is what its drawing says."""

from __future__ import annotations

import inspect
import re

import pytest

from tfprune import errors

OURS = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
CLASSES = [c for c in OURS if not issubclass(c, Warning)]
DRAWN = re.findall(r"^ {4}(?:[│ ]*[├└]── )?([A-Z]\w+) ", errors.__doc__, re.MULTILINE)


def test_the_drawing_shows_every_class_once():
    assert sorted(DRAWN) == sorted(c.__name__ for c in CLASSES)
    assert DRAWN[0] == "TfpruneError"


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_belongs_to_the_tree(error):
    assert issubclass(error, errors.TfpruneError)
    assert issubclass(error, Exception)
    assert not issubclass(error, KeyError), "KeyError prints its message in quotes"
    assert error.__doc__


@pytest.mark.parametrize("error", CLASSES)
def test_exit_codes(error):
    assert error.exit_code == {errors.Interrupted: 130, errors.ToleranceError: 1}.get(error, 2)


@pytest.mark.parametrize("error", CLASSES)
def test_message_is_kept_as_given(error):
    assert str(error("conv1: no such layer; did you mean 'conv_1'?")) == "conv1: no such layer; did you mean 'conv_1'?"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("sparsty", ["sparsity", "rounds"], "; did you mean 'sparsity'?"),
        ("rounds", ["rounds"], "; did you mean 'rounds'?"),
        ("zzz", ["sparsity", "rounds"], ""),
        ("", ["sparsity"], ""),
        ("x", [], ""),
        (8, [7, 80], "; did you mean '80'?"),
        ("epoch", (key for key in ("epochs", "epoch_size")), "; did you mean 'epochs'?"),
    ],
)
def test_nearest(name, known, expected):
    assert errors.nearest(name, known) == expected


def test_the_only_warning_is_one_that_users_can_filter_as_theirs():
    assert [c for c in OURS if c not in CLASSES] == [errors.TfpruneWarning]
    with pytest.warns(UserWarning, match="look here") as told:
        errors.warn("look here")
    assert told[0].filename == __file__
