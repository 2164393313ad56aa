"""``theriac export``: what a store says about an AI system, for other tools."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.provenance.claims import Attestation
    from theriac.provenance.policy import Policy
    from theriac.provenance.snapshot import Snapshot
    from theriac.provenance.walk import Chain

app = App(name="export")
Format = Literal["cyclonedx-1.6", "cyclonedx-1.7", "credentials", "prolog", "mermaid", "svg"]
_DRAWN = ("poisoning", "pollution", "bias", "vulnerability", "poisoning-check", "checked")


@app.default
def export(
    system: str = "",
    *,
    store: str = "evidence.sqlite",
    format: Format = "cyclonedx-1.6",
    out: Path | None = None,
    policy: Path | None = None,
    at: datetime | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write what a store says about an AI system, all that it was made of, and what is claimed about it.

    cyclonedx: an ML-BOM, checked strictly if theriac[bom] is installed. credentials: the signed documents as JSON
    Lines, for `theriac import`. prolog: facts for TAIBOM's own rules, of the whole store. mermaid, svg: a picture.

    Exit codes: 0 written; 3 written, but the chain of credentials is incomplete.

    Args:
        system: Id of the system; not needed for prolog.
        store: The store of credentials, a file or a postgresql:// URL.
        format: What to write.
        out: The file to write; standard output by default.
        policy: Whose word counts, a TOML file; without it, everybody's whose signature holds.
        at: Write what held at this time (UTC) instead of now.
        json: Print where it went as JSON.
    """
    from theriac.cli.options import print_json, printable
    from theriac.provenance.policy import EVERYBODY, read_policy
    from theriac.provenance.store import Store
    from theriac.provenance.walk import Chain, walk

    if not system and format != "prolog":
        raise UserError("no system to export", do=f"theriac export ID --format {format}")
    if json and out is None:
        raise UserError("--json says where the file is", do="name one with --out")
    moment = datetime.now(UTC) if at is None else at if at.tzinfo else at.replace(tzinfo=UTC)
    trust = EVERYBODY if policy is None else read_policy(policy)
    notes: list[str] = []
    with Store(store) as opened, opened.snapshot() as view:
        chain = Chain() if format == "prolog" else walk(view, system, moment, trust)
        if not chain.roots and format != "prolog":
            raise UserError(f"{system} is not in the store", where=opened.where)
        _write(out, _lines(view, chain, format, moment, trust, notes))
    notes += chain.gaps
    if json:
        print_json({"file": str(out), "format": format, "complete": chain.complete, "notes": notes})
    else:
        for note in notes:
            print(f"! {printable(note)}", file=sys.stderr)
    return ExitCode.NOTHING if chain.complete else ExitCode.INCONCLUSIVE


def _lines(
    view: "Snapshot", chain: "Chain", format: Format, moment: datetime, trust: "Policy", notes: list[str]
) -> Iterable[str]:
    """Returns the lines of the file; ``notes`` gets what its reader should know."""
    if format == "prolog":
        from theriac.provenance.prolog import to_prolog

        return to_prolog(view)
    if format == "credentials":
        from theriac.provenance.bundle import credentials_of

        return (entry.signed.decode() for entry in credentials_of(view, chain))
    from theriac.provenance.claims import gather
    from theriac.provenance.tables import CLAIMS

    if format in ("mermaid", "svg"):
        from theriac.provenance.picture import mermaid, svg

        claims = gather(view, chain, _DRAWN, moment, trust)
        return [(svg if format == "svg" else mermaid)(chain, claims).rstrip("\n")]
    types = [kind.removesuffix("-attestation") for kind in CLAIMS]
    return [_bom(view, chain, gather(view, chain, types, moment, trust), format, moment, notes)]


def _bom(
    view: "Snapshot", chain: "Chain", claims: "list[Attestation]", format: Format, moment: datetime, notes: list[str]
) -> str:
    import json

    from theriac.provenance.cyclonedx import to_cyclonedx, validate_cyclonedx

    version: Literal["1.6", "1.7"] = "1.7" if format == "cyclonedx-1.7" else "1.6"
    bom = to_cyclonedx(view, chain, claims, timestamp=moment, version=version)
    if unchecked := validate_cyclonedx(bom):
        notes.append(unchecked)
    return json.dumps(bom, indent=2, ensure_ascii=False)


def _write(out: Path | None, lines: Iterable[str]) -> None:
    from theriac.files import replacing

    if out is None:
        for line in lines:
            sys.stdout.write(f"{line}\n")
        return
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
