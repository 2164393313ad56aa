"""Files with the same bytes: within one folder, or in two that should have none in common.

Copies within a training set make a detector or a model count the same example twice; copies of test files in it make
the measured accuracy a lie; copies under two class folders have a wrong label for sure. Pictures that look alike but
differ in a byte are not found: that is for a detector to say.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from theriac.manifest.record import Entry, Manifest

_SPLIT = re.compile(r"(train(ing)?|test(ing)?|val(id(ation)?)?|dev|eval(uation)?)[\d._-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Repeat:
    """The same bytes in several files.

    Attributes:
        sha256: Of the bytes, in hexadecimal.
        size: How many bytes.
        here: The files that have them, sorted by their bytes.
        there: Those of the second folder, if there are two.
        labels: The class folders that they lie in, sorted. More than one contradict each other.
    """

    sha256: str
    size: int
    here: tuple[str, ...]
    there: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def conflicting(self) -> bool:
        """Whether the same bytes have two labels."""
        return len(self.labels) > 1


def duplicates(manifest: Manifest) -> tuple[Repeat, ...]:
    """Returns every group of files in a folder with the same bytes, those with conflicting labels first.

    Empty files are left out: they are all alike, and say nothing.
    """
    groups = _by_bytes(manifest.entries)
    return _sorted(_repeat(entries) for entries in groups.values() if len(entries) > 1)


def overlap(one: Manifest, other: Manifest) -> tuple[Repeat, ...]:
    """Returns all bytes that two folders have in common, those with conflicting labels first.

    Empty files are left out, as are copies within one folder only.
    """
    here, there = _by_bytes(one.entries), _by_bytes(other.entries)
    return _sorted(_repeat(entries, there[digest]) for digest, entries in here.items() if digest in there)


def label_of(path: str) -> str:
    """Returns the class folder of a file: the first folder on the way that is no split; empty if there is none.

    >>> label_of("stop/1.png"), label_of("train/stop/night/1.png"), label_of("test/1.png")
    ('stop', 'stop', '')
    """
    folders = path.split("/")[:-1]
    return next((folder for folder in folders if not _SPLIT.fullmatch(folder)), "")


def _by_bytes(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.size:
            groups.setdefault(entry.sha256, []).append(entry)
    return groups


def _repeat(here: list[Entry], there: Iterable[Entry] = ()) -> Repeat:
    paths, others = tuple(entry.path for entry in here), tuple(entry.path for entry in there)
    labels = sorted({label_of(path) for path in (*paths, *others)} - {""})
    return Repeat(here[0].sha256, here[0].size, paths, others, tuple(labels))


def _sorted(repeats: Iterable[Repeat]) -> tuple[Repeat, ...]:
    return tuple(sorted(repeats, key=lambda repeat: (not repeat.conflicting, repeat.here[0].encode())))
