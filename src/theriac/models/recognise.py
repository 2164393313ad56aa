"""Recognising an architecture from the names and shapes of its tensors, whatever the width of its head.

``architectures.json`` holds, for every architecture, digests of its tensor names and shapes and the axes that depend on
the number of classes. ``scripts/make_architecture_index.py`` writes it. Torch is not imported here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DataParallel, torch.compile, Lightning and our own Classifier put before every tensor's name."""

FAMILIES = ("theriac", "torchvision", "timm")


@dataclass(frozen=True)
class Match:
    """An architecture that a file's tensors fit, and the number of classes of its head."""

    architecture: str
    num_classes: int


def without_prefix(names: Mapping[str, Any]) -> str:
    """Returns the wrapper's prefix that all ``names`` share, possibly several in a row; empty if there is none.

    >>> without_prefix({"module.net.fc.weight": 0, "module.net.fc.bias": 0})
    'module.net.'
    """
    prefix = ""
    while names and (more := [p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)]):
        prefix += more[0]
    return prefix


def names_digest(shapes: Shapes) -> str:
    """Returns 16 hexadecimal digits that depend on the tensors' names only."""
    return hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest()[:16]


def shapes_digest(shapes: Shapes, head: Mapping[str, int]) -> str:
    """Returns 16 hexadecimal digits of names and shapes; ``head`` maps a tensor to its axis over classes."""
    lines = [
        f"{name} {[-1 if head.get(name) == axis else size for axis, size in enumerate(shape)]}"
        for name, shape in sorted(shapes.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def head_axes(narrow: Shapes, wide: Shapes, classes: tuple[int, int]) -> dict[str, int] | None:
    """Returns the tensor -> axis over classes, from the shapes of one architecture with two numbers of classes.

    ``None`` if the two differ in anything else, or in nothing.
    """
    axes: dict[str, int] = {}
    for name in narrow.keys() | wide.keys():
        pairs = list(zip(narrow.get(name, ()), wide.get(name, ()), strict=False))
        different = [axis for axis, (a, b) in enumerate(pairs) if a != b]
        if len(narrow.get(name, ())) != len(wide.get(name, ())) or len(different) > 1:
            return None
        if different:
            if pairs[different[0]] != classes:
                return None
            axes[name] = different[0]
    return axes or None


def num_classes(shapes: Shapes, head: Mapping[str, int]) -> int | None:
    """Returns the size that all axes of ``head`` have in ``shapes``; ``None`` if they disagree or are not there."""
    sizes = {shapes[name][axis] if axis < len(shapes.get(name, ())) else 0 for name, axis in head.items()}
    only = sizes.pop() if len(sizes) == 1 else 0
    return only or None


def recognise(shapes: Shapes, pickled_class: str | None = None, pickled_name: str | None = None) -> list[Match]:
    """Returns the architectures that have exactly these tensors, the likeliest first.

    Args:
        shapes: Name -> shape of every tensor, without a wrapper's prefix.
        pickled_class: Full name of the class in a whole-module pickle: its package goes before the others.
        pickled_name: What the package called the network, which goes before others of the package.
    """
    matches = []
    for name, entry in _by_names().get(names_digest(shapes), ()):
        count = num_classes(shapes, entry["head"])
        if count is not None and shapes_digest(shapes, entry["head"]) == entry["shapes"]:
            matches.append(Match(name, count))
    package = (pickled_class or "").partition(".")[0]

    def rank(match: Match) -> tuple[bool, int, bool]:
        family, _, name = match.architecture.partition(":")
        return family != package, FAMILIES.index(family), name != pickled_name

    return sorted(matches, key=rank)


@cache
def _by_names() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    index = json.loads(files("theriac.models").joinpath("architectures.json").read_text(encoding="utf-8"))
    grouped: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, entry in index["architectures"].items():
        grouped.setdefault(entry["names"], []).append((name, entry))
    return grouped
