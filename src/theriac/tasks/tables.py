"""Results of a benchmark as tables and pictures: detectors by tasks, seeds averaged."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from theriac.files import write_text
from theriac.finding import Table
from theriac.report.charts import heat_map
from theriac.report.standalone import svg_file
from theriac.tasks.results import Result

Number = float | None
Row = list[str | float | int | None]

FIGURES = {
    "auroc": "AUROC",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "auroc_within_target": "AUROC among inputs given to the target class",
    "fpr": "Realised false positive rate (nominal: {nominal})",
}
"""What is tabulated over tasks in which there is something to find."""

SHOWN = {"auroc": (0.5, 1.0), "tpr_at_1pct_fpr": (0.0, 1.0)}
"""What is drawn, and between which values colour grows."""


def tables(results: Sequence[Result]) -> list[Table]:
    """Returns a table of detectors by tasks for each figure, one of ablations, one of times, one of failures."""
    good = [r for r in results if r.error is None]
    nominal = ", ".join(sorted({f"{r.nominal_fpr:g}" for r in good if r.nominal_fpr is not None}))
    ablations = [r for r in good if r.ablation]
    real = [r for r in good if not r.ablation]
    found = [_pivot(real, figure, title.format(nominal=nominal)) for figure, title in FIGURES.items()]
    found.append(_pivot(ablations, "alarms", "Share above the threshold in ablations, where nothing is to be found"))
    made = [table for table in found if table is not None]
    if good:
        made.append(_times(good))
    if failures := _failures(results):
        made.append(Table(title="Without figures", columns=["detector", "why", "task and seed"], rows=failures))
    return made


def markdown(results: Sequence[Result]) -> str:
    """Returns the tables as Markdown."""
    return "\n".join(_markdown(table) for table in tables(results))


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """Draws what ``SHOWN`` names as ``folder/FIGURE.svg`` and returns the paths."""
    good = [r for r in results if r.error is None and not r.ablation]
    drawn: list[Path] = []
    for figure, (low, high) in SHOWN.items():
        detectors, columns, rows = _grid([r for r in good if getattr(r, figure) is not None], figure)
        if (chart := heat_map(detectors, columns, rows, low=low, high=high)) is None:
            continue
        write_text(folder / f"{figure}.svg", svg_file(chart, f"{FIGURES[figure]}, mean over seeds"))
        drawn.append(folder / f"{figure}.svg")
    return drawn


def _grid(results: Sequence[Result], figure: str) -> tuple[list[str], list[str], list[list[Number]]]:
    """Returns detectors, best mean first, columns (tasks, mean, worst) and the values."""
    tasks, detectors = (list(dict.fromkeys(getattr(r, name) for r in results)) for name in ("task", "detector"))
    rows: dict[str, list[Number]] = {}
    for detector in detectors:
        per_seed = [[getattr(r, figure) for r in results if (r.detector, r.task) == (detector, task)] for task in tasks]
        known = [[value for value in values if value is not None] for values in per_seed]
        everything = [value for values in known for value in values]
        means = [fmean(values) if values else None for values in known]
        present = [mean for mean in means if mean is not None]
        rows[detector] = [*means, fmean(present) if present else None, _worst(everything, figure)]
    sign = 1 if figure in ("fpr", "alarms") else -1
    order = sorted(detectors, key=lambda name: (rows[name][-2] is None, sign * (rows[name][-2] or 0.0)))
    return order, [*tasks, "mean", "worst"], [rows[name] for name in order]


def _worst(values: Sequence[float], figure: str) -> Number:
    return None if not values else max(values) if figure in ("fpr", "alarms") else min(values)


def _pivot(results: Sequence[Result], figure: str, title: str) -> Table | None:
    detectors, columns, rows = _grid([r for r in results if getattr(r, figure) is not None], figure)
    if not detectors:
        return None
    cells = [[None if value is None else round(value, 4) for value in row] for row in rows]
    filled = [[name, *row] for name, row in zip(detectors, cells, strict=True)]
    return Table(title=title, columns=["detector", *columns], rows=filled)


def _times(results: Sequence[Result]) -> Table:
    rows: list[Row] = []
    for detector in dict.fromkeys(r.detector for r in results):
        own = [r for r in results if r.detector == detector]
        fit, score, forward = (
            fmean([getattr(r, name) or 0.0 for r in own])
            for name in ("fit_seconds", "score_seconds", "forward_seconds")
        )
        observe = fmean([r.observe_seconds or 0.0 for r in own])
        whole = (observe + fit + score) / forward if forward else None
        rows.append([detector, *(round(value, 3) for value in (fit, score, forward)), whole and round(whole, 2)])
    columns = ["detector", "fit (s)", "score (s)", "bare forward pass (s)", "all / forward"]
    return Table(
        title="Time, mean over tasks and seeds", columns=columns, rows=sorted(rows, key=lambda row: str(row[0]))
    )


def _failures(results: Sequence[Result]) -> list[Row]:
    """Returns what was not measured; a detector that failed for one reason on many tasks is one row."""
    found: dict[tuple[str, str], list[str]] = {}
    for r in results:
        if r.error is not None:
            found.setdefault((r.detector, r.error), []).append(f"{r.task} {r.seed}")
    return [[detector, why, ", ".join(places)] for (detector, why), places in found.items()]


def _markdown(table: Table) -> str:
    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join("–" if cell is None else _cell(cell) for cell in cells) + " |"

    rule = "|" + "---|" * len(table.columns)
    return "\n".join([f"## {table.title}", "", line(table.columns), rule, *map(line, table.rows), ""])


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
