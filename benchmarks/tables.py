"""Writes docs/results.md from benchmarks/results/*.json: no figure in it is typed by hand.

``python benchmarks/tables.py --check`` only says whether the page is up to date.
"""

import json
import sys
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


def main() -> int:
    """Writes the page, or with ``--check`` compares it; returns the exit status."""
    text = page(sorted(recording.RESULTS.glob("*.json")))
    if "--check" not in sys.argv[1:]:
        write_text(PAGE, text)
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is not what the results say; run: python benchmarks/tables.py", file=sys.stderr)
    return 1


def page(results: list[Path]) -> str:
    """Returns the page made from the result files."""
    return "\n".join([INTRODUCTION, *(section(json.loads(path.read_text(encoding="utf-8"))) for path in results)])


def section(result: dict[str, Any]) -> str:
    """Returns one benchmark's section."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    source = f"Measured {result['date']} on {result['machine']}; {versions}; seed {result['seed']}."
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
    """Returns a value as a reader wants it: rounded, and never empty."""
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
