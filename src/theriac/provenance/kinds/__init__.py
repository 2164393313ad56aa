"""The kinds of credential and what each says: TAIBOM's field names, with strict schemas of our own.

Where we differ from TAIBOM v1.0.0: unknown fields are refused (save in an SBOM); the ``hash`` of a link is the digest
of the linked credential, so that a substitute is noticed; digests name their algorithm; a system may have no code (a
missing fact is left out, not invented); data say what they were made from; an attestation carries the machine's
evidence; and there are statements about searches that found nothing, and retractions. TAIBOM's own credentials are
read as they are (:mod:`theriac.provenance.foreign`).
"""

from typing import Any

from pydantic import ValidationError

from theriac.provenance.canonical import Document, Invalid
from theriac.provenance.kinds import attestations, components, ours
from theriac.provenance.kinds.base import Strict
from theriac.provenance.kinds.ours import may_retract
from theriac.provenance.kinds.urls import SCHEMA_ROOT, SCHEMA_VERSION, named_by, schema_url

__all__ = [
    "CLAIMS",
    "COMPONENTS",
    "FOREIGN_ONLY",
    "KINDS",
    "RELATIONS",
    "SCHEMA_ROOT",
    "SCHEMA_VERSION",
    "Strict",
    "check_subject",
    "claim_of",
    "first_fault",
    "is_foreign",
    "json_schema",
    "kind_of",
    "links_of",
    "may_retract",
    "recognise",
    "schema_url",
]

KINDS: dict[str, type[Strict]] = {
    "identity": components.Identity,
    "data": components.Data,
    "data-pack": components.DataPack,
    "config": components.Config,
    "sbom": components.SBOM,
    "code": components.Code,
    "ai-system": components.AISystem,
    "licence-attestation": attestations.LicenceAttestation,
    "sbom-attestation": attestations.SBOMAttestation,
    "vulnerability-attestation": attestations.VulnerabilityAttestation,
    "provided-attestation": attestations.ProvidedAttestation,
    "poisoning-attestation": attestations.PoisoningAttestation,
    "pollution-attestation": attestations.PollutionAttestation,
    "bias-attestation": attestations.BiasAttestation,
    "best-practice-attestation": attestations.BestPracticeAttestation,
    "functional-performance-attestation": attestations.FunctionalPerformanceAttestation,
    "poisoning-check-attestation": ours.PoisoningCheckAttestation,
    "checked-attestation": ours.CheckedAttestation,
    "retraction": ours.Retraction,
}
COMPONENTS = frozenset({"identity", "data", "data-pack", "config", "sbom", "code", "ai-system"})
FOREIGN_ONLY = frozenset({"attestation"})  # TAIBOM's attestation of anything; we issue the particular ones

# Where a kind names other credentials.
RELATIONS: dict[str, tuple[str, ...]] = {
    "data": ("derivedFrom",),
    "data-pack": ("datasets",),
    "config": ("aiSystem", "data"),
    "code": ("sbom",),
    "ai-system": ("code", "data"),
    "retraction": ("retracts",),
    **{kind: ("component",) for kind in (*KINDS, *FOREIGN_ONLY) if kind.endswith("attestation")},
}


# The type that a claim states, and the field that holds what is claimed; without a field it is the claim itself.
CLAIMS: dict[str, tuple[str, str]] = {
    "licence-attestation": ("License", ""),
    "sbom-attestation": ("SBOM", "sbom"),
    "vulnerability-attestation": ("vulnerability", "vulnerability"),
    "provided-attestation": ("provided", "provider"),
    "poisoning-attestation": ("poisoning", "poisoning"),
    "pollution-attestation": ("pollution", "pollution"),
    "bias-attestation": ("bias", "bias"),
    "best-practice-attestation": ("best practice", "best_practice"),
    "functional-performance-attestation": ("functional performance", ""),
    "poisoning-check-attestation": ("poisoning-check", "check"),
    "checked-attestation": ("checked", "check"),
}


def claim_of(kind: str, details: Document) -> Document:
    """Returns the ``attestation`` of a credential that claims ``details``.

    >>> claim_of("bias-attestation", {"types": ["selection bias"]})
    {'type': 'bias', 'bias': {'types': ['selection bias']}}
    """
    type, name = CLAIMS[kind]
    return {"type": type} | ({name: details} if name else details)


def recognise(document: Document) -> tuple[str, bool]:
    """Returns the kind of a credential and whether it is TAIBOM's own; ``("", False)`` if its schema is not known."""
    kind, foreign = named_by(document)
    return (kind, foreign) if foreign or kind in KINDS else ("", False)


def kind_of(document: Document) -> str | None:
    """Returns the kind of a credential, ours or TAIBOM's, or None if its schema is not known."""
    return recognise(document)[0] or None


def is_foreign(document: Document) -> bool:
    """Returns whether a credential has one of TAIBOM's own schemas."""
    return recognise(document)[1]


def check_subject(kind: str, subject: Any) -> None:
    """Raises ``Invalid`` if ``subject`` is not what a credential of this kind of ours says."""
    try:
        KINDS[kind].__pydantic_validator__.validate_python(subject)
    except ValidationError as error:
        raise Invalid(f"not a {kind} credential: {first_fault(error)}") from None
    for relation in ("datasets", "derivedFrom"):
        links = subject.get(relation)
        if links and len({link["id"] for link in links}) < len(links):
            raise Invalid(f"not a {kind} credential: {relation}: one is listed twice")


def first_fault(error: ValidationError) -> str:
    """Returns where and what the first thing is that does not fit a schema."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "credentialSubject"
    return f"{where}: {first['msg']}"


def json_schema(kind: str) -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the credentialSubject of ``kind``."""
    return KINDS[kind].model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_url(kind),
    }


def links_of(subject: Any) -> list[tuple[str, str, str]]:
    """Returns (relation, id, hash) of every link to another credential in a credentialSubject.

    >>> links_of({"name": "pack", "datasets": [{"id": "urn:a", "hash": "sha256:0"}]})
    [('datasets', 'urn:a', 'sha256:0')]
    """
    links = []
    for relation, value in subject.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and isinstance(item.get("id"), str) and isinstance(item.get("hash"), str):
                links.append((relation, item["id"], item["hash"]))
    return links
