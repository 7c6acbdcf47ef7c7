"""Corruptions of texts.

Each takes int token ids (n, length), the probability that a place is hit, and a fresh generator for each text in turn.
Zeros are padding: they are neither dropped nor swapped, and an empty text stays empty. A place draws the same number
whatever the severity and however long the padding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.slices.corruptions.images import Generators, Levels

OnTexts = Callable[[np.ndarray, float, Generators], np.ndarray]


def _token_drop(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Tokens leave, the rest moves up, padding comes in at the end; one token always stays."""
    draws = np.stack([generator.random(x.shape[1]) for generator in generators])
    draws[x == 0] = -1.0  # so that the largest draw is a token's wherever there is one
    leaving = (draws < level) & (x != 0)
    leaving[np.arange(len(x)), draws.argmax(axis=1)] = False
    return np.take_along_axis(np.where(leaving, 0, x), np.argsort(leaving, axis=1, kind="stable"), axis=1)


def _token_swap(x: np.ndarray, level: float, generators: Generators) -> np.ndarray:
    """Neighbouring tokens change places; no token moves by more than one."""
    length, token = x.shape[1], x != 0
    draws = np.stack([generator.random(length + 1) for generator in generators])
    # Pairs begin at the first token or at the second: every two neighbours may meet. Two tokens are one pair.
    first = token.argmax(axis=1) + ((draws[:, 0] < 0.5) & (token.sum(axis=1) > 2))
    place = np.arange(length)
    begins = ((place - first[:, np.newaxis]) % 2 == 0) & token
    begins[:, :-1] &= token[:, 1:]
    begins[:, -1] = False
    chosen = begins & (draws[:, 1:] < level)
    source = place + chosen
    source[:, 1:] -= chosen[:, :-1]
    return np.take_along_axis(x, source, axis=1)


TEXTS: dict[str, tuple[OnTexts, Levels]] = {
    "token_drop": (_token_drop, (0.05, 0.1, 0.2, 0.3, 0.45)),
    "token_swap": (_token_swap, (0.1, 0.2, 0.35, 0.5, 0.75)),
}
"""Name -> what it does, and how much of it at severities 1 to 5."""
