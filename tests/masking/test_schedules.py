"""Every schedule keeps the same promises, whatever its numbers."""

from __future__ import annotations

import dataclasses
import json
from itertools import accumulate, pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import tfprune
from tfprune import ConstantSparsity, CosineDecay, ExponentialDecay, FrozenMasks, LinearDecay, PolynomialDecay
from tfprune import StepSparsity as Steps
from tfprune.errors import ScheduleError
from tfprune.masking.decay import Decay
from tfprune.masking.plan import SCHEDULES, from_config, round_schedule
from tfprune.masking.schedule import Schedule
from tfprune.recipe import ScheduleSection

PROPERTY = settings(max_examples=100, deadline=None)
DECAYS = (CosineDecay, ExponentialDecay, LinearDecay, PolynomialDecay)
shares = st.floats(0, 0.999, allow_nan=False)


@st.composite
def decays(draw: st.DrawFn, kind: type[Decay]) -> Decay:
    low, high = sorted((draw(shares), draw(shares)))
    begin = draw(st.just(0) | st.integers(0, 60))
    power = {"power": draw(st.floats(0.1, 8))} if kind is PolynomialDecay else {}
    return kind(
        initial_sparsity=low,
        final_sparsity=high,
        begin_step=begin,
        end_step=begin + draw(st.integers(1, 80)),
        frequency=draw(st.integers(1, 100)),
        **power,
    )


@st.composite
def stepped(draw: st.DrawFn) -> Steps:
    values = sorted(draw(st.lists(shares, min_size=1, max_size=6)))
    first = draw(st.just(0) | st.integers(0, 60))
    gaps = draw(st.lists(st.integers(1, 30), min_size=len(values) - 1, max_size=len(values) - 1))
    return Steps(milestones=tuple(zip(accumulate(gaps, initial=first), values, strict=True)))


MAKERS = {
    "ConstantSparsity": st.builds(ConstantSparsity, final_sparsity=shares, begin_step=st.integers(0, 100)),
    "FrozenMasks": st.just(FrozenMasks()),
    "StepSparsity": stepped(),
    **{kind.__name__: decays(kind) for kind in DECAYS},
}
any_decay = st.one_of(*(MAKERS[kind.__name__] for kind in DECAYS))
every_kind = pytest.mark.parametrize("kind", SCHEDULES)
every_kind_that_prunes = pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "FrozenMasks"])


def updates(schedule: Schedule, steps: int) -> list[tuple[int, float]]:
    """What training over so many steps would do: (step of the update, sparsity), as the callback does it."""
    made: list[tuple[int, float]] = []
    for step in range(steps + 1):
        due = schedule.update_at(step)
        if due is not None and (not made or due != made[-1][0]):
            made.append((due, schedule.sparsity(due)))
    return made


def first_step(schedule: Schedule) -> int:
    return schedule.milestones[0][0] if isinstance(schedule, Steps) else schedule.begin_step


# --------------------------------------------------------------------------------- what all promise alike


def test_every_schedule_goes_through_this_suite() -> None:
    assert set(MAKERS) == set(SCHEDULES) == {name for name in tfprune.__all__ if name[0].isupper()} & set(SCHEDULES)


