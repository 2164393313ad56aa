"""One explicit, lazily loaded table per family of methods."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from theriac.errors import UserError


class Registry(Mapping[str, type[Any]]):
    """Maps a method's name to its class, importing the class only when it is asked for.

    Third parties add methods through the entry-point group of the same family; a built-in name always wins.

    Args:
        group: Entry-point group, for instance ``"theriac.mitigations"``.
        table: Name -> ``"module:Class"``.

    >>> Registry("theriac.none", {"ordered": "collections:OrderedDict"})["ordered"].__name__
    'OrderedDict'
    """

    def __init__(self, group: str, table: Mapping[str, str]) -> None:
        self.group = group
        self.table = dict(table)

    def targets(self) -> dict[str, str]:
        """Returns name -> ``"module:Class"`` of every method, third parties' included, without importing any."""
        return {e.name: e.value for e in entry_points(group=self.group)} | self.table

    def __getitem__(self, name: str) -> type[Any]:
        targets = self.targets()
        if name not in targets:
            raise UserError(f"no method {name!r} in {self.group}", do=f"choose one of: {', '.join(sorted(targets))}")
        module, _, attribute = targets[name].partition(":")
        loaded: type[Any] = getattr(import_module(module), attribute)
        return loaded

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.targets()))

    def __len__(self) -> int:
        return len(self.targets())
