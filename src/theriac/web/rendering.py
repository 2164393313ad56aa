"""Turning templates into pages: everything that comes from a credential is escaped, and no name can fake another."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from theriac import __version__
from theriac.report.words import visible

_MOST = 200_000
_FIRST = ("detector", "version", "type", "types", "id", "severity", "score", "threshold", "description")


@cache
def environment() -> Environment:
    """Returns the templates' environment."""
    made = Environment(
        loader=PackageLoader("theriac.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"day": _day, "short": short, "query_string": _query_string, "pretty": pretty, "ordered": ordered}
    made.globals |= {"version": __version__}
    return made


def short(id: str) -> str:
    """Returns a long id shortened in the middle.

    >>> short("urn:uuid:3a02992b-7a5b-4184-ba1e-358850e5344c")
    'urn:uuid:3a02992b…5344c'
    """
    return id if len(id) <= 26 else f"{id[:17]}…{id[-5:]}"


def pretty(document: Any) -> str:
    """Returns a JSON value laid out for people; a very long one is cut."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return text if len(text) <= _MOST else f"{text[:_MOST]}\n… cut here; the download has all of it"


def ordered(details: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns at most twelve fields that say something, those that people look for first.

    >>> ordered({"date": "2026-03-31", "impact": "", "severity": "high", "type": "data injection"})
    [('type', 'data injection'), ('severity', 'high'), ('date', '2026-03-31')]
    """
    said = [(name, value) for name, value in details.items() if value is not None and value != ""]
    return sorted(said, key=lambda field: _FIRST.index(field[0]) if field[0] in _FIRST else len(_FIRST))[:12]


def _finalized(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _day(seconds: int | None) -> str:
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "at another time"


def _query_string(values: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in values.items() if value not in ("", 0, False, None)})
