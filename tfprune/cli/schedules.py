"""Recipes that ship with tfprune, and how sparsity rises."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tfprune import recipe as recipes
from tfprune.cli.app import AsJson, Overrides, app, out, print_json
from tfprune.errors import RecipeError

schedules = typer.Typer(invoke_without_command=True)
app.add_typer(schedules, name="schedules")


@schedules.callback()
def list_schedules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the recipes that ship with tfprune, or draw how sparsity rises.

    Example: tfprune schedules
    """
    if context.invoked_subcommand is not None:
        return
    found = {name: recipes.load(name) for name in recipes.names()}
    if as_json:
        print_json({name: recipe.model_dump(mode="json") for name, recipe in found.items()})
        return
    table = Table()
    for column in ("recipe", "model", "data", "target"):
        table.add_column(column, no_wrap=column == "recipe")
    for name, recipe in found.items():
        model, sections = recipe.model, recipe.sections
        source = (model.builtin or model.application or model.function or str(model.file)) if model else ""
        data = recipe.data.source if recipe.data else ""
        targets = [f"{each.method}, {each.target.said} in {each.rounds} rounds" for each in sections]
        table.add_row(name, source, data, "\n".join(targets))
    out.print(table)


@schedules.command()
def draw(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe file, or the name of a shipped one; without it, kinds are compared.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .png, .svg or .pdf file.")] = None,
    steps: Annotated[int, typer.Option("--steps", help="Fine-tuning steps a round.")] = 1000,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="A kind of schedule, e.g. cosine; may be repeated. By default all."),
    ] = None,
    final: Annotated[float | None, typer.Option("--final", help="Sparsity that kinds reach; by default 0.9.")] = None,
    frequency: Annotated[
        int | None, typer.Option("--frequency", help="Steps between two updates of kinds; by default 100.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Plot sparsity, or the share removed, against fine-tuning steps: a recipe's plan, or kinds of schedule.

    Example: tfprune schedules draw digits -o digits.png

    Example: tfprune schedules draw --kind cosine --kind linear --final 0.8
    """
    from tfprune.report.figures import save_figure
    from tfprune.report.schedules import draw_schedules, kinds_points, phases_points
    from tfprune.rounds.stop import planned_targets

    if recipe is None:
        if overrides:
            raise RecipeError(f"--set {overrides[0]!r} changes a recipe, but no recipe is given; name one, e.g. digits")
        final, frequency = 0.9 if final is None else final, 100 if frequency is None else frequency
        lines = kinds_points(kinds or [], final, steps, frequency)
        rounds, name, title, what = 1, "kinds", f"kinds of schedule, to {final:.1%} sparsity", "sparsity"
        content: dict[str, Any] = {"kinds": lines}
    else:
        if kinds or final is not None or frequency is not None:
            raise RecipeError(
                f"--kind, --final and --frequency go without a recipe, but got recipe {recipe!r}; "
                "change a recipe with --set, e.g. --set prune.schedule.kind=cosine"
            )
        loaded = recipes.load(recipe, overrides or [])
        targets = [planned_targets(phase) for phase in loaded.phases]
        methods = {section.method for section in loaded.sections}
        labels = [
            phase.schedule.kind if methods == {"masking"} else phase.sections[0].method for phase in loaded.phases
        ]
        schedules_ = [phase.schedule for phase in loaded.phases]
        lines = phases_points(list(zip(labels, schedules_, targets, strict=True)), steps)
        rounds, name = sum(section.rounds for section in loaded.sections), loaded.name
        what = "sparsity" if methods == {"masking"} else "removed" if methods == {"structured"} else "removed, sparsity"
        title = f"{name}: planned {what}"
        if len(targets) == 1:
            content = {"targets": targets[0], "points": next(iter(lines.values()))}
        else:
            content = {
                "phases": [{"label": k, "targets": v, "points": lines[k]} for k, v in zip(lines, targets, strict=True)]
            }
    if output is not None or not as_json:
        output = output or Path(f"{name}-schedule.png")
        save_figure(draw_schedules(title, lines, rounds, _AXES[what]), output)
    if as_json:
        print_json({**content, "steps": steps, "file": str(output) if output else None})
        return
    if recipe is not None:
        for each in targets:
            out.print(f"targets by round: {', '.join(f'{share:.1%}' for share in each)}")
    out.print(f"drawn to {output}")


_AXES = {
    "sparsity": "sparsity of prunable weights",
    "removed": "share removed",
    "removed, sparsity": "share removed, sparsity of what is left",
}
