"""Recorded workflows side by side, in the terminal, on a page, and in the browser."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from tfprune import recipe as recipes
from tfprune.cli.app import AsJson, Experiment, Uri, app, out, print_json
from tfprune.errors import RecipeError


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
    from tfprune.tracking.recorded import Recorded

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
        print_json({name: {"outcome": outcome, "rounds": rounds} for name, (rounds, outcome) in found.items()})
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
            print_json({"url": server.url, "pid": server.process.pid})
        else:
            out.print(f"runs: {server.url}\nCtrl-C ends the server", soft_wrap=True)
        server.process.wait()
