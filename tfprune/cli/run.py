"""Verbs that work through a recipe: run and resume."""

from __future__ import annotations

from typing import Annotated

import typer

from tfprune import recipe as recipes
from tfprune.cli.app import AsJson, NoCode, Overrides, RecipeName, Trust, app, err, out, print_json


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with an unfinished run.")] = False,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Train or load, then prune in rounds until the target is met or a gate fails.

    Example: tfprune run digits --set prune.target.sparsity=0.9

    Example: tfprune run theirs.yaml --no-code
    """
    _execute(recipes.load(recipe, overrides or []), fresh=fresh, as_json=as_json)


@app.command()
def resume(
    workflow: Annotated[str | None, typer.Argument(help="E.g. digits-1; by default the latest unfinished one.")] = None,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a workflow that was stopped or killed.

    Example: tfprune resume digits-1
    """
    from tfprune.rounds.checkpoint import unfinished

    folder = unfinished(workflow)
    _execute(recipes.load(folder / "recipe.yaml"), fresh=False, as_json=as_json, only=folder.name)


def _execute(recipe: recipes.Recipe, *, fresh: bool, as_json: bool, only: str | None = None) -> None:
    """Run a recipe and show what came of it; exit code 1 where the target was not met."""
    from tfprune.report.export import stages_table
    from tfprune.report.progress import ProgressWatch
    from tfprune.report.tables import rounds_table, slices_table
    from tfprune.rounds.start import execute

    result = execute(recipe, resume=not fresh, only=only, watch=None if as_json else ProgressWatch(err))
    if as_json:
        print_json(result)
    else:
        out.print(rounds_table(result.workflow, result.rounds, result.best))
        label = result.best_round.label
        tested = [("dense", result.test_dense.slices), (label, result.test.slices)]
        out.print(slices_table("test split", tested, min_support=result.test.min_support))
        if result.delivery is not None and result.delivery.stages:
            out.print(stages_table(result.delivery.stages))
        out.print(result.outcome, markup=False, soft_wrap=True)
        out.print(f"model: {result.directory / 'model.keras'}", soft_wrap=True)
        out.print("compare in a browser: tfprune ui")
    if not result.target_met:
        raise typer.Exit(1)
