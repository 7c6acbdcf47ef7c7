"""Latency and memory as a table and a sentence."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from tfprune.report.latency import latency_table, memory_sentence
from tfprune.results import Latency, Measurement

QUIET = Latency(0.1158, 0.1150, 0.1212, 1000, threads=2, batch=4)
NOISY = Latency(12.874, 9.0, 20.1, 139, runtime="tensorflow", delegate="none", noise="warm-up never settled")
WEIGHT = Measurement(10, 10, 8, 0, 5, 40, 30, (), QUIET, NOISY, 314_676, 798_720, 42_962_944)


def shown(measurement: Measurement) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(latency_table(measurement))
    return console.file.getvalue()


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]


def test_runtimes_stand_one_a_line() -> None:
    assert cells(shown(WEIGHT)) == [
        ["LiteRT", "0.116", "0.121", "5%", "1,000", "2", "4", "xnnpack"],
        ["TensorFlow", "12.9", "20.1", "86%", "139", "1", "1", "none"],
    ]


def test_noise_is_told_beneath() -> None:
    text = " ".join(shown(WEIGHT).split())
    assert "TensorFlow: the machine was too noisy to trust this: warm-up never settled" in text
    assert "noisy" not in shown(replace(WEIGHT, tensorflow=QUIET))


def test_memory_in_a_sentence() -> None:
    assert memory_sentence(WEIGHT) == (
        "As a LiteRT file 314.7 kB; its arena without a delegate 798.7 kB; "
        "peak memory of a process that runs it 42.96 MB."
    )
    assert memory_sentence(replace(WEIGHT, peak_memory=None)).endswith("runs it unknown.")
