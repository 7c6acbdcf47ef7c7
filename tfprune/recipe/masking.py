"""`prune` with method masking: weights to zero."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, SerializerFunctionWrapHandler, model_serializer, model_validator

from tfprune.recipe.base import (
    Count,
    FunctionName,
    NumberFrom0,
    OpenShare,
    Positive,
    PositiveShare,
    Section,
    Share,
    shown,
)


class TargetSection(Section):
    """When the work is done.

    Attributes:
        sparsity: share of zeros among the prunable weights, in (0, 1).
    """

    sparsity: OpenShare

    @property
    def said(self) -> str:
        """The target in a few words."""
        return f"{self.sparsity:.0%} zeros"


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
    match = re.fullmatch(N_OF_M, text) if isinstance(text, str) else None
    if match is None:
        quotes = "; N:M needs quotes in YAML 1.1" if isinstance(text, int) else ""
        raise ValueError(f"got {shown(text)}, expected element, N:M such as 2:4, or AxB such as 1x4{quotes}")
    if int(match[1]) >= int(match[2]):
        raise ValueError(f"got {text!r}, but N:M keeps N of every M weights, so N must be under M")
    return text


_ROUNDED = 5e-4  # 0.667 is meant for 2/3
_BLOCK, N_OF_M = r"[1-9]\d*x[1-9]\d*", r"([1-9]\d*):([1-9]\d*)"
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
        match = re.fullmatch(N_OF_M, self.pattern or "")
        return 1 - int(match[1]) / int(match[2]) if match else None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        target = self.target.sparsity
        if self.scope == {}:
            raise ValueError("scope {} names no layer; give sparsities by layer, or one of layer, global, erk")
        for name in ("floor", "ceiling", "normalize"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and self.scope != "global":
                raise ValueError(f"{name} goes with scope global, but scope is {shown(self.scope)}")
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

    def _unused(self) -> set[str]:
        """Newer fields that hold their default, and the schedule where nothing follows it."""
        return super()._unused() | ({"schedule"} if self.rewind_to_epoch is not None else set())
