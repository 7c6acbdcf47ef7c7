"""Recipes: a workflow written down as YAML, typed and checked before anything starts.

A recipe is found by path, or by name among those that ship with tfprune (``schedules/`` in a clone,
``tfprune/schedules/`` in a wheel). Relative paths inside a recipe start at the working directory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from tfprune.errors import RecipeError, nearest


def _no_bool(value: Any) -> Any:
    """Refuse yes and no where a number belongs; Python counts them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"got {value}, expected a number")
    return value


_NUMBER = BeforeValidator(_no_bool)
Share = Annotated[float, Field(ge=0, lt=1), _NUMBER]
PositiveShare = Annotated[float, Field(gt=0, le=1), _NUMBER]
Positive = Annotated[float, Field(gt=0), _NUMBER]
Count = Annotated[int, Field(ge=1), _NUMBER]
OpenShare = Annotated[float, Field(gt=0, lt=1), _NUMBER]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:function")]
NumberFrom0 = Annotated[int, Field(ge=0), _NUMBER]

# Checked to be what YAML, JSON and a digest can all hold; whoever receives the arguments knows their types.
if TYPE_CHECKING:
    Arguments = dict[str, Any]
else:
    Arguments = dict[str, JsonValue]


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ------------------------------------------------------------------------------------------------ model


class ModelSection(Section):
    """Where the dense model comes from: exactly one of builtin, file, application, function.

    Attributes:
        builtin: ``digits-cnn``, ``resnet8``, ``resnet20``, ``resnet56`` or ``text-transformer``.
        file: a tf_keras ``.keras``, ``.h5`` or SavedModel directory.
        application: a class of tf.keras.applications, given a new head for the data's classes.
        function: ``package.module:function``, called with ``input_shape``, ``classes`` and `arguments`.
        arguments: keyword arguments for a builtin, an application or a function.
        weights: for an application: a weights file, ``imagenet`` (needs a network) or nothing.
        trained: skip dense training; by default true for a file and false for the rest.
    """

    builtin: Literal["digits-cnn", "resnet8", "resnet20", "resnet56", "text-transformer"] | None = None
    file: Path | None = None
    application: str | None = None
    function: FunctionName | None = None
    arguments: Arguments = {}
    weights: str | None = None
    trained: bool | None = None

    @model_validator(mode="after")
    def _exactly_one_source(self) -> Self:
        sources = ("builtin", "file", "application", "function")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(sources)}, but got {' and '.join(given) or 'none'}")
        if self.weights is not None and self.application is None:
            raise ValueError("'weights' goes with 'application'; a model file brings its own")
        return self

    @property
    def is_trained(self) -> bool:
        """Whether dense training is skipped."""
        return self.file is not None if self.trained is None else self.trained


# ------------------------------------------------------------------------------------------------- data


class DataSection(Section):
    """What every data source has in common.

    Attributes:
        validation: share of the training examples held out to decide with.
        test: share held out for the one look at the end; unused where the source has a test part of its own.
        classes: names of the classes; by default what the source knows, or the numbers.
        divide_by: inputs are divided by this (255 for bytes).
        shuffle_buffer: examples in the shuffle window of a source that streams.
    """

    validation: OpenShare = 0.15
    test: Share = 0.15
    classes: tuple[str, ...] | None = None
    divide_by: Positive = 1.0
    shuffle_buffer: Count = 10_000

    @model_validator(mode="after")
    def _leaves_training_examples(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on; "
                "their sum must be under 1"
            )
        return self


class DigitsData(DataSection):
    """scikit-learn's 1,797 scans of 8x8 pixels, scaled to [0, 1]; needs no file and no network."""

    source: Literal["digits"]


class NpzData(DataSection):
    """A NumPy archive with arrays `x` and `y`, and `x_test`/`y_test` where it has a test part."""

    source: Literal["npz"]
    path: Path
    x: str = "x"
    y: str = "y"


class ImagesData(DataSection):
    """A folder with one folder of images a class; `test_path` names a second such folder."""

    source: Literal["images"]
    path: Path
    test_path: Path | None = None
    size: tuple[Count, Count]
    channels: Literal[1, 3] = 3


