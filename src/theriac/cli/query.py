"""``theriac query data-poisoning``: the evidence about an AI system."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from theriac.errors import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

    from theriac.provenance.query import Answer, Attestation

app = App(name="query", help="Find the evidence of poisoning about an AI system.")


@app.command
def data_poisoning(
    system: str,
    *,
    store: Path = Path("evidence.sqlite"),
    at: datetime | None = None,
    recheck: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Find every signed claim that the system, its weights or anything it was trained on is poisoned.

    Exit codes: 0 no claim, and the chain from the system to its training data holds; 1 poisoning is claimed; 3 no claim
    that counts, but the chain is incomplete. Claims that cannot be verified are shown and do not count.

    Args:
        system: Id of the system, as `theriac audit` or `theriac attest system` printed it.
        store: The store of credentials.
        at: Ask what held at this time (UTC) instead of now.
        recheck: First verify the whole store again; do so when the file comes from somebody else.
        json: Print machine-readable output only.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import query
    from theriac.provenance.store import Store

    moment = at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
    with Store(store) as opened:
        if recheck:
            opened.recheck()
        answer = query.data_poisoning(opened, system, at=moment)
    if json:
        print_json(answer.to_json())
    else:
        _print(answer)
    if answer.poisoned:
        return ExitCode.FOUND
    return ExitCode.NOTHING if answer.complete else ExitCode.INCONCLUSIVE


def _print(answer: "Answer") -> None:
    from rich.console import Console

    from theriac.cli.options import printable

    console = Console(highlight=False, markup=False, soft_wrap=True)
    claims = [claim for claim in answer.attestations if claim.accepted]
    if claims:
        console.print(f"POISONED: {len(claims)} signed claim(s)", style="bold red")
    elif answer.complete:
        console.print("No claim of poisoning, and the chain of credentials is complete.", style="bold")
    else:
        console.print("INCOMPLETE: no claim of poisoning that counts, but nobody can tell.", style="bold yellow")
    if answer.attestations:
        console.print(_table("Claims of poisoning", answer.attestations))
    if answer.checks:
        console.print(_table("Searches that found none", answer.checks))
    for warning in answer.warnings:
        console.print(printable(f"! {warning}"), style="yellow")
    for part in answer.unchecked:
        console.print(printable(f"! nobody searched {part} for poisoning"), style="yellow")


def _table(title: str, claims: "list[Attestation]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from theriac.cli.options import printable

    table = Table(title=title, title_justify="left", show_lines=True)
    for column in ("about", "claim", "by", "counts"):
        table.add_column(column, overflow="fold")
    for claim in claims:
        said = [str(claim.details.get(name, "")) for name in ("type", "severity", "verdict", "description", "examined")]
        limits = claim.details.get("limits")
        said += [f"not looked at: {limit}" for limit in limits] if isinstance(limits, list) else []
        cells = (
            f"{claim.component_kind} {claim.component_name}",
            "\n".join(filter(None, said)),
            f"{claim.issuer}\n{claim.date}",
            "yes" if claim.accepted else f"no: {claim.why_not}",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
