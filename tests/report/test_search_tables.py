"""A search in words: the table of trials, the sentence, the report in Markdown, and where the winner prunes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_rounds import lines_of, shown
from made_searches import STARTED, TRIALS, long_search, many_finals, result, sensitivity, trial
from rich.console import Console

from tfprune.report.allocation import allocation_of, draw_allocation
from tfprune.report.figures import figure_png
from tfprune.report.finals import finals_table, ratios_table
from tfprune.report.progress import ProgressWatch
from tfprune.report.search import search_markdown
from tfprune.report.trials import final_sentence, search_sentence, trial_sentence, trials_table
from tfprune.report.watch import Watch

TABLE = [
    ["t005", "oracle", "0.9300", "93.0%", "83.0% (class_1)", "105.0", "2", "completed"],
    ["t008", "oracle", "0.9250", "92.5%", "82.5% (class_1)", "90.0", "2", "completed"],
    ["t004", "sensitivity", "0.9160", "91.6%", "81.6% (class_1)", "104.0", "2", "completed"],
    ["t003", "global", "0.9120", "91.2%", "81.2% (class_1)", "103.0", "2", "completed"],
    ["t002", "lamp", "0.9080", "90.8%", "80.8% (class_1)", "102.0", "2", "completed"],
    ["t001", "erk", "0.9040", "90.4%", "80.4% (class_1)", "101.0", "2", "completed"],
    ["t000", "uniform", "0.9000", "90.0%", "80.0% (class_1)", "100.0", "2", "completed"],
    ["t007", "oracle", "0.8900", "89.0%", "79.0% (class_1)", "107.0", "2", "stopped"],
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


@pytest.mark.parametrize(
    ("final", "best", "told"),
    [
        (
            trial(8, 0.94, epochs=10),
            0.94,
            "t008 final (oracle), 10 epochs: accuracy 94.0%, worst slice 84.0% (class_1), objective 0.9400 "
            "(the best final so far)",
        ),
        (
            trial(1, 0.93, "erk", epochs=1),
            0.94,
            "t001 final (erk), 1 epoch: accuracy 93.0%, worst slice 83.0% (class_1), objective 0.9300 (best 0.9400)",
        ),
        (trial(6, None), None, "t006 final (oracle): failed: a weight is not finite"),
    ],
    ids=["best", "behind", "failed"],
)
def test_a_final_is_one_line_that_says_so(final, best, told, tmp_path):
    assert final_sentence(final, best) == told
    with (tmp_path / "log").open("w") as file:
        ProgressWatch(Console(file=file, width=300)).final(final, best)
    assert (tmp_path / "log").read_text() == f"{told}\n"
    assert Watch().final(final, best) is None


def test_the_sentence_tells_the_final_of_the_winner_first():
    assert search_sentence(result()) == (
        "9 trials (1 stopped early, 1 failed); of 3 finals, fine-tuned for 6 epochs, t005 (asked by the oracle, "
        "sparsity 90.0%) has the best accuracy on validation: 94.0% (dense 95.0%, -1.0 points); the best starting "
        "allocation among them, global: 93.0% (the winner +1.0 points). As trials of 2 epochs: the winner 93.0%, "
        "uniform 90.0%, global 91.2%. Test, 100 examples: accuracy 93.5% (dense 95.5%, -2.0 points); worst slice "
        "85.0% (class_1)."
    )


WORST, SUM = "worst slice", "0.7 accuracy + 0.3 worst slice"


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (
            WORST,
            "has the best worst slice on validation: 84.0% (class_1), accuracy 94.0% (dense 95.0%, -1.0 points); the "
            "best starting allocation among them, global: 83.0% (the winner +1.0 points). As trials of 2 epochs, worst "
            "slice: the winner 83.0%, uniform 80.0%, global 81.2%. Test",
        ),
        (
            SUM,
            "has the highest 0.7 accuracy + 0.3 worst slice on validation: 0.9100, accuracy 94.0% (dense 95.0%, -1.0 "
            "points), worst slice 84.0% (class_1); the best starting allocation among them, global: 0.9000 (the winner "
            "+0.0100). As trials of 2 epochs, 0.7 accuracy + 0.3 worst slice: the winner 0.9000, uniform 0.8700, "
            "global 0.8820. Test",
        ),
    ],
    ids=["worst-slice", "weights"],
)
def test_other_objectives_are_told_in_words(objective, told):
    less = 0.1 if objective == WORST else 0.03

    def judged(trials):
        return tuple(
            each if each.objective is None else replace(each, objective=each.objective - less) for each in trials
        )

    known = result()
    assert told in search_sentence(result(judged(known.finals), judged(known.trials), objective=objective))


def test_a_final_behind_its_own_trial_is_told_as_such():
    finals = (trial(5, 0.92, epochs=1), trial(0, 0.91, "uniform", epochs=1))
    trials = tuple(replace(each, epochs=1) for each in TRIALS)
    text = search_sentence(result(finals, trials))
    assert (
        "validation: 92.0% (dense 95.0%, -3.0 points), lower than after its trial's 1 epoch (93.0%); the best" in text
    )
    assert "As trials of 1 epoch: the winner 93.0%" in text
    nearly = (trial(5, 0.9297, epochs=6), trial(0, 0.91, "uniform", epochs=6))
    text = search_sentence(result(nearly, (*TRIALS[:5], trial(5, 0.9299), *TRIALS[6:])))
    assert "93.0% (dense 95.0%, -2.0 points); the best" in text, "what rounds to nothing is not told"
    assert "lower than" not in search_sentence(result())


def test_equal_finals_are_told_as_equal():
    finals = (trial(5, 0.94, epochs=6), trial(3, 0.94, "global", epochs=6), trial(8, 0.93, epochs=6))
    text = search_sentence(result(finals))
    assert "has the best accuracy on validation, the same as t003: 94.0%" in text
    assert "among them, global: 94.0% (the winner 0.0 points)." in text


def test_unequal_training_is_not_compared():
    other = [replace(each, epochs=3) for each in TRIALS if each.number != 5]
    finals = (trial(5, 0.98, epochs=6), trial(0, 0.97, "uniform", epochs=7))
    text = search_sentence(result(finals=finals, trials=(TRIALS[5], *other)))
    assert "of 2 finals, fine-tuned for 6 to 7 epochs, t005" in text
    assert "98.0% (dense 95.0%, +3.0 points); no starting allocation was fine-tuned as long. As trials" in text
    assert "As trials of 2 epochs: the winner 93.0%; uniform and global did not complete as many. Test" in text
    assert "97.0%" not in text


def test_finals_that_failed_are_counted_and_not_compared():
    text = search_sentence(result((trial(5, 0.94, epochs=6), trial(0, None, "uniform"))))
    assert "of 2 finals (1 failed), fine-tuned for 6 epochs, t005" in text
    assert "-1.0 points); no starting allocation was fine-tuned as long." in text


def test_a_start_may_win():
    finals = (trial(3, 0.94, "global", epochs=6), trial(0, 0.92, "uniform", epochs=6), trial(5, 0.93, epochs=6))
    text = search_sentence(result(finals=finals, best=3))
    assert "t003 (the starting allocation global, sparsity 90.0%) has the best accuracy" in text
    assert "; the best of the oracle's among them, t005: 93.0% (the winner +1.0 points)." in text
    assert "As trials of 2 epochs: the winner 91.2%, uniform 90.0%. Test" in text
    alone = search_sentence(result(finals=finals[:2], best=3))
    assert "94.0% (dense 95.0%, -1.0 points). As trials" in alone


def test_one_final_is_not_called_the_best():
    text = search_sentence(result((trial(3, 0.94, "global", epochs=0),), best=3))
    assert "the only final, not fine-tuned, is t003 (the starting allocation global, sparsity 90.0%), accuracy" in text
    assert "accuracy on validation: 94.0% (dense 95.0%, -1.0 points). As trials" in text and "best" not in text


def test_a_winner_whose_trial_was_cut_short_has_no_trial_to_compare():
    text = search_sentence(result((trial(7, 0.94, epochs=6), trial(0, 0.92, "uniform", epochs=6)), best=7))
    assert "As trials" not in text and "(the winner +2.0 points). Test" in text


def test_structured_searches_tell_parameters():
    assert "t005 (asked by the oracle, 200,000 parameters) has" in search_sentence(
        result(sensitivity=sensitivity(method="structured"))
    )


def test_finals_stand_beside_each_other():
    table = finals_table(result())
    assert shown(table) == [
        ["trial", "origin", "epochs", "objective", "accuracy", "worst slice"],
        ["t005 (winner)", "oracle", "6", "0.9400", "94.0% (-1.0)", "84.0% (class_1)"],
        ["t003", "global", "6", "0.9300", "93.0% (-2.0)", "83.0% (class_1)"],
        ["t000", "uniform", "6", "0.9200", "92.0% (-3.0)", "82.0% (class_1)"],
    ]
    assert [row.style for row in table.rows] == ["bold green", "", ""]
    assert table.title == "digits-1, finals on validation" and table.caption == "dense: accuracy 95.0%"


def test_of_equal_finals_the_winner_is_first_and_failures_are_named():
    finals = (trial(3, 0.94, "global", epochs=6), trial(5, 0.94, epochs=6), trial(6, None))
    cells = shown(finals_table(result(finals)))
    assert [row[0] for row in cells[1:]] == ["t005 (winner)", "t003", "t006"]
    assert cells[-1] == ["t006", "oracle", "0", "failed", "", ""]
    bare = [replace(each, evaluation=replace(each.evaluation, slices=())) for each in finals[:2]]
    assert "worst slice" not in shown(finals_table(result(tuple(bare))))[0]


def test_many_finals_are_cut_and_fit_a_terminal():
    table = finals_table(many_finals(26, layers=3))
    assert len(table.rows) == 20 and table.caption == "dense: accuracy 95.0%; 6 more"
    assert max(map(len, lines_of(table, 80))) <= 80


def test_ratios_of_the_winner_by_layer():
    table = ratios_table(result())
    assert shown(table) == [["layer", "sparsity"], ["conv1", "35.0%"], ["conv2", "60.0%"], ["dense", "90.0%"]]
    assert table.title == "winner t005" and table.caption is None
    structured = ratios_table(result(sensitivity=sensitivity(method="structured")))
    assert shown(structured)[0] == ["coupling", "units removed"]
    long = ratios_table(many_finals(2, layers=53))
    assert len(long.rows) == 20 and long.caption == "33 more; all of them are in the recipe"
    assert "[bold]block_0" in "".join(lines_of(long)) and max(map(len, lines_of(long, 80))) <= 80


def test_a_result_is_shown_in_a_few_lines():
    assert repr(result(outcome="Something was found.")) == (
        "search digits-1: 9 trials, 3 finals\n"
        "Something was found.\n"
        "winner t005 (oracle): conv1 0.350, conv2 0.600, dense 0.900\n"
        "recipe: found.yaml"
    )
    long = repr(many_finals(1, layers=53))
    assert "1 final\n" in long and "and 47 more\n" in long and "Trial(" not in long and len(long) < 900


def test_markdown_has_ratios_finals_front_and_trials():
    text = search_markdown(result(outcome="Something <was> found."))
    assert text.startswith("**digits-1** Something &lt;was&gt; found.\n")
    lines = text.splitlines()
    assert "### What is pruned where: sparsity" in lines
    assert "| layer | t005 | uniform | erk | lamp | global | sensitivity |" in lines
    assert "| conv1 | 35.0% | 30.0% | 31.0% | 32.0% | 33.0% | 34.0% |" in lines
    assert "| **t005** | oracle | 0.9400 | 94.0% | 84.0% (class_1) | 105.0 | 6 | completed |" in lines
    assert "### 2 of 8 trials on the Pareto front" in lines
    assert "| t008 | oracle | 92.5% | 82.5% | 90.0 |" in lines
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
