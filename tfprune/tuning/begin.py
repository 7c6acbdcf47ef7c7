"""A search before its trials: what it is about, the dense model at its end, its folder and its records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tfprune.backend import keras, make_deterministic
from tfprune.data.splits import Data
from tfprune.errors import Interrupted
from tfprune.models.clone import with_precision
from tfprune.models.files import load, save
from tfprune.recipe import Recipe, StructuredSection
from tfprune.report.sensitivity import draw_sensitivity
from tfprune.report.watch import Watch
from tfprune.results import Evaluation, Sensitivity
from tfprune.rounds.checkpoint import PROGRESS, read_progress, write_progress
from tfprune.rounds.examine import check_slices, examination
from tfprune.rounds.finetune import Stretch, compile_for_training, learning_rate, now, sample_of, train
from tfprune.rounds.interrupt import stop_on_interrupt
from tfprune.rounds.rebuilt import choices_of
from tfprune.rounds.start import data_of, fingerprint_of, model_of
from tfprune.slices.exam import Examination
from tfprune.storage import home, write_text
from tfprune.structure.ignore import UnitMask
from tfprune.tracking.searches import SearchTracker
from tfprune.tuning import sensitivity as sensitivities
from tfprune.tuning.checks import check_model, check_recipe
from tfprune.tuning.masks import MaskSpace
from tfprune.tuning.space import Space
from tfprune.tuning.state import SearchFolder, open_search
from tfprune.tuning.trial import TrialSpec, wrapped_for_search
from tfprune.tuning.widths import WidthSpace


@dataclass
class Prepared:
    """What a search is about, checked; nothing is written yet.

    Attributes:
        recipe: as it was given, its data section included.
        recorded: without what was replaced by objects.
        given: the data that was handed in, or None.
        data: of the recipe.
        model: the dense one, as it came.
        is_trained: whether it is trained already.
        validation: slices of the split that decides.
        fingerprint: of model and data.
    """

    recipe: Recipe
    recorded: Recipe
    given: Any
    data: Data
    model: keras.Model
    is_trained: bool
    validation: Examination
    fingerprint: str

    @property
    def known_sensitivity(self) -> Path:
        """Where its curves are, once a search has measured them."""
        return home() / "searches" / "sensitivity" / f"{sensitivities.key_of(self.recipe, self.fingerprint)}.json"

    def read_sensitivity(self) -> Sensitivity | None:
        """The curves that an earlier search has left."""
        is_steady = sensitivities.may_be_known(self.recipe)
        return sensitivities.read_known(self.known_sensitivity) if is_steady else None


def prepare(recipe: Recipe, model: keras.Model | None, data: Any, watch: Watch) -> Prepared:
    """Load data and model, and check all that can be checked before training.

    Raises:
        TfpruneError: one line about what is wrong and what to do.
    """
    check_recipe(recipe)
    make_deterministic(recipe.seed)
    watch.note("loading data and model")
    if recipe.export is not None:
        watch.note("a search exports nothing; tfprune run of the recipe that it finds does")
    parts = data_of(recipe, data)
    dense = model_of(recipe, model, parts)
    trained = recipe.model.is_trained if model is None and recipe.model else True
    validation, test = (examination(split, recipe, parts) for split in (parts.validation, parts.test))
    check_slices(recipe, validation, test)
    check_model(recipe, dense, validation, parts.train.size)
    given = {"model": model, "data": data}
    recorded = recipe.model_copy(update={name: None for name, value in given.items() if value is not None})
    return Prepared(recipe, recorded, data, parts, dense, trained, validation, fingerprint_of(dense, parts))


@dataclass
class Begun:
    """A search whose dense model is there.

    Attributes:
        about: what it is about.
        folder: of it.
        tracker: its records.
        watch: hears of progress.
        dense: trained, plain, in float32.
        on_validation: the dense model's evaluation.
    """

    about: Prepared
    folder: SearchFolder
    tracker: SearchTracker
    watch: Watch
    dense: keras.Model
    on_validation: Evaluation

    @property
    def recipe(self) -> Recipe:
        """As it was given."""
        return self.about.recipe

    @property
    def data(self) -> Data:
        """Of the recipe."""
        return self.about.data

    def sensitivity(self) -> Sensitivity:
        """The curves, as an earlier search has left them, or measured now; on record either way."""
        found = self.about.read_sensitivity()
        if found is not None:
            self.watch.note("sensitivity is known from an earlier search")
        elif self._is_structured:
            found = sensitivities.of_units(self.recipe, self.dense, self._units, self.data.validation, self.watch)
        else:
            found = sensitivities.of_masks(self.recipe, self._wrapped, self.data.validation, self.watch)
        sensitivities.write_known(self.about.known_sensitivity, found)
        text = sensitivities.to_json(found)
        write_text(self.folder.folder / "sensitivity.json", text)
        picture = draw_sensitivity(found, f"{self.folder.log.name}: sensitivity")
        self.tracker.record_files({"sensitivity.json": text}, {"sensitivity": picture})
        return found

    def space(self, curves: Sensitivity) -> Space:
        """Allocations on the budget."""
        if self._is_structured:
            return WidthSpace(self.recipe, self.dense, self._units, self._examples, curves)
        return MaskSpace(self.recipe, self.dense, self._wrapped, curves)

    def spec(self) -> TrialSpec:
        """What workers need."""
        track = self.recipe.track.model_copy(update={"uri": self.tracker.uri})
        recipe = self.recipe.model_copy(update={"track": track})
        log = self.folder.log
        return TrialSpec(recipe, self.folder.dense.read_bytes(), self.about.given, log.name, log.id)

    @property
    def _is_structured(self) -> bool:
        return isinstance(self.recipe.prune, StructuredSection)

    @cached_property
    def _wrapped(self) -> keras.Model:
        return wrapped_for_search(self.recipe, with_precision(self.dense, self.recipe.precision), self.data)

    @property
    def _examples(self) -> Any:
        return self.data.train.epoch(self.recipe.train.batch_size, seed=self.recipe.seed, epoch=0)

    @cached_property
    def _units(self) -> UnitMask:
        compile_for_training(self.dense, self.recipe.train, sample_of(self.data.train))  # scores may need its loss
        choices = choices_of(self.recipe)
        names = ("importance", "batches", "ignore", "units", "seed")
        return UnitMask(self.dense, data=self._examples, **{name: choices[name] for name in names})


def begin(about: Prepared, directory: Path | None, resume: bool, watch: Watch) -> Begun:
    """Open the folder and the records, and bring the dense model to its end.

    Raises:
        TfpruneError: as `prepare`; another search in the directory, a store that does not answer.
        Interrupted: by the user; finished epochs are kept.
    """
    recipe, recorded = about.recipe, about.recorded
    tracker = SearchTracker(recipe.track)
    digest = _digest(recorded)
    folder = open_search(recorded, digest, about.fingerprint, now(), resume=resume, directory=directory)
    try:
        if folder.log.asked:
            watch.note(f"going on with {folder.log.name}")
        facts = {"data.digest": about.data.digest, "data.train_examples": about.data.train.size}
        tracker.begin(folder.log.name, folder.log.id, recorded, facts)
        try:
            dense = _reach_dense(about, folder, watch)
            sitting = about.validation.sit(with_precision(dense, recipe.precision))
            about.validation.compare_with(sitting)
            return Begun(about, folder, tracker, watch, dense, about.validation.evaluate(sitting))
        except BaseException as error:
            tracker.leave_open("KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED")
            raise
    except BaseException:
        folder.close()
        raise


def _reach_dense(about: Prepared, folder: SearchFolder, watch: Watch) -> keras.Model:
    """The dense model as training leaves it, in float32; kept for the workers and for a restart."""
    if folder.dense.exists():
        return load(folder.dense)
    recipe, split, dense = about.recipe, about.data.train, about.model
    if not about.is_trained:
        dense = with_precision(dense, recipe.precision)
        compile_for_training(dense, recipe.train, sample_of(split))
        progress = folder.folder / PROGRESS
        history = read_progress(progress, "dense", dense)
        rate, epochs = partial(learning_rate, recipe.train), recipe.train.epochs
        stretch = Stretch("dense", epochs, rate, recipe.seed)
        steps = stretch.steps(split, recipe.train.batch_size)
        watch.phase("training dense", steps * epochs, steps * len(history))
        try:
            with stop_on_interrupt() as stop_asked:
                train(
                    dense,
                    split,
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


def _digest(recipe: Recipe) -> str:
    """Over all that decides what a search finds."""
    search = json.dumps(recipe.search.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{recipe.digest} {search}".encode()).hexdigest()[:8]
