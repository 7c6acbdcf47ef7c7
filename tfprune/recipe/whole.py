"""A whole recipe."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from tfprune.recipe.base import NUMBER, Section
from tfprune.recipe.data import AnyData
from tfprune.recipe.export import ExportSection
from tfprune.recipe.masking import PruneSection, ScheduleSection
from tfprune.recipe.model import ModelSection
from tfprune.recipe.search import SearchSection
from tfprune.recipe.slices import SliceSpec
from tfprune.recipe.structured import StructuredSection
from tfprune.recipe.track import TrackSection
from tfprune.recipe.training import FinetuneSection, StopSection, TrainSection


def _method(section: Any) -> str:
    """Which kind of section this is; what names no method, or one that there is not, is held to be masking."""
    given = section.get("method") if isinstance(section, dict) else getattr(section, "method", None)
    return "structured" if given == "structured" else "masking"


def _form(prune: Any) -> str:
    """The same for the whole of `prune`, which may be a list of sections."""
    return "several" if isinstance(prune, list | tuple) else _method(prune)


Phase = Annotated[
    Annotated[PruneSection, Tag("masking")] | Annotated[StructuredSection, Tag("structured")], Discriminator(_method)
]
Prune = Annotated[
    Annotated[PruneSection, Tag("masking")]
    | Annotated[StructuredSection, Tag("structured")]
    | Annotated[Annotated[tuple[Phase, ...], Field(min_length=1)], Tag("several")],
    Discriminator(_form),
]


class Recipe(Section):
    """A whole workflow. See the README for a recipe explained line by line.

    `model` and `data` may be left out where `tfprune.run` is handed objects in their place.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    model: ModelSection | None = None
    data: AnyData | None = None
    train: TrainSection = TrainSection()
    prune: Prune
    finetune: FinetuneSection = FinetuneSection()
    stop: StopSection = StopSection()
    slices: tuple[SliceSpec, ...] = ("classes",)
    track: TrackSection = TrackSection()
    export: ExportSection | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31), NUMBER] = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    search: SearchSection = SearchSection()

    _newer: ClassVar = frozenset(("search",))

    @model_validator(mode="after")
    def _structure_first(self) -> Self:
        methods = [section.method for section in self.sections]
        if methods != sorted(methods, reverse=True):
            raise ValueError(
                "prune: structured stands after masking, but rebuilding a model would lose its masks; "
                "put the structured sections first"
            )
        return self

    @model_validator(mode="after")
    def _can_be_rewound(self) -> Self:
        epoch = self.rewind_to_epoch
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
        if len(self.sections) > 1:
            raise ValueError("prune.rewind_to_epoch goes with a single section: early weights are the dense model's")
        return self

    @model_validator(mode="after")
    def _can_regrow(self) -> Self:
        if self.finetune.epochs == 0 and any(isinstance(s, PruneSection) and s.regrow for s in self.sections):
            raise ValueError("prune.regrow needs training for what grows, but finetune.epochs is 0")
        return self

    @model_validator(mode="after")
    def _can_distill(self) -> Self:
        if self.finetune.distill is not None and self.finetune.epochs == 0:
            raise ValueError("finetune.distill needs training to take part in, but finetune.epochs is 0")
        return self

    @property
    def sections(self) -> tuple[PruneSection | StructuredSection, ...]:
        """What is pruned how, one after the other."""
        return self.prune if isinstance(self.prune, tuple) else (self.prune,)

    @property
    def phases(self) -> tuple[Recipe, ...]:
        """The recipe once for each section of `prune`, with that one alone; `max_rounds` stays that of the whole."""
        if not isinstance(self.prune, tuple):
            return (self,)
        stop = self.stop.model_copy(update={"max_rounds": self.max_rounds})
        return tuple(self.model_copy(update={"prune": section, "stop": stop}) for section in self.prune)

    @property
    def masking(self) -> PruneSection:
        """`prune` of a phase that masks."""
        if not isinstance(self.prune, PruneSection):
            raise TypeError(f"{self.name} does not mask; look at its phases")
        return self.prune

    @property
    def structured(self) -> StructuredSection:
        """`prune` of a phase that removes units."""
        if not isinstance(self.prune, StructuredSection):
            raise TypeError(f"{self.name} removes no units; look at its phases")
        return self.prune

    @property
    def rewind_to_epoch(self) -> int | None:
        """The epoch of dense training that weights are set back to; None where they are not."""
        return next((s.rewind_to_epoch for s in self.sections if isinstance(s, PruneSection)), None)

    @property
    def finetune_epochs(self) -> int:
        """Epochs of fine-tuning a round."""
        if self.finetune.epochs is not None:
            return self.finetune.epochs
        if self.rewind_to_epoch is not None:
            return self.train.epochs - self.rewind_to_epoch
        return max(1, round(0.3 * self.train.epochs))

    @property
    def schedule(self) -> ScheduleSection:
        """How sparsity rises inside a round: all at once where units or weights are rewound, or nothing is trained."""
        at_once = isinstance(self.prune, StructuredSection) or self.rewind_to_epoch is not None
        return ScheduleSection(kind="constant") if at_once or not self.finetune_epochs else self.masking.schedule

    @property
    def max_rounds(self) -> int:
        """Rounds in all, failed ones included."""
        return self.stop.max_rounds or 2 * sum(section.rounds for section in self.sections)

    @property
    def digest(self) -> str:
        """Eight hex digits over all that decides the result of a run; tracking, export and a search do not."""
        content = self.model_dump(mode="json", exclude={"track", "export", "search"})
        written = content["prune"] if isinstance(content["prune"], list) else [content["prune"]]
        for section, plain in zip(self.sections, written, strict=True):
            if isinstance(section.scope, dict):
                plain["scope"] = list(section.scope.items())  # of several patterns the first counts
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
        elif isinstance(value, tuple) and key in plain:
            plain[key] = [
                _without_unset(each) if isinstance(each, BaseModel) else written
                for each, written in zip(value, plain[key], strict=True)
            ]
    return plain
