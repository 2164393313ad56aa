"""Placing the boxes of a diagram: in columns, each right of those that lead to it, with few crossings.

The method is Sugiyama's (K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE Trans. SMC 11, 1981): turn arrows that close cycles, assign columns by the longest way, put dummies
where arrows pass a column, order by barycentres. Heights are then fitted to the neighbours' by least squares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP = 14.0
_SWEEPS = 6

Edge = tuple[str, str]


@dataclass(frozen=True)
class Placed:
    """Where things are.

    Attributes:
        column: Box -> its column, counted from 0.
        middle: Box -> the height of its middle, from 0 downwards.
        routes: Arrow -> the (column, height) that it passes, ends included, in the arrow's direction.
        height: Of the whole.
    """

    column: dict[str, int]
    middle: dict[str, float]
    routes: dict[Edge, list[tuple[int, float]]]
    height: float


def place(heights: Mapping[str, float], edges: Iterable[Edge]) -> Placed:
    """Places boxes of these heights, in this order where nothing else tells."""
    wanted = [(a, b) for a, b in dict.fromkeys(edges) if a != b]
    forward = _acyclic(list(heights), wanted)
    column = _columns(list(heights), forward)
    sizes = dict(heights)
    chains: dict[Edge, list[str]] = {}
    columns: dict[int, list[str]] = {}
    for key in heights:
        columns.setdefault(column[key], []).append(key)
    for number, (a, b) in enumerate(forward):
        passed = []
        for place in range(column[a] + 1, column[b]):
            dummy = f"{number}/{place}"
            sizes[dummy], column[dummy] = 0.0, place
            columns[place].append(dummy)
            passed.append(dummy)
        chains[a, b] = [a, *passed, b]
    steps = [step for way in chains.values() for step in pairwise(way)]
    order = [columns[index] for index in sorted(columns)]
    middle = _heights(order, sizes, steps)
    top = min((middle[key] - size / 2 for key, size in sizes.items()), default=0.0)
    middle = {key: value - top for key, value in middle.items()}
    routes = {edge: [(column[key], middle[key]) for key in _way(chains, edge)] for edge in wanted}
    height = max((middle[key] + size / 2 for key, size in sizes.items()), default=0.0)
    return Placed({k: column[k] for k in heights}, {k: middle[k] for k in heights}, routes, height)


def _way(chains: Mapping[Edge, list[str]], edge: Edge) -> list[str]:
    return chains[edge] if edge in chains else chains[edge[1], edge[0]][::-1]


def _acyclic(keys: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """Returns the edges with those turned round that close a cycle."""
    below: dict[str, list[str]] = {}
    for a, b in edges:
        below.setdefault(a, []).append(b)
    turned: set[Edge] = set()
    done: set[str] = set()
    for root in keys:
        open_: dict[str, int] = {} if root in done else {root: 0}
        while open_:
            key, place = next(reversed(open_.items()))
            if place == len(below.get(key, ())):
                open_.popitem()
                done.add(key)
                continue
            open_[key] += 1
            child = below[key][place]
            if child in open_:
                turned.add((key, child))
            elif child not in done:
                open_[child] = 0
    return list(dict.fromkeys((b, a) if (a, b) in turned else (a, b) for a, b in edges))


def _columns(keys: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Returns the length of the longest way to each."""
    column = dict.fromkeys(keys, 0)
    waiting = dict.fromkeys(keys, 0)
    below: dict[str, list[str]] = {}
    for a, b in edges:
        below.setdefault(a, []).append(b)
        waiting[b] += 1
    ready = [key for key in keys if not waiting[key]]
    for key in ready:  # grows as it goes
        for child in below.get(key, ()):
            column[child] = max(column[child], column[key] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return column


def _heights(order: list[list[str]], sizes: Mapping[str, float], steps: Sequence[Edge]) -> dict[str, float]:
    left: dict[str, list[str]] = {}
    right: dict[str, list[str]] = {}
    for a, b in steps:
        right.setdefault(a, []).append(b)
        left.setdefault(b, []).append(a)
    middle: dict[str, float] = {}
    for keys in order:
        middle |= _fitted(keys, sizes, dict.fromkeys(keys, 0.0))
    for sweep in range(_SWEEPS):
        sideways, neighbours = (order, left) if sweep % 2 == 0 else (order[::-1], right)
        for keys in sideways:
            wish = {key: _mean([middle[n] for n in neighbours.get(key, ())], middle[key]) for key in keys}
            keys.sort(key=wish.__getitem__)  # stable: equal wishes keep their order
            middle |= _fitted(keys, sizes, wish)
    return middle


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _fitted(keys: Sequence[str], sizes: Mapping[str, float], wish: Mapping[str, float]) -> dict[str, float]:
    """Returns heights nearest to those wished for with which nothing overlaps (pool adjacent violators)."""
    offsets: list[float] = []
    for place, key in enumerate(keys):
        before = keys[place - 1] if place else key
        offsets.append(offsets[-1] + (sizes[before] + sizes[key]) / 2 + GAP if place else 0.0)
    blocks: list[tuple[float, int]] = []
    for key, offset in zip(keys, offsets, strict=True):
        total, count = wish[key] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            above = blocks.pop()
            total, count = total + above[0], count + above[1]
        blocks.append((total, count))
    levels = [total / count for total, count in blocks for _ in range(count)]
    return {key: level + offset for key, level, offset in zip(keys, levels, offsets, strict=True)}
