"""What a model holds, and a smaller one: inspect and shrink."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from tfprune.cli.app import (
    AsJson,
    NoCode,
    ScoreData,
    Trust,
    app,
    err,
    given,
    model_at,
    out,
    print_json,
    recipe_for_scores,
)
from tfprune.errors import SelectionError


@app.command()
def inspect(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model file, or a recipe whose model is meant.")],
    structure: Annotated[
        bool, typer.Option("--structure", help="Show what can be removed together: couplings, their cost and score.")
    ] = False,
    importance: Annotated[str, typer.Option(help="The score that --structure shows, see tfprune shrink.")] = "l2",
    data: ScoreData = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure ms in LiteRT and TensorFlow on this machine, and memory.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads that --latency measures with.")] = 1,
    batch: Annotated[int, typer.Option(help="Examples a run that --latency measures with.")] = 1,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Layers, parameters, MACs, and what can be pruned and why the rest cannot.

    Example: tfprune inspect digits

    Example: tfprune inspect model.keras --structure

    Example: tfprune inspect model.keras --latency --threads 2

    Example: tfprune inspect mine-with-lambda.keras --trust
    """
    if not structure and (named := given(context, "importance", "data")):
        raise SelectionError(f"{' and '.join(named)} is for the score that --structure shows; add --structure")
    if not latency and (named := given(context, "threads", "batch")):
        raise SelectionError(f"{' and '.join(named)} is for what --latency measures; add --latency")
    if structure and latency:
        raise SelectionError("--structure and --latency show different things; give one of them")
    if structure:
        _inspect_structure(model, importance, data, as_json)
        return
    from tfprune.cost.measure import measure
    from tfprune.report.latency import latency_table, memory_sentence
    from tfprune.report.summary import measurement_sentence
    from tfprune.report.tables import layers_table

    with err.status("measuring in LiteRT and TensorFlow") if latency else nullcontext():
        measurement = measure(model_at(model), latency=latency, threads=threads, batch=batch)
    if as_json:
        print_json(measurement)
        return
    out.print(layers_table(measurement))
    out.print(measurement_sentence(measurement))
    if latency:
        out.print(latency_table(measurement))
        out.print(memory_sentence(measurement))


@app.command()
def shrink(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model file, or a recipe whose model is meant.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .keras or .h5 file, or a SavedModel folder.")],
    ratio: Annotated[float | None, typer.Option(help="Share of the units to remove, between 0 and 1.")] = None,
    params: Annotated[int | None, typer.Option(help="At most so many parameters are left.")] = None,
    macs: Annotated[int | None, typer.Option(help="At most so many multiply-accumulates are left.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="At most so many ms an example, in LiteRT here.")] = None,
    size_mb: Annotated[float | None, typer.Option(help="At most so many MB of weights (1e6 bytes).")] = None,
    importance: Annotated[
        str, typer.Option(help="What a unit is worth: l1, l2, fpgm, bn_scale, taylor …, or package.module:function.")
    ] = "l2",
    data: ScoreData = None,
    batches: Annotated[int, typer.Option(help="How many batches of the data a score looks at.")] = 8,
    scope: Annotated[str, typer.Option(help="The same share of each coupling (layer), or of the whole (global).")] = (
        "layer"
    ),
    ignore: Annotated[
        list[str] | None, typer.Option(help="A layer whose units stay, by name or pattern; may be repeated.")
    ] = None,
    units: Annotated[
        list[str] | None, typer.Option(help="A kind of unit that may fall; may be repeated. By default filters, heads.")
    ] = None,
    multiple_of: Annotated[int, typer.Option(help="Widths that are left are multiples of this.")] = 1,
    minimum: Annotated[int, typer.Option(help="Least width that is left.")] = 1,
    ceiling: Annotated[float, typer.Option(help="Greatest share of a coupling to remove.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the random score.")] = 0,
    plan: Annotated[Path | None, typer.Option(help="Remove what this plan says, instead of choosing.")] = None,
    save_plan: Annotated[Path | None, typer.Option(help="Write down what is removed, as JSON.")] = None,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Remove filters, neurons, attention heads or blocks from a model, once and without training.

    Example: tfprune shrink model.keras -o small.keras --ratio 0.5

    Example: tfprune shrink model.keras -o small.keras --macs 50000000 --scope global --importance taylor --data digits
    """
    from tfprune.report.surgery import surgery_sentence, surgery_table, weights_table
    from tfprune.rounds.single import Choices, shrink_to

    if plan is not None and (named := given(context, *_CHOICES)):
        raise SelectionError(f"--plan says all that falls, and goes without {' and '.join(named)}; leave that out")
    budget = {"ratio": ratio, "params": params, "macs": macs, "latency_ms": latency_ms, "size_mb": size_mb}
    choices = Choices(
        budget={name: value for name, value in budget.items() if value is not None},
        importance=importance,
        batches=batches,
        scope=scope,
        ignore=tuple(ignore or ()),
        units=tuple(units or ("filters", "heads")),
        multiple_of=multiple_of,
        minimum=minimum,
        ceiling=ceiling,
        seed=seed,
    )
    recipe = recipe_for_scores(model, data)
    report, before = shrink_to(lambda: model_at(model), output, choices, recipe, plan=plan, save_plan=save_plan)
    if as_json:
        print_json({"file": str(output), "report": report})
        return
    times = (before, report.latency_ms) if before is not None and report.latency_ms is not None else None
    out.print(surgery_table(report))
    out.print(weights_table(report.before, report.after, times))
    out.print(surgery_sentence(report))
    out.print(f"model: {output}", soft_wrap=True)
    if save_plan is not None:
        out.print(f"plan: {save_plan}", soft_wrap=True)


_CHOICES = ("importance", "data", "batches", "scope", "ignore", "units", "multiple_of", "minimum", "ceiling", "seed")


def _inspect_structure(model: str, importance: str, data: str | None, as_json: bool) -> None:
    """Show the couplings of a model."""
    from tfprune.report.surgery import couplings_sentence, couplings_table
    from tfprune.rounds.single import couplings_of

    found = couplings_of(lambda: model_at(model), importance, recipe_for_scores(model, data))
    if as_json:
        print_json(found)
        return
    out.print(couplings_table(found))
    out.print(couplings_sentence(found))
