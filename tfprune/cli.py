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
from tfprune.errors import RecipeError, SelectionError, TfpruneError, TfpruneWarning, nearest

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
ScoreData = Annotated[
    str | None, typer.Option(help="A recipe whose data scores look at; by default that of a recipe given as MODEL.")
]
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
    html: Annotated[Path | None, typer.Option(help="Write it as one HTML file that needs nothing else.")] = None,
    uri: Uri = None,
    experiment: Experiment = "tfprune",
    as_json: AsJson = False,
) -> None:
    """Rounds, workflows and slices side by side.

    Example: tfprune compare digits-1 digits-2 --html compare.html
    """
    from tfprune.report.tables import compared_slices_table, comparison_table, rounds_table
    from tfprune.results import best_round
    from tfprune.tracking.store import Recorded

    recorded = Recorded(recipes.TrackSection(uri=uri, experiment=experiment))
    known = recorded.names()
    names = workflows or known[:2]
    if not names:
        raise RecipeError(f"no workflow is recorded in experiment {experiment!r}; start one with tfprune run RECIPE")
    found = {name: recorded.workflow(name) for name in names}
    if html is not None:
        from tfprune.report.html import compare_html
        from tfprune.storage import write_text

        write_text(html, compare_html(found))
    if as_json:
        _print_json({name: {"outcome": outcome, "rounds": rounds} for name, (rounds, outcome) in found.items()})
        return
    for name, (rounds, outcome) in found.items():
        out.print(rounds_table(name, rounds, best_round(rounds).number))
        out.print(outcome or "not finished", style="italic", end="\n\n", markup=False)
    if len(found) > 1:
        out.print(comparison_table(found))
    out.print(compared_slices_table("validation accuracy by slice", found))
    if html is not None:
        out.print(f"page: {html}", soft_wrap=True)
    if len(known) > len(names):
        out.print(f"recorded besides: {', '.join(each for each in known if each not in names)}", soft_wrap=True)


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
        _model_of(model),
        data,
        slices or (),
        baseline=None if baseline is None else _model_of(baseline),
        split=split,
        gates=gates,
        min_support=min_support,
        examples=examples,
    )
    if as_json:
        _print_json(result)
    else:
        out.print(evaluation_table(result.evaluation, model))
        out.print(evaluation_sentence(result.evaluation), soft_wrap=True, markup=False)
        if examples is not None:
            out.print(f"examples: {examples}", soft_wrap=True)
        for reason in result.verdict.reasons if result.verdict else ():
            out.print(f"gate failed: {reason}", style="red", soft_wrap=True, markup=False)
    if result.verdict is not None and not result.verdict.passed:
        raise typer.Exit(1)


@app.command()
def inspect(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model file, or a recipe whose model is meant.")],
    structure: Annotated[
        bool, typer.Option("--structure", help="Show what can be removed together: couplings, their cost and score.")
    ] = False,
    importance: Annotated[str, typer.Option(help="The score that --structure shows, see tfprune shrink.")] = "l2",
    data: ScoreData = None,
    as_json: AsJson = False,
) -> None:
    """Layers, parameters, MACs, and what can be pruned and why the rest cannot.

    Example: tfprune inspect digits

    Example: tfprune inspect model.keras --structure
    """
    if not structure and (given := _given(context, "importance", "data")):
        raise SelectionError(f"{' and '.join(given)} is for the score that --structure shows; add --structure")
    if structure:
        _inspect_structure(model, importance, data, as_json)
        return
    from tfprune.cost.measure import measure
    from tfprune.report.summary import measurement_sentence
    from tfprune.report.tables import layers_table

    measurement = measure(_model_of(model))
    if as_json:
        _print_json(measurement)
        return
    out.print(layers_table(measurement))
    out.print(measurement_sentence(measurement))


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
    as_json: AsJson = False,
) -> None:
    """Remove filters, neurons, attention heads or blocks from a model, once and without training.

    Example: tfprune shrink model.keras -o small.keras --ratio 0.5

    Example: tfprune shrink model.keras -o small.keras --macs 50000000 --scope global --importance taylor --data digits
    """
    from tfprune.report.surgery import surgery_sentence, surgery_table, weights_table
    from tfprune.rounds.single import Choices, shrink_to

    if plan is not None and (given := _given(context, *_CHOICES)):
        raise SelectionError(f"--plan says all that falls, and goes without {' and '.join(given)}; leave that out")
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
    recipe = _recipe_for_scores(model, data)
    report, before = shrink_to(lambda: _model_of(model), output, choices, recipe, plan=plan, save_plan=save_plan)
    if as_json:
        _print_json({"file": str(output), "report": report})
        return
    times = (before, report.latency_ms) if before is not None and report.latency_ms is not None else None
    out.print(surgery_table(report))
    out.print(weights_table(report.before, report.after, times))
    out.print(surgery_sentence(report))
    out.print(f"model: {output}", soft_wrap=True)
    if save_plan is not None:
        out.print(f"plan: {save_plan}", soft_wrap=True)


_CHOICES = ("importance", "data", "batches", "scope", "ignore", "units", "multiple_of", "minimum", "ceiling", "seed")


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
        _print_json({**content, "steps": steps, "file": str(output) if output else None})
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
    from tfprune.report.tables import rounds_table, slices_table
    from tfprune.rounds.start import execute

    result = execute(recipe, resume=not fresh, only=only, watch=None if as_json else ProgressWatch(err))
    if as_json:
        _print_json(result)
    else:
        out.print(rounds_table(result.workflow, result.rounds, result.best))
        label = result.best_round.label
        tested = [("dense", result.test_dense.slices), (label, result.test.slices)]
        out.print(slices_table("test split", tested, min_support=result.test.min_support))
        out.print(result.outcome, markup=False)
        out.print(f"model: {result.directory / 'model.keras'}", soft_wrap=True)
        if recipe.export is not None and (result.best or result.target_met):
            out.print(f"exported: {recipe.export.path}", soft_wrap=True)
        out.print("compare in a browser: tfprune ui")
    if not result.target_met:
        raise typer.Exit(1)


def _given(context: typer.Context, *names: str) -> list[str]:
    """Those of some options that were given, as they are typed."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]


def _inspect_structure(model: str, importance: str, data: str | None, as_json: bool) -> None:
    """Show the couplings of a model."""
    from tfprune.report.surgery import couplings_sentence, couplings_table
    from tfprune.rounds.single import couplings_of

    found = couplings_of(lambda: _model_of(model), importance, _recipe_for_scores(model, data))
    if as_json:
        _print_json(found)
        return
    out.print(couplings_table(found))
    out.print(couplings_sentence(found))


def _recipe_for_scores(model: str, data: str | None) -> recipes.Recipe | None:
    """The recipe whose data a score looks at: the one named, or that of the model."""
    if data is not None:
        return recipes.load(data)
    return None if _is_model_file(Path(model)) else recipes.load(model)


def _is_model_file(path: Path) -> bool:
    return path.suffix not in (".yaml", ".yml") and (path.exists() or path.suffix != "")


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
