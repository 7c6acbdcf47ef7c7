"""The examples run, and end at what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import tfprune

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"edge_cases.py", "fit.py"}


def test_fit(capsys: pytest.CaptureFixture[str]) -> None:
    plain = runpy.run_path(str(EXAMPLES / "fit.py"))["main"]()
    assert tfprune.measure(plain).sparsity == pytest.approx(0.8, abs=0.001)
    printed = capsys.readouterr().out
    assert "dense: 9" in printed
    assert "hardest" in printed


def test_edge_cases(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits in the size of CIFAR-10's images, too few and too short to learn much, go the whole way."""
    digits, labels = load_digits(return_X_y=True)
    pixels = np.kron(digits.reshape(-1, 8, 8), np.ones((4, 4)))[..., None] * np.full(3, 255 / 16)
    images = {"x": pixels[:1200], "y": labels[:1200], "x_test": pixels[1200:1400], "y_test": labels[1200:1400]}
    np.savez(tmp_path / "images.npz", **{name: values.astype(np.uint8) for name, values in images.items()})
    arguments = ["--npz", str(tmp_path / "images.npz"), "--examples", "400", "--epochs", "1", "--finetune", "1"]
    monkeypatch.setattr("sys.argv", ["edge_cases.py", *arguments])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / "edge_cases.py"))["main"]()
    printed = capsys.readouterr().out
    assert "average-only-1: " in printed and "every-slice-1: " in printed
    assert "tfprune compare average-only-1 every-slice-1" in printed
    (path,) = (home / "workflows" / "every-slice-1").glob("round-01.examples.parquet")
    names = pq.read_schema(path).names
    assert {"slice/cats_and_dogs", "slice/blurred_cats_and_dogs", "slice/noise_2", "slice/brightness_q4"} <= set(names)
