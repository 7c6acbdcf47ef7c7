"""The report that MLflow shows of a workflow."""

from __future__ import annotations

import re
from dataclasses import replace

import made_rounds
from made_rounds import DENSE, FIRST, REASON, ROUNDS, SECOND, SMALLER, evaluation, score

from tfprune.report.markdown import workflow_markdown
from tfprune.results import Verdict


def sections(text: str) -> dict[str, list[str]]:
    """Lines by heading; those before the first under ""."""
    found: dict[str, list[str]] = {"": []}
    for line in text.splitlines():
        if line.startswith("### "):
            found[line[4:]] = []
        elif line:
            found[list(found)[-1]].append(line)
    return found


def test_it_reads_as_a_report():
    told = sections(workflow_markdown("digits-1", ROUNDS, "Target not met.", asked="Asked for: much."))
    assert list(told) == [
        "",
        "Rounds, on the validation split",
        "Slices that paid most in r01",
        "Before and after",
        "Rounds that failed",
    ]
    assert told[""] == ["**digits-1** Target not met. Asked for: much. 2 rounds tried, 1 failed; the best is r01."]
    assert told["Rounds, on the validation split"][-1] == (
        "| r02 | 80.0% | 85.0% | 300 | 80.0% | -15.0 | class_0 -30.0 | **failed** |"
    )
    assert told["Slices that paid most in r01"] == [
        "| slice | examples | accuracy | drop (points) | 95% interval |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| class_1 | 31 | 90.0% → 85.0% | 5.0 | 2.0 to 9.0 |",
        "| class_0 | 30 | 90.0% → 90.0% | 0.0 | -3.0 to 4.0 |",
    ]
    assert told["Before and after"][2:] == [
        "| accuracy | 95.0% | 94.0% |",
        "| worst slice accuracy | 90.0% (class_0) | 85.0% (class_1) |",
        "| worst slice drop |  | 5.0 (class_1) |",
        "| gap between best and worst slice (points) | 0.0 | 5.0 |",
        "| calibration error | 2.0% | 3.0% |",
        "| churn: answers that changed |  | 6.0% |",
    ]
    assert told["Rounds that failed"] == [f"- r02: accuracy fell by 15.0 points (at most 2.0 points); {REASON}"]


def test_every_table_is_one():
    for rounds in (ROUNDS, SMALLER, made_rounds.many(20, 100, failed=(3,))):
        for lines in sections(workflow_markdown("a|b", rounds, "x | y")).values():
            rows = [line for line in lines if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1
            assert not rows or re.fullmatch(r"\|( -{3}:? \|)+", rows[1])


def test_a_long_workflow_shows_the_worst_five():
    told = sections(workflow_markdown("w", made_rounds.many(20, 100, failed=(20,)), ""))
    worst = [line.split(" | ")[0] for line in told["Slices that paid most in r19"][2:]]
    assert worst == [f"| class_{place}" for place in (99, 98, 97, 96, 95)]


def test_where_none_passed_the_last_round_is_told():
    told = sections(workflow_markdown("w", (DENSE, SECOND), ""))
    assert told[""][0].endswith("1 round tried, 1 failed; none passed, so the dense model is what is left.")
    assert "Slices that paid most in r02, which failed" in told


def test_the_dense_model_alone():
    told = sections(workflow_markdown("w", [DENSE], ""))
    assert told[""] == ["**w** No round is finished yet."]
    assert list(told) == ["", "Rounds, on the validation split"]


def test_found_groups_marks_and_small_slices():
    slices = (
        score("discovered", 50, 0.7, 0.2, p_adjusted=0.01, rule="age > 60 and site = b_*"),
        score("tiny", 5, 0.4, 0.6, p_adjusted=None),
    )
    each = replace(FIRST, evaluation=replace(evaluation(0.9, 0.01), slices=slices, min_support=20))
    told = sections(workflow_markdown("w", [DENSE, each], ""))
    assert told["Slices that paid most in r01"][2:] == [
        "| discovered | 50 | 90.0% → 70.0% | 20.0\\* | 17.0 to 24.0 |",
        "\\* p < 0.05 after Holm's correction. "
        "1 slice with fewer than 20 examples, or chosen by the answers, left out.",
    ]
    assert told["Groups found in r01"] == [
        "- discovered: age &gt; 60 and site = b\\_\\* (50 examples, 90.0% → 70.0%)",
    ]


def test_regressions_are_told_in_numbers():
    rounds = [replace(DENSE, evaluation=made_rounds.regression(2.0)),
              replace(FIRST, evaluation=made_rounds.regression(2.1, 0.1, 0.25))]  # fmt: skip
    told = sections(workflow_markdown("w", rounds, ""))
    assert told["Slices that paid most in r01"][0] == "| slice | examples | error | drop | 95% interval |"
    assert told["Slices that paid most in r01"][2] == "| old_0 | 20 | 2 → 2.25 | 0.25 | -0.75 to 1.25 |"
    assert told["Before and after"][2] == "| error | 2 | 2.1 |"


def test_names_cannot_break_it():
    wild = "<img src=x onerror=y>|a*b*\n# c"
    slices = (score(wild, 50, 0.7, 0.2),)
    each = replace(
        FIRST, evaluation=replace(evaluation(0.9, 0.01), slices=slices), verdict=Verdict(False, (f"slice {wild}",))
    )
    text = workflow_markdown(wild, [DENSE, each], wild)
    assert "<img" not in text and "\n# c" not in text and "*b*" not in text.replace("\\*", "")
    rows = [line for line in sections(text)["Slices that paid most in r01, which failed"] if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_mlflow_need_not_cut_it():
    long = "slice_with_a_name_" * 5
    failed = tuple(range(5, 60, 3))
    rounds = made_rounds.many(60, 100, failed=failed)
    wordy = [
        each if each.verdict.passed else replace(each, verdict=Verdict(False, (f"{long} fell",) * 40))
        for each in rounds
    ]
    text = workflow_markdown(long, wordy, "Target not met: " + "x" * 300, asked="y" * 300)
    told = sections(text)
    assert len(text) <= 7_900
    table = [line for line in told["Rounds, on the validation split"] if line.startswith("| r")]
    assert "| dense |" in text and table[1].startswith("| r") and table[-1].startswith("| r60 |")
    assert f"{60 - (len(table) - 1)} earlier rounds are left out." in text
    assert told["Rounds that failed"][0].endswith("fell; and 37 more")
    assert told["Rounds that failed"][-1].endswith("earlier ones are left out")
    assert "| r59 |" in workflow_markdown("w", made_rounds.many(61, 100, failed=(60, 61)), ""), "the best stays"
