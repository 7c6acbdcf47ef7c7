"""A model held against slices, a dense model and gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfprune.cli.app import AsJson, NoCode, Trust, app, model_at, out, print_json


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model file, or a recipe whose model is meant.")],
    data: Annotated[str, typer.Option(help="A recipe whose data is meant, or a .npz file with arrays x and y.")],
    slices: Annotated[
        list[str] | None,
        typer.Option(
            help="As a recipe writes it, e.g. classes or 'hardest: 0.1'; may be repeated. By default classes."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The dense model, a file or a recipe: drops are measured against it.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of a recipe's data: validation, test or train.")] = "validation",
    max_drop: Annotated[float | None, typer.Option(help="Gate: accuracy that may be lost, 0.01 is a point.")] = None,
    max_slice_drop: Annotated[float | None, typer.Option(help="Gate: accuracy that any slice may lose.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Gates fail with this confidence, e.g. 0.95.")] = None,
    min_support: Annotated[int, typer.Option(help="Slices with fewer examples gate nothing.", min=1)] = 20,
    examples: Annotated[Path | None, typer.Option(help="Write the answers one by one, as Parquet.")] = None,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate any model whole and by slice, against a dense one if you like; exit code 1 where a gate fails.

    Example: tfprune evaluate small.keras --data digits --baseline dense.keras --slices classes --slices 'hardest: 0.1'

    Example: tfprune evaluate small.keras --data mine.npz --baseline dense.keras --slices '{column: age, quantiles: 4}'
    """
    from tfprune.report.summary import evaluation_sentence
    from tfprune.report.tables import evaluation_table
    from tfprune.rounds.assess import assess, gates_of

    gates = gates_of(max_drop, max_slice_drop, confidence, min_support)
    result = assess(
        model_at(model),
        data,
        slices or (),
        baseline=None if baseline is None else model_at(baseline),
        split=split,
        gates=gates,
        min_support=min_support,
        examples=examples,
    )
    if as_json:
        print_json(result)
    else:
        out.print(evaluation_table(result.evaluation, model))
        out.print(evaluation_sentence(result.evaluation), soft_wrap=True, markup=False)
        if examples is not None:
            out.print(f"examples: {examples}", soft_wrap=True)
        for reason in result.verdict.reasons if result.verdict else ():
            out.print(f"gate failed: {reason}", style="red", soft_wrap=True, markup=False)
    if result.verdict is not None and not result.verdict.passed:
        raise typer.Exit(1)
