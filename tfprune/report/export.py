"""Exported files: what they are, how they answer, and dense, pruned and exported side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from tfprune.report.words import change_words, score_words
from tfprune.results import Delivery, ExportReport, Latency, Stage

HEADINGS = ("", "size", "smaller", "latency", "faster", "accuracy", "change", "worst slice")


def export_table(report: ExportReport) -> Table:
    """What is known of a file, a line each."""
    table = Table(title=escape(str(report.path)), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in export_rows(report):
        table.add_row(name, escape(words))
    return table


def export_rows(report: ExportReport) -> list[tuple[str, str]]:
    """What is known of a file, as pairs of a name and words."""
    check = report.check
    numbers = "float32" if report.quantize == "none" else f"{report.quantize}, by {report.way}"
    rows = [
        ("format", f"{report.format}, {numbers}"),
        ("size", f"{report.bytes:,} bytes, {report.gzipped_bytes:,} gzipped"),
        ("checked on", f"{check.examples:,} {check.source} examples"),
    ]
    if check.agreement is not None:
        rows.append(("agreement", f"{check.agreement:.2%} of the answers are the Keras model's"))
    rows.append(("difference", f"{check.max_difference:.3g} at most, {check.relative_difference:.2%} of the range"))
    if check.file is not None and check.model is not None:
        whole, measure = check.file.whole, check.file.measure
        was = score_words(check.model.score, measure)
        rows.append((measure, f"{score_words(whole.score, measure)} (the Keras model: {was})"))
        worst = check.file.worst
        if worst is not None and (worst.drop or 0.0) > 0:
            change = change_words(worst.drop or 0.0, measure)
            rows.append(("worst slice", f"{worst.name} {change}, {score_words(worst.score, measure)}"))
        elif check.file.worst_scored is not None:
            worst = check.file.worst_scored
            rows.append(("worst slice", f"no slice lost; lowest {worst.name}, {score_words(worst.score, measure)}"))
    if report.zeros_kept is not None:
        rows.append(("zeros kept", f"{report.zeros_kept:.2%}"))
    if report.latency is not None:
        rows.append(("latency", latency_words(report.latency)))
    if report.arena_bytes is not None:
        rows.append(("arena", f"{report.arena_bytes:,} bytes"))
    if report.operations:
        rows.append(("operations", ", ".join(f"{count} {name}" for name, count in sorted(report.operations.items()))))
    if report.format == "litert":
        rows.append(("fell back", ", ".join(report.fell_back) or "none"))
    rows += [("tried", f"{each.way}: {each.failure}") for each in report.attempts if each.failure]
    return rows + [("note", each) for each in report.notes]


def latency_words(latency: Latency) -> str:
    """``0.107 ms (p90 0.113; 1 thread, batch 1, litert with xnnpack)``, and whether it can be trusted."""
    where = f"{latency.runtime} with {latency.delegate}" if latency.delegate != "none" else latency.runtime
    threads = f"{latency.threads} thread{'s' * (latency.threads != 1)}"
    noisy = "; the machine was too noisy to trust it" if latency.noisy else ""
    return f"{latency.median_ms:.3g} ms (p90 {latency.p90_ms:.3g}; {threads}, batch {latency.batch}, {where}){noisy}"


def stages_table(stages: Sequence[Stage]) -> Table:
    """Dense, pruned and exported side by side."""
    noisy = any(each.latency.noisy for each in stages)
    caption = "LiteRT, one thread; test split" + ("; the machine was noisy, do not trust the latencies" * noisy)
    # Without padding, or it is wider than a terminal.
    table = Table(title="from dense to exported", caption=caption, caption_justify="left", padding=0)
    for heading in HEADINGS:
        is_text = heading in ("", "worst slice")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=not heading)
    for row in stage_rows(stages):
        table.add_row(*map(escape, row))
    return table


def stages_markdown(stages: Sequence[Stage]) -> str:
    """The same as Markdown."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *stage_rows(stages)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def stage_rows(stages: Sequence[Stage]) -> list[tuple[str, ...]]:
    """Cells under `HEADINGS`."""
    return [_stage_row(each, stages[0]) for each in stages]


def _stage_row(stage: Stage, dense: Stage) -> tuple[str, ...]:
    whole, worst = stage.evaluation.whole, stage.evaluation.worst
    is_dense = stage is dense
    worst_words = ""
    if worst is not None:
        change = "" if is_dense or worst.drop is None else f" ({change_words(worst.drop, worst.measure)})"
        worst_words = f"{worst.name} {score_words(worst.score, worst.measure)}{change}"
    return (
        stage.name,
        f"{stage.bytes / 1000:,.0f} kB",
        "" if is_dense else f"{dense.bytes / stage.bytes:.1f}x",
        f"{stage.latency.median_ms:.3g} ms",
        "" if is_dense else f"{dense.latency.median_ms / stage.latency.median_ms:.1f}x",
        score_words(whole.score, whole.measure),
        "" if is_dense or whole.drop is None else change_words(whole.drop, whole.measure),
        worst_words,
    )


def delivery_sentence(delivery: Delivery) -> str:
    """What came of a recipe's export, in one sentence."""
    if delivery.failure or delivery.report is None:
        return f"Not exported: {delivery.failure}."
    report = delivery.report
    agreement = report.check.agreement
    agrees = "" if agreement is None else f", {agreement:.2%} of its answers are the Keras model's"
    how = "" if report.quantize == "none" else f", {report.quantize} by {report.way}"
    return f"Exported: {report.path}, {report.format}{how}, {report.bytes:,} bytes{agrees}."
