"""Writes docs/results.md from benchmarks/results/*.json: no figure in it is typed by hand.

``python benchmarks/tables.py --check`` only says whether the page is up to date.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import recording
from theriac.files import write_text

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
INTRODUCTION = """\
# Results

Every figure on this page is measured: `python benchmarks/tables.py` writes it from the JSON files that the scripts in
`benchmarks/` leave in `benchmarks/results/`. Each section names the command that measures it again.
"""


@dataclass(frozen=True)
class View:
    """What to show of a result file that holds plain figures and a list ``models`` of them.

    Attributes:
        title, command: Of the section.
        rows: Column title -> key in each of ``models``.
        totals: Row title -> key in the file itself.
    """

    title: str
    command: str
    rows: dict[str, str]
    totals: dict[str, str] = field(default_factory=dict)

    def applied(self, result: dict[str, Any]) -> dict[str, Any]:
        """Returns the result with the tables of this view."""
        lines = [[model[key] for key in self.rows.values()] for model in result["models"]]
        tables = [{"title": "Model by model", "columns": list(self.rows), "rows": lines}]
        if self.totals:
            totals = [[name, result[key]] for name, key in self.totals.items()]
            tables.insert(0, {"title": "All together", "columns": ["figure", "measured"], "rows": totals})
        machine = f"{result['device']}, {result['threads']} CPU threads"
        return result | {"title": self.title, "command": self.command, "machine": machine, "tables": tables}


_SPEED = {
    "model": "model",
    "classes": "classes",
    "target found": "target_right",
    "ASR": "asr",
    "mask size": "mask_size",
    "seconds": "seconds",
    "usual loop, seconds": "usual_seconds",
    "times sooner": "times_sooner",
}
VIEWS = {
    "inversion_speed_cpu": View(
        "Trigger inversion against the usual loop, CPU", "python benchmarks/inversion_speed.py --device cpu", _SPEED
    ),
    "inversion_speed_cuda": View(
        "Trigger inversion against the usual loop, GPU", "python benchmarks/inversion_speed.py --device cuda", _SPEED
    ),
    "models8": View(
        "The model detector on eight models it was not calibrated on",
        "python benchmarks/models8.py",
        {
            "model": "model",
            "clean accuracy": "accuracy",
            "ASR": "asr",
            "base rate": "base_rate",
            "truly poisoned": "poisoned",
            "probability": "probability",
            "verdict": "verdict",
            "target": "target",
            "suspected target": "suspected_target",
        },
        {
            "AUROC": "auroc",
            "clean models called poisoned": "clean_called_poisoned",
            "attacks tried": "attacks_tried",
            "attacks that worked": "attacks_that_worked",
            "targets named rightly": "targets_right",
        },
    ),
}


def main() -> int:
    """Writes the page, or with ``--check`` compares it; returns the exit status."""
    text = page(sorted(path for path in recording.RESULTS.glob("*.json") if "calibration" not in path.stem))
    if "--check" not in sys.argv[1:]:
        write_text(PAGE, text)
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is not what the results say; run: python benchmarks/tables.py", file=sys.stderr)
    return 1


def page(results: list[Path]) -> str:
    """Returns the page made from the result files."""
    sections = [section(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in results]
    return "\n".join([INTRODUCTION, *sections])


def section(name: str, result: dict[str, Any]) -> str:
    """Returns one benchmark's section."""
    if name in VIEWS:
        result = VIEWS[name].applied(result)
    source = f"Measured {result['date']} on {result['machine']}, seed {result['seed']}."
    parts = [f"## {result['title']}", f"`{result['command']}`", source]
    return "\n\n".join([*parts, *(markdown(table) for table in result["tables"])]) + "\n"


def markdown(table: dict[str, Any]) -> str:
    """Returns a table in Markdown under its title.

    >>> print(markdown({"title": "T", "columns": ["a", "b"], "rows": [["x", 0.98765], ["y", True]]}))
    **T**
    <BLANKLINE>
    | a | b |
    | --- | --- |
    | x | 0.988 |
    | y | yes |
    """
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    return "\n".join([f"**{table['title']}**", "", *(f"| {' | '.join(map(cell, line))} |" for line in lines)])


def cell(value: Any) -> str:
    """Returns a value as a reader wants it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
