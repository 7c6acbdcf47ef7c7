"""A recipe becomes a search at work: dense model, sensitivity, trials, and the recipe that comes of it."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tfprune import recipe as recipes
from tfprune.backend import keras, make_deterministic, tf
from tfprune.data.splits import Data
from tfprune.errors import DataError, Interrupted, RecipeError
from tfprune.importing import one_line
from tfprune.models.clone import with_precision
from tfprune.models.files import load, save
from tfprune.recipe import PruneSection, Recipe, StructuredSection, parse
from tfprune.report.allocation import allocation_of, draw_allocation
from tfprune.report.pareto import draw_pareto, front
from tfprune.report.search import search_markdown
from tfprune.report.sensitivity import draw_sensitivity
from tfprune.report.trials import search_sentence
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, SearchResult, Sensitivity
from tfprune.rounds.checkpoint import PROGRESS, read_progress, write_progress
from tfprune.rounds.examine import check_slices, examination
from tfprune.rounds.finetune import Stretch, compile_for_training, learning_rate, now, sample_of, train
from tfprune.rounds.goal import check_goal, selection_of
from tfprune.rounds.interrupt import stop_on_interrupt
from tfprune.rounds.rebuilt import check_structured, choices_of
from tfprune.rounds.start import data_of, fingerprint_of, model_of
from tfprune.storage import home, write_text
from tfprune.structure.ignore import UnitMask
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning import sensitivity as sensitivities
from tfprune.tuning.driver import Driver
from tfprune.tuning.engines import check_engine, open_engine
from tfprune.tuning.masks import MaskSpace
from tfprune.tuning.objective import objective_of
from tfprune.tuning.space import Space
from tfprune.tuning.state import SearchFolder, open_search
from tfprune.tuning.trial import TrialSpec, plain_model, wrapped_for_search
from tfprune.tuning.widths import WidthSpace

_LOCAL = ("auto", "local", "localhost", "127.0.0.1", "[::1]", "ray://localhost", "ray://127.0.0.1")


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
    _check_output(output)
    watch = watch or Watch()
    begun = _begin(recipe, model, data, directory, resume, watch)
    _check_reach(engine, address, begun.tracker.uri)
    with closing(begun.folder):
        try:
            curves = begun.sensitivity()
            space = begun.space(curves)
            with open_engine(engine, begun.spec(data), workers, address) as slots:
                driver = Driver(recipe, space, begun.folder, begun.tracker, slots, watch, begun.on_validation)
                driver.run()
            return _finish(begun, driver, curves, output)
        except KeyboardInterrupt:
            begun.tracker.leave_open("KILLED")
            raise Interrupted("stopped by the user; finished trials are kept, and the same command goes on") from None
        except tf.errors.OpError as error:
            begun.tracker.leave_open("FAILED")
            raise DataError(f"TensorFlow stopped in the middle of the data or the model: {one_line(error)}") from error
        except BaseException as error:
            begun.tracker.leave_open("KILLED" if isinstance(error, Interrupted) else "FAILED")
            raise


def execute_sensitivity(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    directory: Path | None = None,
    resume: bool = True,
    watch: Watch | None = None,
) -> tuple[Sensitivity, Path]:
    """`sensitivity` for a recipe that is read already; and the picture, in the folder of the search."""
    begun = _begin(recipe, model, data, directory, resume, watch or Watch())
    with closing(begun.folder):
        try:
            curves = begun.sensitivity()
        finally:
            begun.tracker.leave_open("KILLED")  # the search itself is still to come
        picture = begun.folder.folder / "sensitivity.png"
        _draw(curves, begun.folder.log.name).savefig(picture)
        return curves, picture


@dataclass
class _Begun:
    """A search whose dense model is there.

    Attributes:
        recipe: as it was given, its data section included.
        recorded: without what was replaced by objects.
        data: of it.
        dense: trained, plain, in float32.
        on_validation: the dense model's evaluation.
        folder: of the search.
        tracker: its records.
        fingerprint: of model and data.
        watch: hears of progress.
    """

    recipe: Recipe
    recorded: Recipe
    data: Data
    dense: keras.Model
    on_validation: Evaluation
    folder: SearchFolder
    tracker: SearchTracker
    fingerprint: str
    watch: Watch

    @property
    def is_structured(self) -> bool:
        return isinstance(self.recipe.prune, StructuredSection)

    def sensitivity(self) -> Sensitivity:
        """The curves, as an earlier search has left them, or measured now; on record either way."""
        known = home() / "searches" / "sensitivity" / f"{sensitivities.key_of(self.recipe, self.fingerprint)}.json"
        found = sensitivities.read_known(known)
        if found is None:
            if self.is_structured:
                found = sensitivities.of_units(self.recipe, self.dense, self._units, self.data.validation, self.watch)
            else:
                found = sensitivities.of_masks(self.recipe, self._wrapped, self.data.validation, self.watch)
            sensitivities.write_known(known, found)
        else:
            self.watch.note("sensitivity is known from an earlier search")
        text = sensitivities.to_json(found)
        write_text(self.folder.folder / "sensitivity.json", text)
        self.tracker.record_files({"sensitivity.json": text}, {"sensitivity": _draw(found, self.folder.log.name)})
        return found

    def space(self, curves: Sensitivity) -> Space:
        """Allocations on the budget."""
        if self.is_structured:
            return WidthSpace(self.recipe, self.dense, self._units, self._examples, curves)
        return MaskSpace(self.recipe, self.dense, self._wrapped, curves)

    def spec(self, given: Any) -> TrialSpec:
        """What workers need."""
        track = self.recipe.track.model_copy(update={"uri": self.tracker.uri})
        recipe = self.recipe.model_copy(update={"track": track})
        log = self.folder.log
        return TrialSpec(recipe, self.folder.dense.read_bytes(), given, log.name, log.id)

    @property
    def _wrapped(self) -> keras.Model:
        return wrapped_for_search(self.recipe, with_precision(self.dense, self.recipe.precision), self.data)

    @property
    def _examples(self) -> Any:
        return self.data.train.epoch(self.recipe.train.batch_size, seed=self.recipe.seed, epoch=0)

    @property
    def _units(self) -> UnitMask:
        compile_for_training(self.dense, self.recipe.train, sample_of(self.data.train))  # scores may need its loss
        choices = choices_of(self.recipe)
        names = ("importance", "batches", "ignore", "units", "seed")
        return UnitMask(self.dense, data=self._examples, **{name: choices[name] for name in names})


def _begin(
    recipe: Recipe, model: keras.Model | None, data: Any, directory: Path | None, resume: bool, watch: Watch
) -> _Begun:
    """Check all that can be checked, open the folder and the records, and bring the dense model to its end."""
    _check_searchable(recipe)
    make_deterministic(recipe.seed)
    watch.note("loading data and model")
    parts = data_of(recipe, data)
    dense = model_of(recipe, model, parts)
    trained = recipe.model.is_trained if model is None and recipe.model else True
    validation, test = (examination(split, recipe, parts) for split in (parts.validation, parts.test))
    check_slices(recipe, validation, test)
    if isinstance(recipe.prune, StructuredSection):
        check_structured(recipe, dense)
    else:
        check_goal(recipe, dense, selection_of(recipe))
    given = {"model": model, "data": data}
    recorded = recipe.model_copy(update={name: None for name, value in given.items() if value is not None})
    tracker = SearchTracker(recipe.track)
    fingerprint = fingerprint_of(dense, parts)
    folder = open_search(recorded, _digest(recorded), fingerprint, now(), resume=resume, directory=directory)
    try:
        if folder.log.asked:
            watch.note(f"going on with {folder.log.name}")
        about = {"data.digest": parts.digest, "data.train_examples": parts.train.size}
        tracker.begin(folder.log.name, folder.log.id, recorded, about)
        try:
            dense = _reach_dense(recipe, dense, trained, parts, folder, watch)
            sitting = validation.sit(with_precision(dense, recipe.precision))
            validation.compare_with(sitting)
            on_validation = validation.evaluate(sitting)
            objective_of(on_validation, recipe.search.weights)  # there is something to judge by
        except BaseException as error:
            tracker.leave_open("KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED")
            raise
    except BaseException:
        folder.close()
        raise
    return _Begun(recipe, recorded, parts, dense, on_validation, folder, tracker, fingerprint, watch)


def _reach_dense(
    recipe: Recipe, dense: keras.Model, trained: bool, data: Data, folder: SearchFolder, watch: Watch
) -> keras.Model:
    """The dense model as training leaves it, in float32; kept for the workers and for a restart."""
    if folder.dense.exists():
        return load(folder.dense)
    if not trained:
        dense = with_precision(dense, recipe.precision)
        compile_for_training(dense, recipe.train, sample_of(data.train))
        progress = folder.folder / PROGRESS
        history = read_progress(progress, "dense", dense)
        rate, epochs = partial(learning_rate, recipe.train), recipe.train.epochs
        stretch = Stretch("dense", epochs, rate, recipe.seed)
        steps = stretch.steps(data.train, recipe.train.batch_size)
        watch.phase("training dense", steps * epochs, steps * len(history))
        try:
            with stop_on_interrupt() as stop_asked:
                train(
                    dense,
                    data.train,
                    recipe.train,
                    stretch,
                    history=history,
                    watch=watch,
                    stop_asked=stop_asked,
                    keep=lambda so_far: write_progress(progress, "dense", dense, so_far),
                )
        finally:
            watch.phase_done()
    save(with_precision(dense, "float32"), folder.dense)
    return load(folder.dense)


def _finish(begun: _Begun, driver: Driver, curves: Sensitivity, output: Path | None) -> SearchResult:
    """Look at the test split, once, and write down what was found."""
    recipe, folder = begun.recipe, begun.folder
    best = driver.best
    weights = folder.weights(best.label, kind="finals")
    dense = with_precision(begun.dense, recipe.precision)
    plain = with_precision(plain_model(recipe, dense, begun.data, driver.task_of(best), weights), "float32")
    test = examination(begun.data.test, recipe, begun.data)
    before = test.sit(begun.dense)
    test.compare_with(before)
    found = output or folder.folder / "found.yaml"
    result = SearchResult(
        search=folder.log.name,
        outcome="",
        objective=recipe.search.said,
        dense=begun.on_validation,
        trials=tuple(driver.trials[number] for number in sorted(driver.trials)),
        finals=tuple(driver.finals[number] for number in folder.log.finals),
        best=best.number,
        test_dense=test.evaluate(before),
        test=test.evaluate(test.sit(plain)),
        sensitivity=curves,
        directory=folder.folder,
        recipe=found,
        tracking_uri=begun.tracker.uri,
        model=plain,
    )
    result = replace(result, outcome=search_sentence(result))
    save(plain, folder.folder / "model.keras")
    text = found_recipe(begun.recorded, best.ratios).to_yaml()
    write_text(found, f"# Found by tfprune search ({folder.log.name}).\n{text}")
    figures = {
        "pareto": draw_pareto(front(result.trials), folder.log.name),
        "allocation": draw_allocation(allocation_of(best, result.trials), folder.log.name, curves.method),
    }
    begun.tracker.finish(result, search_markdown(result), {"found.yaml": text}, figures)
    folder.log.outcome = result.outcome
    folder.keep()
    return result


def found_recipe(recipe: Recipe, ratios: dict[str, float]) -> Recipe:
    """The recipe that runs the ratios of a search; where there was no search it is the same."""
    content = recipe.model_dump(mode="json", exclude_none=True)
    content.pop("search", None)
    prune = {**content["prune"], "scope": {name: round(ratio, 9) for name, ratio in ratios.items() if ratio > 0}}
    if not isinstance(recipe.prune, StructuredSection):
        prune["scope"] = {name: round(ratio, 9) for name, ratio in ratios.items()}  # unnamed layers follow the target
        for name in ("floor", "ceiling", "normalize"):  # of the global scope
            prune.pop(name, None)
    return parse({**content, "name": f"found-{recipe.name}", "prune": prune}, where="the recipe that was found")


# --------------------------------------------------------------------------------------------- checks


def _read(recipe: Recipe | dict[str, Any] | str | Path) -> Recipe:
    if isinstance(recipe, dict):
        return parse(recipe)
    return recipe if isinstance(recipe, Recipe) else recipes.load(recipe)


def _check_searchable(recipe: Recipe) -> None:
    if isinstance(recipe.prune, tuple):
        raise RecipeError(
            f"{recipe.name}: prune has {len(recipe.prune)} sections, and a search has one budget; leave one of them"
        )
    if isinstance(recipe.prune, PruneSection):
        if recipe.prune.pattern_sparsity is not None:
            raise RecipeError(
                f"{recipe.name}: pattern {recipe.prune.pattern} gives every layer the same sparsity, so there is "
                "nothing to search; leave prune.pattern out"
            )
        if recipe.prune.rewind_to_epoch is not None:
            raise RecipeError(
                f"{recipe.name}: trials fine-tune the dense model and rewind nothing; leave prune.rewind_to_epoch out"
            )


def _check_output(output: Path | None) -> None:
    """A place that no recipe can be written to is told before hours of trials, not after them."""
    if output is None:
        return
    if output.is_dir():
        raise RecipeError(f"--output {output}: a folder is in the way of the recipe; name a file, e.g. found.yaml")
    file = next((each for each in output.parents if each.is_file()), None)
    if file is not None:
        raise RecipeError(f"--output {output}: {file} is a file, not a folder; name another place")


def _check_reach(engine: str, address: str | None, uri: str) -> None:
    """Workers elsewhere cannot write to a file here."""
    if engine != "ray" or address is None or not uri.startswith("sqlite:"):
        return
    host = address.rsplit(":", 1)[0] if ":" in address.removeprefix("ray://") else address
    if host not in _LOCAL:
        raise RecipeError(
            f"workers of the cluster at {address} cannot write to {uri}; name a tracking server that all of them reach "
            "with --set track.uri=http://HOST:PORT or MLFLOW_TRACKING_URI"
        )


def _digest(recipe: Recipe) -> str:
    """Over all that decides what a search finds."""
    search = json.dumps(recipe.search.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{recipe.digest} {search}".encode()).hexdigest()[:8]


def _draw(curves: Sensitivity, name: str) -> Any:
    return draw_sensitivity(
        curves, f"{name}: sensitivity by {'coupling' if curves.method == 'structured' else 'layer'}"
    )
