"""All of keras.applications: half of the units gone, and the answers are those of the model with these cut off."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import oracle
import pytest

import tfprune
from tfprune.backend import keras
from tfprune.models.applications import application_names

LEAST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}  # pixels; the others take 32
FAMILIES = (
    *(
        "ConvNeXt",
        "DenseNet",
        "EfficientNetB",
        "EfficientNetV2",
        "Inception",
        "MobileNet",
        "NASNet",
        "RegNetX",
        "RegNetY",
    ),
    *("ResNet", "ResNetRS", "VGG", "Xception"),
)
# The smallest of each.
SMALLEST = (
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "NASNetMobile",
    "RegNetX002",
    "RegNetY002",
    "ResNet50",
    "ResNet50V2",
    "ResNetRS50",
    "VGG16",
    "Xception",
)
# Of these, one or two for each way of joining: concatenated, depthwise, residual, gated and grouped.
QUICK = ("DenseNet121", "MobileNetV2", "MobileNetV3Small", "RegNetY002", "ResNet50")


@dataclass(frozen=True)
class Row:
    """What shrinking did to one application.

    Attributes:
        params, macs: of the original, and what is left of each as a share.
        error: of the outputs against the original with its units cut off, in float64, relative to the largest.
        seconds: that shrink took.
    """

    name: str
    params: int
    params_left: float
    macs: int
    macs_left: float
    error: float
    seconds: float


def application(name: str) -> keras.Model:
    """An application with random weights for the smallest images it takes; 10 logits, as a softmax hides errors."""
    size = LEAST.get(name, 32)
    build = getattr(keras.applications, name)
    return oracle.randomise(build(weights=None, classes=10, input_shape=(size, size, 3), classifier_activation=None))


def shrunk_application(name: str, ratio: float = 0.5, **options: Any) -> Row:
    """Shrink one application and hold it against the reference."""
    model = application(name)
    start = time.perf_counter()
    shrunk, report = tfprune.shrink(model, ratio=ratio, **options)
    seconds = time.perf_counter() - start
    inputs = oracle.random_inputs(model, scale=50.0)  # about as bright as pictures
    oracle.assert_slices(shrunk, model, report)
    return Row(
        name,
        report.before.parameters,
        report.after.parameters / report.before.parameters,
        report.before.macs,
        report.after.macs / report.before.macs,
        oracle.difference(shrunk, model, report, inputs),
        seconds,
    )


def test_all_families_are_here() -> None:
    assert len(application_names()) >= 71
    assert {*SMALLEST, *LEAST} <= set(application_names())
    assert set(QUICK) <= set(SMALLEST)
    assert all(name.startswith(FAMILIES) for name in application_names())
    assert all(any(name.startswith(family) for name in SMALLEST) for family in FAMILIES)


@pytest.mark.timeout(1800)  # the largest take minutes on a busy machine
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in application_names()]
)
def test_shrinks_by_half(name: str) -> None:
    row = shrunk_application(name)
    assert row.error <= 1e-10
    assert row.params_left <= 0.6
    assert row.macs_left <= 0.75


def test_a_wrong_slice_of_the_first_layer_shows_at_the_end() -> None:
    model = application("MobileNet")
    shrunk, report = tfprune.shrink(model, ratio=0.5)
    kernel = shrunk.get_layer("conv1").kernel
    kernel.assign(kernel.numpy()[..., ::-1])
    assert oracle.difference(shrunk, model, report, oracle.random_inputs(model, scale=50.0)) > 1e-8


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["MobileNetV2", "RegNetY002", "ResNet50", "ConvNeXtTiny"])
@pytest.mark.parametrize("units", [("blocks",), ("filters", "heads", "key_size", "blocks", "hidden")])
def test_shrinks_by_other_units(name: str, units: tuple[str, ...]) -> None:
    row = shrunk_application(name, scope="global", units=units)
    assert row.error <= 1e-10
    assert row.params_left < 0.95
