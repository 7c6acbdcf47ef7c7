"""Couplings of a model and what structured pruning did to it, as sentences and as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tfprune.results import Coupling, Measurement, SurgeryReport

_MOST_NAMES = 4


def couplings_table(couplings: Sequence[Coupling]) -> Table:
    """Couplings of a model: what falls together, what a unit of it costs, and what it is worth."""
    table = Table(caption="parameters, MACs and score are those of one unit, on average", padding=0)
    for column in ("coupling", "kind", "units", "parameters", "MACs", "score", "exact"):
        table.add_column(
            column, justify="left" if column in ("coupling", "kind", "exact") else "right", overflow="fold"
        )
    table.add_column("layers", ratio=1, overflow="fold")
    for each in couplings:
        cells = (f"{each.size:,}", f"{each.parameters:,}", f"{each.macs:,}", f"{each.score:.4g}")
        table.add_row(each.name, each.kind, *cells, "yes" if each.exact else "no", ", ".join(each.layers))
    return table


def couplings_sentence(couplings: Sequence[Coupling]) -> str:
    """How many units there are of which kind, in one sentence."""
    kinds = dict.fromkeys(each.kind for each in couplings)
    counts = [f"{sum(each.size for each in couplings if each.kind == kind):,} of {kind}" for kind in kinds]
    return f"{len(couplings):,} couplings with units that can be removed: {', '.join(counts) or 'none'}."


def weights_table(before: Measurement, after: Measurement, latencies: tuple[float, float] | None = None) -> Table:
    """A model before and after; `latencies` in ms where they are known."""
    table = Table()
    for column in ("", "before", "after", "smaller"):
        table.add_column(column, justify="right" if column else "left")
    rows: list[tuple[str, float, float, str]] = [
        ("parameters", before.parameters, after.parameters, "{:,}"),
        ("MACs", before.macs, after.macs, "{:,}"),
        ("MB of weights", before.bytes / 1e6, after.bytes / 1e6, "{:.3f}"),
    ]
    if latencies is not None:
        rows.append(("ms in LiteRT", *latencies, "{:.3f}"))
    for label, was, now, form in rows:
        table.add_row(label, form.format(was), form.format(now), f"{was / now:.1f}x" if now else "")
    return table


def surgery_table(report: SurgeryReport) -> Table:
    """The layers that structured pruning changed."""
    table = Table(padding=0)
    for column in ("layer", "kind", "inputs", "outputs", "parameters", "MACs", "exact"):
        table.add_column(column, justify="left" if column in ("layer", "kind", "exact") else "right", overflow="fold")
    before = {each.name: each for each in report.before.layers}
    after = {each.name: each for each in report.after.layers}
    for name, each in report.layers.items():
        if name in before and name in after:
            old, new = before[name], after[name]
            changes = (f"{old.parameters:,} to {new.parameters:,}", f"{old.macs:,} to {new.macs:,}")
        else:
            changes = ("", "")
        widths = ("" if kept is None else f"{len(kept):,}" for kept in (each.kept_inputs, each.kept_outputs))
        table.add_row(name, each.kind, *widths, *changes, "yes" if each.exact else "no")
    return table


def surgery_sentence(report: SurgeryReport) -> str:
    """What structured pruning did, in one sentence."""
    share = report.removed / report.units if report.units else 0.0
    blocks = f", with the branches at {', '.join(report.blocks)}" if report.blocks else ""
    names = list(report.frozen)
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    held = f"; what touches {', '.join(names[:_MOST_NAMES])}{more} stays" if names else ""
    return f"{report.removed:,} of {report.units:,} units removed ({share:.1%}){blocks}{held}."
