"""One explicit, lazily loaded table per family of methods."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError

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


def configured(method: type[Any], assignments: Sequence[str] = ()) -> Any:
    """Returns ``method`` with its hyper-parameters set from ``name=value`` texts; values are JSON or plain words.

    Raises:
        UserError: If a name is unknown or a value does not fit.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Pruning:
    ...     rate: float = 0.1
    >>> configured(Pruning, ["rate=0.5"])
    Pruning(rate=0.5)
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in {f.name for f in fields(method) if f.init}:
            known = ", ".join(f"{f.name}={f.default}" for f in fields(method) if f.init)
            raise UserError(f"no hyper-parameter {assignment!r}", where=method.__name__, do=f"choose from: {known}")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    try:
        return TypeAdapter(method).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(first["msg"], where=f"{method.__name__}.{first['loc'][0]}") from None


def settings_of(method: Any) -> dict[str, Any]:
    """Returns a method's hyper-parameters as JSON values; ``configured`` makes the same method of them again.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Chosen:
    ...     layers: tuple[str, ...] = ("a", "b")
    >>> settings_of(Chosen())
    {'layers': ['a', 'b']}
    """
    settings: dict[str, Any] = json.loads(json.dumps(asdict(method)))
    return settings
