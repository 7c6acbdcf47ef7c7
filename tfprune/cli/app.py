"""What all verbs share: the application, its options, and how results are printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tfprune import recipe as recipes
from tfprune.errors import RecipeError, nearest
from tfprune.importing import no_code

app = typer.Typer(
    help="Prune Keras models in rounds, and see which inputs pay for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()
err = Console(stderr=True)


def _trusting(context: typer.Context, is_given: bool) -> bool:
    """Trust model files until the verb is done."""
    if is_given:
        from tfprune.models.trust import trusting

        context.with_resource(trusting())
    return is_given


def _without_code(context: typer.Context, is_given: bool) -> bool:
    """Forbid code until the verb is done."""
    if is_given:
        context.with_resource(no_code())
    return is_given


# Both take effect by being parsed; a verb only lists them.
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run the code in model files: Lambda layers, custom layers, files they read.",
        callback=_trusting,
    ),
]
NoCode = Annotated[
    bool,
    typer.Option("--no-code", help="Refuse recipes that name package.module:function.", callback=_without_code),
]
RecipeName = Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value, e.g. prune.target.sparsity=0.9.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on standard output.")]
ScoreData = Annotated[
    str | None, typer.Option(help="A recipe whose data scores look at; by default that of a recipe given as MODEL.")
]
Uri = Annotated[str | None, typer.Option(help="MLflow tracking URI; by default MLFLOW_TRACKING_URI or mlruns/.")]
Experiment = Annotated[str, typer.Option(help="MLflow experiment.")]


def print_json(value: Any) -> None:
    """Print a result, plain even where colours are forced."""
    from tfprune.report.summary import as_json as to_json

    typer.echo(to_json(value))


def model_at(name: str):  # type: ignore[no-untyped-def]
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


def recipe_for_scores(model: str, data: str | None) -> recipes.Recipe | None:
    """The recipe whose data a score looks at: the one named, or that of the model."""
    if data is not None:
        return recipes.load(data)
    return None if _is_model_file(Path(model)) else recipes.load(model)


def _is_model_file(path: Path) -> bool:
    return path.suffix not in (".yaml", ".yml") and (path.exists() or path.suffix != "")


def given(context: typer.Context, *names: str) -> list[str]:
    """Those of some options that were given, as they are typed."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]
