"""The verb that looks for per-layer ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfprune import recipe as recipes
from tfprune.cli.app import AsJson, NoCode, Overrides, RecipeName, Trust, app, err, out, print_json
from tfprune.errors import RecipeError


@app.command()
def search(
    recipe: RecipeName,
    overrides: Overrides = None,
    engine: Annotated[
        str, typer.Option(help="Where trials run: inline, processes on this machine, or a ray cluster.")
    ] = "inline",
    workers: Annotated[
        int | None, typer.Option(help="Trials at once; by default one inline, else one a core.", min=1)
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, HOST:PORT or auto; by default one is started here.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the recipe that is found.")
    ] = None,
    sensitivity_only: Annotated[
        bool, typer.Option("--sensitivity-only", help="Show how much each layer alone can lose, and stop there.")
    ] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Where the search is kept; by default in the tracking home.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with an unfinished search.")] = False,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Find the per-layer ratios that keep most accuracy at the budget of a recipe.

    Example: tfprune search digits -o found.yaml

    Example: tfprune search digits --engine processes --workers 2 --set search.oracle=random --set search.trials=40
    """
    from tfprune.report.progress import ProgressWatch
    from tfprune.tuning.search import execute, execute_sensitivity

    loaded = recipes.load(recipe, overrides or [])
    watch = None if as_json else ProgressWatch(err)
    if sensitivity_only:
        _refuse_with_sensitivity(engine, workers, address, output)
        curves, picture = execute_sensitivity(loaded, directory=directory, resume=not fresh, watch=watch)
        if as_json:
            print_json({"sensitivity": curves, "file": str(picture)})
            return
        from tfprune.report.sensitivity import sensitivity_table

        out.print(sensitivity_table(curves))
        out.print(f"drawn to {picture}", soft_wrap=True)
        return
    result = execute(
        loaded,
        engine=engine,
        workers=workers,
        address=address,
        output=output,
        directory=directory,
        resume=not fresh,
        watch=watch,
    )
    if as_json:
        print_json(result)
        return
    from tfprune.report.finals import finals_table, ratios_table
    from tfprune.report.pareto import front, pareto_table
    from tfprune.report.trials import trials_table

    out.print(trials_table(result))
    out.print(finals_table(result))
    out.print(ratios_table(result))
    out.print(pareto_table(front(result.trials)))
    out.print(result.outcome, markup=False)
    out.print(f"recipe: {result.recipe}", soft_wrap=True)
    out.print(f"model: {result.directory / 'model.keras'}", soft_wrap=True)
    out.print(f"run it: tfprune run {result.recipe}", soft_wrap=True)


def _refuse_with_sensitivity(engine: str, workers: int | None, address: str | None, output: Path | None) -> None:
    """Sensitivity is one process and one trace, and finds no recipe."""
    given = {"--engine": engine != "inline", "--workers": workers, "--address": address, "--output": output}
    named = [name for name, value in given.items() if value]
    if named:
        raise RecipeError(f"--sensitivity-only runs no trials and goes without {' and '.join(named)}; leave that out")
