"""CycloneDX ML-BOMs, versions 1.6 and 1.7: what a system was made of, and who claims what about the parts.

Components are the parts of the chain; ``dependencies`` are the links that hold. Claims are ``declarations``, each with
who makes it and whether it counts; those of poisoning, pollution and vulnerabilities are ``vulnerabilities``, too, for
tools that read nothing else. What CycloneDX has no field for is a property named ``theriac:…``.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from theriac import __version__
from theriac.errors import UserError
from theriac.provenance.canonical import Document
from theriac.provenance.claims import Attestation
from theriac.provenance.diagram import key_of, parts_of
from theriac.provenance.linking import INFERENCING, TRAINING, TRAINING_DATA, WEIGHTS
from theriac.provenance.snapshot import Snapshot
from theriac.provenance.walk import Chain, Node, leaves

MOST = 100_000  # so many data sets of crowded packs are listed; those that claims are about always are
CHECKED = 500  # so many components are checked: the validator takes some 20 ms for each
_MISSING = "the BOM was not checked against its schema: install theriac[bom] for that"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://theriac.dev/cyclonedx")
_SEVERITIES = frozenset({"critical", "high", "medium", "low", "info", "none"})
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_TYPES = {
    INFERENCING: "application",
    TRAINING: "application",
    WEIGHTS: "machine-learning-model",
    TRAINING_DATA: "data",
    "data-pack": "data",
    "config": "data",
    "code": "application",
    "sbom": "file",
}
_CONTENTS = {TRAINING_DATA: "dataset", "data-pack": "dataset", "config": "configuration"}

Version = Literal["1.6", "1.7"]


def to_cyclonedx(
    view: Snapshot,
    chain: Chain,
    claims: Sequence[Attestation],
    *,
    timestamp: datetime,
    version: Version = "1.6",
) -> Document:
    """Returns the ML-BOM of a system.

    The same chain and claims give the same document, its serial number included, but for the time.

    Args:
        view: Where the chain was walked.
        chain: The chain; its first root is what the BOM is about.
        claims: What is claimed about its parts.
        timestamp: When the BOM is made.
        version: Of CycloneDX.

    Raises:
        UserError: If the chain is empty.
    """
    if not chain.roots:
        raise UserError("; ".join(chain.gaps[:1]) or "nothing is known of this system", do="name the id of a system")
    parts = _Parts(view, chain, {claim.component["id"] for claim in claims})
    components = [parts.component(node) for node in parts.nodes]
    complete = chain.complete and not parts.left_out
    metadata = {
        "tools": {"components": [{"type": "application", "name": "theriac", "version": __version__}]},
        "component": components[0],
        "properties": _properties(complete=complete, gap=chain.gaps[:1000], note=chain.notes[:1000]),
    }
    bom: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": metadata,
        "components": components[1:],
        "dependencies": parts.dependencies(),
        "compositions": [
            {
                "aggregate": "complete" if complete else "incomplete",
                "dependencies": [parts.ref(node) for node in chain.roots],
            }
        ],
    }
    if claims:
        bom["declarations"] = _declarations(claims, parts, chain.roots[0].entry.issuer)
    flaws = [claim for claim in claims if claim.type in ("poisoning", "pollution", "vulnerability")]
    if flaws:
        bom["vulnerabilities"] = [_vulnerability(claim, parts) for claim in flaws]
    serial = uuid.uuid5(_NAMESPACE, json.dumps(bom, sort_keys=True))
    metadata["timestamp"] = timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"serialNumber": f"urn:uuid:{serial}", **bom}


def validate_cyclonedx(bom: Document) -> str:
    """Checks a BOM strictly against its version's schema.

    Returns:
        Why it was not checked; empty if it was, and is valid.

    Raises:
        UserError: If it is not valid: an error of ours, or a text in a credential that the format cannot hold.
    """
    if len(bom["components"]) > CHECKED:
        return f"the BOM was not checked against its schema: that takes too long for more than {CHECKED} components"
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        return _MISSING
    try:
        error = JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(json.dumps(bom))
    except MissingOptionalDependencyException:
        return _MISSING
    if error is not None:
        said = " ".join(str(error.data).split())[:300]
        raise UserError(f"the BOM is not valid CycloneDX: {said}", do="please report it")
    return ""


class _Parts:
    """The parts of a chain, with the names by which a BOM refers to them."""

    def __init__(self, view: Snapshot, chain: Chain, claimed: set[str]) -> None:
        first = chain.roots[0]
        others = [node for node in chain.nodes.values() if node.entry.pk != first.entry.pk]
        self.nodes = [chain.nodes.get(first.entry.pk, first), *others]
        self.diagram = parts_of(chain)
        self.held: dict[str, list[str]] = {}
        self.broken: dict[str, list[str]] = {}
        for arrow in self.diagram.arrows:
            (self.held if arrow.holds else self.broken).setdefault(arrow.source, []).append(arrow.target)
        self.left_out: dict[int, int] = {}
        self._add_leaves(view, chain, claimed)
        self.by_key = {key_of(node): node for node in self.nodes}
        self.by_id: dict[str, list[Node]] = {}
        for node in self.nodes:
            self.by_id.setdefault(node.entry.id, []).append(node)

    def _add_leaves(self, view: Snapshot, chain: Chain, claimed: set[str]) -> None:
        listed = {node.entry.pk for node in self.nodes}
        for holder, leaf in leaves(view, chain.crowds, chain.at):
            if leaf.entry.pk not in listed:
                if len(listed) >= MOST and leaf.entry.id not in claimed:
                    self.left_out[holder.entry.pk] = self.left_out.get(holder.entry.pk, 0) + 1
                    continue
                listed.add(leaf.entry.pk)
                self.nodes.append(leaf)
            (self.held if leaf.sound else self.broken).setdefault(key_of(holder), []).append(key_of(leaf))

    def ref(self, node: Node) -> str:
        """Returns the name of a part: the id of its credential, with the digest where others have that id."""
        alone = len(self.by_id[node.entry.id]) == 1
        return node.entry.id if alone else f"{node.entry.id}#{node.entry.digest}"

    def about(self, claim: Attestation) -> str:
        """Returns the name of the part that a claim is about."""
        nodes = self.by_id.get(claim.component["id"], [])
        named = [node for node in nodes if node.path == claim.path] or nodes
        return self.ref(named[0]) if named else claim.component["id"]

    def component(self, node: Node) -> Document:
        """Returns a part as CycloneDX describes it."""
        entry, key = node.entry, key_of(node)
        component: dict[str, Any] = {
            "type": _TYPES.get(node.role, "file"),
            "bom-ref": self.ref(node),
            "name": entry.name or entry.id,
            **_version(entry.subject),
            **_hashes(entry.content),
            "externalReferences": [{"type": "attestation", "url": _url(entry.id)}, *_bom_link(node)],
            "properties": _properties(
                kind=node.role or "unknown",
                credential=entry.digest,
                issuer=entry.issuer,
                signed=entry.profile,
                sound=node.sound,
                invalid=entry.reason,
                hash="" if _hashes(entry.content) else entry.content,
                omsRootDigest=entry.subject.get("omsRootDigest") or "",
                broken_link=[self._id(target) for target in self.broken.get(key, ())],
                data_sets_not_listed=self.left_out.get(entry.pk, ""),
            ),
        }
        if contents := _CONTENTS.get(node.role):
            component["data"] = [{"type": contents, "name": entry.name or entry.id}]
        if node.role == WEIGHTS:
            self._describe_model(component, node)
        return component

    def dependencies(self) -> list[Document]:
        """Returns the links that hold."""
        return [
            {"ref": self.ref(node), "dependsOn": list(dict.fromkeys(self.ref(part) for part in self._below(node)))}
            for node in self.nodes
        ]

    def _id(self, key: str) -> str:
        box = self.diagram.boxes.get(key)
        return box.id if box else self.by_key[key].entry.id

    def _below(self, node: Node) -> list[Node]:
        return [self.by_key[key] for key in self.held.get(key_of(node), ()) if key in self.by_key]

    def _describe_model(self, component: dict[str, Any], weights: Node) -> None:
        ancestors = [part for part in self._below(weights) if part.role == WEIGHTS]
        if ancestors:
            described = [
                {
                    "type": "machine-learning-model",
                    "name": part.entry.name or part.entry.id,
                    **_hashes(part.entry.content),
                    "externalReferences": [{"type": "attestation", "url": _url(part.entry.id)}],
                }
                for part in ancestors
            ]
            component["pedigree"] = {"ancestors": described}
        data = [{"ref": self.ref(node)} for node in self._trained_on(weights)]
        component["modelCard"] = {"modelParameters": {"datasets": data}} if data else {}

    def _trained_on(self, weights: Node) -> list[Node]:
        """Returns the data sets of the training systems that somebody says made these weights."""
        key = key_of(weights)
        pending = [
            node
            for node in self.nodes
            if node.role == "config" and (key in self.held.get(key_of(node), ()) or node in self._below(weights))
        ]
        seen: dict[str, Node] = {}
        for node in pending:  # grows as it goes
            for part in self._below(node):
                if part.role in (TRAINING, TRAINING_DATA, "data-pack") and key_of(part) not in seen:
                    seen[key_of(part)] = part
                    pending.append(part)
        return [node for node in seen.values() if node.role == TRAINING_DATA]


def _declarations(claims: Sequence[Attestation], parts: _Parts, owner: str) -> Document:
    issuers = sorted({claim.issuer for claim in claims})
    assessors = [
        {"bom-ref": f"assessor:{issuer}", "thirdParty": issuer != owner, "organization": {"name": issuer}}
        for issuer in issuers
    ]
    attestations = []
    for issuer in issuers:
        by_weight: dict[str, list[str]] = {}
        for claim in claims:
            if claim.issuer == issuer:
                by_weight.setdefault(_weight(claim), []).append(f"claim:{claim.digest}")
        said = [{"claims": refs, "confidence": {"rationale": why}} for why, refs in sorted(by_weight.items())]
        attestations.append({"summary": f"What {issuer} claims", "assessor": f"assessor:{issuer}", "map": said})
    return {
        "assessors": assessors,
        "attestations": attestations,
        "claims": [
            {
                "bom-ref": f"claim:{claim.digest}",
                "target": parts.about(claim),
                "predicate": _predicate(claim),
                "reasoning": _weight(claim),
                "evidence": [f"evidence:{claim.digest}"],
                "externalReferences": [{"type": "attestation", "url": _url(claim.id)}],
            }
            for claim in claims
        ],
        "evidence": [_evidence(claim) for claim in claims],
    }


def _evidence(claim: Attestation) -> Document:
    said = json.dumps({"details": claim.details, "evidence": claim.evidence}, ensure_ascii=False, sort_keys=True)
    attachment = {"contentType": "application/json", "content": said}
    return {
        "bom-ref": f"evidence:{claim.digest}",
        "description": f"What the attestation {claim.id} says, signed: {claim.profile}",
        "data": [{"name": claim.type, "contents": {"attachment": attachment}}],
        **_created(claim.date),
    }


def _vulnerability(claim: Attestation, parts: _Parts) -> Document:
    severity = str(claim.details.get("severity", "")).lower()
    known = claim.details.get("id") if claim.type == "vulnerability" else None
    vulnerability = {
        "bom-ref": f"vulnerability:{claim.digest}",
        "id": known if isinstance(known, str) else claim.id,
        "source": {"name": claim.issuer},
        "ratings": [{"severity": severity if severity in _SEVERITIES else "unknown", "method": "other"}],
        "description": _predicate(claim),
        "detail": _weight(claim),
        **_created(claim.date),
        "affects": [{"ref": parts.about(claim)}],
        "properties": _properties(
            attestation=claim.id, accepted=claim.accepted, severity=claim.details.get("severity")
        ),
    }
    if not claim.accepted:
        vulnerability["analysis"] = {"state": "in_triage", "detail": _weight(claim)}
    return vulnerability


def _weight(claim: Attestation) -> str:
    if claim.accepted:
        return "counts" if claim.profile == "w3c" else f"counts, though its signature is weak: {claim.profile}"
    return f"does not count: {claim.why_not}"


def _predicate(claim: Attestation) -> str:
    words = [claim.details.get(name) for name in ("type", "id", "verdict", "severity", "description")]
    return ": ".join((claim.type, *(word for word in words if isinstance(word, str) and word)))


def _created(date: str) -> dict[str, str]:
    try:
        moment = datetime.fromisoformat(date)
        return {"created": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if moment.tzinfo else {}
    except (ValueError, OverflowError):
        return {}


def _version(subject: Mapping[str, Any]) -> dict[str, str]:
    version = subject.get("version")
    return {"version": version[:1024]} if isinstance(version, str) else {}


def _hashes(content: str) -> dict[str, Any]:
    """Returns a SHA-256 as CycloneDX has it; TAIBOM's are bare. Merkle roots are not hashes of a file's bytes."""
    value = content.removeprefix("sha256:")
    return {"hashes": [{"alg": "SHA-256", "content": value.lower()}]} if _HEX.fullmatch(value) else {}


def _bom_link(node: Node) -> list[Document]:
    serial, version = node.entry.subject.get("serialNumber"), node.entry.subject.get("version")
    if node.role != "sbom" or not isinstance(serial, str) or not isinstance(version, int):
        return []
    return [{"type": "bom", "url": _url(f"urn:cdx:{serial.removeprefix('urn:uuid:')}/{version}")}]


def _url(id: str) -> str:
    return quote(id, safe=":/?#@!$&'()*+,;=-._~")


def _properties(**values: object) -> list[Document]:
    """Returns named values; lists give several of one name, empty ones none."""
    properties = []
    for name, value in values.items():
        several: Iterable[object] = value if isinstance(value, list) else [value]
        for one in several:
            text = str(one).lower() if isinstance(one, bool) else str(one) if one is not None else ""
            if text:
                properties.append({"name": f"theriac:{name.replace('_', '-')}", "value": text})
    return properties
