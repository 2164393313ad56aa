import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from theriac.finding import Table
from theriac.report import AuditReport, summary
from theriac.report.terminal import print_table

Make = Callable[..., AuditReport]


def _printed(found: AuditReport, **options: object) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    summary(found.findings, repair=found.repair, not_checked=found.not_checked, console=console, **options)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_the_summary_says_verdicts_gaps_report_and_next_steps(make: Make) -> None:
    long = "theriac query data-poisoning " + "urn:uuid:" + "1" * 120
    lines = _printed(make(), report=Path("out/report.html"), commands=["theriac verify x.json", long]).splitlines()
    assert lines[1].startswith("✗ This system is poisoned: a small patch on an image makes the model answer “stop ”.")
    assert [line.split()[0] for line in lines if "summary of" in line] == ["Model", "Training", "Input", "Repair"]
    assert "✓ Repaired" in "\n".join(lines)
    assert any("– Nobody looked at" in line for line in lines)
    assert any("– Data gap" in line for line in lines)
    assert "  Report  out/report.html" in lines
    assert "  Next    theriac verify x.json" in lines
    assert f"          {long}" in lines  # in one piece, to be copied


def test_markup_and_escape_sequences_of_an_attacker_stay_text(make: Make) -> None:
    text = _printed(make("[red]x[/red]\x1b]0;owned\x07"))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text


def test_nothing_found_and_nothing_checked_are_told_apart(make: Make, empty: AuditReport) -> None:
    clean = [f.model_copy(update={"verdict": "clean"}) for f in make().findings]
    text = _printed(make().model_copy(update={"findings": clean, "repair": None}))
    assert "✓ No poisoning found in what was checked." in text
    assert "? Nothing was checked in this system." in _printed(empty)


def test_a_wide_table_of_figures_is_not_cut_off(capsys) -> None:
    names = [f"task-number-{k}" for k in range(20)]
    print_table(Table(title="AUROC", columns=["detector", *names], rows=[["mahalanobis", *[0.9876] * 20]]))
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert shown.count("0.9876") == 20
    print_table(Table(title="Why", columns=["detector", "why"], rows=[["a", "words " * 40]]))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120
