"""Tables of couplings and of what structured pruning did, from the real thing."""

from __future__ import annotations

import json
import re

import pytest
import tiny_workflow
from rich.console import Console

import tfprune
from tfprune.report.summary import as_json
from tfprune.report.surgery import (
    couplings_sentence,
    couplings_table,
    surgery_sentence,
    surgery_table,
    weights_table,
)
from tfprune.results import Coupling


def shown(table) -> list[list[str]]:
    """The cells of a table as a terminal shows them, row by row."""
    console = Console(width=250, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(table)
    rows = [line for line in console.export_text().splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", row)[1:-1]] for row in rows]


@pytest.fixture(scope="module")
def report():
    return tfprune.shrink(tiny_workflow.build((8,), 3), ratio=0.25)[1]


def test_couplings():
    found = (
        Coupling("conv", "filters", 1600, ("conv", "norm", "next"), 1234, 5678, 0.123456, True),
        Coupling("attention", "heads", 4, ("attention",), 100, 50, 2.0, False),
    )
    assert shown(couplings_table(found)) == [
        ["coupling", "kind", "units", "parameters", "MACs", "score", "exact", "layers"],
        ["conv", "filters", "1,600", "1,234", "5,678", "0.1235", "yes", "conv, norm, next"],
        ["attention", "heads", "4", "100", "50", "2", "no", "attention"],
    ]
    assert couplings_sentence(found) == ("2 couplings with units that can be removed: 1,600 of filters, 4 of heads.")
    assert couplings_sentence(()) == "0 couplings with units that can be removed: none."


def test_before_and_after(report):
    before, after = report.before, report.after
    rows = shown(weights_table(before, after))
    assert rows[0] == ["", "before", "after", "smaller"]
    assert rows[1] == ["parameters", "531", "351", "1.5x"]
    assert rows[2] == ["MACs", "432", "276", "1.6x"]
    assert [row[0] for row in rows[3:]] == ["MB of weights"]
    assert shown(weights_table(before, after, (2.0, 0.5)))[-1] == ["ms in LiteRT", "2.000", "0.500", "4.0x"]


def test_layers_that_changed(report):
    rows = shown(surgery_table(report))
    assert rows[0] == ["layer", "kind", "inputs", "outputs", "parameters", "MACs", "exact"]
    assert [row[0] for row in rows[1:]] == list(report.layers) == ["first", "norm", "second", "last"]
    assert rows[1] == ["first", "Dense", "8", "12", "144 to 108", "128 to 96", "yes"]
    assert rows[3] == ["second", "Dense", "12", "12", "272 to 156", "256 to 144", "yes"]
    assert surgery_sentence(report).startswith("8 of 32 units removed (25.0%)")


def test_json_of_a_report_loads(report):
    content = json.loads(as_json(report))
    assert len(content["layers"]["first"]["kept_outputs"]) == 12
    assert content["plan"]["sizes"] == {"first": 16, "second": 16}
    assert len(content["layers"]["second"]["kept"][0][1]) == 12
