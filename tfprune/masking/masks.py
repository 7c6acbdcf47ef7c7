"""From scores to masks: exact counts, zeros that stay zeros, no tensor emptied.

A mask is float32 of its weight's shape, 1 where the weight is kept and 0 where it is pruned.
"""

from __future__ import annotations

import numpy as np

Arrays = list[np.ndarray]


def layer_masks(scores: Arrays, masks: Arrays, sparsity: float) -> Arrays:
    """Prune every tensor to the same sparsity.

    Args:
        scores: one array a tensor, higher = keep.
        masks: today's masks; their zeros stay.
        sparsity: share of zeros in each tensor, in [0, 1); met to within half a weight.

    Returns:
        New masks.
    """
    return [_prune([score], [mask], sparsity)[0] for score, mask in zip(scores, masks, strict=True)]


def global_masks(scores: Arrays, masks: Arrays, sparsity: float) -> Arrays:
    """Prune the weights that score lowest over all tensors together.

    Args:
        scores: one array a tensor, on a scale that may be compared between tensors.
        masks: today's masks; their zeros stay.
        sparsity: share of zeros over all tensors, in [0, 1); met to within half a weight.

    Returns:
        New masks, each with at least one weight kept: an empty tensor would cut the model in two.
    """
    return _prune(scores, masks, sparsity)


RANKINGS = {"layer": layer_masks, "global": global_masks}


def _prune(scores: Arrays, masks: Arrays, sparsity: float) -> Arrays:
    """Rank all tensors together; zeros of `masks` come first, each tensor's best weight last."""
    ranks = []
    for score, mask in zip(scores, masks, strict=True):
        rank = np.where(mask.ravel() == 0, -np.inf, score.ravel())
        if mask.any():
            rank[np.argmax(rank)] = np.inf
        ranks.append(rank)
    flat = np.concatenate(ranks)
    zeros = min(round(sparsity * flat.size), flat.size - int(np.isposinf(flat).sum()))
    zeros = max(zeros, int(np.isneginf(flat).sum()))
    keep = np.ones(flat.size, np.float32)
    if zeros:
        keep[np.argpartition(flat, zeros - 1)[:zeros]] = 0.0
    ends = np.cumsum([rank.size for rank in ranks])[:-1]
    return [part.reshape(mask.shape) for part, mask in zip(np.split(keep, ends), masks, strict=True)]