class TFRecordData(DataSection):
    """TFRecord files (globs allowed) of tf.train.Example with an image and an int64 label.

    `encoding` is ``image`` for JPEG, PNG or BMP bytes, ``raw`` for uint8 bytes in `shape`.
    """

    source: Literal["tfrecord"]
    path: str
    test_path: str | None = None
    image: str = "image"
    label: str = "label"
    encoding: Literal["image", "raw"] = "image"
    shape: tuple[Count, Count, Count]


class CsvData(DataSection):
    """A CSV file: numeric `features`, or one or more `text` columns joined by a space.

    The first line names the columns, unless `columns` does, as for a file without such a line. Text becomes token
    ids through a TextVectorization layer that is adapted to the training part.
    """

    source: Literal["csv"]
    path: Path
    test_path: Path | None = None
    label: str
    columns: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    text: tuple[str, ...] | None = None
    vocabulary: Count = 10_000
    length: Count = 64

    @model_validator(mode="after")
    def _text_or_features(self) -> Self:
        if self.text and self.features:
            raise ValueError("'text' and 'features' exclude each other; give one of them")
        return self


class KerasData(DataSection):
    """A data set of keras.datasets by name, e.g. ``mnist``; the first use needs a network."""

    source: Literal["keras"]
    name: str


class TfdsData(DataSection):
    """A data set of tensorflow-datasets by name; needs that package and, the first time, a network."""

    source: Literal["tfds"]
    name: str
    directory: Path | None = None


class FunctionData(DataSection):
    """``package.module:function``, called with `arguments`.

    It returns arrays ``(x, y)``, or a dict with ``train`` and optionally ``validation``, ``test`` (arrays, or
    unbatched finite tf.data.Dataset of (x, label)).
    """

    source: Literal["function"]
    function: FunctionName
    arguments: Arguments = {}


AnyData = Annotated[
    DigitsData | NpzData | ImagesData | TFRecordData | CsvData | KerasData | TfdsData | FunctionData,
    Field(discriminator="source"),
]


# --------------------------------------------------------------------------------------------- training


class TrainSection(Section):
    """Training of the dense model.

    Attributes:
        epochs: passes over the training part.
        batch_size: examples a step, here and in fine-tuning.
        optimizer: by name, with the defaults of Keras; ``sgd`` with Nesterov momentum 0.9.
        learning_rate: at the start.
        decay: how it falls over the whole training: ``cosine`` to zero, ``step`` (a tenth after one half and
            again after three quarters), or ``constant``.
        augment: random changes of images, here and in fine-tuning: ``flip`` sideways, ``shift`` by up to an eighth.
    """

    epochs: Count = 20
    batch_size: Count = 64
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Positive = 0.001
    decay: Literal["cosine", "step", "constant"] = "cosine"
    augment: tuple[Literal["flip", "shift"], ...] = ()


class FinetuneSection(Section):
    """Fine-tuning after each pruning.

    Attributes:
        epochs: by default three tenths of `train.epochs`, or what is left of them behind `prune.rewind_to_epoch`; with
            0, each round prunes at once and is evaluated as it is.
        learning_rate: ``rewind`` repeats the last `epochs` epochs of dense training's learning-rate curve
            (Renda et al. 2020); a number starts there and decays as `train.decay` says.
    """

    epochs: NumberFrom0 | None = None
    learning_rate: Literal["rewind"] | Positive = "rewind"


# ---------------------------------------------------------------------------------------------- pruning


class TargetSection(Section):
    """When the work is done.

    Attributes:
        sparsity: share of zeros among the prunable weights, in (0, 1).
    """

    sparsity: OpenShare


