"""What the page makes of a :class:`~theriac.finding.Table`: cells as text, shares as bars, anomalies as a chart."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup

from theriac.finding import Table
from theriac.report import charts
from theriac.report.words import is_share, number, percent

SHOWN_ROWS = 12
MAX_ROWS = 1000

Value = str | float | int | None


@dataclass(frozen=True)
class Cell:
    """One cell: its text, whether it is a number, and its bar if it is a share worth drawing."""

    text: str
    numeric: bool = False
    bar: Markup | None = None


@dataclass(frozen=True)
class Shown:
    """A table as the page shows it; rows after the first ``SHOWN_ROWS`` are folded away."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    left_out: int
    chart: Markup | None


def lay_out(table: Table, marked: Collection[str] = ()) -> Shown:
    """Returns ``table`` as the page shows it; a chart stands above it if it lists an anomaly or P(poisoned) per class.

    Args:
        table: Any table; rows may be longer or shorter than the header.
        marked: Names of suspected classes, which the chart points out.
    """
    compared = is_comparison(table)
    rows = [_row(table, row, compared) for row in table.rows[:MAX_ROWS]]
    return Shown(table.title, table.columns, rows, max(0, len(table.rows) - MAX_ROWS), _anomalies(table, marked))


def is_comparison(table: Table) -> bool:
    """Whether the table compares "before" with "after"."""
    return {"before", "after"} <= {c.lower() for c in table.columns}


def attack_success(table: Table) -> tuple[str, float, float] | None:
    """Returns (measure, before, after) of the first row about the attack's success, if the table has one."""
    if not is_comparison(table):
        return None
    names = [c.lower() for c in table.columns]
    for row in table.rows:
        cells = dict(zip(names, row, strict=False))
        label, before, after = str(row[0]) if row else "", cells.get("before"), cells.get("after")
        about_attack = any(word in label.lower() for word in ("asr", "attack success"))
        if about_attack and _is_ratio(before) and _is_ratio(after):
            return label, before, after
    return None


def _row(table: Table, row: list[Value], compared: bool) -> list[Cell]:
    label = str(row[0]) if row else ""
    cells = []
    for i, name in enumerate(table.columns):
        value = row[i] if i < len(row) else None
        share = _is_ratio(value) and (is_share(label) if compared else is_share(name))
        drawn = compared and share and name.lower() in ("before", "after")
        bar = charts.bar(value, marked=name.lower() == "after") if drawn and _is_ratio(value) else None
        cells.append(Cell(_text(value, share), isinstance(value, (int, float)), bar))
    return cells


def _text(value: Value, share: bool) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return percent(value) if share else number(value)


def _is_ratio(value: Value) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def _anomalies(table: Table, marked: Collection[str]) -> Markup | None:
    names = [c.lower() for c in table.columns]
    column = next((i for i, name in enumerate(names) if "anomaly" in name or "p(poisoned)" in name), None)
    if column is None or "class" not in names[0]:
        return None
    top = 1.0 if "p(poisoned)" in names[column] else 0.0
    pairs = [(str(row[0]), row[column]) for row in table.rows if len(row) > column]
    values = [(name, value) for name, value in pairs if isinstance(value, (int, float))]
    return charts.columns(values, axis=table.columns[column], marked=marked, top=top)
