"""The short version of a report, for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from theriac.finding import Finding, Verdict
from theriac.finding import Table as Figures
from theriac.report.story import overall, verdict_sentence
from theriac.report.words import KINDS, REPAIR_WORDS, WORDS, probability, sentence, visible

WIDEST = 400

_LOOKS: dict[Verdict, tuple[str, str]] = {
    "poisoned": ("✗", "bold red"),
    "clean": ("✓", "bold green"),
    "inconclusive": ("?", "bold yellow"),
}


def summary(
    findings: Sequence[Finding],
    *,
    repair: Finding | None = None,
    not_checked: Sequence[str] = (),
    report: Path | None = None,
    commands: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Prints the verdict, one line per subject, what was not checked, where the report is and what to do next.

    Args:
        findings: About the system as it came in.
        repair: The mitigation's finding, if there was one.
        not_checked: About the whole audit; each finding's own are added.
        report: Where the HTML report was written.
        commands: Commands to try next.
        console: Where to print; the standard output by default.
    """
    console = console or Console(highlight=False, soft_wrap=False)
    console.print()
    console.print(_verdict(findings))
    console.print()
    console.print(Padding(_lines(findings, repair), (0, 0, 0, 2)))
    said = [*not_checked, *(line for f in findings for line in f.not_checked), *(repair.not_checked if repair else ())]
    if said:
        console.print()
        console.print(Text("  Not checked", style="bold"))
        for line in dict.fromkeys(said):
            console.print(Padding(Text(f"– {visible(sentence(line))}", style="dim"), (0, 0, 0, 2)))
    console.print()
    if report is not None:
        console.print(Text.assemble(("  Report  ", "bold"), visible(str(report))), soft_wrap=True)
    for i, command in enumerate(commands):
        console.print(Text.assemble(("          " if i else "  Next    ", "bold"), visible(command)), soft_wrap=True)


def print_table(table: Figures, console: Console | None = None) -> None:
    """Prints a table of results."""
    shown = Table(title=visible(table.title), title_justify="left", box=None)
    for name in table.columns:
        shown.add_column(visible(name))
    figures = not any(isinstance(cell, str) for row in table.rows for cell in row[1:])
    for column in shown.columns[1:] if figures else []:
        column.justify = "right"
    for row in table.rows:
        shown.add_row(*map(_cell, row))
    console = console or Console()
    cells = [table.columns, *([_cell(cell) for cell in row] for row in table.rows)]
    lengths = [max(map(len, column)) for column in zip(*cells, strict=False)]
    before = console.width
    if figures:  # better broken by the terminal than cut off
        console.width = max(before, min(WIDEST, sum(lengths) + 2 * len(lengths)))
    console.print()
    console.print(shown)
    console.width = before


def _cell(value: str | float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else visible(str(value))


def _verdict(findings: Sequence[Finding]) -> Text:
    mark, style = _LOOKS[overall(list(findings))]
    return Text(f"{mark} {visible(verdict_sentence(list(findings)))}", style=style)


def _lines(findings: Sequence[Finding], repair: Finding | None) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(ratio=1, overflow="fold")
    rows = [(KINDS[f.subject.kind], WORDS[f.verdict], f) for f in findings]
    if repair:
        rows.append(("Repair", REPAIR_WORDS[repair.verdict], repair))
    for what, word, finding in rows:
        mark, style = _LOOKS[finding.verdict]
        cells = Text(what), Text(f"{mark} {word}", style=style), Text(probability(finding.probability), style="dim")
        table.add_row(*cells, Text(visible(finding.summary)))
    return table
