"""Which weights fall, written down: score, scope, pattern and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

from tfprune.errors import SelectionError, nearest
from tfprune.importance.scores import Score, importance_of
from tfprune.masking.patterns import NOfM, pattern_of

SCOPES = ("layer", "global", "erk")
Scope = str | Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the weights are found that fall at a given sparsity.

    Attributes:
        importance: a score by name, or a function of (weights) or (weights, gradients).
        batches: of data that a score with gradients looks at for each update.
        scope: where the zeros may come from: ``layer``, every tensor to the same sparsity; ``global``, the lowest
            scores of the model; ``erk``, Erdős-Rényi-Kernel shares (Evci et al. 2020); or final sparsities by layer
            name or pattern, where layers that are not named follow the schedule.
        floor: least final sparsity of any tensor, for the global scope.
        ceiling: greatest final sparsity of any tensor, for the global scope.
        normalize: divide each tensor's scores by their mean before ranking over the model.
        pattern: ``element`` or None, ``N:M``, ``AxB``; see `patterns`.
        regrow: share of the surviving weights that each update prunes and grows anew where gradients are largest.
        seed: of ties and of the random score.

    Raises:
        ImportanceError: an unknown score.
        SelectionError: any other value out of its range, or values that do not go together.
    """

    importance: str | Score = "magnitude"
    batches: int = 8
    scope: Scope = "layer"
    floor: float = 0.0
    ceiling: float = 1.0
    normalize: bool = False
    pattern: str | None = None
    regrow: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        importance_of(self.importance)
        if not isinstance(self.normalize, bool):
            raise SelectionError(f"normalize must be True or False, but got normalize={self.normalize!r}")
        pattern_of(self.pattern)
        for name, least in (("batches", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise SelectionError(f"{name} must be a whole number, {least} or more, but got {name}={value!r}")
        _check_share("floor", self.floor, 0 <= self.floor < 1 if _is_number(self.floor) else False, "in [0, 1)")
        _check_share("ceiling", self.ceiling, 0 < self.ceiling <= 1 if _is_number(self.ceiling) else False, "in (0, 1]")
        _check_share("regrow", self.regrow, 0 <= self.regrow < 1 if _is_number(self.regrow) else False, "in [0, 1)")
        if self.floor >= self.ceiling:
            raise SelectionError(f"floor must lie under ceiling, but got floor={self.floor}, ceiling={self.ceiling}")
        if self.regrow and (self.floor > 0 or self.ceiling < 1):
            raise SelectionError("regrow does not go with floor or ceiling, which regrown weights would pass")
        self._check_scope()
        if self.scope == "erk" and isinstance(pattern_of(self.pattern), NOfM):
            raise SelectionError(f"scope 'erk' does not go with pattern {self.pattern!r}, the same for every layer")

    def _check_scope(self) -> None:
        if isinstance(self.scope, Mapping):
            object.__setattr__(self, "scope", dict(self.scope))
            if not self.scope:
                raise SelectionError("scope: expected sparsities by layer name, but got an empty mapping")
            for name, value in self.scope.items():
                if not isinstance(name, str):
                    raise SelectionError(f"scope: expected layer names or patterns as keys, but got {name!r}")
                _check_share(f"scope[{name!r}]", value, 0 <= value < 1 if _is_number(value) else False, "in [0, 1)")
        elif not isinstance(self.scope, str) or self.scope not in SCOPES:
            raise SelectionError(
                f"scope must be one of {', '.join(SCOPES)}, or sparsities by layer name, but got {self.scope!r}"
                f"{nearest(self.scope, SCOPES)}"
            )
        if self.scope != "global":
            for name, default in (("floor", 0.0), ("ceiling", 1.0), ("normalize", False)):
                if getattr(self, name) != default:
                    raise SelectionError(f"{name} goes with scope='global', but scope is {self.scope!r}")

    @property
    def needs_gradients(self) -> bool:
        """Whether an update has to look at data."""
        return self.regrow > 0 or importance_of(self.importance).needs_gradients

    def get_config(self) -> dict[str, Any]:
        """Arguments that make an equal selection; a function is told by its name."""
        name = self.importance if isinstance(self.importance, str) else importance_of(self.importance).name
        return {**asdict(replace(self, importance="magnitude")), "importance": name}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_share(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise SelectionError(f"{name} must be a number {expected}, but got {name}={value!r}")
