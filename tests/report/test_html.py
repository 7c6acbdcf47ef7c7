"""The comparison as one file: whole, closed, escaped, and with every slice in it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import made_rounds
import matplotlib.image
import pytest
from made_rounds import DENSE, FIRST, ROUNDS, SECOND, SMALLER, evaluation, score

from tfprune.report.html import compare_html
from tfprune.results import Verdict

EMPTY = {"meta", "img", "br", "link", "input", "hr"}
EVIL = '<script>alert("x")</script>&amp;\'" onload=y'


class Page(HTMLParser):
    """Elements of a page: balanced, with the attributes of each and the rows of tables by id or number."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: dict[str, str] = {}
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), f"{tag} has an attribute twice"
        self.found.append((tag, given))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(given.get("id", str(len(self.tables))), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data
        if {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return compare_html({"mag": (ROUNDS, "Target not met: x."), "units": (SMALLER, "")}, max_drop=0.02)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_it_is_one_page_that_needs_nothing_else(text, page):
    assert text.startswith("<!DOCTYPE html>") and page.all("html") == [{"lang": "en"}]
    assert page.text["title"] == "Pruning compared: mag, units"
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    assert not page.all("link") and not any("src" in each for each in page.all("script"))
    assert all(each["src"].startswith("data:image/png;base64,") and each["alt"] for each in page.all("img"))
    assert len(page.all("img")) == 3


def test_pictures_are_pictures(page):
    for each in page.all("img"):
        picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(each["src"].partition(",")[2])))
        assert picture.min() < 0.5 < picture.max() and min(picture.shape[:2]) > 100


def test_every_slice_has_a_row(page):
    assert page.tables["slices"] == [
        ["slice", "mag", "units"],
        ["n", "before", "after", "drop", "95% interval"] * 2,
        ["all", "100", "95.0%", "94.0%", "1.0", "-2.0 to 5.0", "100", "95.0%", "93.0%", "2.0", "-1.0 to 6.0"],
        ["class_0", "30", "90.0%", "90.0%", "0.0", "-3.0 to 4.0", *[""] * 5],
        ["class_1", "31", "90.0%", "85.0%", "5.0", "2.0 to 9.0", *[""] * 5],
    ]
    values = [float(each["data-value"]) for each in page.all("td") if "data-value" in each]
    assert len(values) == 20 and values[:4] == [100, pytest.approx(0.95), 0.94, 0.01]


def test_rounds_outcomes_and_verdicts_are_there(page):
    assert "Target not met: x. Best round: r01; 1 of 2 failed." in page.text["li"]
    assert "Not finished. Best round: r02; 0 of 2 failed." in page.text["li"]
    best = {row[0]: row[1:] for row in page.tables["best"]}
    assert best["accuracy"] == ["94.0% (-1.0)", "93.0% (-2.0)"] and best["verdict"][0] == "1 of 2 rounds passed"
    rounds = [rows for name, rows in page.tables.items() if name not in ("best", "slices")]
    assert [[row[0] for row in rows] for rows in rounds] == [["round", "dense", "r01", "r02"]] * 2
    assert rounds[0][3][-1] == "; ".join(SECOND.verdict.reasons)


def test_tables_have_headers_for_readers(page):
    assert all(each.get("scope") in ("col", "row", "colgroup") for each in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) == 4


def test_names_stay_text():
    slices = (score(EVIL, 50, 0.7, 0.2, rule=EVIL), score("plain", 50, 0.7, 0.2))
    each = replace(FIRST, evaluation=replace(evaluation(0.9, 0.01), slices=slices), verdict=Verdict(False, (EVIL,)))
    text = compare_html({EVIL: ([DENSE, each], EVIL)})
    page = Page(text)
    assert len(page.all("script")) == 1 and not any("onload" in given for _, given in page.found)
    assert page.tables["slices"][3][0] == EVIL * 2, "name and rule"
    assert EVIL in page.text["title"] and EVIL in page.text["strong"]


def test_marks_and_small_slices():
    slices = (score("sure", 50, 0.7, 0.2, p_adjusted=0.01), score("tiny", 5, 0.7, 0.2, p_adjusted=None))
    each = replace(FIRST, evaluation=replace(evaluation(0.9, 0.01), slices=slices, min_support=20))
    page = Page(compare_html({"a": ([DENSE, each], "")}))
    assert [row[4] for row in page.tables["slices"][2:]] == ["1.0", "20.0*", "20.0"]
    assert [given.get("class") for given in page.all("tr")].count("small") == 1
    assert "* p < 0.05 after Holm's correction." in page.text["caption"]
    assert "fewer than 20 examples" in page.text["caption"]


def test_a_big_comparison_is_light():
    long = made_rounds.many(20, 100, failed=(7, 20))
    text = compare_html({f"workflow-{place}": (long, "done") for place in range(4)})
    assert len(text) < 3_000_000
    assert len(Page(text).tables["slices"]) == 103


def test_a_regression_and_the_dense_model_alone():
    rounds = [replace(DENSE, evaluation=made_rounds.regression(2.0)),
              replace(FIRST, evaluation=made_rounds.regression(2.1, 0.1, 0.25))]  # fmt: skip
    assert Page(compare_html({"a": (rounds, "")})).tables["slices"][3] == [
        "old_0", "20", "2", "2.25", "0.25", "-0.75 to 1.25",
    ]  # fmt: skip
    alone = Page(compare_html({"a": ([DENSE], "")}))
    assert alone.tables["slices"][3] == ["class_0", "30", "", "90.0%", "", ""]
    assert "No round is finished yet." in alone.text["p"] and len(alone.all("img")) == 1