class ScheduleSection(Section):
    """How sparsity rises inside a round, in shares of the round's fine-tuning steps.

    Attributes:
        kind: ``polynomial`` (Zhu & Gupta 2017), ``linear``, ``exponential`` (the same share of what is left at every
            step) or ``cosine``: along a curve from `begin` to `end`; ``stepped``: in equal jumps, the first at `begin`
            and the last at `end`; ``constant``: all at once, at `begin`.
        power: exponent of the polynomial; goes with ``polynomial`` alone.
        steps: how many equal jumps; goes with ``stepped`` alone.
        begin: share of the round after which pruning starts.
        end: share of the round by which the round's sparsity is reached; the rest recovers.
        frequency: steps between two updates of the masks along a curve.
    """

    kind: Literal["polynomial", "linear", "exponential", "cosine", "stepped", "constant"] = "polynomial"
    power: Positive = 3.0
    steps: Count = 4
    begin: Share = 0.0
    end: PositiveShare = 0.5
    frequency: Count = 10

    _goes_with: ClassVar = {"power": "polynomial", "steps": "stepped"}

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin:g} must lie before end {self.end:g}")
        return self

    @model_validator(mode="after")
    def _only_what_goes_with_the_kind(self) -> Self:
        for name, kind in self._goes_with.items():
            if name in self.model_fields_set and self.kind != kind:
                raise ValueError(f"{name!r} goes with kind {kind}, but kind is {self.kind}")
        return self

    @model_serializer(mode="wrap")
    def _without_other_kinds(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the default of what goes with another kind, or what is written would not read back."""
        return {key: value for key, value in dump(self).items() if self._goes_with.get(key, self.kind) == self.kind}


def _check_pattern(text: Any) -> Any:
    """Refuse what is no pattern; `masking.patterns` reads it."""
    if text is None or (isinstance(text, str) and (text == "element" or re.fullmatch(_BLOCK, text))):
        return text
    match = re.fullmatch(_N_OF_M, text) if isinstance(text, str) else None
    if match is None:
        quotes = "; N:M needs quotes in YAML 1.1" if isinstance(text, int) else ""
        raise ValueError(f"got {_shown(text)}, expected element, N:M such as 2:4, or AxB such as 1x4{quotes}")
    if int(match[1]) >= int(match[2]):
        raise ValueError(f"got {text!r}, but N:M keeps N of every M weights, so N must be under M")
    return text


_ROUNDED = 5e-4  # 0.667 is meant for 2/3
_BLOCK, _N_OF_M = r"[1-9]\d*x[1-9]\d*", r"([1-9]\d*):([1-9]\d*)"
Importance = Literal["magnitude", "gradient", "taylor", "fisher", "movement", "lamp", "random"]
Scope = Literal["layer", "global", "erk"]


class PruneSection(Section):
    """What is removed, and in how many steps.

    Attributes:
        method: ``masking`` sets weights to zero through TF-MOT wrappers.
        schedule: inside a round.
        rounds: how many equal steps lead to the target; each prunes the same share of what remains.
        target: when the work is done.
        scope: prune each tensor to the same sparsity (``layer``), the lowest scores of the whole model (``global``), in
            Erdős-Rényi-Kernel shares (``erk``, Evci et al. 2020), or each layer to its own final sparsity: a mapping
            of names or patterns, in which layers that are not named are pruned to the target.
        layers: names or patterns (``conv*``) of the layers to prune; by default all that can be.
        importance: a score by name, see `tfprune.importance`, or ``package.module:function``, called with (weights) or
            (weights, gradients); higher means keep.
        batches: of the training part, always the same ones and not augmented, for scores that need gradients.
        floor: least final sparsity of any tensor in the global scope.
        ceiling: greatest final sparsity of any tensor in the global scope.
        normalize: in the global scope, divide a tensor's scores by their mean first.
        pattern: where zeros may lie: anywhere (``element``, the default), ``2:4`` and any other N:M, whose target is
            1 - N/M, or blocks of inputs by outputs such as ``1x4``.
        regrow: share of the surviving weights that each update prunes beyond the schedule and lets grow anew where
            gradients are largest (RigL, Evci et al. 2020).
        rewind_to_epoch: lottery ticket (Frankle & Carbin 2019): each round prunes at once, by the trained weights, and
            sets what is left back to its value after so many epochs of dense training, 0 for the initialization
            (later ones: Frankle et al. 2020), to be trained from there. The schedule is not used. Null: no rewinding.
    """

    method: Literal["masking"] = "masking"
    schedule: ScheduleSection = ScheduleSection()
    rounds: Count = 5
    target: TargetSection
    scope: Scope | dict[str, Share] = "layer"
    layers: tuple[str, ...] | None = None
    importance: Importance | FunctionName = "magnitude"
    batches: Count = 8
    floor: Share = 0.0
    ceiling: PositiveShare = 1.0
    normalize: bool = False
    pattern: Annotated[str | None, BeforeValidator(_check_pattern)] = None
    regrow: Share = 0.0
    rewind_to_epoch: NumberFrom0 | None = None

    # Came after the first release: a recipe that does not use them is written, and digested, as it was then.
    _newer: ClassVar = frozenset(
        ("importance", "batches", "floor", "ceiling", "normalize", "pattern", "regrow", "rewind_to_epoch")
    )

    @property
    def pattern_sparsity(self) -> float | None:
        """The sparsity that an N:M pattern leads to; None without one."""
        match = re.fullmatch(_N_OF_M, self.pattern or "")
        return 1 - int(match[1]) / int(match[2]) if match else None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        target = self.target.sparsity
        if self.scope == {}:
            raise ValueError("scope {} names no layer; give sparsities by layer, or one of layer, global, erk")
        for name in ("floor", "ceiling", "normalize"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and self.scope != "global":
                raise ValueError(f"{name} goes with scope global, but scope is {_shown(self.scope)}")
        if self.floor >= self.ceiling:
            raise ValueError(f"floor {self.floor:g} must lie under ceiling {self.ceiling:g}")
        if not self.floor <= target <= self.ceiling:
            raise ValueError(
                f"target.sparsity {target:g} must lie between floor {self.floor:g} and ceiling {self.ceiling:g}"
            )
        if self.regrow and (self.floor > 0 or self.ceiling < 1):
            raise ValueError("regrow does not go with floor or ceiling, which regrown weights would pass")
        self._check_n_of_m(target)
        if self.rewind_to_epoch is not None and self.regrow:
            raise ValueError("regrow does not go with rewind_to_epoch: each round prunes once, before training")
        if self.rewind_to_epoch is not None and "schedule" in self.model_fields_set:
            raise ValueError("schedule does not go with rewind_to_epoch: each round prunes once, before training")
        return self

    def _check_n_of_m(self, target: float) -> None:
        most = self.pattern_sparsity
        if most is None:
            return
        if abs(target - most) > _ROUNDED:
            raise ValueError(f"pattern {self.pattern} leads to {most:g} sparsity, but target.sparsity is {target:g}")
        if self.scope == "erk":
            raise ValueError(f"scope erk does not go with pattern {self.pattern}, which is the same for every layer")
        for name, value in self.scope.items() if isinstance(self.scope, dict) else ():
            if value > most + _ROUNDED:
                raise ValueError(f"pattern {self.pattern} leads to {most:g} sparsity, but scope.{name} is {value:g}")

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out newer fields that hold their default, and the schedule where nothing follows it."""
        fields = type(self).model_fields
        unused = {key for key in self._newer if getattr(self, key) == fields[key].default}
        if self.rewind_to_epoch is not None:
            unused.add("schedule")
        return {key: value for key, value in dump(self).items() if key not in unused}


class StopSection(Section):
    """The gates of a round, and when to give up.

    Attributes:
        max_drop: accuracy that may be lost against the dense model, as a fraction (0.01 is one point).
        max_relative_drop: the same as a share of the dense accuracy.
        max_slice_drop: accuracy that any slice may lose.
        slice_drops: limits for slices by name, in place of `max_slice_drop`.
        min_slice_size: a slice with fewer examples is shown but fails nobody, unless `slice_drops` names it.
        min_step: give up when a retry would prune less than this share of what remains.
        max_rounds: rounds in all, failed ones included; by default twice `prune.rounds`.
        patience: give up after so many failed rounds in a row.
    """

    max_drop: Share | None = 0.02
    max_relative_drop: Share | None = None
    max_slice_drop: Share | None = None
    slice_drops: dict[str, Share] = {}
    min_slice_size: Count = 20
    min_step: Share = 0.05
    max_rounds: Count | None = None
    patience: Count = 4


# ----------------------------------------------------------------------------------------------- slices


class Rarest(Section):
    """The classes with the fewest training examples: a share of all classes."""

    rarest: PositiveShare


class Hardest(Section):
    """The share of examples that the dense model answers with the smallest margin."""

    hardest: PositiveShare


SliceSpec = Literal["classes"] | Rarest | Hardest


# ------------------------------------------------------------------------------------ tracking and export


class TrackSection(Section):
    """Where rounds are recorded.

    Attributes:
        uri: an MLflow tracking URI; by default MLFLOW_TRACKING_URI, or SQLite in ``mlruns/``.
        experiment: name of the MLflow experiment.
        models: log the model of each round that passed.
    """

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "tfprune"
    models: bool = True


class ExportSection(Section):
    """Where the best round's plain Keras model is written, if any passed: .keras, .h5, or a SavedModel folder."""

    path: Path


class Recipe(Section):
    """A whole workflow. See the README for a recipe explained line by line.

    `model` and `data` may be left out where `tfprune.run` is handed objects in their place.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: ModelSection | None = None
    data: AnyData | None = None
    train: TrainSection = TrainSection()
    prune: PruneSection
    finetune: FinetuneSection = FinetuneSection()
    stop: StopSection = StopSection()
    slices: tuple[SliceSpec, ...] = ("classes",)
    track: TrackSection = TrackSection()
    export: ExportSection | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), _NUMBER] = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"

    @model_validator(mode="after")
    def _can_be_rewound(self) -> Self:
        epoch = self.prune.rewind_to_epoch
        if epoch is None:
            return self
        if epoch >= self.train.epochs:
            raise ValueError(
                f"prune.rewind_to_epoch {epoch} must lie before the last of train.epochs {self.train.epochs}"
            )
        if self.model is not None and self.model.is_trained:
            raise ValueError("prune.rewind_to_epoch needs dense training, but the model is trained already")
        if self.finetune.epochs == 0:
            raise ValueError("prune.rewind_to_epoch leaves weights to be trained, but finetune.epochs is 0")
        return self

    @model_validator(mode="after")
    def _can_regrow(self) -> Self:
        if self.prune.regrow and self.finetune.epochs == 0:
            raise ValueError("prune.regrow needs training for what grows, but finetune.epochs is 0")
        return self

    @property
    def finetune_epochs(self) -> int:
        """Epochs of fine-tuning a round."""
        if self.finetune.epochs is not None:
            return self.finetune.epochs
        if self.prune.rewind_to_epoch is not None:
            return self.train.epochs - self.prune.rewind_to_epoch
        return max(1, round(0.3 * self.train.epochs))

    @property
    def schedule(self) -> ScheduleSection:
        """How sparsity rises inside a round: all at once where weights are rewound, or not trained at all."""
        at_once = self.prune.rewind_to_epoch is not None or self.finetune_epochs == 0
        return ScheduleSection(kind="constant") if at_once else self.prune.schedule

    @property
    def max_rounds(self) -> int:
        """Rounds in all, failed ones included."""
        return self.stop.max_rounds or 2 * self.prune.rounds

    @property
    def digest(self) -> str:
        """Eight hex digits over all that decides the result; tracking and export do not."""
        content = self.model_dump(mode="json", exclude={"track", "export"})
        if isinstance(self.prune.scope, dict):
            content["prune"]["scope"] = list(self.prune.scope.items())  # of several patterns the first counts
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def to_yaml(self) -> str:
        """The recipe as a file that `load` reads back as an equal value."""
        return yaml.safe_dump(_without_unset(self), sort_keys=False)


def _without_unset(section: BaseModel) -> dict[str, Any]:
    """A section as plain values; a None stays where it is not the default (`max_drop: null` lifts that gate)."""
    plain = section.model_dump(mode="json")
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if value is None and field.default is None:
            plain.pop(key, None)
        elif isinstance(value, BaseModel) and key in plain:
            plain[key] = _without_unset(value)
    return plain


# ---------------------------------------------------------------------------------- finding and reading


def recipe_folder() -> Path:
    """The folder of the recipes that ship with tfprune."""
    package = Path(__file__).parent
    inside_wheel = package / "schedules"
    return inside_wheel if inside_wheel.is_dir() else package.parent / "schedules"


def names() -> list[str]:
    """Names of the recipes that ship with tfprune, sorted."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def find(recipe: str | Path) -> Path:
    """Return the file of a recipe given by path or by the name of a shipped one.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(recipe)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise RecipeError(f"recipe {_shown(str(recipe))}: cannot be read: {error.strerror}") from error
    if str(recipe) in names():
        return recipe_folder() / f"{recipe}.yaml"
    raise RecipeError(
        f"recipe {str(recipe)!r}: no such file, and not one of the shipped recipes {', '.join(names())}"
        f"{nearest(str(recipe), names())}"
    )


def load(recipe: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read, override and check a recipe.

    Args:
        recipe: a path, or the name of a shipped recipe.
        overrides: ``path.to.key=value`` strings; the value is read as YAML.

    Returns:
        The typed recipe.

    Raises:
        RecipeError: one line with the place, the value, what is allowed and the nearest known name.

    Example:
        >>> from tfprune.recipe import load
        >>> load("digits", ["prune.target.sparsity=0.8"]).prune.target.sparsity
        0.8
    """
    path = find(recipe)
    try:
        content = _read_yaml(path.read_text(encoding="utf-8"))
    except _NOT_YAML as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        got = "an empty file" if content is None else type(content).__name__
        raise RecipeError(f"{path}: expected a mapping of sections, but got {got}")
    content.setdefault("name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-") or "recipe")
    for override in overrides:
        _override(content, override)
    return parse(content, where=" ".join([str(path), *(f"--set {each}" for each in overrides)]))


