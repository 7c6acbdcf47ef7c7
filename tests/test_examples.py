"""The examples run, and end at what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import tfprune

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"fit.py"}


def test_fit(capsys: pytest.CaptureFixture[str]) -> None:
    plain = runpy.run_path(str(EXAMPLES / "fit.py"))["main"]()
    assert tfprune.measure(plain).sparsity == pytest.approx(0.8, abs=0.001)
    printed = capsys.readouterr().out
    assert "dense: 9" in printed
    assert "hardest" in printed
