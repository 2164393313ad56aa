"""Gathers what an audit found into the record that the report is made from."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from theriac import __version__
from theriac.audit.examine import Outcome
from theriac.finding import Subject, Table
from theriac.report import AuditReport, CredentialSummary, Reproduction, WrittenFile
from theriac.system import System


def audit_report(
    system: System,
    outcome: Outcome,
    *,
    system_id: str,
    credentials: Sequence[CredentialSummary],
    chain: str,
    command: str,
    seed: int,
    device: str,
    out: Path,
    store: Path,
) -> AuditReport:
    """Returns everything that the report of one audit shows."""
    subjects: list[Subject] = [f.subject for f in outcome.findings]
    tables = [e for e in outcome.repair.evidence if isinstance(e, Table)] if outcome.repair else []
    return AuditReport(
        system=system.name,
        system_id=system_id,
        when=datetime.now(UTC),
        version=__version__,
        subjects=subjects + ([outcome.repair.subject] if outcome.repaired and outcome.repair else []),
        findings=outcome.findings,
        repair=outcome.repair,
        repair_table=tables[0] if tables else None,
        not_checked=outcome.not_checked,
        reproduction=Reproduction(
            commands=[command],
            seed=seed,
            device=device,
            versions={"theriac": __version__, "Python": sys.version.split()[0]}
            | {name: version(name) for name in ("torch", "torchvision", "numpy", "scikit-learn")},
        ),
        credentials=list(credentials),
        chain=chain,
        evidence_commands=[
            *(f"theriac verify {out / credential.file}" for credential in list(credentials)[-1:]),
            f"theriac query data-poisoning {system_id} --store {store}",
        ],
        files=_files(outcome, out),
    )


def _files(outcome: Outcome, out: Path) -> list[WrittenFile]:
    files = [
        WrittenFile(path=str(path.relative_to(out)), what=what)
        for path, what in (
            (out / "findings" / "model.json", "the finding about the model"),
            (out / "findings" / "data.json", "the finding about the training data"),
            (out / "findings" / "data.scores.parquet", "the score of every training row"),
            (out / "findings" / "inputs.json", "the finding about the inputs"),
            (out / "findings" / "inputs.scores.parquet", "the score of every input"),
        )
        if path.exists()
    ]
    if outcome.repaired:
        files.append(WrittenFile(path=str(outcome.repaired.relative_to(out)), what="the repaired model"))
    return files
