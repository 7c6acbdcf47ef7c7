"""The command line: parse, wire, exit codes.

0 done; 1 the target was not met within the gates; 2 bad input; 3 a fault of ours; 130 interrupted, state kept.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table

from tfprune import recipe as recipes
from tfprune.errors import RecipeError, TfpruneError, TfpruneWarning, nearest

app = typer.Typer(
    help="Prune Keras models in rounds, and see which inputs pay for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
schedules = typer.Typer(invoke_without_command=True)
app.add_typer(schedules, name="schedules")

out = Console()
err = Console(stderr=True)

RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value, e.g. prune.target.sparsity=0.9.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
Uri = Annotated[str | None, typer.Option(help="MLflow tracking URI; by default MLFLOW_TRACKING_URI or mlruns/.")]
Experiment = Annotated[str, typer.Option(help="MLflow experiment.")]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on with an unfinished run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train or load, then prune in rounds until the target is met or a gate fails.

    Example: tfprune run digits --set prune.target.sparsity=0.9
    """
    _execute(recipes.load(recipe, overrides or []), fresh=fresh, as_json=as_json)


@app.command()
def resume(
    workflow: Annotated[str | None, typer.Argument(help="E.g. digits-1; by default the latest unfinished one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a workflow that was stopped or killed.

    Example: tfprune resume digits-1
    """
    from tfprune.rounds.checkpoint import unfinished

    folder = unfinished(workflow)
    _execute(recipes.load(folder / "recipe.yaml"), fresh=False, as_json=as_json, only=folder.name)


@app.command()
def compare(
    workflows: Annotated[
        list[str] | None, typer.Argument(help="Workflows, e.g. digits-1 digits-2; by default the latest two.")
    ] = None,
    uri: Uri = None,
    experiment: Experiment = "tfprune",
    as_json: AsJson = False,
) -> None:
    """Rounds and workflows side by side.

    Example: tfprune compare digits-1 digits-2
    """
    from tfprune.report.summary import rounds_table, slices_table
    from tfprune.rounds.stop import best_round
    from tfprune.tracking.store import Recorded

    recorded = Recorded(recipes.TrackSection(uri=uri, experiment=experiment))
    known = recorded.names()
    names = workflows or known[:2]
    if not names:
        raise RecipeError(f"no workflow is recorded in experiment {experiment!r}; start one with tfprune run RECIPE")
    found = {name: recorded.workflow(name) for name in names}
    if as_json:
        _print_json({name: {"outcome": outcome, "rounds": rounds} for name, (rounds, outcome) in found.items()})
        return
    for name, (rounds, outcome) in found.items():
        out.print(rounds_table(name, rounds, best_round(rounds).number))
        out.print(outcome or "not finished", style="italic", end="\n\n")
    columns = []
    for name, (rounds, _) in found.items():
        best = best_round(rounds)
        columns += [(f"{name} dense", rounds[0].evaluation.slices), (f"{name} {best.label}", best.evaluation.slices)]
    out.print(slices_table("validation accuracy by slice", columns))
    if len(known) > len(names):
        out.print(f"recorded besides: {', '.join(each for each in known if each not in names)}", soft_wrap=True)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A model file, or a recipe whose model is meant.")],
    as_json: AsJson = False,
) -> None:
    """Layers, parameters, MACs, and what can be pruned and why the rest cannot.

    Example: tfprune inspect digits
    """
    from tfprune.cost.measure import measure
    from tfprune.report.summary import layers_table, measurement_sentence

    measurement = measure(_model_of(model))
    if as_json:
        _print_json(measurement)
        return
    out.print(layers_table(measurement))
    out.print(measurement_sentence(measurement))


@schedules.callback()
def list_schedules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the recipes that ship with tfprune, or draw how sparsity rises.

    Example: tfprune schedules
    """
    if context.invoked_subcommand is not None:
        return
    found = {name: recipes.load(name) for name in recipes.names()}
    if as_json:
        _print_json({name: recipe.model_dump(mode="json") for name, recipe in found.items()})
        return
    table = Table()
    for column in ("recipe", "model", "data", "target", "rounds", "scope"):
        table.add_column(column)
    for name, recipe in found.items():
        model = recipe.model
        source = (model.builtin or model.application or model.function or str(model.file)) if model else ""
        data = recipe.data.source if recipe.data else ""
        prune = recipe.prune
        scope = prune.scope if isinstance(prune.scope, str) else "by layer"
        table.add_row(name, source, data, f"{prune.target.sparsity:.0%}", str(prune.rounds), scope)
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
    """Plot sparsity against fine-tuning steps: a recipe's plan, or kinds of schedule side by side.

    Example: tfprune schedules draw digits -o digits.png

    Example: tfprune schedules draw --kind cosine --kind linear --final 0.8
    """
    from tfprune.report.figures import draw_schedules, kinds_points, save_figure, schedule_points
    from tfprune.rounds.stop import planned_targets

    if recipe is None:
        if overrides:
            raise RecipeError(f"--set {overrides[0]!r} changes a recipe, but no recipe is given; name one, e.g. digits")
        final, frequency = 0.9 if final is None else final, 100 if frequency is None else frequency
        lines = kinds_points(kinds or [], final, steps, frequency)
        rounds, name, title = 1, "kinds", f"kinds of schedule, to {final:.1%} sparsity"
        content: dict[str, Any] = {"kinds": lines}
    else:
        if kinds or final is not None or frequency is not None:
            raise RecipeError(
                f"--kind, --final and --frequency go without a recipe, but got recipe {recipe!r}; "
                "change a recipe with --set, e.g. --set prune.schedule.kind=cosine"
            )
        loaded = recipes.load(recipe, overrides or [])
        targets = planned_targets(loaded)
        points = schedule_points(loaded.schedule, targets, steps)
        rounds, name, title = loaded.prune.rounds, loaded.name, f"{loaded.name}: planned sparsity"
        lines, content = {loaded.schedule.kind: points}, {"targets": targets, "points": points}
    if output is not None or not as_json:
        output = output or Path(f"{name}-schedule.png")
        save_figure(draw_schedules(title, lines, rounds), output)
    if as_json:
        _print_json({**content, "steps": steps, "file": str(output) if output else None})
        return
    if recipe is not None:
        out.print(f"targets by round: {', '.join(f'{each:.1%}' for each in targets)}")
    out.print(f"drawn to {output}")


@app.command()
def ui(
    uri: Uri = None,
    experiment: Experiment = "tfprune",
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 5000,
    as_json: AsJson = False,
) -> None:
    """Start the MLflow UI on 127.0.0.1 and print a link to the runs; Ctrl-C ends it.

    Example: tfprune ui --port 5001
    """
    from tfprune.tracking.ui import serve_ui

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server ends with us, however we are ended
    with serve_ui(recipes.TrackSection(uri=uri, experiment=experiment), port) as server:
        if as_json:
            _print_json({"url": server.url, "pid": server.process.pid})
        else:
            out.print(f"runs: {server.url}\nCtrl-C ends the server", soft_wrap=True)
        server.process.wait()


def _execute(recipe: recipes.Recipe, *, fresh: bool, as_json: bool, only: str | None = None) -> None:
    """Run a recipe and show what came of it; exit code 1 where the target was not met."""
    from tfprune.report.progress import ProgressWatch
    from tfprune.report.summary import rounds_table, slices_table
    from tfprune.rounds.start import execute

    result = execute(recipe, resume=not fresh, only=only, watch=None if as_json else ProgressWatch(err))
    if as_json:
        _print_json(result)
    else:
        out.print(rounds_table(result.workflow, result.rounds, result.best))
        label = result.best_round.label
        out.print(slices_table("test split", [("dense", result.test_dense.slices), (label, result.test.slices)]))
        out.print(result.outcome)
        out.print(f"model: {result.directory / 'model.keras'}", soft_wrap=True)
        if recipe.export is not None and (result.best or result.target_met):
            out.print(f"exported: {recipe.export.path}", soft_wrap=True)
        out.print("compare in a browser: tfprune ui")
    if not result.target_met:
        raise typer.Exit(1)


def _print_json(value: Any) -> None:
    """Print a result, plain even where colours are forced."""
    from tfprune.report.summary import as_json as to_json

    typer.echo(to_json(value))


def _model_of(name: str):  # type: ignore[no-untyped-def]
    """The model in a file, or the one that a recipe describes."""
    path = Path(name)
    if path.exists() and path.suffix not in (".yaml", ".yml"):
        from tfprune.masking.files import load

        return load(path)
    if path.suffix not in ("", ".yaml", ".yml"):
        beside = [str(each) for each in path.parent.glob("*")] if path.parent.is_dir() else []
        raise RecipeError(f"{name}: there is no such model file{nearest(name, beside)}")
    from tfprune.rounds.start import dense_model

    return dense_model(recipes.load(name))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours in one plain line; those of other packages as Python shows them."""
    if issubclass(category, TfpruneWarning):
        err.print(f"warning: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    else:
        _shown_by_python(message, category, filename, lineno, file, line)


_shown_by_python = warnings.showwarning


def main() -> None:
    """Entry point: every error on purpose is one line and an exit code, every warning of ours one line."""
    warnings.showwarning = _show_warning
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # typer's answer to Ctrl-C
            err.print("interrupted; what was finished is kept", style="red")
        raise
    except TfpruneError as error:
        err.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; what was finished is kept", style="red")
        sys.exit(130)
    except Exception as error:
        if os.environ.get("TFPRUNE_DEBUG"):
            raise
        text = " ".join(str(error).split())
        err.print(
            f"internal error: {type(error).__name__}: {text[:300]}; set TFPRUNE_DEBUG=1 to see where, and report it",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        sys.exit(3)
