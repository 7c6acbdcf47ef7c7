"""Labels against sets of indices that are written out: what is removed, and what leaves with it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.structure.channels import Channels, joined, met, product, reshaped
from tfprune.structure.labels import KEPT, KINDS, Labels

PROPERTY = settings(max_examples=80, deadline=None)
Rows = np.ndarray


@pytest.fixture(autouse=True)
def small_memory() -> None:
    """No model is made here."""


def gone(labels: Labels, rows: Rows, removed: set[int]) -> np.ndarray:
    """Which indices of an axis leave, told one by one."""
    return np.array([any(int(each) in removed for each in row) for row in labels.resolve(rows)], bool)


def roots(labels: Labels, *axes: Rows) -> set[int]:
    return {int(each) for rows in axes for each in labels.resolve(rows).ravel()} - {KEPT}


def every_removal(labels: Labels, *axes: Rows) -> Iterator[set[int]]:
    """All sets of labels that these axes bear; they are few enough to go through."""
    found = sorted(roots(labels, *axes))
    assert len(found) <= 14
    for size in range(len(found) + 1):
        yield from map(set, itertools.combinations(found, size))


def patterns(labels: Labels, *axes: Rows) -> set[tuple[bool, ...]]:
    """Everything that can leave these axes together."""
    return {
        tuple(np.concatenate([gone(labels, rows, removed) for rows in axes]))
        for removed in every_removal(labels, *axes)
    }


# ------------------------------------------------------------------- programs of axes and what they ask


@dataclass
class Story:
    """Axes that were made, and for each thing asked of them a check that it holds whatever is removed."""

    labels: Labels = field(default_factory=Labels)
    axes: list[Rows] = field(default_factory=list)
    checks: list[Callable[[set[int]], bool]] = field(default_factory=list)
    marked: list[Rows] = field(default_factory=list)
    cells: dict[int, list[int]] = field(default_factory=dict)  # axis -> brute force: one cell an index
    links: list[tuple[int, int]] = field(default_factory=list)  # cells that leave together; cell 0 is kept

    def add(self, rows: Rows, cells: list[int]) -> None:
        self.cells[len(self.axes)] = cells
        self.axes.append(rows)

    def gone(self, rows: Rows, removed: set[int]) -> np.ndarray:
        return gone(self.labels, rows, removed)

    def component(self) -> dict[int, int]:
        """Cells that leave together, found by going through all links until nothing changes."""
        found = {cell: cell for cells in self.cells.values() for cell in cells} | {0: 0}
        changed = True
        while changed:
            changed = False
            for one, other in self.links:
                low = min(found[one], found[other])
                changed |= found[one] != low or found[other] != low
                found[one] = found[other] = low
        return found


@st.composite
def stories(draw: st.DrawFn, splits: bool) -> Story:
    story = Story()
    labels, fresh_cells = story.labels, itertools.count(1)
    for step in range(draw(st.integers(2, 9))):
        kinds = ["fresh"] if not story.axes else ["fresh", "unite", "unite", "freeze", "concat", "slice", "mark"]
        kinds += ["split", "split", "product"] if splits and story.axes else []
        kind = draw(st.sampled_from(kinds))
        if kind == "fresh":
            size = draw(st.sampled_from([1, 2, 3, 4, 4, 6, 8]))
            story.add(labels.fresh(size, f"axis{step}"), [next(fresh_cells) for _ in range(size)])
            continue
        at = draw(st.integers(0, len(story.axes) - 1))
        rows, cells = story.axes[at], story.cells[at]
        if kind == "unite":
            others = [place for place, each in enumerate(story.axes) if len(each) == len(rows)]
            to = draw(st.sampled_from(others))
            other = story.axes[to]
            labels.unite(rows, other)
            story.checks.append(
                lambda r, a=rows, b=other: np.array_equal(story.gone(a, r), story.gone(b, r))  # together
            )
            story.links += zip(cells, story.cells[to], strict=True)
        elif kind == "freeze":
            labels.freeze(rows)
            story.checks.append(lambda r, a=rows: not story.gone(a, r).any())
            story.links += [(0, cell) for cell in cells]
        elif kind == "mark":
            labels.mark(rows, inexact=True)
            story.marked.append(rows)
        elif kind == "concat":
            to = draw(st.integers(0, len(story.axes) - 1))
            whole = joined([rows, None, story.axes[to]], [len(rows), 1, len(story.axes[to])])
            assert whole is not None
            story.checks.append(
                lambda r, a=rows, b=story.axes[to], c=whole: np.array_equal(
                    story.gone(c, r), np.concatenate([story.gone(a, r), [False], story.gone(b, r)])
                )
            )
            story.add(whole, [*cells, 0, *story.cells[to]])
        elif kind == "slice":
            start = draw(st.integers(0, len(rows) - 1))
            stop = draw(st.integers(start + 1, len(rows)))
            part = rows[start:stop]
            story.checks.append(
                lambda r, a=rows, b=part, s=start, e=stop: np.array_equal(story.gone(a, r)[s:e], story.gone(b, r))
            )
            story.add(part, cells[start:stop])
        elif kind == "split":
            sizes = draw(st.sampled_from([(a, len(rows) // a) for a in range(1, len(rows) + 1) if len(rows) % a == 0]))
            outer, inner = labels.split(rows, sizes, f"split{step}")
            assert (len(outer), len(inner)) == sizes
            story.checks.append(
                lambda r, a=rows, o=outer, i=inner: np.array_equal(
                    story.gone(a, r).reshape(len(o), len(i)), story.gone(o, r)[:, None] | story.gone(i, r)[None]
                )
            )
            story.add(outer, [0] * len(outer))
            story.add(inner, [0] * len(inner))
        elif kind == "product" and len(rows) <= 4:
            to = draw(st.integers(0, len(story.axes) - 1))
            other = story.axes[to]
            if len(other) <= 4:
                both = product([rows, other], [len(rows), len(other)])
                assert both is not None
                story.checks.append(
                    lambda r, a=rows, b=other, p=both: np.array_equal(
                        story.gone(p, r).reshape(len(a), len(b)), story.gone(a, r)[:, None] | story.gone(b, r)[None]
                    )
                )
                story.add(both, [0] * len(both))
    return story


@PROPERTY
@given(stories(splits=True), st.randoms(use_true_random=False))
def test_all_that_was_asked_holds_whatever_is_removed(story: Story, random: object) -> None:
    """Rows that were handed out early hold as well as those of the last step, as layers keep theirs."""
    every = sorted(roots(story.labels, *story.axes))
    removals = [{each} for each in every] + [
        {each for each in every if random.random() < share}  # type: ignore[attr-defined]
        for share in (0.1, 0.3, 0.5, 0.8, 1.0)
    ]
    for removed in removals:
        for check in story.checks:
            assert check(removed)


@PROPERTY
@given(stories(splits=True))
def test_marks_outlive_what_happens_to_the_axis(story: Story) -> None:
    for rows in story.marked:
        marked = np.array(sorted(roots(story.labels, rows)), np.int64)
        assert story.labels.is_inexact(marked).all()


@PROPERTY
@given(stories(splits=False))
def test_without_products_labels_are_connected_components(story: Story) -> None:
    """Not one index leaves that need not, and none stays that could leave."""
    component = story.component()
    pairs = set()
    for place, rows in enumerate(story.axes):
        resolved = story.labels.resolve(rows)
        assert resolved.shape[1] <= 1, "one label an index says it all"
        own = resolved[:, 0] if resolved.shape[1] else np.zeros(len(rows), np.int64)
        pairs |= {(component[cell], int(label)) for cell, label in zip(story.cells[place], own, strict=True)}
    assert len({cell for cell, _ in pairs}) == len(pairs) == len({label for _, label in pairs}), "one to one"
    assert all((cell == 0) == (label == KEPT) for cell, label in pairs), (
        "kept are those that were frozen, and others not"
    )


@PROPERTY
@given(stories(splits=False))
def test_a_mark_reaches_what_leaves_with_it_and_nothing_else(story: Story) -> None:
    component = story.component()
    reached = set()
    for rows in story.marked:
        place = next(at for at, each in enumerate(story.axes) if each is rows)
        reached |= {component[cell] for cell in story.cells[place]}
    for place, rows in enumerate(story.axes):
        for label, cell in zip(story.labels.resolve(rows), story.cells[place], strict=True):
            if component[cell] != 0:
                assert bool(story.labels.is_inexact(label).any()) == (component[cell] in reached)


# ----------------------------------------------------------------------------------- products in detail


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (4, 2)])
def test_an_axis_that_falls_into_two_loses_any_product_and_nothing_else(sizes: tuple[int, int]) -> None:
    labels = Labels()
    rows = labels.fresh(sizes[0] * sizes[1], "axis")
    labels.split(rows, sizes, "shape")
    expected = set()
    for outer in itertools.product([False, True], repeat=sizes[0]):
        for inner in itertools.product([False, True], repeat=sizes[1]):
            expected.add(tuple(a or b for a in outer for b in inner))
    assert patterns(labels, rows) == expected


def test_three_axes_at_once() -> None:
    labels = Labels()
    rows = labels.fresh(12, "axis")
    parts = labels.split(rows, (2, 3, 2), "shape")
    assert [len(each) for each in parts] == [2, 3, 2]
    for removed in every_removal(labels, rows):
        a, b, c = (gone(labels, part, removed) for part in parts)
        assert np.array_equal(gone(labels, rows, removed).reshape(2, 3, 2), a[:, None, None] | b[:, None] | c)
    singles = [tuple(gone(labels, part, {each})) for part in parts for each in roots(labels, part)]
    assert sorted(map(sum, singles)) == [1] * 7, "each index of each axis can leave by itself"


def test_what_was_united_before_a_split_follows_it() -> None:
    labels = Labels()
    here, there = labels.fresh(6, "here"), labels.fresh(6, "there")
    labels.unite(here, there)
    outer, _ = labels.split(here, (2, 3), "shape")
    (first,) = (each for each in roots(labels, outer[:1]))
    assert gone(labels, there, {first}).tolist() == [True] * 3 + [False] * 3


def test_two_axes_that_were_split_alike_are_united_part_by_part() -> None:
    labels = Labels()
    here, there = labels.fresh(6, "here"), labels.fresh(6, "there")
    parts, others = labels.split(here, (2, 3), "here"), labels.split(there, (2, 3), "there")
    labels.unite(here, there)
    for one, other in zip(parts, others, strict=True):
        assert roots(labels, one) == roots(labels, other) and len(roots(labels, one)) == len(one)


def test_an_axis_that_meets_a_split_one_becomes_a_product_too() -> None:
    labels = Labels()
    here, there = labels.fresh(6, "here"), labels.fresh(6, "there")
    labels.split(here, (2, 3), "shape")
    labels.unite(there, here)
    assert patterns(labels, there) == patterns(labels, here) and len(roots(labels, there)) == 5


@PROPERTY
@given(st.sampled_from([4, 6, 8]), st.data())
def test_grouped_in_two_ways_it_is_a_product_in_both(size: int, data: st.DataObject) -> None:
    divisors = [each for each in range(1, size + 1) if size % each == 0]
    first, second = data.draw(st.sampled_from(divisors)), data.draw(st.sampled_from(divisors))
    labels = Labels()
    rows = labels.fresh(size, "axis")
    one = labels.split(rows, (first, size // first), "one")
    other = labels.split(rows, (second, size // second), "other")
    for removed in every_removal(labels, rows):
        for outer, inner in (one, other):
            a, b = gone(labels, outer, removed), gone(labels, inner, removed)
            assert np.array_equal(gone(labels, rows, removed).reshape(len(a), len(b)), a[:, None] | b)
    common = max(each for each in divisors if first % each == 0 and second % each == 0)
    for piece in range(common):  # whole pieces that both groupings respect can always leave
        wanted = np.arange(size) * common // size == piece
        assert tuple(wanted) in patterns(labels, rows)


def test_two_products_that_do_not_agree_are_kept() -> None:
    """Six as 2x3 on one axis and as 3x2 on another, united index by index: only what is both may leave."""
    labels = Labels()
    here, there = labels.fresh(6, "here"), labels.fresh(6, "there")
    labels.split(here, (2, 3), "here")
    labels.split(there, (3, 2), "there")
    labels.unite(here, there)
    two = {tuple(a or b for a in x for b in y) for x in _bits(2) for y in _bits(3)}
    three = {tuple(a or b for a in x for b in y) for x in _bits(3) for y in _bits(2)}
    assert patterns(labels, here) == patterns(labels, there) <= two & three


def _bits(size: int) -> Iterator[tuple[bool, ...]]:
    return itertools.product([False, True], repeat=size)


def test_a_product_with_a_frozen_part_loses_the_other_part() -> None:
    labels = Labels()
    rows = labels.fresh(6, "axis")
    outer, inner = labels.split(rows, (2, 3), "shape")
    assert labels.freeze(outer) and not labels.freeze(outer), "the second time it is no news"
    assert {tuple(each) for each in np.reshape(sorted(patterns(labels, rows)), (-1, 2, 3))[:, 0]} == set(_bits(3))
    assert roots(labels, rows) == roots(labels, inner)


def test_a_part_that_repeats_itself_leaves_once() -> None:
    """The same channel in two places of an axis, as behind a concatenation with itself."""
    labels = Labels()
    rows = labels.fresh(3, "axis")
    twice = np.concatenate([rows, rows])
    outer, inner = labels.split(twice, (2, 3), "shape")
    assert outer.shape[1] == 0 and len(roots(labels, inner)) == 3
    assert patterns(labels, twice) == {(*each, *each) for each in _bits(3)}


# ------------------------------------------------------------------------------------------ families, kinds


def test_families_of_united_axes_are_one_and_others_are_not() -> None:
    labels = Labels()
    a, b, c = labels.fresh(3, "a"), labels.fresh(3, "b"), labels.fresh(3, "c")
    labels.unite(c, a)
    of = [int(np.unique(labels.family_of(labels.resolve(each)[:, 0])).item()) for each in (a, b, c)]
    assert of[0] == of[2] != of[1]
    assert labels.families[of[0]] == "a", "named after the first"


def test_halves_are_families_of_their_own() -> None:
    labels = Labels()
    outer, inner = labels.split(labels.fresh(6, "axis"), (2, 3), "shape")
    assert labels.family_of(outer[:1, 0]) != labels.family_of(inner[:1, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_goes_with_the_label(kind: str) -> None:
    labels = Labels()
    a, b = labels.fresh(4, "a"), labels.fresh(4, "b", kind)
    labels.unite(a, b)
    assert {KINDS[each] for each in labels.kind_of(labels.resolve(a)).ravel()} == {kind}
    outer, inner = labels.split(a, (2, 2), "halves")
    assert {KINDS[int(labels.kind_of(each).max())] for each in (outer, inner)} == {kind}


def test_more_labels_than_were_made_room_for() -> None:
    labels = Labels()
    axes = [labels.fresh(size, str(size)) for size in (1, 5, 300, 2, 1000)]
    labels.unite(axes[2][:2], axes[3])
    found = np.concatenate([labels.resolve(each).ravel() for each in axes])
    assert len(labels) == 1309 and np.unique(found).size == 1306


# -------------------------------------------------------------------------------- tensors, axis by axis


SHAPES = [
    ((None, 6), (None, 2, 3)),
    ((None, 2, 3), (None, 6)),
    ((None, 5, 6), (None, 5, 3, 2)),
    ((None, 4, 6), (None, 2, 2, 6)),
    ((None, 4, 6), (None, 4, 1, 6)),
    ((None, 4, 1, 6), (None, 4, 6)),
    ((None, 4, 6), (None, 24)),
    ((None, 4, 6), (None, 8, 3)),
    ((None, 4, 6), (None, 3, 8)),
    ((None, 2, 3, 4), (None, 3, 2, 4)),
    ((None, None, 6), (None, None, 2, 3)),
    ((2, 6), (12,)),
    ((2, 3, 4), (6, 4)),
]


@pytest.mark.parametrize(("before", "after"), SHAPES, ids=str)
@pytest.mark.parametrize("bearing", [(-1,), (-2,), (-2, -1)])
def test_a_reshape_moves_labels_as_it_moves_numbers(
    before: tuple[int | None, ...], after: tuple[int | None, ...], bearing: tuple[int, ...]
) -> None:
    labels = Labels()
    rows: list[Rows | None] = [None] * len(before)
    for axis in bearing:
        if before[axis] is not None and len(before) + axis > 0:
            rows[axis] = labels.fresh(before[axis], str(axis))  # type: ignore[arg-type]
    x = Channels(before, tuple(rows))
    output = reshaped(labels, x, after, "reshape")
    assert output.shape == after
    for removed in itertools.islice(every_removal(labels, *[each for each in rows if each is not None]), 300):
        masks = [_mask(labels, each, removed) for each in (x, output)]
        assert np.array_equal(masks[0].ravel(), masks[1].ravel())


def _mask(labels: Labels, x: Channels, removed: set[int]) -> np.ndarray:
    """Which numbers of a tensor are gone; unknown sizes are 2."""
    found = np.zeros([size or 2 for size in x.shape], bool)
    for axis, rows in enumerate(x.rows):
        if rows is not None:
            shape = [-1 if other == axis else 1 for other in range(x.rank)]
            found |= gone(labels, rows, removed).reshape(shape)
    return found


def test_a_reshape_over_an_unknown_size_keeps_what_it_mixes() -> None:
    labels = Labels()
    rows = labels.fresh(6, "axis")
    output = reshaped(labels, Channels((None, None, 6), (None, None, rows)), (None, None, 3), "reshape")
    assert not output.labelled and not roots(labels, rows)


def test_a_reshape_whose_axis_is_split_can_lose_of_both_parts() -> None:
    labels = Labels()
    rows = labels.fresh(6, "axis")
    output = reshaped(labels, Channels((None, 5, 6), (None, None, rows)), (None, 5, 2, 3), "reshape")
    assert [None if each is None else len(roots(labels, each)) for each in output.rows] == [None, None, 2, 3]


def test_meeting_a_fixed_axis_keeps() -> None:
    labels = Labels()
    a, b = labels.fresh(3, "a"), labels.fresh(3, "b")
    assert met(labels, [a, None, b]) is None
    assert not roots(labels, a, b)
