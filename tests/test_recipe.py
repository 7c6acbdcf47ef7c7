"""Recipes: found, read, overridden, checked; every mistake is one line that helps."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import tfprune
from tfprune import recipe as recipes
from tfprune.errors import RecipeError
from tfprune.importance.scores import IMPORTANCES
from tfprune.masking.selection import SCOPES
from tfprune.recipe import Recipe, find, load, names, parse, recipe_folder

MINIMAL = {"name": "least", "prune": {"target": {"sparsity": 0.5}}}


def written(tmp_path: Path, content: object) -> Path:
    """A recipe file; bytes and text go in as they are, the rest as YAML."""
    path = tmp_path / "mine.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    return path


def mistake(recipe: object, overrides: list[str] | tuple[str, ...] = ()) -> str:
    """The error line of a recipe that must be refused."""
    with pytest.raises(RecipeError) as caught:
        load(recipe, overrides)
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert len(line) < 600
    return line


# ---------------------------------------------------------------------------------- what ships, and finding


def test_digits_ships():
    assert "digits" in names()
    assert names() == sorted(names())
    assert recipe_folder().is_dir()


@pytest.mark.parametrize("name", names())
def test_shipped_recipe_loads_and_round_trips(name):
    shipped = load(name)
    assert shipped.name == name
    assert shipped.model is not None
    assert shipped.data is not None
    again = parse(yaml.safe_load(shipped.to_yaml()))
    assert again == shipped
    assert again.digest == shipped.digest


def test_found_by_path(tmp_path, monkeypatch):
    path = written(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert find(path) == path
    assert find(str(path)) == path
    assert find("mine.yaml") == Path("mine.yaml")


def test_a_file_in_the_working_directory_goes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").write_text(yaml.safe_dump(MINIMAL), "utf-8")
    assert load("digits").name == "least"


def test_a_folder_of_that_name_does_not_hide_the_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert load("digits").name == "digits"


@pytest.mark.parametrize("name", ["digts", "Digits", "digits.yaml"])
def test_unknown_name_shows_the_shipped_ones_and_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = mistake(name)
    assert line.startswith(f"recipe {name!r}: no such file, and not one of the shipped recipes ")
    assert all(shipped in line for shipped in names())
    assert line.endswith("; did you mean 'digits'?")


@pytest.mark.parametrize("name", ["../schedules/digits", "nowhere/mine.yaml", "", ".", "a\0b", "two\nlines"])
def test_missing_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"recipe {name!r}: no such file" in mistake(name)


def test_name_too_long_for_the_file_system():
    assert "cannot be read" in mistake("x" * 5000)


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = written(tmp_path, MINIMAL)
    monkeypatch.setattr(Path, "read_text", refuse)
    assert mistake(path) == f"{path}: cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my run.yaml", "my-run"),
        ("größe.yml", "gr--e"),
        ("_x.yaml", "x"),
        ("v1.2.yaml", "v1.2"),
        ("---.yaml", "recipe"),
    ],
)
def test_name_comes_from_the_file(file, name, tmp_path):
    path = tmp_path / file
    path.write_text("prune: {target: {sparsity: 0.5}}", "utf-8")
    assert load(path).name == name


# ---------------------------------------------------------------------------------------------- defaults


def test_defaults():
    least = parse(MINIMAL)
    assert (least.model, least.data, least.export) == (None, None, None)
    assert (least.train.epochs, least.finetune_epochs) == (20, 6)
    assert (least.prune.rounds, least.max_rounds) == (5, 10)
    assert least.slices == ("classes",)
    assert least.precision == "float32"


@pytest.mark.parametrize(("epochs", "expected"), [(1, 1), (2, 1), (10, 3), (20, 6), (100, 30)])
def test_finetune_epochs_follow_training(epochs, expected):
    assert parse({**MINIMAL, "train": {"epochs": epochs}}).finetune_epochs == expected
    assert parse({**MINIMAL, "train": {"epochs": epochs}, "finetune": {"epochs": 4}}).finetune_epochs == 4


def test_max_rounds_can_be_set():
    assert parse({**MINIMAL, "stop": {"max_rounds": 3}}).max_rounds == 3


@pytest.mark.parametrize(
    ("model", "trained"),
    [
        ({"builtin": "resnet8"}, False),
        ({"file": "a.keras"}, True),
        ({"file": "a.keras", "trained": False}, False),
        ({"application": "MobileNet", "weights": "imagenet", "trained": True}, True),
        ({"function": "my.code:build", "arguments": {"width": 8, "blocks": [1, 2], "head": None}}, False),
    ],
)
def test_model_sources(model, trained):
    assert parse({**MINIMAL, "model": model}).model.is_trained is trained


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"source": "digits"}, recipes.DigitsData),
        ({"source": "npz", "path": "a.npz"}, recipes.NpzData),
        ({"source": "images", "path": "a", "size": [32, 24], "channels": 1}, recipes.ImagesData),
        ({"source": "tfrecord", "path": "a*", "shape": [8, 8, 1], "encoding": "raw"}, recipes.TFRecordData),
        ({"source": "csv", "path": "a.csv", "label": "y", "text": ["title", "body"]}, recipes.CsvData),
        ({"source": "keras", "name": "mnist"}, recipes.KerasData),
        ({"source": "tfds", "name": "mnist", "directory": "d"}, recipes.TfdsData),
        ({"source": "function", "function": "my.code:data"}, recipes.FunctionData),
    ],
)
def test_data_sources(data, kind):
    content = {**MINIMAL, "data": data}
    parsed = parse(content)
    assert type(parsed.data) is kind
    assert parse(yaml.safe_load(parsed.to_yaml())) == parsed


def test_every_data_source_is_in_the_table():
    for name, kind in recipes.DATA_SOURCES.items():
        assert kind.model_fields["source"].annotation.__args__ == (name,)
    assert set(recipes.DATA_SOURCES.values()) == set(recipes.DataSection.__subclasses__())


def test_a_recipe_does_not_change():
    least = parse(MINIMAL)
    with pytest.raises(ValidationError):
        least.seed = 3
    with pytest.raises(ValidationError):
        least.prune.rounds = 3


def test_parsing_leaves_its_argument_alone():
    content = {"name": "a", "prune": {"target": {"sparsity": 0.5}}, "slices": ["classes", {"rarest": 0.2}]}
    before = pickle.dumps(content)
    parse(content)
    assert pickle.dumps(content) == before


# --------------------------------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("prune.target.sparsity=0.8", lambda r: r.prune.target.sparsity == 0.8),
        ("train.learning_rate=1e-3", lambda r: r.train.learning_rate == 0.001),
        ("finetune.learning_rate=0.01", lambda r: r.finetune.learning_rate == 0.01),
        ("finetune.learning_rate=1e-4", lambda r: r.finetune.learning_rate == 0.0001),
        ("finetune.learning_rate=rewind", lambda r: r.finetune.learning_rate == "rewind"),
        ("prune.layers=[conv1, 'dense*']", lambda r: r.prune.layers == ("conv1", "dense*")),
        ("slices=[classes, {hardest: 0.2}]", lambda r: r.slices == ("classes", recipes.Hardest(hardest=0.2))),
        ("slices=[]", lambda r: r.slices == ()),
        ("export.path=out/model.keras", lambda r: r.export.path == Path("out/model.keras")),
        ("prune.schedule={kind: constant, begin: 0.25}", lambda r: r.prune.schedule.kind == "constant"),
        ("prune.schedule.begin=0.25", lambda r: r.prune.schedule.begin == 0.25),
        ("stop.slice_drops.class/8=0.1", lambda r: r.stop.slice_drops == {"class/8": 0.1}),
        ("stop.max_drop=null", lambda r: r.stop.max_drop is None),
        ("stop.max_drop=", lambda r: r.stop.max_drop is None),
        ("track.uri=sqlite:///a.db?mode=rw", lambda r: r.track.uri == "sqlite:///a.db?mode=rw"),
        ("track.models=no", lambda r: r.track.models is False),
        (" seed = 3 ", lambda r: r.seed == 3),
        ("name=other", lambda r: r.name == "other"),
    ],
)
def test_override(override, read):
    assert read(load("digits", [override]))


def test_later_overrides_win_and_build_on_earlier_ones():
    got = load("digits", ["data={source: npz, path: a.npz}", "data.path=b.npz", "seed=1", "seed=2"])
    assert (got.data.source, got.data.path, got.seed) == ("npz", Path("b.npz"), 2)


def test_override_makes_a_section_out_of_nothing_and_of_an_empty_one(tmp_path):
    path = written(tmp_path, "prune: {target: {sparsity: 0.5}}\nstop:\n")
    assert load(path, ["stop.patience=2", "train.epochs=3"]).stop.patience == 2


def test_override_of_a_needed_value(tmp_path):
    assert load(written(tmp_path, "seed: 1"), ["prune.target.sparsity=0.5"]).prune.target.sparsity == 0.5


@pytest.mark.parametrize("override", ["", "seed", "=3", "a..b=3", ".seed=3", "seed.=3", "prune.target.sparsity", " =1"])
def test_bad_form_of_override(override):
    line = mistake("digits", [override])
    assert line == f"--set {override!r}: expected path.to.key=value, e.g. prune.target.sparsity=0.9"


@pytest.mark.parametrize("value", ["[", "{a", "!!python/object:os.system {}", "2026-13-45", "a: b: c", "9" * 5000])
def test_override_whose_value_is_not_yaml(value):
    line = mistake("digits", [f"seed={value}"])
    assert line.startswith("--set 'seed=")
    assert line.endswith(": the value is not valid YAML")


def test_override_below_a_value():
    line = mistake("digits", ["prune.target.sparsity.x=3"])
    assert line == "--set 'prune.target.sparsity.x=3': prune.target.sparsity is a value, not a section"


def test_override_is_checked_like_the_file():
    line = mistake("digits", ["prune.scope=globl"])
    assert (
        "prune.scope: got 'globl', expected one of layer, global, erk, or sparsities by layer; did you mean 'global'?"
        in line
    )


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["expected a mapping of sections", "an empty file"]),
        (b"# only a comment\n", ["expected a mapping of sections", "an empty file"]),
        (b"- a\n- b\n", ["expected a mapping of sections, but got list"]),
        (b"hello", ["expected a mapping of sections, but got str"]),
        (b"a: [1", ["not valid YAML", "line 1"]),
        (b"prune:\n\ttarget: 1", ["not valid YAML", "line 2"]),
        (b"seed: 1\n---\nseed: 2\n", ["not valid YAML", "single document"]),
        (b"? [a]\n: 1\n", ["not valid YAML", "unhashable key"]),
        (b"seed: 1\nseed: 2\n", ["not valid YAML", "the key 'seed' stands twice", "line 2"]),
        (b"prune: {rounds: 1, rounds: 2}\n", ["the key 'rounds' stands twice"]),
        (b"seed: 2026-13-45\n", ["not valid YAML"]),
        (b"[" * 5000, ["not valid YAML"]),
        (bytes(range(256)), ["not valid YAML", "utf-8"]),
        ("seed: 1".encode("utf-16"), ["not valid YAML", "utf-8"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ["not valid YAML"]),
        (b"seed: \x00", ["not valid YAML"]),
    ],
    ids=range(16),
)
def test_file_that_is_no_recipe(content, parts, tmp_path):
    path = written(tmp_path, content)
    line = mistake(path)
    assert line.startswith(f"{path}: ")
    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [touch ran]",
        "!!python/object:os.system {}",
        "!!python/name:os.system",
        "!!python/module:antigravity",
        "!!python/object/new:os.system [touch ran]",
        "!mine x",
    ],
)
def test_yaml_that_runs_code_is_refused(tag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "not valid YAML" in mistake(written(tmp_path, f"prune: {{target: {{sparsity: 0.5}}}}\nname: {tag}\n"))
    assert "not valid YAML" in mistake("digits", [f"name={tag}"])
    assert not Path("ran").exists()


def test_anchors_and_a_byte_order_mark_are_fine(tmp_path):
    text = "\ufeffprune: {target: {sparsity: &half 0.5}}\ndata: {source: digits, validation: 0.25, test: *half}\n"
    assert load(written(tmp_path, text)).data.test == 0.5


UNKNOWN_KEYS = [
    ({"prunee": 1}, "prunee: unknown key (value 1); allowed: data, export, ", "; did you mean 'prune'?"),
    ({"zzzz": "x"}, "zzzz: unknown key (value 'x'); allowed: ", "track, train"),
    ({"prune": {"target": {"sparsty": 0.5}}}, "prune.target.sparsty: unknown key (value 0.5)", "mean 'sparsity'?"),
    ({"prune": {"target": {"sparsity": 0.5}, "round": 3}}, "prune.round: unknown key (value 3)", "mean 'rounds'?"),
    (
        {"prune": {"target": {"sparsity": 0.5}, "schedule": {"powr": 3}}},
        "prune.schedule.powr: unknown key (value 3); allowed: begin, end, frequency, kind, power, steps",
        "mean 'power'?",
    ),
    (
        {"data": {"source": "digits", "path": "a"}},
        "data.path: unknown key (value 'a'); allowed: classes,",
        "validation",
    ),
    ({"data": {"source": "npz", "pth": "a"}}, "data.pth: unknown key (value 'a')", "mean 'path'?"),
    ({"data": {"source": "digits", "arguments": {}}}, "data.arguments: unknown key (value {})", "allowed"),
    ({"model": {"builtin": "resnet8", "weigths": "a"}}, "model.weigths: unknown key", "mean 'weights'?"),
    ({"export": {"path": "a", "zip": True}}, "export.zip: unknown key (value True); allowed: agreement, ", ""),
    ({"track": {"url": "a"}}, "track.url: unknown key (value 'a')", "mean 'uri'?"),
    ({"train": {"a\nb": 1}}, "train.a b: unknown key", ""),
]


@pytest.mark.parametrize(("change", "start", "rest"), UNKNOWN_KEYS, ids=[str(k[1].split(":")[0]) for k in UNKNOWN_KEYS])
def test_unknown_key(change, start, rest, tmp_path):
    path = written(tmp_path, {**MINIMAL, **change})
    line = mistake(path)
    assert line.startswith(f"{path}: {start}")
    assert rest in line


def _prune(**change):
    return {"prune": {"target": {"sparsity": 0.5}, **change}}


def _structured(**change):
    return {"prune": {"method": "structured", "target": {"ratio": 0.5}, **change}}


def _both(first, second):
    return {"prune": [{**_structured()["prune"], **first}, {**_prune()["prune"], **second}]}


MISTAKES = [
    # wrong type
    (_prune(rounds="many"), "prune.rounds: got 'many', expected", "valid integer"),
    (_prune(rounds=2.5), "prune.rounds: got 2.5, expected", "integer"),
    (_prune(rounds=True), "prune.rounds: got True, expected a number", ""),
    (_prune(rounds=None), "prune.rounds: got None, expected", "integer"),
    (_prune(target={"sparsity": "90%"}), "prune.target.sparsity: got '90%', expected", "number"),
    (_prune(target={"sparsity": [0.5]}), "prune.target.sparsity: got [0.5], expected", "number"),
    (_prune(target={"sparsity": False}), "prune.target.sparsity: got False, expected a number", ""),
    (_prune(target=0.9), "prune.target: got 0.9, expected a section with keys such as sparsity", ""),
    (_prune(layers="conv*"), "prune.layers: got 'conv*', expected a list", ""),
    ({"prune": None}, "prune: got None, expected a section with keys such as", "target"),
    ({"prune": [1]}, "prune.0: got 1, expected a section", "target"),
    ({"train": None}, "train: got None, expected a section", "epochs"),
    ({"data": "digits"}, "data: got 'digits', expected a section with keys such as source", ""),
    ({"name": 12}, "name: got 12, expected", "string"),
    ({"track": {"models": "perhaps"}}, "track.models: got 'perhaps', expected", "boolean"),
    ({3: 4}, "3: got 3, expected", "strings"),
    ({"stop": {"slice_drops": {"class/1": "x"}}}, "stop.slice_drops.class/1: got 'x', expected", "number"),
    # one of several words
    (_prune(scope="globl"), "prune.scope: got 'globl', expected one of layer, global", "mean 'global'?"),
    (_prune(scope=["layer"]), "prune.scope: got ['layer'], expected one of layer, global", ""),
    (_prune(schedule={"kind": "cosin"}), "prune.schedule.kind: got 'cosin', expected one of poly", "mean 'cosine'?"),
    (_prune(scope=3), "prune.scope: got 3, expected one of layer, global, erk, or sparsities by layer", ""),
    (_prune(scope={"conv1": 1}), "prune.scope.conv1: got 1, expected a sparsity, from 0 to less than 1", ""),
    (_prune(scope={"a": 0.5, "b": True}), "prune.scope.b: got True, expected a sparsity", ""),
    (_prune(scope={1: 0.5}), "prune.scope: got 1, expected the name or pattern of a layer", ""),
    (_prune(importance="tylor"), "prune.importance: got 'tylor', expected one of magnitude, gradient", "an 'taylor'?"),
    (_prune(importance=["a:b"]), "prune.importance: got ['a:b'], expected one of", "or package.module:function"),
    (_prune(pattern="2of4"), "prune.pattern: got '2of4', expected element, N:M such as 2:4, or AxB such as 1x4", ""),
    (_prune(pattern="0x4"), "prune.pattern: got '0x4', expected element", ""),
    (_prune(pattern=124), "prune.pattern: got 124, expected element, N:M such as 2:4, or AxB", "needs quotes"),
    (_prune(pattern="4:2"), "prune.pattern: got '4:2', but N:M keeps N of every M weights, so N must be under M", ""),
    (_prune(method="magic"), "prune.method: got 'magic', expected one of masking, structured", ""),
    (_prune(method="structurd"), "prune.method: got 'structurd', expected one of masking", "mean 'structured'?"),
    (_prune(method=["structured"]), "prune.method: got ['structured'], expected one of masking", ""),
    ({"train": {"optimizer": "adm"}}, "train.optimizer: got 'adm', expected one of adam, adamw,", "mean 'adam'?"),
    ({"model": {"builtin": "resnet50"}}, "model.builtin: got 'resnet50', expected one of digits-cnn,", "mean 'resnet5"),
    ({"precision": "float16"}, "precision: got 'float16', expected one of float32, mixed_b", "did you mean"),
    (
        {"data": {"source": "images", "path": "a", "size": [8, 8], "channels": 2}},
        "data.channels: got 2, expected one of 1, 3",
        "",
    ),
    ({"data": {"source": "digit"}}, "data.source: got 'digit', expected one of digits, npz,", "mean 'digits'?"),
    ({"data": {"source": ["npz"]}}, "data.source: got ['npz'], expected one of", "function"),
    ({"data": {"path": "a"}}, "data.source: got None, expected one of digits", "function"),
    ({"finetune": {"learning_rate": "rewnd"}}, "finetune.learning_rate: got 'rewnd', expected rewind or", "'rewind'?"),
    ({"finetune": {"learning_rate": 0}}, "finetune.learning_rate: got 0, expected rewind or a number greater", ""),
    ({"finetune": {"learning_rate": True}}, "finetune.learning_rate: got True, expected rewind or", ""),
    # missing
    ({"prune": {"rounds": 3}}, "prune.target: is missing", ""),
    (_prune(target={}), "prune.target.sparsity: is missing", ""),
    ({"data": {"source": "npz"}}, "data.path: is missing", ""),
    ({"data": {"source": "csv", "path": "a"}}, "data.label: is missing", ""),
    ({"export": {}}, "export.path: is missing", ""),
    # out of range
    (_prune(target={"sparsity": 1}), "prune.target.sparsity: got 1, expected", "less than 1"),
    (_prune(target={"sparsity": 0}), "prune.target.sparsity: got 0, expected", "greater than 0"),
    (_prune(target={"sparsity": 90}), "prune.target.sparsity: got 90, expected", "less than 1"),
    (_prune(target={"sparsity": float("nan")}), "prune.target.sparsity: got nan, expected", "finite"),
    (_prune(rounds=0), "prune.rounds: got 0, expected", "equal to 1"),
    (_prune(schedule={"end": 1.5}), "prune.schedule.end: got 1.5, expected", "equal to 1"),
    (_prune(schedule={"kind": "stepped", "steps": 0}), "prune.schedule.steps: got 0, expected", "equal to 1"),
    (_prune(batches=0), "prune.batches: got 0, expected", "equal to 1"),
    (_prune(regrow=1), "prune.regrow: got 1, expected", "less than 1"),
    (_prune(floor=-0.1), "prune.floor: got -0.1, expected", "equal to 0"),
    (_prune(ceiling=0), "prune.ceiling: got 0, expected", "greater than 0"),
    (_prune(rewind_to_epoch=-1), "prune.rewind_to_epoch: got -1, expected", "equal to 0"),
    ({"finetune": {"epochs": -1}}, "finetune.epochs: got -1, expected", "equal to 0"),
    (_prune(schedule={"power": float("inf")}), "prune.schedule.power: got inf, expected", "finite"),
    ({"train": {"learning_rate": -1}}, "train.learning_rate: got -1, expected", "greater than 0"),
    ({"stop": {"max_drop": -0.1}}, "stop.max_drop: got -0.1, expected", "equal to 0"),
    ({"stop": {"slice_drops": {"class/1": 2}}}, "stop.slice_drops.class/1: got 2, expected", "less than 1"),
    ({"seed": -1}, "seed: got -1, expected", "equal to 0"),
    ({"seed": 2**31}, "seed: got 2147483648, expected", "less than 2147483648"),
    ({"data": {"source": "images", "path": "a", "size": [8]}}, "data.size.1: is missing", ""),
    ({"data": {"source": "images", "path": "a", "size": [8, 0]}}, "data.size.1: got 0, expected", "equal to 1"),
    ({"data": {"source": "images", "path": "a", "size": [8, 8, 3]}}, "data.size: got [8, 8, 3], expected", "2 items"),
    ({"name": "two words"}, "name: got 'two words', expected", "pattern"),
    ({"name": "../x"}, "name: got '../x', expected", "pattern"),
    ({"name": "line\n"}, r"name: got 'line\n', expected", "pattern"),
    ({"model": {"function": "os.system"}}, "model.function: got 'os.system', expected", "pattern"),
    # impossible together
    ({"model": {"builtin": "resnet8", "file": "a"}}, "model: needs exactly one of builtin, file,", "builtin and file"),
    ({"model": {}}, "model: needs exactly one of builtin, file, application, function, but got none", ""),
    ({"model": {"builtin": "resnet8", "weights": "a"}}, "model: 'weights' goes with 'application'", ""),
    (
        {"data": {"source": "digits", "validation": 0.6, "test": 0.4}},
        "data: validation 0.6 and test 0.4 leave nothing to train on",
        "under 1",
    ),
    (
        {"data": {"source": "csv", "path": "a", "label": "y", "text": ["t"], "features": ["f"]}},
        "data: 'text' and 'features' exclude each other",
        "",
    ),
    (_prune(schedule={"begin": 0.5, "end": 0.5}), "prune.schedule: begin 0.5 must lie before end 0.5", ""),
    (
        _prune(schedule={"kind": "linear", "power": 3.0}),
        "prune.schedule: 'power' goes with kind polynomial, but kind is linear",
        "",
    ),
    (_prune(schedule={"kind": "stepped", "power": 2}), "prune.schedule: 'power' goes with kind polynomial", "stepped"),
    (_prune(schedule={"steps": 4}), "prune.schedule: 'steps' goes with kind stepped, but kind is polynomial", ""),
    (_prune(schedule={"kind": "constant", "steps": 4}), "prune.schedule: 'steps' goes with kind stepped", "constant"),
    (_prune(scope={}), "prune: scope {} names no layer", "one of layer, global, erk"),
    (_prune(floor=0.1), "prune: floor goes with scope global, but scope is 'layer'", ""),
    (_prune(ceiling=0.9, scope="erk"), "prune: ceiling goes with scope global, but scope is 'erk'", ""),
    (_prune(normalize=True), "prune: normalize goes with scope global, but scope is 'layer'", ""),
    (_prune(scope="global", floor=0.6, ceiling=0.6), "prune: floor 0.6 must lie under ceiling 0.6", ""),
    (
        _prune(scope="global", floor=0.6),
        "prune: target.sparsity 0.5 must lie between floor 0.6 and ceiling 1",
        "",
    ),
    (_prune(scope="global", floor=0.1, regrow=0.1), "prune: regrow does not go with floor or ceiling", ""),
    (_prune(pattern="1:4"), "prune: pattern 1:4 leads to 0.75 sparsity, but target.sparsity is 0.5", ""),
    (_prune(pattern="2:4", scope="erk"), "prune: scope erk does not go with pattern 2:4", "the same for every layer"),
    (_prune(pattern="2:4", scope={"a": 0.6}), "prune: pattern 2:4 leads to 0.5 sparsity, but scope.a is 0.6", ""),
    (_prune(rewind_to_epoch=1, regrow=0.1), "prune: regrow does not go with rewind_to_epoch", "prunes once"),
    (_prune(rewind_to_epoch=1, schedule={}), "prune: schedule does not go with rewind_to_epoch", "prunes once"),
    (_prune(rewind_to_epoch=20), "prune.rewind_to_epoch 20 must lie before the last of train.epochs 20", ""),
    (
        {**_prune(rewind_to_epoch=1), "model": {"file": "a.keras"}},
        "prune.rewind_to_epoch needs dense training, but the model is trained already",
        "",
    ),
    (
        {**_prune(rewind_to_epoch=1), "finetune": {"epochs": 0}},
        "prune.rewind_to_epoch leaves weights to be trained, but finetune.epochs is 0",
        "",
    ),
    # structured
    (_structured(target={}), "prune.target: needs exactly one of ratio, params, macs, size_mb, latency_ms", "got none"),
    (_structured(target={"ratio": 0.5, "macs": 9}), "prune.target: needs exactly one of", "but got ratio and macs"),
    (_structured(target={"ratio": 1}), "prune.target.ratio: got 1, expected", "less than 1"),
    (_structured(target={"params": 1.5}), "prune.target.params: got 1.5, expected a whole number, or a share", ""),
    (_structured(target={"params": 0}), "prune.target.params: got 0, expected a whole number, or a share", ""),
    (_structured(target={"params": -0.5}), "prune.target.params: got -0.5, expected a whole number, or a share", ""),
    (_structured(target={"macs": True}), "prune.target.macs: got True, expected a number", ""),
    (_structured(target={"macs": "half"}), "prune.target.macs: got 'half', expected a whole number", ""),
    (_structured(target={"macs": float("inf")}), "prune.target.macs: got inf, expected a whole number", ""),
    (_structured(target={"size_mb": 0}), "prune.target.size_mb: got 0, expected", "greater than 0"),
    (_structured(target={"latency_ms": -1}), "prune.target.latency_ms: got -1, expected", "greater than 0"),
    (_structured(target={"ration": 0.5}), "prune.target.ration: unknown key (value 0.5)", "mean 'ratio'?"),
    (_structured(target={"sparsity": 0.5}), "prune.target.sparsity: goes with method masking", "is structured"),
    (_prune(target={"ratio": 0.5}), "prune.target.ratio: goes with method structured, but", "add method: structured"),
    (_prune(method="structred", target={"ratio": 0.5}), "prune.method: got 'structred'", "mean 'structured'?"),
    (_prune(multiple_of=8), "prune.multiple_of: goes with method structured, but method is masking", ""),
    (_structured(schedule={}), "prune.schedule: goes with method masking, but method is structured", ""),
    (_structured(layers=["a"]), "prune.layers: goes with method masking, but method is structured", ""),
    (_structured(pattern="2:4"), "prune.pattern: goes with method masking, but method is structured", ""),
    (_structured(multipleof=8), "prune.multipleof: unknown key (value 8); allowed: batches, ceiling", "'multiple_of'?"),
    (_structured(importance="magnitude"), "prune.importance: got 'magnitude', expected one of l1, l2", "d structured"),
    (_structured(importance="taylr"), "prune.importance: got 'taylr', expected one of l1", "mean 'taylor'?"),
    (_prune(importance="fpgm"), "prune.importance: got 'fpgm', expected one of magnitude,", "with method masking"),
    (_structured(scope="erk"), "prune.scope: got 'erk', expected one of layer, global", ""),
    (
        _structured(scope="globl"),
        "prune.scope: got 'globl', expected one of layer, global, or shares",
        "mean 'global'?",
    ),
    (_structured(scope=["layer"]), "prune.scope: got ['layer'], expected one of layer, global, or shares by coup", ""),
    (_structured(scope={"a": 1}), "prune.scope: got 1 for 'a', expected a share, from 0 to less than 1", ""),
    (_structured(scope={"a": True}), "prune.scope: got True for 'a', expected a share", ""),
    (_structured(scope={"a": None}), "prune.scope: got None for 'a', expected a share", ""),
    (_structured(scope={1: 0.5}), "prune.scope: got 1, expected the name or pattern of a coupling", ""),
    (_structured(scope={}), "prune.scope: got {}, which removes nothing; give a share over 0", ""),
    (_structured(scope={"a": 0, "b": 0.0}), "prune.scope: got {'a': 0, 'b': 0.0}, which removes nothing", ""),
    (_structured(units=[]), "prune: units [] leaves nothing to remove; give some of filters, heads,", ""),
    (_structured(units=["filter"]), "prune.units.0: got 'filter', expected one of filters, heads,", "'filters'?"),
    (_structured(units="filters"), "prune.units: got 'filters', expected a list", ""),
    (_structured(minimum=0), "prune.minimum: got 0, expected", "equal to 1"),
    (_structured(ceiling=0), "prune.ceiling: got 0, expected", "greater than 0"),
    # several
    ({"prune": []}, "prune: got [], expected a section, or a list of some", ""),
    (_both({"rounds": 0}, {}), "prune.0.rounds: got 0, expected", "equal to 1"),
    (_both({}, {"rounds": 0}), "prune.1.rounds: got 0, expected", "equal to 1"),
    (_both({"regrow": 0.1}, {}), "prune.0.regrow: goes with method masking, but method is structured", ""),
    (_both({}, {"minimum": 2}), "prune.1.minimum: goes with method structured, but method is masking", ""),
    (_both({}, {"importance": "l2"}), "prune.1.importance: got 'l2', expected one of magnitude", "with method masking"),
    (_both({}, {"scope": "globl"}), "prune.1.scope: got 'globl', expected one of layer, global", "mean 'global'?"),
    (_both({}, {"scope": {"a": 2}}), "prune.1.scope.a: got 2, expected a sparsity", ""),
    (_both({}, {"method": "magic"}), "prune.1.method: got 'magic', expected one of masking, structured", ""),
    (_both({}, {"round": 2}), "prune.1.round: unknown key (value 2); allowed: batches", "mean 'rounds'?"),
    (_both({}, {"schedule": {"powr": 2}}), "prune.1.schedule.powr: unknown key (value 2)", "mean 'power'?"),
    (_both({"target": {"ration": 0.1}}, {}), "prune.0.target.ration: unknown key (value 0.1)", "mean 'ratio'?"),
    (_both({}, {"rewind_to_epoch": 1}), "prune.rewind_to_epoch goes with a single section", "dense model's"),
    (
        {"prune": [*reversed(_both({}, {})["prune"])]},
        "prune: structured stands after masking, but rebuilding a model would lose its masks; put the structured",
        "first",
    ),
    # registry
    ({"track": {"register_as": "a", "models": False}}, "track: register_as needs the models on record", "leave one"),
    ({"track": {"alias": "latest"}}, "track: alias: MLflow keeps 'latest' for itself", "champion"),
    ({"track": {"alias": "v2"}}, "track: alias: MLflow keeps 'v2' for itself", "champion"),
    ({"track": {"register_as": "a/b"}}, "track.register_as: got 'a/b'", "pattern"),
    # slices
    ({"slices": "classes"}, "slices: got 'classes', expected a list", ""),
    ({"slices": {"rarest": 0.1}}, "slices: got {'rarest': 0.1}, expected a list", ""),
    (
        {"slices": ["class"]},
        "slices.0: got 'class', expected classes, pie, discover, or a value for one of",
        "mean 'classes'?",
    ),
    ({"slices": ["classes", {"rarst": 0.1}]}, "slices.1: got {'rarst': 0.1}, expected classes", "mean 'rarest'?"),
    ({"slices": [{"rarest": 2}]}, "slices.0.rarest: got 2, expected", "less than or equal to 1"),
    (
        {"slices": [{"rarest": 0.1, "hardest": 0.1}]},
        "slices.0.hardest: unknown key (value 0.1); allowed: name",
        "rarest",
    ),
    ({"slices": [None]}, "slices.0: got None, expected classes", ""),
    ({"slices": [{}]}, "slices.0: got {}, expected classes", ""),
    ({"slices": [[1]]}, "slices.0: got [1], expected classes", ""),
]


@pytest.mark.parametrize(("change", "start", "rest"), MISTAKES, ids=[m[1] for m in MISTAKES])
def test_mistake(change, start, rest, tmp_path):
    path = written(tmp_path, {**MINIMAL, **change})
    line = mistake(path)
    assert line.startswith(f"{path}: {start}")
    assert rest in line


def test_missing_section(tmp_path):
    path = written(tmp_path, {"name": "x"})
    assert mistake(path) == f"{path}: prune: is missing; a recipe needs it"


def test_the_nearest_name_is_not_the_one_given():
    assert "did you mean" not in mistake("digits", ["slices=[{rarest: 2}]"])


@pytest.mark.parametrize("value", ["2020-01-01", "!!binary aGk=", "!!set {x}", ".nan", "[{b: .inf}]", "{1: 2}"])
def test_arguments_hold_only_what_a_digest_can(value):
    line = mistake("digits", [f"model.arguments={{a: {value}}}"])
    assert "model.arguments.a: got " in line
    assert "expected text as keys, and text, numbers, yes/no, lists or mappings" in line


def test_arguments_that_hold_themselves(tmp_path):
    text = "prune: {target: {sparsity: 0.5}}\nmodel: {builtin: resnet8, arguments: &a {x: *a}}\n"
    assert "not valid YAML: a value that refers to itself" in mistake(written(tmp_path, text))


def test_long_values_are_cut(tmp_path):
    assert "..." in mistake(written(tmp_path, {**MINIMAL, "seed": "x" * 500}))


def test_parse_opens_its_line_with_the_place_given():
    with pytest.raises(RecipeError, match=r"^my dict: seed: got -1"):
        parse({**MINIMAL, "seed": -1}, where="my dict")
    with pytest.raises(RecipeError, match=r"^recipe: seed: got -1"):
        parse({**MINIMAL, "seed": -1})


# ------------------------------------------------------------------------------------------------ digest


def test_digest_is_eight_hex_digits_and_stable():
    assert len(load("digits").digest) == 8
    assert int(load("digits").digest, 16) >= 0
    assert load("digits").digest == load("digits").digest


@pytest.fixture
def base(tmp_path):
    """Load a small recipe with overrides."""
    path = written(tmp_path, {**MINIMAL, "model": {"builtin": "digits-cnn"}, "data": {"source": "digits"}})
    return lambda *overrides: load(path, overrides)


@pytest.mark.parametrize("override", ["track.experiment=x", "track.models=no", "track.uri=a", "export.path=a.keras"])
def test_digest_ignores_tracking_and_export(override, base):
    assert base(override).digest == base().digest


# One change for every field of every section but the two above.
CHANGES = {
    "name": "other",
    "model.builtin": "resnet8",
    "model.file": None,  # the sources exclude each other: see the test of another source below
    "model.application": None,
    "model.function": None,
    "model.arguments": "{width: 4}",
    "model.weights": None,
    "model.trained": "true",
    "data.source": None,
    "data.validation": "0.1",
    "data.test": "0.1",
    "data.classes": "[a, b]",
    "data.divide_by": "2",
    "data.shuffle_buffer": "7",
    "data.metadata": "[age]",
    "data.metadata_file": "a.csv",
    "data.metadata_validation_file": "a.csv",
    "data.metadata_test_file": "a.csv",
    "train.epochs": "7",
    "train.batch_size": "7",
    "train.optimizer": "sgd",
    "train.learning_rate": "0.7",
    "train.decay": "step",
    "train.augment": "[flip]",
    "prune.method": None,  # has one value so far
    "prune.schedule.kind": "constant",
    "prune.schedule.power": "2",
    "prune.schedule.steps": None,  # goes with another kind than the default: see the test of another kind below
    "prune.schedule.begin": "0.1",
    "prune.schedule.end": "0.7",
    "prune.schedule.frequency": "7",
    "prune.rounds": "7",
    "prune.target.sparsity": "0.7",
    "prune.scope": "global",
    "prune.layers": "[conv1]",
    "prune.importance": "taylor",
    "prune.batches": "7",
    "prune.floor": None,  # goes with another scope than the default: see the test of the global scope below
    "prune.ceiling": None,
    "prune.normalize": None,
    "prune.pattern": "2:4",
    "prune.regrow": "0.7",
    "prune.rewind_to_epoch": "7",
    "finetune.epochs": "7",
    "finetune.learning_rate": "0.7",
    "finetune.distill": "{weight: 0.7}",
    "stop.max_drop": "null",
    "stop.max_relative_drop": "0.7",
    "stop.max_slice_drop": "0.7",
    "stop.slice_drops": "{class/1: 0.7}",
    "stop.min_slice_size": "7",
    "stop.confidence": "0.95",
    "stop.min_step": "0.7",
    "stop.max_rounds": "70",
    "stop.patience": "7",
    "slices": "[]",
    "seed": "8",
    "precision": "mixed_bfloat16",
}


def _fields(section, prefix=""):
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, recipes.Section):
            yield from _fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_every_field_has_a_change_here(base):
    ours = {f for f in _fields(base()) if f.split(".")[0] not in ("track", "export", "search")}
    assert ours == set(CHANGES)


@pytest.mark.parametrize("key", [key for key, value in CHANGES.items() if value is not None])
def test_digest_reacts_to(key, base):
    assert base(f"{key}={CHANGES[key]}").digest != base().digest


@pytest.mark.parametrize(
    "override",
    ["model={file: a}", "model={application: A}", "model={function: 'a:b'}", "data={source: npz, path: a}"],
)
def test_digest_reacts_to_another_source(override, base):
    assert base(override).digest != base().digest


def test_digest_reacts_to_another_kind_of_schedule(base):
    kinds = [f"{{kind: {kind}}}" for kind in SCHEDULE_KINDS] + ["{kind: stepped, steps: 7}"]
    assert len({base(f"prune.schedule={kind}").digest for kind in kinds}) == len(kinds)


def test_digest_reacts_to_limits_of_the_global_scope(base):
    limits = ["floor=0.1", "ceiling=0.9", "normalize=true"]
    digests = {base("prune.scope=global", *(f"prune.{each}" for each in some)).digest for some in ([], *zip(limits))}
    assert len(digests) == 4


def test_digest_reacts_to_the_order_of_patterns(base):
    one, other = ("{conv*: 0.5, '*1': 0.2}", "{'*1': 0.2, conv*: 0.5}")  # of several the first counts
    assert base(f"prune.scope={one}").digest != base(f"prune.scope={other}").digest


@pytest.mark.parametrize(("name", "digest"), [("digits", "b89ef7e5"), ("cifar10-resnet20", "d33c96c4")])
def test_digest_of_the_first_release(name, digest):
    assert load(name).digest == digest


def test_digest_of_before_there_were_other_kinds(base):
    assert base().model_dump(mode="json")["prune"]["schedule"] == {
        "kind": "polynomial",
        "power": 3.0,
        "begin": 0.0,
        "end": 0.5,
        "frequency": 10,
    }


def test_digest_does_not_hang_on_the_order_or_form_of_the_file(tmp_path):
    one = written(tmp_path, "name: a\nseed: 1\nprune: {target: {sparsity: 0.5}}\n")
    digest = load(one).digest
    two = written(tmp_path, "prune:\n  target:\n    sparsity: 5.0e-1\nseed: 1\nname: a\nstop: {max_drop: 0.02}\n")
    assert load(two).digest == digest


# ------------------------------------------------------------------------------------- structured sections


STRUCTURED = {"name": "smaller", "prune": {"method": "structured", "target": {"ratio": 0.5}}}
BOTH = {"name": "both", "prune": [STRUCTURED["prune"], {**MINIMAL["prune"], "rounds": 2}]}

# One change for every field of a structured section.
STRUCTURED_CHANGES = {
    "method": "masking",
    "rounds": "7",
    "importance": "fpgm",
    "batches": "7",
    "scope": "global",
    "ignore": "[conv1]",
    "units": "[blocks]",
    "multiple_of": "8",
    "minimum": "2",
    "ceiling": "0.7",
    "target": "{macs: 70}",
}
TARGETS = [
    {"ratio": 0.5},
    {"params": 5},
    {"params": 0.5},
    {"macs": 5},
    {"macs": 0.5},
    {"size_mb": 5},
    {"latency_ms": 5},
]


@pytest.fixture
def smaller(tmp_path):
    """Load a small structured recipe with overrides."""
    path = written(tmp_path, STRUCTURED)
    return lambda *overrides: load(path, overrides)


def test_every_structured_field_has_a_change_here():
    assert set(recipes.StructuredSection.model_fields) == set(STRUCTURED_CHANGES)


@pytest.mark.parametrize("key", [key for key in STRUCTURED_CHANGES if key != "method"])
def test_digest_reacts_to_the_structured(key, smaller):
    assert smaller(f"prune.{key}={STRUCTURED_CHANGES[key]}").digest != smaller().digest


def test_digest_reacts_to_shares_by_coupling_and_their_order(smaller):
    scopes = ["{conv*: 0.5, '*1': 0.2}", "{'*1': 0.2, conv*: 0.5}", "{conv*: 0.5, '*1': 0.3}", "layer"]
    assert len({smaller(f"prune.scope={scope}").digest for scope in scopes}) == len(scopes)


def test_shares_by_coupling_read_back(smaller, tmp_path):
    recipe = smaller("prune.scope={'*1': 0, conv*: 0.25}")
    assert list(recipe.structured.scope.items()) == [("*1", 0.0), ("conv*", 0.25)]
    again = load(written(tmp_path, recipe.to_yaml()))
    assert again == recipe == parse(recipe.model_dump(mode="json")) == pickle.loads(pickle.dumps(recipe))
    assert list(again.structured.scope) == ["*1", "conv*"] and again.digest == recipe.digest


def test_digest_reacts_to_every_target():
    digests = {parse({**STRUCTURED, "prune": {**STRUCTURED["prune"], "target": target}}).digest for target in TARGETS}
    assert len(digests) == len(TARGETS)
    assert parse(STRUCTURED).digest != parse({**MINIMAL, "name": "smaller"}).digest
    one, two = parse({**BOTH, "prune": BOTH["prune"][:1]}), parse({**BOTH, "prune": BOTH["prune"][0]})
    assert len({one.digest, two.digest, parse(BOTH).digest}) == 3


def test_digest_reacts_to_the_order_of_patterns_in_a_list():
    scopes = ({"conv*": 0.5, "*1": 0.2}, {"*1": 0.2, "conv*": 0.5})
    digests = {parse({**BOTH, **_both({}, {"scope": scope})}).digest for scope in scopes}
    assert len(digests) == 2


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("several", [False, True])
def test_every_target_reads_back(target, several, tmp_path):
    section = {**STRUCTURED["prune"], "target": target, "units": ["heads", "blocks"], "ignore": ["conv*"]}
    recipe = parse({**STRUCTURED, "prune": [section, MINIMAL["prune"]] if several else section})
    again = load(written(tmp_path, recipe.to_yaml()))
    assert again == recipe == parse(recipe.model_dump(mode="json")) == pickle.loads(pickle.dumps(recipe))
    assert (again.digest, again.to_yaml()) == (recipe.digest, recipe.to_yaml())
    plain = yaml.safe_load(recipe.to_yaml())["prune"]
    assert (plain[0] if several else plain)["target"] == target
    assert "null" not in recipe.to_yaml()


def test_amounts_and_shares():
    def target(**given):
        return parse({**STRUCTURED, "prune": {**STRUCTURED["prune"], "target": given}}).structured.target

    assert (target(params=0.5).is_share, target(params=5).is_share, target(ratio=0.5).is_share) == (True, False, True)
    assert (target(size_mb=0.5).is_share, target(latency_ms=0.5).is_share) == (False, False)
    assert target(params=5.0).params == 5 and isinstance(target(params=5.0).params, int)
    assert (target(macs=70).counted, target(macs=70).value) == ("macs", 70)
    said = [target(**given).said for given in TARGETS]
    assert said[:3] == ["50% of units", "5 params", "50% of params"] and len(set(said)) == len(said)


def test_defaults_of_a_structured_section():
    recipe = parse(STRUCTURED)
    section = recipe.structured
    assert (section.rounds, section.importance, section.scope, section.units) == (
        5,
        "l2",
        "layer",
        ("filters", "heads"),
    )
    assert (recipe.max_rounds, recipe.finetune_epochs, recipe.rewind_to_epoch) == (10, 6, None)
    assert recipe.schedule.kind == "constant"
    with pytest.raises(TypeError):
        _ = recipe.masking
    with pytest.raises(TypeError):
        _ = parse(MINIMAL).structured


def test_phases():
    assert parse(MINIMAL).phases == (parse(MINIMAL),)
    recipe = parse(BOTH)
    first, second = recipe.phases
    assert [each.sections for each in (first, second)] == [recipe.sections[:1], recipe.sections[1:]]
    assert (first.structured.target.ratio, second.masking.target.sparsity) == (0.5, 0.5)
    assert recipe.max_rounds == first.max_rounds == second.max_rounds == 2 * (5 + 2)
    assert (first.schedule.kind, second.schedule.kind) == ("constant", "polynomial")
    limited = parse({**BOTH, "stop": {"max_rounds": 3, "max_drop": None}})
    assert [(each.max_rounds, each.stop.max_drop) for each in limited.phases] == [(3, None)] * 2


def test_overrides_reach_into_a_list(tmp_path):
    path = written(tmp_path, BOTH)
    recipe = load(path, ["prune.1.target.sparsity=0.25", "prune.0.rounds=3", "prune.0.target={macs: 0.5}"])
    assert recipe.phases[1].masking.target.sparsity == 0.25
    assert (recipe.sections[0].rounds, recipe.phases[0].structured.target.macs) == (3, 0.5)
    assert load(path, ["prune.1={target: {sparsity: 0.75}}"]).phases[1].masking.target.sparsity == 0.75
    line = "prune is a list; its places are prune.0, prune.1"
    for key in ("prune.2.rounds", "prune.rounds", "prune.-1.rounds", "prune.x"):
        assert mistake(path, [f"{key}=3"]) == f"--set '{key}=3': {line}"


def test_structured_names_are_those_that_there_are():
    from tfprune.structure.ranking import UNITS, Scope
    from tfprune.structure.scores import IMPORTANCES as SCORES

    assert set(recipes.UnitImportance.__args__) == set(SCORES)
    assert set(recipes.UnitKind.__args__) == set(UNITS)
    assert recipes.UnitScope.__args__ == Scope.__args__
    section, shrink = parse(STRUCTURED).structured, inspect.signature(tfprune.shrink).parameters
    for name in set(recipes.StructuredSection.model_fields) - {"method", "rounds", "target"}:
        assert getattr(section, name) == shrink[name].default, "what a recipe leaves out is what the function does"


# ----------------------------------------------------------------------------------------- round trip


SCHEDULE_KINDS = ["polynomial", "linear", "exponential", "cosine", "stepped", "constant"]


@pytest.mark.parametrize("kind", SCHEDULE_KINDS)
def test_every_kind_of_schedule_reads_back(kind, tmp_path):
    schedule = {"kind": kind, "begin": 0.25, "end": 0.75, "frequency": 7}
    for more in ({}, {"polynomial": {"power": 2.0}, "stepped": {"steps": 7}}.get(kind, {})):
        recipe = parse({**MINIMAL, "prune": {**MINIMAL["prune"], "schedule": {**schedule, **more}}})
        path = written(tmp_path, recipe.to_yaml())
        assert load(path) == recipe
        assert load(path).digest == recipe.digest
        assert load(path).to_yaml() == recipe.to_yaml()
        assert parse(recipe.model_dump(mode="json")) == recipe
        assert {**schedule, **more}.items() <= yaml.safe_load(recipe.to_yaml())["prune"]["schedule"].items()


@pytest.mark.parametrize(
    "more",
    [
        {"importance": "taylor", "batches": 3, "regrow": 0.25, "pattern": "1x4"},
        {"importance": "my.code:score", "pattern": "2:4"},
        {"scope": {"conv*": 0.5, "head": 0.0}, "pattern": "element"},
        {"scope": "global", "floor": 0.25, "ceiling": 0.75, "normalize": True},
        {"scope": "erk"},
        {"rewind_to_epoch": 0},
    ],
    ids=str,
)
def test_every_way_to_choose_weights_reads_back(more, tmp_path):
    recipe = parse({**MINIMAL, "prune": {**MINIMAL["prune"], **more}})
    again = load(written(tmp_path, recipe.to_yaml()))
    assert again == recipe == parse(recipe.model_dump(mode="json"))
    assert (again.digest, again.to_yaml()) == (recipe.digest, recipe.to_yaml())
    assert more.items() <= yaml.safe_load(recipe.to_yaml())["prune"].items()
    assert list(more.get("scope", ())) == list(again.prune.scope if "scope" in more else ())


def test_names_are_those_that_there_are():
    assert recipes.Importance.__args__ == tuple(IMPORTANCES)
    assert recipes.Scope.__args__ == SCOPES


@pytest.mark.parametrize("text", ["2:4", "'2:4'", '"2:4"'])
def test_a_pattern_needs_no_quotes(text, tmp_path):
    path = written(tmp_path, f"name: a\nprune: {{target: {{sparsity: 0.5}}, pattern: {text}}}\n")
    assert load(path).prune.pattern == "2:4"
    assert load("digits", [f"prune.pattern={text}", "prune.target.sparsity=0.5"]).prune.pattern_sparsity == 0.5


def test_a_rounded_share_is_that_of_the_pattern():
    assert parse({"name": "a", "prune": {"pattern": "1:3", "target": {"sparsity": 0.667}}}).prune.pattern == "1:3"


def test_rewinding_trains_for_the_epochs_that_are_left():
    recipe = parse({**MINIMAL, "train": {"epochs": 9}, "prune": {**MINIMAL["prune"], "rewind_to_epoch": 2}})
    assert (recipe.finetune_epochs, recipe.schedule.kind) == (7, "constant")
    assert "schedule" not in recipe.to_yaml()
    untrained = parse({**MINIMAL, "finetune": {"epochs": 0}})
    assert (untrained.finetune_epochs, untrained.schedule.kind) == (0, "constant")
    assert parse(MINIMAL).schedule == parse(MINIMAL).prune.schedule


def test_defaults_of_the_schedule():
    schedule = parse(MINIMAL).prune.schedule
    assert (schedule.kind, schedule.power, schedule.steps) == ("polynomial", 3.0, 4)


def test_a_gate_that_is_lifted_stays_lifted():
    lifted = parse({**MINIMAL, "stop": {"max_drop": None}})
    assert "max_drop: null" in lifted.to_yaml()
    assert parse(yaml.safe_load(lifted.to_yaml())) == lifted


def test_unset_values_are_left_out():
    text = parse(MINIMAL).to_yaml()
    assert "null" not in text
    assert "model:" not in text


def _shares(low_open=False, high_closed=False):
    return st.floats(0, 1, exclude_min=low_open, exclude_max=not high_closed, allow_subnormal=False)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
POSITIVE = st.floats(1e-12, 1e12)
COUNT = st.integers(1, 10**9)
PATHS = st.from_regex(r"[A-Za-z0-9_. /-]{1,20}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXT, JSON, max_size=3)
FUNCTIONS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,10}:[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)


def _optional(needed=None, **parts):
    return st.fixed_dictionaries(needed or {}, optional=parts)


MODELS = st.one_of(
    _optional(
        {"builtin": st.sampled_from(["digits-cnn", "resnet8", "text-transformer"])},
        arguments=ARGUMENTS,
        trained=st.none() | st.booleans(),
    ),
    _optional({"file": PATHS}, trained=st.booleans()),
    _optional({"application": TEXT}, weights=TEXT, arguments=ARGUMENTS),
    _optional({"function": FUNCTIONS}, arguments=ARGUMENTS),
)
COMMON = {
    "validation": st.floats(0.01, 0.49),
    "test": st.floats(0, 0.5),
    "classes": st.none() | st.lists(TEXT, max_size=3),
    "divide_by": POSITIVE,
    "shuffle_buffer": COUNT,
}
DATA = st.one_of(
    _optional({"source": st.just("digits")}, **COMMON),
    _optional({"source": st.just("npz"), "path": PATHS}, x=TEXT, y=TEXT, **COMMON),
    _optional(
        {"source": st.just("images"), "path": PATHS, "size": st.tuples(COUNT, COUNT).map(list)},
        test_path=PATHS,
        channels=st.sampled_from([1, 3]),
        **COMMON,
    ),
    _optional(
        {"source": st.just("tfrecord"), "path": TEXT, "shape": st.lists(COUNT, min_size=3, max_size=3)}, **COMMON
    ),
    _optional(
        {"source": st.just("csv"), "path": PATHS, "label": TEXT}, text=st.lists(TEXT, min_size=1, max_size=3), **COMMON
    ),
    _optional({"source": st.just("tfds"), "name": TEXT}, directory=PATHS, **COMMON),
    _optional({"source": st.just("function"), "function": FUNCTIONS}, arguments=ARGUMENTS, **COMMON),
)
WITHIN_A_ROUND = {"begin": st.floats(0, 0.49), "end": st.floats(0.5, 1), "frequency": COUNT}
MASKING = _optional(
    {"target": st.fixed_dictionaries({"sparsity": _shares(low_open=True)})},
    rounds=COUNT,
    scope=st.sampled_from(["layer", "global", "erk"])
    | st.dictionaries(TEXT, st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
    importance=st.sampled_from(list(IMPORTANCES)) | FUNCTIONS,
    batches=COUNT,
    pattern=st.sampled_from([None, "element", "1x4", "16x2"]),
    regrow=_shares(),
    layers=st.none() | st.lists(TEXT, max_size=3),
    schedule=st.one_of(
        _optional(kind=st.just("polynomial"), power=POSITIVE, **WITHIN_A_ROUND),
        _optional({"kind": st.just("stepped")}, steps=COUNT, **WITHIN_A_ROUND),
        _optional({"kind": st.sampled_from(SCHEDULE_KINDS)}, **WITHIN_A_ROUND),
    ),
)
AMOUNT = COUNT | st.floats(0.01, 0.99)
REMOVAL = _optional(
    {
        "method": st.just("structured"),
        "target": st.one_of(
            st.fixed_dictionaries({"ratio": _shares(low_open=True)}),
            st.fixed_dictionaries({"params": AMOUNT}),
            st.fixed_dictionaries({"macs": AMOUNT}),
            st.fixed_dictionaries({"size_mb": POSITIVE}),
            st.fixed_dictionaries({"latency_ms": POSITIVE}),
        ),
    },
    rounds=COUNT,
    importance=st.sampled_from(recipes.UnitImportance.__args__) | FUNCTIONS,
    batches=COUNT,
    scope=st.sampled_from(["layer", "global"]),
    ignore=st.lists(TEXT, max_size=3),
    units=st.lists(st.sampled_from(recipes.UnitKind.__args__), min_size=1, max_size=3),
    multiple_of=COUNT,
    minimum=COUNT,
    ceiling=st.floats(0.01, 1),
)
CONTENT = _optional(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True),
        "prune": MASKING
        | REMOVAL
        | st.tuples(st.lists(REMOVAL, max_size=2), st.lists(MASKING, max_size=2))
        .map(lambda parts: parts[0] + parts[1])
        .filter(bool),
    },
    model=MODELS,
    data=DATA,
    train=_optional(
        epochs=COUNT, batch_size=COUNT, learning_rate=POSITIVE, decay=st.sampled_from(["step", "constant"])
    ),
    finetune=_optional(epochs=st.none() | COUNT, learning_rate=st.just("rewind") | POSITIVE),
    stop=_optional(
        max_drop=st.none() | _shares(),
        max_relative_drop=st.none() | _shares(),
        max_slice_drop=st.none() | _shares(),
        slice_drops=st.dictionaries(TEXT, _shares(), max_size=3),
        max_rounds=st.none() | COUNT,
        patience=COUNT,
    ),
    slices=st.lists(
        st.just("classes")
        | st.fixed_dictionaries({"rarest": _shares(True, True)})
        | st.fixed_dictionaries({"hardest": _shares(True, True)}),
        max_size=3,
    ),
    track=_optional(uri=st.none() | TEXT, experiment=TEXT, models=st.booleans()),
    export=st.none()
    | st.fixed_dictionaries(
        {"path": PATHS},
        optional={"quantize": st.sampled_from(["none", "int8"]), "size_mb": POSITIVE, "agreement": _shares(True, True)},
    ),
    seed=st.integers(0, 2**31 - 1),
    precision=st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16"]),
)


@settings(max_examples=150, deadline=None)
@given(CONTENT)
def test_what_is_written_reads_back_equal(content):
    recipe = parse(content)
    again = parse(yaml.safe_load(recipe.to_yaml()))
    assert again == recipe
    assert again.digest == recipe.digest
    assert again.to_yaml() == recipe.to_yaml()


@settings(max_examples=60, deadline=None)
@given(CONTENT)
def test_a_recipe_survives_pickling(content):
    recipe = parse(content)
    assert pickle.loads(pickle.dumps(recipe)) == recipe


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "other"]) | TEXT, JSON, max_size=5))
def test_whatever_is_wrong_is_one_line(content):
    try:
        parse(content)
    except RecipeError as error:
        assert len(str(error).splitlines()) == 1


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_whatever_is_set_is_taken_or_one_line(key, value):
    for override in (f"{key}={value}", f"train.{key}={value}", f"seed={value}"):
        try:
            load("digits", [override])
        except RecipeError as error:
            assert len(str(error).splitlines()) == 1
