"""Residual branches: what a merge adds to a shortcut, and could do without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfprune.backend import keras, operation_layers, tf
from tfprune.structure.graph import Node, shape_of

_SUMS = ("__operators__.add", "math.add")


@dataclass(frozen=True)
class Block:
    """A branch that can leave whole: its merge becomes the shortcut.

    Attributes:
        name: of the merge, with the names of the models around it.
        node: id of the merge's node.
        stays: which of the merge's tensors is the shortcut.
        inside: ids of the nodes of the branch.
        layers: names of the layers that are in this branch and nowhere else.
    """

    name: str
    node: int
    stays: int
    inside: frozenset[int]
    layers: tuple[str, ...]


def find_blocks(model: keras.Model, prefix: str = "") -> list[Block]:
    """Find the sums of a tensor and a branch that starts at it, in order; in nested models too."""
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    makers = {id(tensor): place for place, node in enumerate(nodes) for tensor in tf.nest.flatten(node.outputs)}
    # Sets of nodes as bits of one number each.
    behind: list[int] = []
    used_by = [0] * len(nodes)
    for place, node in enumerate(nodes):
        mask = 0
        for tensor in _tensors(node):
            maker = makers[id(tensor)]
            mask |= behind[maker] | 1 << maker
            used_by[maker] |= 1 << place
        behind.append(mask)
    outputs = {makers[id(tensor)] for tensor in model.outputs}
    found: list[Block] = []
    entered: set[int] = set()
    for place, node in enumerate(nodes):
        if isinstance(node.layer, keras.Model) and getattr(node.layer, "_is_graph_network", False):
            if id(node.layer) not in entered:
                found += find_blocks(node.layer, f"{prefix}{node.layer.name}/")
            entered.add(id(node.layer))
        tensors = _tensors(node)
        if not _is_sum(node) or len(tensors) != 2 or shape_of(tensors[0]) != shape_of(tensors[1]):
            continue
        ends = [makers[id(tensor)] for tensor in tensors]
        for stays, (shortcut, end) in enumerate((ends, ends[::-1])):
            if not behind[end] >> shortcut & 1:
                continue
            branch = (behind[end] | 1 << end) & ~(behind[shortcut] | 1 << shortcut)
            places = [other for other in range(len(nodes)) if branch >> other & 1]
            closed = all(not used_by[other] & ~(branch | 1 << place) and other not in outputs for other in places)
            if closed and not any(nodes[other].is_input for other in places):
                layers = tuple(f"{prefix}{name}" for name in _only_in(nodes, places))
                inside = frozenset(id(nodes[other]) for other in places)
                found.append(Block(f"{prefix}{node.layer.name}", id(node), stays, inside, layers))
    return found


def _tensors(node: Node) -> list[Any]:
    if node.is_input:
        return []
    return [each for each in tf.nest.flatten((node.call_args, node.call_kwargs)) if hasattr(each, "_keras_history")]


def _is_sum(node: Node) -> bool:
    if isinstance(node.layer, operation_layers):
        return node.layer.symbol in _SUMS
    return type(node.layer) is keras.layers.Add


def _only_in(nodes: list[Node], places: list[int]) -> list[str]:
    inside = set(places)
    elsewhere = {id(node.layer) for place, node in enumerate(nodes) if place not in inside}
    return list(dict.fromkeys(nodes[place].layer.name for place in places if id(nodes[place].layer) not in elsewhere))
