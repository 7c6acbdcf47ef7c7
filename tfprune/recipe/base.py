"""What all sections of a recipe have in common: strictness, numbers, shares, names of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
)


def no_bool(value: Any) -> Any:
    """Refuse yes and no where a number belongs; Python counts them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"got {value}, expected a number")
    return value


NUMBER = BeforeValidator(no_bool)
Share = Annotated[float, Field(ge=0, lt=1), NUMBER]
PositiveShare = Annotated[float, Field(gt=0, le=1), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
Confidence = Annotated[float, Field(ge=0.5, lt=1), NUMBER]
OpenShare = Annotated[float, Field(gt=0, lt=1), NUMBER]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="package.module:function")]
NumberFrom0 = Annotated[int, Field(ge=0), NUMBER]

# Checked to be what YAML, JSON and a digest can all hold; whoever receives the arguments knows their types.
if TYPE_CHECKING:
    Arguments = dict[str, Any]
else:
    Arguments = dict[str, JsonValue]


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # Fields that came after the first release: a recipe without them is written, and digested, as it was then.
    _newer: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not used."""
        unused = self._unused()
        return {key: value for key, value in dump(self).items() if key not in unused}

    def _unused(self) -> set[str]:
        """Newer fields that hold their default."""
        fields = type(self).model_fields
        return {key for key in self._newer if getattr(self, key) == fields[key].default}


def shown(value: Any) -> str:
    """A value as it stands in an error line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
