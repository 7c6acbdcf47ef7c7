"""A search in words: the table of trials, the sentence, the report in Markdown, and where the winner prunes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_rounds import lines_of, shown
from made_searches import STARTED, TRIALS, long_search, result, sensitivity, trial
from rich.console import Console

from tfprune.report.allocation import allocation_of, draw_allocation
from tfprune.report.figures import figure_png
from tfprune.report.progress import ProgressWatch
from tfprune.report.search import search_markdown
from tfprune.report.trials import search_sentence, trial_sentence, trials_table
from tfprune.report.watch import Watch

TABLE = [
    ["t005", "oracle", "0.9300", "93.0%", "83.0% (class_1)", "0.105", "2", "completed"],
    ["t008", "oracle", "0.9250", "92.5%", "82.5% (class_1)", "0.090", "2", "completed"],
    ["t004", "sensitivity", "0.9160", "91.6%", "81.6% (class_1)", "0.104", "2", "completed"],
    ["t003", "global", "0.9120", "91.2%", "81.2% (class_1)", "0.103", "2", "completed"],
    ["t002", "lamp", "0.9080", "90.8%", "80.8% (class_1)", "0.102", "2", "completed"],
    ["t001", "erk", "0.9040", "90.4%", "80.4% (class_1)", "0.101", "2", "completed"],
    ["t000", "uniform", "0.9000", "90.0%", "80.0% (class_1)", "0.100", "2", "completed"],
    ["t007", "oracle", "0.8900", "89.0%", "79.0% (class_1)", "0.107", "2", "stopped"],
    ["t006", "oracle", "", "", "", "", "0", "failed"],
]


def test_trials_stand_best_first():
    table = trials_table(result())
    assert shown(table)[2:] == TABLE
    assert [row.style for row in table.rows] == ["bold green", *[""] * 6, "dim", "red"]
    assert table.title == "digits-1, trials" and table.caption is None
    assert max(map(len, lines_of(table, 80))) <= 80
    assert shown(trials_table(TRIALS))[2:] == TABLE


def test_long_searches_are_cut_and_say_so():
    table = trials_table(long_search(60), "[x]")
    assert len(table.rows) == 15 and table.caption == "45 more, 6 of them failed"
    assert trials_table(long_search(60), most=60).caption is None
    assert "[x]" in lines_of(table)[0]
    assert max(map(len, lines_of(table, 80))) <= 80


def test_trials_without_sizes_or_slices_have_no_such_columns():
    bare = [replace(each, measurement=None, evaluation=replace(each.evaluation, slices=())) for each in STARTED]
    assert shown(trials_table(bare))[0] == ["trial", "origin", "objective", "accuracy", "epochs", "status"]
    assert shown(trials_table([])) == [["trial", "origin", "objective", "accuracy", "epochs", "status"]]


@pytest.mark.parametrize(
    ("number", "best", "told"),
    [
        (0, None, "t000 uniform: accuracy 90.0%, worst slice 80.0% (class_1), objective 0.9000"),
        (0, 0.93, "t000 uniform: accuracy 90.0%, worst slice 80.0% (class_1), objective 0.9000 (best 0.9300)"),
        (5, 0.93, "t005 oracle: accuracy 93.0%, worst slice 83.0% (class_1), objective 0.9300 (the best so far)"),
        (6, 0.93, "t006 oracle: failed: a weight is not finite"),
        (
            7,
            0.93,
            "t007 oracle: accuracy 89.0%, worst slice 79.0% (class_1), objective 0.8900 (best 0.9300), "
            "stopped early: it cannot come up to the best",
        ),
    ],
    ids=["first", "behind", "best", "failed", "stopped"],
)
def test_a_trial_is_one_line(number, best, told):
    assert trial_sentence(TRIALS[number], best) == told


def test_trials_are_told_on_the_console(tmp_path):
    with (tmp_path / "log").open("w") as file:
        watch = ProgressWatch(Console(file=file, width=300))
        watch.trial(replace(TRIALS[6], message="a [bold] message"), None)
    assert (tmp_path / "log").read_text() == "t006 oracle: failed: a [bold] message\n"
    assert Watch().trial(TRIALS[0], None) is None


def test_the_sentence_compares_finals_of_equal_training():
    assert search_sentence(result()) == (
        "9 trials (1 stopped early, 1 failed); chosen by accuracy on the validation split: t005, asked by the oracle, "
        "sparsity 90.0%. Validation, 6 epochs of fine-tuning each: accuracy 94.0%, uniform 92.0% (the winner +2.0 "
        "points), global 93.0% (the winner +1.0 points). Test, 100 examples: accuracy 93.5% (dense 95.5%, -2.0 "
        "points); worst slice 85.0% (class_1)."
    )


def test_without_starts_among_the_finals_trials_are_compared():
    text = search_sentence(result(finals=(trial(5, 0.94, epochs=6), trial(8, 0.93, epochs=6))))
    assert "Validation, 2 epochs of fine-tuning each: accuracy 93.0%, uniform 90.0% (the winner +3.0 points)" in text
    assert "global 91.2% (the winner +1.8 points)." in text and "94.0%" not in text


def test_unequal_training_is_not_compared():
    other = [replace(each, epochs=3) for each in TRIALS if each.number != 5]
    finals = (trial(5, 0.94, epochs=6), trial(0, 0.97, "uniform", epochs=7))
    text = search_sentence(result(finals=finals, trials=(TRIALS[5], *other)))
    assert "Validation, 6 epochs of fine-tuning: accuracy 94.0%; uniform and global not run to as many." in text
    assert "97.0%" not in text


def test_a_winner_that_is_behind_is_told_as_such():
    finals = (trial(5, 0.91, epochs=1), trial(0, 0.92, "uniform", epochs=1), trial(3, 0.91, "global", epochs=1))
    text = search_sentence(result(finals=finals))
    assert "1 epoch of fine-tuning each" in text
    assert "uniform 92.0% (the winner -1.0 points), global 91.0% (the winner 0.0 points)" in text


def test_a_start_may_win():
    finals = (trial(3, 0.94, "global", epochs=6), trial(0, 0.92, "uniform", epochs=6))
    text = search_sentence(result(finals=finals, best=3))
    assert "t003, the starting allocation global, sparsity 90.0%" in text
    assert "accuracy 94.0%, uniform 92.0% (the winner +2.0 points). Test" in text


def test_structured_searches_tell_parameters():
    assert "t005, asked by the oracle, 200,000 parameters." in search_sentence(
        result(sensitivity=sensitivity(method="structured"))
    )


def test_markdown_has_ratios_finals_front_and_trials():
    text = search_markdown(result(outcome="Something <was> found."))
    assert text.startswith("**digits-1** Something &lt;was&gt; found.\n")
    lines = text.splitlines()
    assert "### What is pruned where: sparsity" in lines
    assert "| layer | t005 | uniform | erk | lamp | global | sensitivity |" in lines
    assert "| conv1 | 35.0% | 30.0% | 31.0% | 32.0% | 33.0% | 34.0% |" in lines
    assert "| **t005** | oracle | 0.9400 | 94.0% | 84.0% (class_1) | 0.105 | 6 | completed |" in lines
    assert "### 2 of 8 trials on the Pareto front" in lines
    assert "| t008 | oracle | 92.5% | 82.5% | 0.090 |" in lines
    assert lines[-1] == "| t006 | oracle |  |  |  |  | 0 | failed |"
    assert search_sentence(result()) in search_markdown(result())


def test_markdown_stays_within_what_mlflow_shows():
    ratios = {f"block_{place}/conv|{place}": 0.5 + 0.004 * place for place in range(110)}
    every = tuple(replace(each, ratios=ratios) for each in long_search(300))
    winner = replace(every[12], epochs=6, ratios=dict.fromkeys(ratios, 0.9))
    text = search_markdown(result(finals=(winner,), trials=every, best=12))
    assert len(text) <= 7_900 and "layers on which they differ less are left out" in text
    assert "conv\\|0" in text, "of the layers, those that differ most"
    assert "more, " in text.splitlines()[-1]


def test_allocation_stands_beside_the_starts():
    found = allocation_of(TRIALS[5], TRIALS)
    assert found.names == ("conv1", "conv2", "dense") and found.label == "t005, oracle" and not found.left_out
    np.testing.assert_allclose(found.winner, [0.35, 0.6, 0.9])
    assert list(found.others) == [each.origin for each in STARTED]
    np.testing.assert_allclose(found.others["global"], [0.33, 0.6, 0.92])
    figure = draw_allocation(found, "w")
    figure_png(figure)
    (axes,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [35, 60, 90])
    assert [line.get_label() for line in axes.lines] == list(found.others)
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines}
    assert len(looks) == 5 and axes.get_xlabel() == "sparsity of the layer (%)"
    assert "units removed" in draw_allocation(found, method="structured").axes[0].get_xlabel()


def test_a_start_that_won_is_no_other_and_unknown_layers_have_no_sign():
    some = replace(STARTED[1], ratios={"conv1": 0.2})
    found = allocation_of(STARTED[0], [STARTED[0], some])
    assert list(found.others) == ["erk"]
    assert np.isnan(found.others["erk"]).tolist() == [False, True, True]
    assert figure_png(draw_allocation(found))


def test_of_many_layers_those_that_differ_most_are_drawn():
    names = [f"outer/$block$_{place}/conv2d" for place in range(100)]
    winner = replace(TRIALS[5], ratios={name: 0.5 + 0.004 * place for place, name in enumerate(names)})
    uniform = replace(STARTED[0], ratios=dict.fromkeys(names, 0.5))
    found = allocation_of(winner, [uniform])
    assert found.names == tuple(names[20:]) and found.left_out == 20
    figure = draw_allocation(found)
    figure_png(figure, dpi=50)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 80 and not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert figure.get_supxlabel() == "20 layers on which they differ less are left out"
    assert figure_png(draw_allocation(allocation_of(replace(winner, ratios={}), [])))
