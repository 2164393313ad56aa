"""The questions that come with a TAIBOM battery: read from its ``scenarios.json``, never run.

A battery asks in Prolog. Only goals of one of TAIBOM's sixteen predicates with plain texts as arguments are understood,
and asked as our queries; for all others the page says that they are not.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theriac.errors import UserError
from theriac.provenance.canonical import MAX_BYTES, Invalid, parse
from theriac.provenance.query import QUERIES

_MOST = 200
_GOAL = re.compile(r"\s*(?:get_)?([a-z]\w{0,100})\s*\((.{0,20000})\)\s*\.?\s*", re.ASCII | re.DOTALL)
_TEXT = re.compile(r'"([^"\\\x00-\x1f]{1,500})"')
_REST = re.compile(r"[\s,\[\]]*(?:[A-Z_]\w*[\s,\[\]]*)*", re.ASCII)
_BY_PREDICATE = {query.predicate: name for name, query in QUERIES.items() if query.predicate}


@dataclass(frozen=True)
class Goal:
    """One question of a scenario.

    Attributes:
        name: What the battery calls it.
        query: Our query; empty if there is none.
        system: The id of the system.
        arguments: Hashes or providers.
        why_not: Why it cannot be asked; empty if it can.
    """

    name: str
    query: str = ""
    system: str = ""
    arguments: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class Scenario:
    """Questions that belong together."""

    name: str
    goals: tuple[Goal, ...]


def read_scenarios(path: Path) -> list[Scenario]:
    """Returns the scenarios in a file; none if there is no such file.

    Raises:
        UserError: If it cannot be read or is no JSON.
    """
    if not path.exists():
        return []
    if path.is_symlink() or not path.is_file():
        raise UserError("is no regular file", where=path, do="replace it by what it points to, or remove it")
    try:
        with path.open("rb") as file:
            document = parse(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except Invalid as error:
        raise UserError(str(error), where=path) from None
    return [
        Scenario(_name(item), tuple(_goal(goal) for goal in _objects(item, "queries")))
        for item in _objects(document, "scenarios")
    ]


def _objects(holder: dict[str, Any], field: str) -> list[dict[str, Any]]:
    items = holder.get(field)
    return [item for item in items[:_MOST] if isinstance(item, dict)] if isinstance(items, list) else []


def _name(item: dict[str, Any]) -> str:
    name = item.get("name")
    return name[:200] if isinstance(name, str) and name.strip() else "without a name"


def _goal(item: dict[str, Any]) -> Goal:
    name, text = _name(item), item.get("query")
    found = _GOAL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return Goal(name, why_not="it is not one plain question; Prolog is never run")
    predicate, inside = found.groups()
    query = _BY_PREDICATE.get(predicate)
    if query is None:
        return Goal(name, why_not=f"{predicate} is none of TAIBOM's sixteen questions about systems")
    texts = _TEXT.findall(inside)
    if not texts or not inside.lstrip().startswith('"') or not _REST.fullmatch(_TEXT.sub("", inside)):
        return Goal(name, why_not="it does not name a system in plain text")
    arguments = tuple(texts[1:]) if QUERIES[query].arguments else ()
    return Goal(name, query, texts[0], arguments)