@every_kind
@PROPERTY
@given(data=st.data())
def test_sparsity_never_falls(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(MAKERS[kind])
    values = [schedule.sparsity(step) for step in range(schedule.last_step + 5)]
    assert values == sorted(values)
    assert all(0 <= sparsity <= schedule.final_sparsity < 1 for sparsity in values)


@every_kind_that_prunes
@PROPERTY
@given(data=st.data())
def test_final_sparsity_is_met_to_the_bit_by_the_last_step_and_kept(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(MAKERS[kind])
    # Training that ends on the last step, and training that goes on.
    for steps in (schedule.last_step, schedule.last_step + 7):
        assert updates(schedule, steps)[-1] == (schedule.last_step, schedule.final_sparsity)
    assert schedule.sparsity(schedule.last_step + 10**6) == schedule.final_sparsity
    assert schedule.update_at(schedule.last_step + 10**6) == schedule.last_step


@every_kind_that_prunes
@PROPERTY
@given(data=st.data(), step=st.integers(0, 300))
def test_an_update_is_due_once_and_never_ahead_of_time(kind: str, data: st.DataObject, step: int) -> None:
    schedule = data.draw(MAKERS[kind])
    due = schedule.update_at(step)
    if due is None:
        assert step < first_step(schedule)
    else:
        assert first_step(schedule) <= due <= step
        assert schedule.update_at(due) == due


@every_kind_that_prunes
@PROPERTY
@given(data=st.data())
def test_the_first_update_is_on_begin_also_before_the_first_batch(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(MAKERS[kind])
    assert updates(schedule, schedule.last_step)[0][0] == first_step(schedule)
    assert (schedule.update_at(0) == 0) == (first_step(schedule) == 0)


@every_kind
@PROPERTY
@given(data=st.data())
def test_config_round_trip(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(MAKERS[kind])
    config = schedule.get_config()
    assert config["kind"] == kind
    assert set(config) == {"kind", *(field.name for field in dataclasses.fields(schedule))}
    for again in (config, json.loads(json.dumps(config)), yaml.safe_load(yaml.safe_dump(config))):
        made = from_config(again)
        assert made == schedule and hash(made) == hash(schedule)
        assert made.get_config() == config
    assert config == schedule.get_config(), "from_config leaves its argument alone"


def test_unknown_kind_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(ScheduleError, match=r"ConstantSparsity, CosineDecay, .* but got 'Cosine'; .* 'CosineDecay'\?"):
        from_config({"kind": "Cosine"})


# --------------------------------------------------------------------------------------- along a curve


@PROPERTY
@given(any_decay)
def test_a_decay_starts_at_its_initial_sparsity(schedule: Decay) -> None:
    assert schedule.sparsity(schedule.begin_step) == pytest.approx(schedule.initial_sparsity, abs=1e-12)
    assert schedule.sparsity(0) == schedule.sparsity(schedule.begin_step)


@PROPERTY
@given(any_decay)
def test_a_decay_updates_on_its_grid_and_at_the_end(schedule: Decay) -> None:
    made = [step for step, _ in updates(schedule, schedule.last_step + 5)]
    assert made == [*range(schedule.begin_step, schedule.end_step, schedule.frequency), schedule.end_step]


@PROPERTY
@given(MAKERS["PolynomialDecay"], st.integers(0, 200))
def test_polynomial_follows_zhu_and_gupta(schedule: PolynomialDecay, step: int) -> None:
    progress = np.clip((step - schedule.begin_step) / (schedule.end_step - schedule.begin_step), 0, 1)
    gap = schedule.initial_sparsity - schedule.final_sparsity
    assert schedule.sparsity(step) == pytest.approx(schedule.final_sparsity + gap * (1 - progress) ** schedule.power)


# Worked out by hand: sparsity from 0.2 to 0.95 at the quarters of the way.
# Density falls from 16/20 to 1/20, thus by half at each of four quarters; cos(pi / 4) is half the root of 2.
QUARTERS = {
    "LinearDecay": [0.2, 0.3875, 0.575, 0.7625, 0.95],
    "PolynomialDecay": [0.2, 0.95 - 0.75 * 27 / 64, 0.95 - 0.75 / 8, 0.95 - 0.75 / 64, 0.95],
    "ExponentialDecay": [0.2, 0.6, 0.8, 0.9, 0.95],
    "CosineDecay": [0.2, 0.575 - 0.375 * 2**-0.5, 0.575, 0.575 + 0.375 * 2**-0.5, 0.95],
}


@pytest.mark.parametrize("kind", DECAYS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("begin", [0, 60])
def test_a_curve_at_its_quarters(kind: type[Decay], begin: int) -> None:
    schedule = kind(initial_sparsity=0.2, final_sparsity=0.95, begin_step=begin, end_step=begin + 40, frequency=10)
    found = updates(schedule, begin + 50)
    assert [step for step, _ in found] == [begin, begin + 10, begin + 20, begin + 30, begin + 40]
    assert [sparsity for _, sparsity in found] == pytest.approx(QUARTERS[kind.__name__], abs=1e-12)


@PROPERTY
@given(MAKERS["ExponentialDecay"])
def test_exponential_removes_the_same_share_of_what_is_left(schedule: ExponentialDecay) -> None:
    left = [1 - schedule.sparsity(step) for step in range(schedule.begin_step, schedule.end_step + 1)]
    ratio = ((1 - schedule.final_sparsity) / (1 - schedule.initial_sparsity)) ** (1 / (len(left) - 1))
    assert [after / before for before, after in pairwise(left)] == pytest.approx([ratio] * (len(left) - 1), rel=1e-9)


@PROPERTY
@given(MAKERS["CosineDecay"], st.integers(0, 80))
def test_cosine_rises_alike_at_both_ends(schedule: CosineDecay, steps: int) -> None:
    early = schedule.sparsity(schedule.begin_step + steps) - schedule.initial_sparsity
    late = schedule.final_sparsity - schedule.sparsity(max(schedule.begin_step, schedule.end_step - steps))
    assert early == pytest.approx(late, abs=1e-12)


@pytest.mark.parametrize("kind", DECAYS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 1 / 3, 0.9, 0.999])
def test_nothing_to_gain_is_no_change_to_the_bit(kind: type[Decay], sparsity: float) -> None:
    schedule = kind(initial_sparsity=sparsity, final_sparsity=sparsity, end_step=7, frequency=1)
    assert {value for _, value in updates(schedule, 9)} == {sparsity}


def test_the_base_is_no_schedule_by_itself() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Decay(final_sparsity=0.5, end_step=9)


# ------------------------------------------------------------------------------ in jumps, and not at all


def test_steps_jump_at_their_milestones_alone() -> None:
    schedule = Steps(milestones=((3, 0.5), (10, 0.5), (12, 0.8)))
    assert [schedule.update_at(step) for step in (0, 2, 3, 9, 10, 11, 12, 99)] == [None, None, 3, 3, 10, 10, 12, 12]
    assert [schedule.sparsity(step) for step in (0, 2, 3, 9, 10, 11, 12, 99)] == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.8, 0.8]
    assert (schedule.last_step, schedule.final_sparsity) == (12, 0.8)


def test_lists_and_arrays_become_tuples_of_plain_numbers() -> None:
    expected = Steps(milestones=((0, 0.25), (4, 0.5)))
    assert Steps(milestones=[[0, 0.25], [4, 0.5]]) == expected
    made = Steps(milestones=[(np.int64(0), np.float32(0.25)), (np.int32(4), np.float64(0.5))])
    assert made == expected
    assert json.loads(json.dumps(made.get_config())) == {"kind": "StepSparsity", "milestones": [[0, 0.25], [4, 0.5]]}


@pytest.mark.parametrize(
    ("milestones", "words"),
    [
        ((), "pairs of a step and a sparsity, e.g. ((0, 0.5), (100, 0.8)), but got milestones=()"),
        (None, "but got milestones=None"),
        (0.5, "but got milestones=0.5"),
        ((0, 0.5), "but got milestones=(0, 0.5)"),
        ({0: 0.5}, "but got milestones={0: 0.5}"),
        (((0, 0.5, 1),), "but got milestones=((0, 0.5, 1),)"),
        (((0, 0.5), (-1, 0.6)), "milestones[1][0] must be a whole number, 0 or more, but got milestones[1][0]=-1"),
        (((0.5, 0.5),), "milestones[0][0]=0.5"),
        (((True, 0.5),), "milestones[0][0]=True"),
        (((0, 0.5), (9, 1.0)), "milestones[1][1] must be a number in [0, 1), but got milestones[1][1]=1.0"),
        (((0, float("nan")),), "milestones[0][1]=nan"),
        (((0, "0.5"),), "milestones[0][1]='0.5'"),
        (((9, 0.5), (0, 0.6)), "milestones must rise in their steps, but got (0, 0.6) after (9, 0.5)"),
        (((9, 0.5), (9, 0.6)), "milestones must rise in their steps, but got (9, 0.6) after (9, 0.5)"),
        (((0, 0.5), (9, 0.4)), "milestones must not fall in sparsity, as zeros stay zeros, but got (9, 0.4) after"),
    ],
    ids=range(15),
)
def test_bad_milestones_give_one_line_that_echoes_them(milestones: object, words: str) -> None:
    with pytest.raises(ScheduleError) as error:
        Steps(milestones=milestones)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_frozen_masks_are_never_updated() -> None:
    schedule = FrozenMasks()
    assert updates(schedule, 1000) == []
    assert (schedule.last_step, schedule.final_sparsity, schedule.sparsity(10)) == (0, 0.0, 0.0)


# ------------------------------------------------------------------------------------------ bad parameters

DECAY = {"final_sparsity": 0.5, "initial_sparsity": 0.1, "begin_step": 3, "end_step": 9}
GOOD = {
    "ConstantSparsity": {"final_sparsity": 0.5, "begin_step": 3},
    **{kind.__name__: DECAY for kind in DECAYS},
}
NO_SPARSITY = [1, 1.5, -0.1, float("nan"), float("inf"), "0.8", None, True]
NO_STEP = [-1, 2.5, 100.0, float("nan"), float("inf"), "7", None, True]
BAD = [
    *((kind, "final_sparsity", value) for kind in GOOD for value in NO_SPARSITY),
    *((kind, "begin_step", value) for kind in GOOD for value in NO_STEP),
    *((kind.__name__, "initial_sparsity", value) for kind in DECAYS for value in [*NO_SPARSITY, 0.6]),
    *((kind.__name__, "end_step", value) for kind in DECAYS for value in [*NO_STEP, 0, 3]),
    *((kind.__name__, "frequency", value) for kind in DECAYS for value in [*NO_STEP, 0]),
    *(("PolynomialDecay", "power", value) for value in [0, -1.0, float("nan"), float("inf"), "3", None, True]),
]


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_a_bad_parameter_gives_one_line_that_echoes_it(kind: str, name: str, value: object) -> None:
    with pytest.raises(ScheduleError) as error:
        SCHEDULES[kind](**{**GOOD[kind], name: value})
    message = str(error.value)
    assert f"{name}={value}" in message or f"{name}={value!r}" in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", DECAYS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("begin", [9, 10])
def test_begin_must_lie_before_end(kind: type[Decay], begin: int) -> None:
    with pytest.raises(ScheduleError) as error:
        kind(final_sparsity=0.5, begin_step=begin, end_step=9)
    assert str(error.value) == f"begin_step must lie before end_step, but got begin_step={begin}, end_step=9"


@pytest.mark.parametrize("kind", DECAYS, ids=lambda kind: kind.__name__)
def test_numbers_of_numpy_are_numbers(kind: type[Decay]) -> None:
    # np.ceil(examples / batch_size).astype(np.int32) * epochs is how many write the end step.
    schedule = kind(final_sparsity=np.float32(0.5), end_step=np.int32(9), frequency=np.int64(2))
    assert updates(schedule, 9)[-1] == (9, np.float32(0.5))


# ------------------------------------------------------------------------------------- a round's schedule

KINDS = {
    "polynomial": PolynomialDecay,
    "linear": LinearDecay,
    "exponential": ExponentialDecay,
    "cosine": CosineDecay,
    "stepped": Steps,
    "constant": ConstantSparsity,
}


@pytest.mark.parametrize("kind", KINDS)
@PROPERTY
@given(
    shares=st.tuples(st.floats(0, 0.999), st.floats(0.001, 1)).filter(lambda pair: pair[0] < pair[1]),
    frequency=st.integers(1, 40),
    sparsities=st.tuples(shares, shares).map(sorted),
    steps=st.integers(1, 200),
    jumps=st.integers(1, 300),
)
def test_every_round_reaches_its_target_within_its_steps(
    kind: str, shares: tuple[float, float], frequency: int, sparsities: list[float], steps: int, jumps: int
) -> None:
    count = {"steps": jumps} if kind == "stepped" else {}
    section = ScheduleSection(kind=kind, begin=shares[0], end=shares[1], frequency=frequency, **count)
    schedule = round_schedule(section, sparsities[0], sparsities[1], steps)
    assert type(schedule) is KINDS[kind]
    made = updates(schedule, steps)
    assert made[-1][1] == sparsities[1] == schedule.final_sparsity
    assert made[0][0] < steps, "some step is left after the first update"
    assert abs(made[0][0] - shares[0] * steps) <= 1
    if kind == "constant" or count == {"steps": 1}:
        assert made == [(schedule.last_step, sparsities[1])]
    else:
        assert abs(schedule.last_step - shares[1] * steps) <= 1.5, (
            "rounded, and one more where begin rounds to the same"
        )
    if kind == "stepped":
        rises = np.diff([sparsities[0], *(sparsity for _, sparsity in made)])
        assert len(made) <= jumps
        assert rises == pytest.approx([(sparsities[1] - sparsities[0]) / len(made)] * len(made), abs=1e-12)


@pytest.mark.parametrize("kind", ["linear", "exponential", "cosine"])
def test_round_schedule_takes_over_the_section(kind: str) -> None:
    section = ScheduleSection(kind=kind, begin=0.1, end=0.6, frequency=7)
    expected = {"initial_sparsity": 0.2, "final_sparsity": 0.5, "begin_step": 10, "end_step": 60, "frequency": 7}
    assert round_schedule(section, 0.2, 0.5, 100) == KINDS[kind](**expected)
    section = ScheduleSection(power=2.0, begin=0.1, end=0.6, frequency=7)
    assert round_schedule(section, 0.2, 0.5, 100) == PolynomialDecay(power=2.0, **expected)


def test_jumps_are_equal_and_evenly_spread() -> None:
    section = ScheduleSection(kind="stepped", begin=0.1, end=0.7)
    found = round_schedule(section, 0.1, 0.5, 100).milestones
    assert [step for step, _ in found] == [10, 30, 50, 70]
    assert [sparsity for _, sparsity in found] == pytest.approx([0.2, 0.3, 0.4, 0.5])
    few = round_schedule(ScheduleSection(kind="stepped", end=1.0, steps=10**9), 0.0, 0.8, 3)
    assert [step for step, _ in few.milestones] == [0, 1, 2, 3], "no two on one step"


# --------------------------------------------------------------------------------------------- in a model


def model_and_data():
    from tfprune.backend import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(4)])
    x = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    return model, x, x[:, :4]


def test_frozen_masks_hold_the_zeros_of_a_sparse_model() -> None:
    model, x, y = model_and_data()
    kernel = model.layers[0].kernel
    kernel.assign(np.where(np.abs(kernel.numpy()) < np.median(np.abs(kernel.numpy())), 0, kernel.numpy()))
    zeros = kernel.numpy() == 0
    pruned = tfprune.wrap(model, FrozenMasks())
    pruned.compile("sgd", "mse")
    pruned.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=tfprune.callbacks(pruned))
    after = tfprune.strip(pruned).layers[0].kernel.numpy()
    np.testing.assert_array_equal(after == 0, zeros)
    assert not np.array_equal(after, kernel.numpy()), "the rest is trained"


@every_kind
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_file_brings_its_schedule_back(kind: str, tmp_path) -> None:
    from tfprune.masking.masked import masked_layers

    schedule = (
        Steps(milestones=((0, 0.25), (4, 0.5))) if kind == "StepSparsity" else SCHEDULES[kind](**GOOD.get(kind, {}))
    )
    pruned = tfprune.wrap(model_and_data()[0], schedule)
    for ending in ("keras", "h5"):
        pruned.save(tmp_path / f"model.{ending}")
        assert masked_layers(tfprune.load(tmp_path / f"model.{ending}"))[0].schedule == schedule
