"""From a recipe's model section to a model that fits the data."""

from __future__ import annotations

import inspect
from typing import Any

from tfprune.backend import keras
from tfprune.errors import ModelError, nearest
from tfprune.importing import call, call_function
from tfprune.models import files
from tfprune.models.applications import build_application
from tfprune.models.builtin import BUILTIN
from tfprune.models.checks import check_fits
from tfprune.recipe import ModelSection

Shape = tuple[int | None, ...]


def load_model(
    section: ModelSection,
    *,
    input_shape: Shape,
    input_dtype: Any,
    classes: int,
    vocabulary_size: int | None = None,
) -> keras.Model:
    """Build or read the dense model that a recipe names, and check that it fits the data.

    Args:
        section: names exactly one builtin, file, application or function.
        input_shape: of one example of the data, without the batch axis.
        input_dtype: of the examples: a NumPy or TensorFlow type, or its name.
        classes: number of classes of the data.
        vocabulary_size: number of token ids of text data; the builtin `text-transformer` takes it unless
            `section.arguments` says `vocabulary`.

    Returns:
        A built model with one input and one softmax output of `classes` values. It may come compiled from a file.

    Raises:
        ModelError: the source is missing or fails, or the model does not fit the data.

    Example:
        >>> section = ModelSection(builtin="digits-cnn")
        >>> load_model(section, input_shape=(8, 8, 1), input_dtype="float32", classes=10).output_shape
        (None, 10)
    """
    shape = tuple(input_shape)
    if section.builtin is not None:
        model = _builtin(section, shape, classes, vocabulary_size)
        label = f"model {section.builtin}"
    elif section.file is not None:
        model = files.load(section.file)
        label = str(section.file)
    elif section.application is not None:
        model = build_application(section.application, shape, classes, section.weights, section.arguments)
        label = f"model {section.application}"
    else:
        name = str(section.function)
        given = {"input_shape": shape, "classes": classes, **section.arguments}
        model = call_function(name, "model.function", ModelError, **given)
        label = name
    return check_fits(model, label, shape, input_dtype, classes)


def _builtin(section: ModelSection, shape: Shape, classes: int, vocabulary_size: int | None) -> keras.Model:
    name = str(section.builtin)
    function = BUILTIN[name]
    arguments = dict(section.arguments)
    allowed = list(inspect.signature(function).parameters)[2:]
    for key in arguments:
        if key not in allowed:
            raise ModelError(f"{name}: unknown argument {key!r}; allowed: {', '.join(allowed)}{nearest(key, allowed)}")
    if "vocabulary" in allowed:
        vocabulary = arguments.setdefault("vocabulary", vocabulary_size)
        if vocabulary is None:
            raise ModelError(f"{name}: the data has no vocabulary; give model.arguments.vocabulary, the number of ids")
        if vocabulary_size is not None and vocabulary < vocabulary_size:
            raise ModelError(f"{name}: vocabulary {vocabulary} is smaller than the {vocabulary_size} ids of the data")
    return call(function, f"model {name}", ModelError, shape, classes, **arguments)
