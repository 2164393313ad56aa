"""Turns what an audit found into signed credentials, linked to a description of the system."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from theriac.audit.examine import Opened, Outcome
from theriac.files import fetch, sha256_file
from theriac.finding import Finding
from theriac.provenance.canonical import Document, digest_of, to_bytes
from theriac.provenance.claims import gather
from theriac.provenance.describe import SystemCredentials, describe_system, trained_model
from theriac.provenance.issuer import Artifact, Evidence, Issuer, write_credential
from theriac.provenance.keys import default_folder, load_or_create
from theriac.provenance.kinds import kind_of
from theriac.provenance.lineage import read_lineage
from theriac.provenance.picture import svg
from theriac.provenance.policy import EVERYBODY
from theriac.provenance.store import Store
from theriac.provenance.walk import walk
from theriac.report import CredentialSummary

TYPES = {"model": "backdoor", "data": "data injection", "input": "triggered inputs"}


@dataclass(frozen=True)
class Signed:
    """The credentials of one audit.

    Attributes:
        system_id: Id of the running system's credential.
        summaries: One line per credential, for the report.
        files: The credential files.
        chain: Picture of the chain from the system to its data, SVG.
    """

    system_id: str
    summaries: list[CredentialSummary]
    files: list[Path]
    chain: str


def sign(opened: Opened, outcome: Outcome, out: Path, store: Path, keys: Path | None) -> Signed:
    """Describes the system and attests each finding; writes ``out/credentials`` and adds everything to ``store``.

    A poisoned subject gets a poisoning attestation, any other a statement of what was checked and with what limits.
    A finding about inputs is about the running system. The key is made on first use.
    """
    key = load_or_create(keys or default_folder())
    with Store(store, write=True) as credentials:
        issuer = Issuer(key, credentials)
        data = _training_data(opened)
        described = _describe(issuer, opened, data)
        for finding in outcome.findings:
            _attest(issuer, _component(issuer, described, finding, data), finding, outcome.not_checked)
        if outcome.repaired and outcome.repair:
            weights = issuer.data(Artifact.at(outcome.repaired, f"{opened.model.name} (repaired)"), weights=True)
            _attest(issuer, weights, outcome.repair, [])
    files = {
        document["id"]: write_credential(document, out / "credentials") for document in issuer.credentials.values()
    }
    summaries = [
        CredentialSummary(
            kind=kind_of(document) or "credential",
            about=_about(document, issuer.credentials),
            id=document["id"],
            issuer=document["issuer"],
            file=str(files[document["id"]].relative_to(out)),
            digest=sha256_file(files[document["id"]]),
            content=to_bytes(document).decode(),
        )
        for document in issuer.credentials.values()
    ]
    return Signed(described.id, summaries, list(files.values()), _chain(store, described.id))


def _chain(store: Path, system_id: str) -> str:
    """Returns the picture of the chain from the system to its data, with all that is said of its parts."""
    now = datetime.now(UTC)
    with Store(store) as credentials, credentials.snapshot() as view:
        chain = walk(view, system_id, now, EVERYBODY)
        return svg(chain, gather(view, chain, ["poisoning", "poisoning-check"], now, EVERYBODY))


def _about(document: Document, others: Mapping[str, Document]) -> str:
    """Returns the name of what ``document`` describes or makes a claim about."""
    subject = document["credentialSubject"]
    described = others[subject["component"]["id"]]["credentialSubject"] if "component" in subject else subject
    return str(described["name"])


def _training_data(opened: Opened) -> Artifact | None:
    source = opened.system.training_data
    if opened.training is None or source is None:
        return None
    return Artifact.read(opened.training.name, opened.training.sha256, source.path)


def _describe(issuer: Issuer, opened: Opened, data: Artifact | None) -> SystemCredentials:
    """Describes the system; what was signed when the model was trained is taken over, not described again."""
    system, model = opened.system, opened.model
    lineage = read_lineage(fetch(system.model.path).path)
    for document in lineage:
        issuer.adopt(document)
        issuer.credentials[document["id"]] = document
    return describe_system(
        issuer,
        system.name,
        weights=Artifact.read(model.name, model.sha256, system.model.path),
        data=[data] if data else [],
        settings={
            "architecture": model.architecture,
            "classes": len(model.classes),
            "image_size": model.image_size,
        },
        trained=trained_model(lineage),
    )


def _component(issuer: Issuer, described: SystemCredentials, finding: Finding, data: Artifact | None) -> Document:
    """Returns the credential that a finding is about."""
    if finding.subject.kind == "model":
        return described.weights
    if finding.subject.kind != "data" or data is None:
        return described.system
    known = [document for document in described.data if document["credentialSubject"]["hash"] == data.hash]
    # What was examined may be other data than those that the model's lineage names: then they are not in its chain.
    return known[0] if known else issuer.data(data)


def _attest(issuer: Issuer, component: Document, finding: Finding, not_checked: list[str]) -> None:
    evidence = Evidence(
        detector=finding.method.name,
        version=finding.method.version,
        score=finding.probability,
        settings=digest_of(finding.method.settings),
        finding=digest_of(finding.repeatable()),
    )
    if finding.verdict == "poisoned":
        severity: Literal["medium", "high"] = "high" if finding.probability >= 0.9 else "medium"
        kind = TYPES[finding.subject.kind]
        issuer.poisoning(component, type=kind, severity=severity, description=finding.summary, evidence=[evidence])
    else:
        limits = [*finding.not_checked, *not_checked]
        issuer.check(
            component, verdict=finding.verdict, examined=finding.summary, limits=limits[:100], evidence=[evidence]
        )