def parse(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a recipe that is a mapping already; `where` opens the error line.

    Raises:
        RecipeError: as for `load`.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        line = f"{where}: {_explain(error, content)}"
        raise RecipeError(" ".join(line.splitlines())) from error


class _Loader(yaml.SafeLoader):
    """Plain YAML, where a key that stands twice is an error and not a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """As YAML 1.2 does: `2:4` is text, where YAML 1.1 reads a number of base 60."""
        if kind is yaml.ScalarNode and implicit[0] and re.fullmatch(_N_OF_M, value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


# PyYAML lets these through: a date like 2026-13-45, a number of thousands of digits, brackets a thousand deep.
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def _read_yaml(text: str) -> Any:
    """Read YAML as safely as `yaml.safe_load`, with the loader above."""
    return yaml.load(text, Loader=_Loader)


def _override(content: dict[str, Any], override: str) -> None:
    """Set one ``path.to.key=value`` in a mapping read from YAML."""
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise RecipeError(f"--set {override!r}: expected path.to.key=value, e.g. prune.target.sparsity=0.9")
    try:
        value = _read_yaml(text)
    except _NOT_YAML as error:
        raise RecipeError(f"--set {_shown(override)}: the value is not valid YAML") from error
    place: Any = content
    for depth, key in enumerate(keys[:-1]):
        if place.get(key) is None:  # missing, or an empty section
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override!r}: {'.'.join(keys[: depth + 1])} is a value, not a section")
    place[keys[-1]] = value


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    """The problem of a validation error that helps most, in one line."""
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one; the misspelling says more.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = [str(part) for part in problem["loc"]]
    if place[:1] == ["data"] and len(place) > 1 and place[1] in _DATA_SOURCES:
        del place[1]  # pydantic names the member of the union here, which is no key of the file
    kind, given = problem["type"], problem["input"]
    if place[:1] == ["slices"] and len(place) > 1:
        return _explain_slice(int(place[1]), content)
    if place[:2] == ["finetune", "learning_rate"]:
        word = nearest(given, ["rewind"]) if isinstance(given, str) else ""
        return f"finetune.learning_rate: got {_shown(given)}, expected rewind or a number greater than 0{word}"
    if place[:2] == ["prune", "importance"]:
        known = list(get_args(Importance))
        return (
            f"prune.importance: got {_shown(given)}, expected one of {', '.join(known)}, or package.module:function"
            + (nearest(given, known) if isinstance(given, str) else "")
        )
    if place[:2] == ["prune", "scope"] and len(place) > 2:
        return _explain_scope(problems, content["prune"]["scope"])
    if place[1:2] == ["arguments"] and kind != "extra_forbidden":
        where = ".".join(place[:3])
        return f"{where}: got {_shown(given)}, expected text as keys, and text, numbers, yes/no, lists or mappings"
    where = ".".join(place) or "top level"
    if kind == "extra_forbidden":
        known = sorted(_section(place[:-1], content).model_fields)
        return f"{where}: unknown key (value {_shown(given)}); allowed: {', '.join(known)}{nearest(place[-1], known)}"
    if kind == "missing":
        return f"{where}: is missing; a recipe needs it"
    if kind == "literal_error":
        words = [word or number for word, number in re.findall(r"'([^']+)'|(\d+)", problem["ctx"]["expected"])]
        return f"{where}: got {_shown(given)}, expected one of {', '.join(words)}{nearest(str(given), words)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = given.get("source") if isinstance(given, dict) else given
        known_sources = ", ".join(_DATA_SOURCES)
        return f"{where}.source: got {_shown(tag)}, expected one of {known_sources}{nearest(str(tag), _DATA_SOURCES)}"
    if kind == "value_error":
        return f"{where}: {problem['ctx']['error']}" if place else str(problem["ctx"]["error"])
    if kind in ("model_type", "model_attributes_type"):
        known = ["source"] if where == "data" else sorted(_section(place, content).model_fields)
        return f"{where}: got {_shown(given)}, expected a section with keys such as {', '.join(known)}"
    if kind == "tuple_type":
        return f"{where}: got {_shown(given)}, expected a list, e.g. [first, second]"
    message = problem["msg"]
    return f"{where}: got {_shown(given)}, expected: {message[0].lower()}{message[1:]}"


def _explain_scope(problems: Sequence[Any], given: Any) -> str:
    """What is wrong with a scope; pydantic lists a problem for each kind of scope."""
    if isinstance(given, dict):
        layer = next(p["loc"][3] for p in problems if p["loc"][:2] == ("prune", "scope") and len(p["loc"]) > 3)
        if not isinstance(layer, str):
            return f"prune.scope: got {_shown(layer)}, expected the name or pattern of a layer"
        return f"prune.scope.{layer}: got {_shown(given[layer])}, expected a sparsity, from 0 to less than 1"
    known = list(get_args(Scope))
    close = nearest(given, known) if isinstance(given, str) else ""
    return f"prune.scope: got {_shown(given)}, expected one of {', '.join(known)}, or sparsities by layer{close}"


def _explain_slice(index: int, content: dict[str, Any]) -> str:
    """What is wrong with one slice; pydantic would list a problem for each kind of slice."""
    given = content["slices"][index]
    name = str(next(iter(given), "") if isinstance(given, dict) else given)
    return (
        f"slices.{index}: got {_shown(given)}, expected classes, rarest: SHARE or hardest: SHARE, a share in (0, 1]"
        f"{'' if name in _SLICE_NAMES else nearest(name, _SLICE_NAMES)}"
    )


def _section(place: list[str], content: dict[str, Any]) -> type[BaseModel]:
    """The section of the recipe at a place, as a class."""
    section: type[BaseModel] = Recipe
    for key in place:
        if key == "data":
            section = _DATA_SOURCES[content["data"]["source"]]
        else:
            annotation = section.model_fields[key].annotation
            members = [annotation, *get_args(annotation)]
            section = next(m for m in members if isinstance(m, type) and issubclass(m, BaseModel))
    return section


_SLICE_NAMES = ("classes", "rarest", "hardest")

_DATA_SOURCES: dict[str, type[DataSection]] = {
    "digits": DigitsData,
    "npz": NpzData,
    "images": ImagesData,
    "tfrecord": TFRecordData,
    "csv": CsvData,
    "keras": KerasData,
    "tfds": TfdsData,
    "function": FunctionData,
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
