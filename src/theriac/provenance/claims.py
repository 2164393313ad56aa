"""The claims that others make about the parts of a system, and whether they count."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from theriac.provenance.canonical import Document
from theriac.provenance.facts import details_of
from theriac.provenance.policy import Policy
from theriac.provenance.snapshot import Claim, Snapshot
from theriac.provenance.tables import CLAIMS, State, key_of_id
from theriac.provenance.walk import Chain, Node, flaw

_SEVERITIES = ("critical", "high", "medium", "low")


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
        type: What kind of claim: ``poisoning``, ``poisoning-check``, ``bias`` …
        details: What is claimed.
        evidence: The detectors' results.
        path: The ids from the system to the component.
        accepted: Whether the claim counts.
        why_not: Why it does not count.
        profile: How it is signed: ``w3c``, one of the weak ways, or ``unsigned``.
        digest: Of the signed document.
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
    profile: str
    digest: str


def gather(
    view: Snapshot,
    chain: Chain,
    types: Sequence[str],
    at: datetime,
    policy: Policy,
    parts: Iterable[Node] | None = None,
) -> list[Attestation]:
    """Returns all claims of these types about the parts of a chain: first those that count, the most severe first.

    A claim whose signature does not hold, or that names another document than the one that is there, makes the chain
    incomplete: it may be a true warning that somebody damaged.

    Args:
        view: Where to look.
        chain: The walked chain; it gets gaps.
        types: For instance ``poisoning``; ``attestation`` for TAIBOM's of anything.
        at: The time at which claims must hold.
        policy: Whose claims count.
        parts: Only about these parts; by default about all.
    """
    codes = [code for kind, code in CLAIMS.items() if kind.removesuffix("-attestation") in types]
    nodes: dict[bytes, list[Node]] = {}
    for node in chain.nodes.values() if parts is None else parts:
        nodes.setdefault(key_of_id(node.entry.id), []).append(node)
    found: dict[str, Attestation] = {}
    if chain.crowds and parts is None:
        for attestation in _about_crowds(view, chain, codes, at, policy):
            _keep(found, attestation)
    for claim in view.claims(nodes, codes):
        about = nodes[claim.target]
        named = [node for node in about if node.entry.pk == claim.to]
        _keep(found, _weigh(claim, (named or about)[0], bool(named), chain, at, policy))
    return sorted(found.values(), key=_order)


def _about_crowds(
    view: Snapshot, chain: Chain, codes: Sequence[int], at: datetime, policy: Policy
) -> Iterable[Attestation]:
    holders = {node.entry.pk: node for node in chain.crowds}
    sound = {pk for pk, node in chain.nodes.items() if node.sound}
    held = [row for row in view.claimed_among(holders, codes) if row[3] and row[2] not in sound]
    entries = view.with_pks({leaf for _, _, leaf, _ in held if leaf is not None})
    about: dict[bytes, Node] = {}
    for holder, key, leaf, _ in held:
        above, entry = holders[holder], entries[leaf or 0]
        if key not in about or above.sound:
            about[key] = Node(entry, (*above.path, entry.id), above.sound and not flaw(entry, at))
    for claim in view.claims(about, codes):
        node = about[claim.target]
        yield _weigh(claim, node, claim.to == node.entry.pk, chain, at, policy)


def _weigh(claim: Claim, node: Node, named: bool, chain: Chain, at: datetime, policy: Policy) -> Attestation:
    entry = claim.entry
    kind = str(entry.kind).removesuffix("-attestation")
    why_not = entry.reason if not entry.valid else "" if named else _MISNAMED.get(claim.state, _OTHER)
    if why_not:
        chain.gap(f"the attestation {entry.id} does not hold: {why_not}")
    elif not node.sound:
        why_not = "the chain to what it is about does not hold"
    else:
        why_not = flaw(entry, at) or policy.refuses(entry, kind, node.path)
    claimed = entry.subject.get("attestation")
    evidence = claimed.get("evidence") if isinstance(claimed, dict) else None
    return Attestation(
        id=entry.id,
        issuer=entry.issuer,
        date=str(entry.document.get("validFrom")),
        component={"id": _component(entry.subject, node), "hash": claim.hash},
        component_kind=str(node.entry.kind),
        component_name=node.entry.name,
        type=kind,
        details=details_of(entry.document),
        evidence=evidence if isinstance(evidence, list) else [],
        path=node.path,
        accepted=not why_not,
        why_not=why_not,
        profile=entry.profile,
        digest=entry.digest,
    )


_OTHER = "its hash is not that of the credential it names"
_MISNAMED = {
    State.CONFLICT: "several credentials have the id it names, and its hash is of none of them",
    State.BROKEN: "the credential that it names does not hold",
}


def _component(subject: Document, node: Node) -> str:
    component = subject.get("component")
    id = component.get("id") if isinstance(component, dict) else None
    return id if isinstance(id, str) else node.entry.id


def _keep(found: dict[str, Attestation], attestation: Attestation) -> None:
    known = found.get(attestation.digest)
    if known is None or (attestation.accepted and not known.accepted):
        found[attestation.digest] = attestation


def _order(claim: Attestation) -> tuple[bool, int, str]:
    severity = str(claim.details.get("severity", "")).lower()
    return not claim.accepted, _SEVERITIES.index(severity) if severity in _SEVERITIES else 0, claim.id
