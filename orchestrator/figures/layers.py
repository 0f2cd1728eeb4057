"""Lays a small directed acyclic graph out in layers from left to right, with few crossings.

Sugiyama's way: an edge that spans several layers gets a bend in each layer between, barycentres
and swaps improve the order within the layers, then least squares set the heights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

SWEEPS = 16
"""Rounds of ordering and of straightening; cells settle within a few."""

ROOM = (1.0, 0.66, 0.36)
"""Least distance of two neighbours in a layer, by how many of them are bends."""

FIXED_ROOM = 1.6
"""Least distance of nodes with a fixed order, from which most edges fan out."""

PULL = (1.0, 2.0, 6.0)
"""How strongly a piece of an edge is pulled straight, by how many of its ends are bends."""

Pieces = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Layout:
    """Heights grow upwards, in units of the distance between two nodes; x is the layer.

    Attributes:
        heights: Of each node.
        paths: For each edge its points (layer, height), both ends included.
    """

    heights: tuple[float, ...]
    paths: tuple[tuple[tuple[int, float], ...], ...]


def lay_out(
    layers: Sequence[int], edges: Sequence[tuple[int, int]], fixed: Sequence[int] = ()
) -> Layout:
    """Places nodes and the bends of edges.

    Args:
        layers: Of each node, from 0.
        edges: (source, target), each from a lower layer to a higher one; may repeat.
        fixed: Nodes of layer 0 that stand uppermost in this order; then all of it keeps its order.
    """
    layer, nodes = list(layers), len(layers)
    chains = []
    for source, target in edges:
        bends = range(layers[source] + 1, layers[target])
        chains.append([source, *range(len(layer), len(layer) + len(bends)), target])
        layer += bends
    pieces = [piece for chain in chains for piece in pairwise(chain)]
    rows: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    for item, number in enumerate(layer):
        rows[number].append(item)
    rows[0] = [*fixed, *(item for item in rows[0] if item not in fixed)]
    ordered = _order(rows, pieces, bool(fixed))
    offsets = {item: offset for row in ordered for item, offset in _offsets(row, nodes, fixed)}
    heights = _straighten(ordered, pieces, offsets, nodes)
    return Layout(
        tuple(heights[node] for node in range(nodes)),
        tuple(tuple((layer[item], heights[item]) for item in chain) for chain in chains),
    )


def _order(rows: list[list[int]], pieces: Pieces, fixed: bool) -> list[list[int]]:
    """The order of each layer from above to below."""
    before, after = _neighbours(pieces)
    best = rows = [list(row) for row in rows]
    for sweep in range(SWEEPS):
        rows = [list(row) for row in rows]
        numbers = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, fixed - 1, -1)
        for number in numbers:
            near = before if sweep % 2 == 0 else after
            place = {item: i for row in rows for i, item in enumerate(row)}
            rows[number].sort(key=lambda item: _mean([place[n] for n in near[item]], place[item]))
        _swap(rows, (before, after), fixed)
        best = min(best, rows, key=lambda order: _crossings(order, pieces))
    return best


def _swap(
    rows: Sequence[list[int]], near: Sequence[Mapping[int, Sequence[int]]], fixed: bool
) -> None:
    """Swaps neighbours in a layer as long as that leaves fewer crossings."""
    place = {item: i for row in rows for i, item in enumerate(row)}
    better = True
    while better:
        better = False
        for row in rows[fixed:]:
            for i in range(len(row) - 1):
                a, b = row[i], row[i + 1]
                fewer = sum(
                    (place[m] > place[n]) - (place[m] < place[n])
                    for side in near
                    for m in side.get(a, ())
                    for n in side.get(b, ())
                )
                if fewer > 0:
                    row[i], row[i + 1] = b, a
                    place[a], place[b] = i + 1, i
                    better = True


def _crossings(rows: Sequence[Sequence[int]], pieces: Pieces) -> int:
    place = {item: (number, i) for number, row in enumerate(rows) for i, item in enumerate(row)}
    gaps: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for source, target in pieces:
        gaps[place[source][0]].append((place[source][1], place[target][1]))
    return sum(
        (a[0] - b[0]) * (a[1] - b[1]) < 0 for gap in gaps.values() for a, b in combinations(gap, 2)
    )


def _offsets(row: Sequence[int], nodes: int, fixed: Sequence[int]) -> list[tuple[int, float]]:
    """How far each item of a layer lies at least below the first."""
    depth, offsets = 0.0, []
    for i, item in enumerate(row):
        if i:
            bends = (row[i - 1] >= nodes) + (item >= nodes)
            depth += FIXED_ROOM if item in fixed else ROOM[bends]
        offsets.append((item, depth))
    return offsets


def _straighten(
    rows: Sequence[Sequence[int]], pieces: Pieces, offsets: Mapping[int, float], nodes: int
) -> dict[int, float]:
    """Heights that keep order and room, with every piece as level as they allow."""
    pulls: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for source, target in pieces:
        pull = PULL[(source >= nodes) + (target >= nodes)]
        pulls[source].append((target, pull))
        pulls[target].append((source, pull))
    heights = {item: offsets[row[-1]] / 2 - offsets[item] for row in rows for item in row}
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted, weights = [], []
            for item in row:
                weight = sum(pull for _, pull in pulls[item])
                level = sum(pull * heights[other] for other, pull in pulls[item])
                wanted.append((level / weight if weight else heights[item]) + offsets[item])
                weights.append(weight or 1e-3)
            for item, height in zip(row, _falling(wanted, weights), strict=True):
                heights[item] = height - offsets[item]
    return heights


def _falling(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest sequence that never rises, by weighted squares (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (a, u, m), (b, w, n) = pools[-2:]
            pools[-2:] = [((a * u + b * w) / (u + w), u + w, m + n)]
    return [value for value, _, count in pools for _ in range(count)]


def _neighbours(pieces: Pieces) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    before, after = defaultdict(list), defaultdict(list)
    for source, target in pieces:
        before[target].append(source)
        after[source].append(target)
    return before, after


def _mean(values: Iterable[float], default: float) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else default
