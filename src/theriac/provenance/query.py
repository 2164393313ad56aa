"""What evidence of poisoning exists about an AI system, and whether the chain that leads to it holds.

The question is TAIBOM's ``ai_system_has_data_poisoning``. We deviate from it where it goes wrong: attestations on every
part of the chain count (TAIBOM sees those on training data only), packs may be nested, each link's digest is compared,
and an unknown system or a broken chain is reported as such instead of as "nothing found".
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from theriac.provenance.canonical import Document, Invalid
from theriac.provenance.chain import Chain, Node, walk
from theriac.provenance.credentials import check_time
from theriac.provenance.snapshot import Entry, Snapshot, StoredLink
from theriac.provenance.store import Store

_CLAIMS = {"poisoning-attestation": "poisoning", "poisoning-check-attestation": "check"}
_SEVERITIES = ("high", "medium", "low")


@dataclass(frozen=True)
class Attestation:
    """A claim about a part of the system.

    Attributes:
        id: The attestation's id.
        issuer: Who claims it.
        date: Since when the attestation holds.
        component: Id and hash of what it is about, as the attestation says.
        component_kind: The kind of that credential.
        component_name: Its name.
        type: ``poisoning`` or ``poisoning-check``.
        details: What is claimed.
        evidence: The detectors' results.
        path: The ids from the system to the component.
        accepted: Whether the claim counts.
        why_not: Why it does not count.
    """

    id: str
    issuer: str
    date: str
    component: dict[str, str]
    component_kind: str
    component_name: str
    type: str
    details: Document
    evidence: list[Any]
    path: tuple[str, ...]
    accepted: bool
    why_not: str


@dataclass(frozen=True)
class Answer:
    """The answer to a query. That nothing was found means little unless the chain is complete and was searched.

    Attributes:
        system: The system's id.
        complete: Whether every link from the system to its training data holds, and every claim could be verified.
        attestations: Claims of poisoning: first those that count, the most severe first.
        checks: Searches that found no poisoning.
        warnings: Why the answer is incomplete, and what else to know.
        nodes: The ids of the parts visited.
        unchecked: The ids of data and weights that no claim or check that counts is about.
    """

    system: str
    complete: bool
    attestations: list[Attestation]
    checks: list[Attestation]
    warnings: list[str]
    nodes: list[str]
    unchecked: list[str]

    @property
    def poisoned(self) -> bool:
        """Whether a claim of poisoning counts."""
        return any(attestation.accepted for attestation in self.attestations)

    def to_json(self) -> Document:
        """Returns the answer as a JSON value."""
        return {
            "query": "data-poisoning",
            "system": self.system,
            "mode": "extended",
            "complete": self.complete,
            "answer": self.poisoned,
            "attestations": [vars(attestation) for attestation in self.attestations],
            "checks": [vars(check) for check in self.checks],
            "warnings": self.warnings,
            "nodes": self.nodes,
            "unchecked": self.unchecked,
        }


def data_poisoning(store: Store, system_id: str, *, at: datetime | None = None) -> Answer:
    """Returns the evidence that an AI system, or anything it was made of, is poisoned.

    Claims that do not hold (bad signature, another credential's hash, expired, behind a broken link) are returned,
    marked as not accepted. One whose signature or hash is wrong makes the answer incomplete: it may be a true warning
    that somebody damaged.

    Args:
        store: Where to look.
        system_id: The id of the system's credential.
        at: The time at which credentials must hold; now by default.
    """
    moment = at or datetime.now(UTC)
    with store.snapshot() as view:
        chain = walk(view, system_id, moment)
        claims = _claims(view, chain, moment)
    attestations = sorted((claim for claim in claims if claim.type == "poisoning"), key=_order)
    checks = sorted((claim for claim in claims if claim.type != "poisoning"), key=_order)
    spoken = {claim.component["id"] for claim in claims if claim.accepted}
    parts = sorted((node for node in chain.nodes.values()), key=lambda node: (len(node.path), node.path))
    return Answer(
        system=system_id,
        complete=not chain.gaps,
        attestations=attestations,
        checks=checks,
        warnings=chain.gaps + chain.notes,
        nodes=list(dict.fromkeys(node.entry.id for node in parts)),
        unchecked=[node.entry.id for node in parts if node.entry.kind == "data" and node.entry.id not in spoken],
    )


def _claims(view: Snapshot, chain: Chain, at: datetime) -> list[Attestation]:
    parts: dict[str, list[Node]] = {}
    for node in chain.nodes.values():
        parts.setdefault(node.entry.id, []).append(node)
    links = view.links_to(parts, "component")
    sources = view.with_digests({link.source for link in links})
    claims = []
    for link in links:
        entry = sources[link.source]
        if entry.kind in _CLAIMS:
            named = [node for node in parts[link.target] if node.entry.digest == link.hash]
            claims.append(_claim(entry, link, (named or parts[link.target])[0], bool(named), chain, at))
    return claims


def _claim(entry: Entry, link: StoredLink, node: Node, named: bool, chain: Chain, at: datetime) -> Attestation:
    why_not = entry.reason
    if not why_not and not named:
        why_not = "its hash is not that of the credential it names"
    if why_not:
        chain.gaps.append(f"the attestation {entry.id} does not hold: {why_not}")
    elif not node.sound:
        why_not = "the chain to what it is about does not hold"
    else:
        try:
            check_time(entry.document, at)
        except Invalid as error:
            why_not = str(error)
    claim = entry.subject.get("attestation")
    claim = claim if isinstance(claim, dict) else {}
    details, evidence = claim.get(_CLAIMS[str(entry.kind)]), claim.get("evidence", [])
    return Attestation(
        id=entry.id,
        issuer=str(entry.document.get("issuer")),
        date=str(entry.document.get("validFrom")),
        component={"id": link.target, "hash": link.hash},
        component_kind=str(node.entry.kind),
        component_name=str(node.entry.subject.get("name")),
        type="poisoning" if entry.kind == "poisoning-attestation" else "poisoning-check",
        details=details if isinstance(details, dict) else {},
        evidence=evidence if isinstance(evidence, list) else [],
        path=node.path,
        accepted=not why_not,
        why_not=why_not,
    )


def _order(claim: Attestation) -> tuple[bool, int, str]:
    severity = claim.details.get("severity")
    return not claim.accepted, _SEVERITIES.index(severity) if severity in _SEVERITIES else 0, claim.id
