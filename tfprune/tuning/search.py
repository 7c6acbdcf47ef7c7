"""A recipe becomes a search at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tfprune import recipe as recipes
from tfprune.backend import keras, tf
from tfprune.errors import DataError, Interrupted
from tfprune.importing import one_line
from tfprune.recipe import Recipe, parse
from tfprune.report.figures import save_figure
from tfprune.report.sensitivity import draw_sensitivity
from tfprune.report.watch import Watch
from tfprune.results import SearchResult, Sensitivity
from tfprune.tuning.begin import Begun, begin, prepare
from tfprune.tuning.checks import check_output, check_reach
from tfprune.tuning.driver import Driver
from tfprune.tuning.engines import check_engine, open_engine
from tfprune.tuning.found import finish


def search(
    recipe: Recipe | dict[str, Any] | str | Path,
    *,
    model: Any = None,
    data: Any = None,
    engine: str = "inline",
    workers: int | None = None,
    address: str | None = None,
    output: str | Path | None = None,
    directory: str | Path | None = None,
    resume: bool = True,
) -> SearchResult:
    """Find the per-layer ratios that keep most accuracy at the budget of a recipe.

    Every trial meets the budget, so trials differ only in where it is taken: uniform, ERK (Evci et al. 2020), LAMP (Lee
    et al. 2021), global magnitude and equal sensitivity first, then what a keras-tuner Oracle asks. The recipe's
    `search` section says which, how long, and what counts.

    Args:
        recipe: a recipe, a mapping, a path, or the name of a shipped one, with a single section under `prune`.
        model: a built tf_keras classifier in place of the recipe's model; it counts as trained and is not changed.
        data: arrays in place of the recipe's source, as for `tfprune.run`.
        engine: ``inline``, in this process; ``processes``, warm ones on this machine; ``ray``, actors in a cluster.
        workers: trials at once; None takes one inline, else one a core.
        address: of a Ray cluster; None starts one on this machine that nobody else can reach.
        output: where to write the recipe that is found; by default ``found.yaml`` in the search's folder.
        directory: where the search is kept; by default ``searches/`` in the tracking home.
        resume: go on with an unfinished search of the same recipe, data and model.

    Returns:
        All trials, the winner's plain Keras model, and where its recipe is.

    Raises:
        TfpruneError: one line about what is wrong and what to do.

    Example:
        >>> import tfprune
        >>> result = tfprune.search("digits")  # doctest: +SKIP
        >>> result.winner.ratios  # doctest: +SKIP
        {'conv1': 0.55, 'conv2': 0.9, 'conv3': 0.94, 'classifier': 0.72}
    """
    return execute(
        _read(recipe),
        model=model,
        data=data,
        engine=engine,
        workers=workers,
        address=address,
        output=None if output is None else Path(output),
        directory=None if directory is None else Path(directory),
        resume=resume,
    )


def sensitivity(
    recipe: Recipe | dict[str, Any] | str | Path, *, model: Any = None, data: Any = None, resume: bool = True
) -> Sensitivity:
    """How much each layer alone can lose: pruned at several shares, evaluated without training.

    A later search of the same model and data takes the curves as they are.

    Args:
        recipe: as for `search`.
        model: as for `search`.
        data: as for `search`.
        resume: go on with the dense model of an unfinished search.

    Raises:
        TfpruneError: as `search`.

    Example:
        >>> import tfprune
        >>> curves = tfprune.sensitivity("digits").curves  # doctest: +SKIP
        >>> curves[0].name, curves[0].ratios[0], curves[0].scores[0]  # doctest: +SKIP
        ('conv1', 0.5, 0.964)
    """
    return execute_sensitivity(_read(recipe), model=model, data=data, resume=resume)[0]


def execute(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    engine: str = "inline",
    workers: int | None = None,
    address: str | None = None,
    output: Path | None = None,
    directory: Path | None = None,
    resume: bool = True,
    watch: Watch | None = None,
) -> SearchResult:
    """`search` for a recipe that is read already, with somebody looking on."""
    check_engine(engine, workers, address)
    check_output(output)
    check_reach(engine, address, recipe)
    watch = watch or Watch()
    begun = begin(prepare(recipe, model, data, watch), directory, resume, watch)
    with _at_work(begun):
        curves = begun.sensitivity()
        space = begun.space(curves)
        with open_engine(engine, begun.spec(), workers, address) as slots:
            driver = Driver(recipe, space, begun.folder, begun.tracker, slots, watch, begun.on_validation)
            driver.run()
        return finish(begun, driver, curves, output)


def execute_sensitivity(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    directory: Path | None = None,
    resume: bool = True,
    watch: Watch | None = None,
) -> tuple[Sensitivity, Path]:
    """`sensitivity` for a recipe that is read already; and its picture, beside the curves."""
    watch = watch or Watch()
    about = prepare(recipe, model, data, watch)
    curves = about.read_sensitivity()
    if curves is not None:
        watch.note("sensitivity is known from an earlier search")
    else:
        begun = begin(about, directory, resume, watch)
        with _at_work(begun):
            curves = begun.sensitivity()
            begun.tracker.leave_open("FINISHED")  # the search itself may still come, and takes it up again
    picture = about.known_sensitivity.with_suffix(".png")
    save_figure(draw_sensitivity(curves, f"{recipe.name}: sensitivity"), picture)
    return curves, picture


@contextmanager
def _at_work(begun: Begun) -> Iterator[None]:
    """Let go of a search however it ends, its records told how."""
    with closing(begun.folder):
        try:
            yield
        except KeyboardInterrupt:
            begun.tracker.leave_open("KILLED")
            raise Interrupted("stopped by the user; finished trials are kept, and the same command goes on") from None
        except tf.errors.OpError as error:
            begun.tracker.leave_open("FAILED")
            raise DataError(f"TensorFlow stopped in the middle of the data or the model: {one_line(error)}") from error
        except BaseException as error:
            begun.tracker.leave_open("KILLED" if isinstance(error, Interrupted) else "FAILED")
            raise


def _read(recipe: Recipe | dict[str, Any] | str | Path) -> Recipe:
    if isinstance(recipe, dict):
        return parse(recipe)
    return recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
