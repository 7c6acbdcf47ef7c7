"""What a search came to: the test split once, the recipe, the model, the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from tfprune.models.clone import with_precision
from tfprune.models.files import save
from tfprune.recipe import Recipe, StructuredSection, parse
from tfprune.report.allocation import allocation_of, draw_allocation
from tfprune.report.pareto import draw_pareto, front
from tfprune.report.search import search_markdown
from tfprune.report.trials import search_sentence
from tfprune.results import SearchResult, Sensitivity
from tfprune.rounds.examine import examination
from tfprune.storage import write_text
from tfprune.tuning.begin import Begun
from tfprune.tuning.driver import Driver
from tfprune.tuning.trial import plain_model


def finish(begun: Begun, driver: Driver, curves: Sensitivity, output: Path | None) -> SearchResult:
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
    text = found_recipe(begun.about.recorded, best.ratios).to_yaml()
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
    """The recipe that runs the ratios of a search; all else is as it was, gates that are lifted included."""
    content = yaml.safe_load(recipe.to_yaml())
    content.pop("search", None)
    prune = content["prune"]
    if isinstance(recipe.prune, StructuredSection):
        prune["scope"] = {name: round(ratio, 9) for name, ratio in ratios.items() if ratio > 0}
    else:
        prune["scope"] = {name: round(ratio, 9) for name, ratio in ratios.items()}  # unnamed layers follow the target
        for name in ("floor", "ceiling", "normalize"):  # of the global scope
            prune.pop(name, None)
    return parse({**content, "name": f"found-{recipe.name}"}, where="the recipe that was found")
