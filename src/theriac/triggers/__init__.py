"""Triggers: pure functions (images, generator) -> images. One trigger is one file.

A trigger is a frozen dataclass of its parameters; ``to_dict`` and ``from_dict`` turn it into JSON and back exactly.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from theriac.errors import UserError
from theriac.registry import Registry

if TYPE_CHECKING:
    from theriac.triggers.base import Trigger

TRIGGERS = Registry(
    "theriac.triggers",
    {
        "corner": "theriac.triggers.corner:Corner",
        "patch": "theriac.triggers.patch:Patch",
        "blend": "theriac.triggers.blend:Blend",
        "sinusoid": "theriac.triggers.sinusoid:Sinusoid",
        "warp": "theriac.triggers.warp:Warp",
        "noise": "theriac.triggers.noise:Noise",
    },
)


def make(name: str, parameters: Mapping[str, Any] | None = None) -> "Trigger":
    """Makes a trigger from its name and parameters; numbers may come as text, as from a command line.

    Raises:
        UserError: If the name or a parameter is unknown, or a value is out of range.

    >>> make("patch", {"size": "4", "pattern": "white"})
    Patch(size=4, position='bottom-right', margin=1, pattern='white', seed=0)
    """
    cls = TRIGGERS[name]
    types: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(cls)}
    values = {}
    for key, value in (parameters or {}).items():
        if key not in types:
            raise UserError(f"no parameter {key!r}", where=f"trigger {name}", do=f"choose from: {', '.join(types)}")
        try:
            values[key] = types[key](value) if isinstance(value, str) else value
        except ValueError:
            raise UserError(f"{key}={value} is not a number", where=f"trigger {name}") from None
    trigger: Trigger = cls(**values)
    return trigger


def from_dict(record: Mapping[str, Any]) -> "Trigger":
    """Returns the trigger that ``Trigger.to_dict`` described.

    Raises:
        UserError: If the record is not such a description.
    """
    name, parameters = record.get("name"), record.get("parameters")
    if not isinstance(name, str) or not isinstance(parameters, Mapping):
        raise UserError("is not a trigger: needs a name and parameters", where="trigger")
    return make(name, parameters)
