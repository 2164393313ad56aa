"""The report as one self-contained HTML page.

Class names, file names, captions and pictures come from data that an attacker may have written. So everything is
escaped, pictures are checked before they are embedded, the page has no script at all, and its Content-Security-Policy
forbids everything but its own style sheet and embedded pictures.
"""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from theriac.files import write_text
from theriac.finding import Finding, SuspectedClasses
from theriac.report import charts, story, tables, words
from theriac.report.pictures import embed
from theriac.report.record import AuditReport

LIMITS = {"first_thumbnails": 14, "thumbnails": 48, "pictures": 24, "evidence": 200}
"""How much of each kind the page shows; the page says so when there is more."""


def render(report: AuditReport) -> str:
    """Returns ``report`` as a complete HTML page that loads nothing from anywhere and runs no script."""
    style = _style()
    poisoned = [f for f in report.findings if f.subject.kind == "model" and f.verdict == "poisoned"]
    triggers = [t for t in map(story.main_trigger, poisoned) if t]
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        style=style,
        policy=_policy(style),
        headline=story.headline(report),
        figures=story.figures(report),
        exhibit=triggers[0].pictures[:3] if triggers else [],
        comparison=story.comparison(report),
        not_checked=story.not_checked(report),
        issuers=list(dict.fromkeys(c.issuer for c in report.credentials)),
        data_url=_data_url,
    )


def _data_url(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def write_report(path: Path, report: AuditReport) -> None:
    """Writes ``report`` to ``path`` as one HTML file, whole or not at all.

    Raises:
        UserError: If the file cannot be written.
    """
    write_text(path, render(report))


def _policy(style: Markup) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> Markup:
    return Markup(files("theriac.report").joinpath("templates/report.css").read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("theriac.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": words.percent,
        "probability": words.probability,
        "number": words.number,
        "sentence": words.sentence,
        "duration": words.seconds,
        "bytes": words.size,
        "embed": embed,
        "histogram": charts.histogram,
        "series": charts.drawable,
        "marked": _marked,
        "settings": _settings,
    }
    environment.globals |= {
        "lay_out": tables.lay_out,
        "verdict_words": words.WORDS,
        "repair_words": words.REPAIR_WORDS,
        "kinds": words.KINDS,
        "nouns": words.NOUNS,
        "limits": LIMITS,
        "shown_rows": tables.SHOWN_ROWS,
    }
    return environment


def _finalized(value: Any) -> Any:
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marked(finding: Finding) -> frozenset[str]:
    return frozenset(e.target_name for e in finding.evidence if isinstance(e, SuspectedClasses))


def _settings(finding: Finding) -> list[tuple[str, str]]:
    return [(name, json.dumps(value, ensure_ascii=False)) for name, value in finding.method.settings.items()]
