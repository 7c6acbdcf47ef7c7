"""`prune` with method structured: units leave the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from tfprune.errors import nearest
from tfprune.recipe.base import Count, FunctionName, OpenShare, Positive, PositiveShare, Section, no_bool, shown


def _amount(value: Any) -> Any:
    """Take a whole number as it is, and a number under 1 as a share."""
    no_bool(value)
    is_share = isinstance(value, float) and 0 < value < 1
    is_count = isinstance(value, int | float) and value >= 1 and (isinstance(value, int) or value.is_integer())
    if not (is_share or is_count):
        raise ValueError(f"got {shown(value)}, expected a whole number, or a share of the dense model between 0 and 1")
    return value if is_share else int(value)


Amount = Annotated[int | float, BeforeValidator(_amount)]
UnitKind = Literal["filters", "heads", "groups", "key_size", "blocks", "hidden"]
UnitImportance = Literal["l1", "l2", "taylor", "fisher", "gradient", "gate", "bn_scale", "fpgm", "apoz", "random"]
UnitScope = Literal["layer", "global"]


def _scope(value: Any) -> Any:
    """Take one of the scopes, or shares by coupling."""
    known = get_args(UnitScope)
    if isinstance(value, str) and value in known:
        return value
    if not isinstance(value, dict):
        close = nearest(value, known) if isinstance(value, str) else ""
        raise ValueError(f"got {shown(value)}, expected one of {', '.join(known)}, or shares by coupling{close}")
    for name, share in value.items():
        if not isinstance(name, str):
            raise ValueError(f"got {shown(name)}, expected the name or pattern of a coupling")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise ValueError(f"got {shown(share)} for {name!r}, expected a share, from 0 to less than 1")
    if not any(value.values()):
        raise ValueError(
            f"got {shown(value)}, which removes nothing; give a share over 0 to one coupling at least, "
            f"or one of {', '.join(known)}"
        )
    return {name: float(share) for name, share in value.items()}


UnitScopes = Annotated[UnitScope | dict[str, float], BeforeValidator(_scope)]


class StructuredTarget(Section):
    """When the work is done: exactly one of these. All but `ratio` are upper bounds that the last round meets.

    Attributes:
        ratio: share of the prunable units that is gone at the end, in (0, 1).
        params: all weights; a whole number, or a share of the dense model such as 0.5.
        macs: multiply-accumulates for one example, likewise.
        size_mb: the weights in their own dtype, in MB of 1,000,000 bytes.
        latency_ms: of one example in LiteRT on this machine.
    """

    ratio: OpenShare | None = None
    params: Amount | None = None
    macs: Amount | None = None
    size_mb: Positive | None = None
    latency_ms: Positive | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"needs exactly one of {known}, but got {' and '.join(given) or 'none'}")
        return self

    @property
    def counted(self) -> str:
        """Which of them is given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def value(self) -> float:
        """What is given for it."""
        return float(getattr(self, self.counted))

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the dense model, rather than an amount of its own."""
        return self.counted == "ratio" or (self.counted in ("params", "macs") and self.value < 1)

    @property
    def said(self) -> str:
        """The target in a few words."""
        if self.is_share:
            return f"{self.value:.0%} of {'units' if self.counted == 'ratio' else self.counted}"
        return f"{getattr(self, self.counted):,} {self.counted}"

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class StructuredSection(Section):
    """What is removed, and in how many steps; what is left is a smaller model without a trace of the rest.

    Attributes:
        method: ``structured`` rebuilds the model without its least important units.
        rounds: how many equal steps lead to the target; each removes the same share of what remains.
        target: when the work is done.
        importance: a score by name, see `tfprune.shrink`, or ``package.module:function``, called with (weights) or
            (weights, gradients); higher means keep.
        batches: of the training part, always the same ones and not augmented, for scores that need data.
        scope: the same share of each coupling of layers (``layer``), or the lowest scores of the whole model
            (``global``), normalised and per cost. Or shares by coupling, a mapping of names or patterns: how much each
            loses in proportion to the others, counted from the model that the section starts from; the target says how
            far. Couplings that are not named keep all they make; `tfprune inspect --structure` names them.
        ignore: names or patterns (``conv*``) of layers whose units stay.
        units: which kinds may fall: ``filters`` (neurons too), ``heads``, ``groups`` (of a grouped convolution),
            ``key_size`` (of attention), ``blocks`` (whole residual branches), ``hidden`` (units that pass a
            normalization over their axis, so that what is left answers differently until it is fine-tuned).
        multiple_of: widths that are left are multiples of this, for kernels that like 8 or 16.
        minimum: least width that is left of any coupling.
        ceiling: greatest share of a coupling's units that a round may remove, in (0, 1].
    """

    method: Literal["structured"]
    rounds: Count = 5
    target: StructuredTarget
    importance: UnitImportance | FunctionName = "l2"
    batches: Count = 8
    scope: UnitScopes = "layer"
    ignore: tuple[str, ...] = ()
    units: tuple[UnitKind, ...] = ("filters", "heads")
    multiple_of: Count = 1
    minimum: Count = 1
    ceiling: PositiveShare = 1.0

    @model_validator(mode="after")
    def _some_units(self) -> Self:
        if not self.units:
            raise ValueError(f"units [] leaves nothing to remove; give some of {', '.join(get_args(UnitKind))}")
        return self
