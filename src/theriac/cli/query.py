"""``theriac query``: what signed credentials say about an AI system."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from theriac.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from theriac.provenance.query import Answer, Attestation

NAMES = (
    *("data-in-system", "providers-trusted-whitelist", "providers-trusted-blacklist"),
    *("data-poisoning", "data-pollution", "data-bias", "code-hash-matches", "sbom-hash-matches"),
    *("weights-hash-matches", "training-data-matches", "training-code-hash-matches", "training-sbom-hash-matches"),
    *("inference-vulnerabilities", "training-vulnerabilities", "best-practice", "functional-performance"),
    "systems-using",
)
_STYLES = {"poisoned": "bold red", "clean": "bold green", "inconclusive": "bold yellow", "plain": "bold"}
app = App(
    name="query",
    help_epilogue="Queries: " + ", ".join(NAMES) + ". Without an id, `theriac query NAME` says what NAME asks.",
)


@app.default
def query(
    name: str,
    system: str = "",
    *arguments: str,
    store: str = "evidence.sqlite",
    mode: Literal["extended", "taibom"] = "extended",
    policy: Path | None = None,
    at: datetime | None = None,
    picture: Path | None = None,
    recheck: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Ask what signed credentials say about an AI system, its weights and all that it was trained on.

    Exit codes: 0 nothing to act on, and the chain of credentials holds; 1 evidence: a claim of poisoning, pollution,
    bias or a vulnerability, a hash that does not match, a provider who is not trusted; 3 no evidence that counts, but
    the chain is incomplete. Claims that do not count are shown with the reason.

    Args:
        name: The query, for instance data-poisoning.
        system: Id of the system, as `theriac audit` or `theriac attest system` printed it.
        arguments: The hashes or providers that some queries compare with.
        store: The store of credentials, a file or a postgresql:// URL.
        mode: The question's meaning (extended), or that of TAIBOM's reference rules with their errors (taibom).
        policy: Whose word counts, a TOML file; without it, everybody's whose signature holds.
        at: Ask what held at this time (UTC) instead of now.
        picture: Draw the chain into this file, .svg or .mmd (Mermaid).
        recheck: First verify the whole store again; do so when it comes from somebody else.
        json: Print machine-readable output only.
    """
    from theriac.cli.options import print_json
    from theriac.provenance.policy import EVERYBODY, read_policy
    from theriac.provenance.query import QUERIES, ask
    from theriac.provenance.store import Store

    if name not in QUERIES:
        raise UserError(f"no query {name!r}", do=f"ask one of: {', '.join(QUERIES)}")
    if not system:
        asked = QUERIES[name]
        raise UserError(f"{name} asks: {asked.question}", do=f"theriac query {name} ID {asked.arguments}".rstrip())
    moment = at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
    trust = EVERYBODY if policy is None else read_policy(policy)
    with Store(store) as opened:
        if recheck:
            opened.recheck()
        answer = ask(opened, name, system, arguments, mode=mode, at=moment, policy=trust)
        if picture is not None:
            from theriac.provenance.picture import write_picture

            write_picture(picture, opened, answer, at=moment, policy=trust)
    if json:
        print_json(answer.to_json())
    else:
        _print(answer, trusted=trust.given or mode == "taibom")
    return answer.status


def _print(answer: "Answer", trusted: bool) -> None:
    from rich.console import Console

    from theriac.cli.options import one_line
    from theriac.provenance.verdict import verdict_of

    console = Console(highlight=False, markup=False, soft_wrap=True)
    verdict = verdict_of(answer)
    console.print(one_line(f"{verdict.word.upper()}: {verdict.sentence}"), style=_STYLES[verdict.tone])
    if isinstance(answer.answer, list):
        for id in answer.answer:
            print(one_line(id))
    if answer.attestations:
        console.print(_table("Claims", answer.attestations))
    if answer.checks:
        console.print(_table("Searches that found none", answer.checks))
    for warning in answer.warnings:
        console.print(one_line(f"! {warning}"), style="yellow")
    for part in answer.unchecked:
        console.print(one_line(f"! nobody searched {part}"), style="yellow")
    if not trusted and answer.attestations and sys.stdout.isatty():
        console.print("No --policy is given: every claim whose signature holds counts, whoever made it.", style="dim")


def _table(title: str, claims: "Sequence[Attestation]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from theriac.cli.options import printable

    table = Table(title=title, title_justify="left", show_lines=True)
    for column in ("about", "claim", "by", "counts"):
        table.add_column(column, overflow="fold")
    for claim in claims:
        known = ("type", "id", "severity", "verdict", "description", "examined", "uuid")
        said = [str(claim.details[name]) for name in known if claim.details.get(name)]
        if isinstance(metric := claim.details.get("primary_metric"), dict):
            said.append(f"{metric.get('name')} {metric.get('value')}")
        limits = claim.details.get("limits")
        said += [f"not looked at: {limit}" for limit in limits] if isinstance(limits, list) else []
        cells = (
            f"{claim.component_kind} {claim.component_name}".strip() or claim.component["id"],
            "\n".join(filter(None, said)),
            f"{claim.issuer}\n{claim.date}",
            "yes" if claim.accepted else f"no: {claim.why_not}",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
