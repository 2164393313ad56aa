"""Verifying a credential once, before it is stored: everything about it that no other credential can change."""

from dataclasses import dataclass, field
from datetime import datetime

from theriac.provenance.canonical import MAX_BYTES, Document, Invalid, canonical, check_depth, digest_of_bytes, parse
from theriac.provenance.credentials import Envelope, check_shape, open_envelope, validity
from theriac.provenance.facts import Facts, Link, facts_of
from theriac.provenance.profiles import open_foreign
from theriac.provenance.proof import SUITE

W3C, UNSIGNED = "w3c", "unsigned"


@dataclass(frozen=True)
class Accepted:
    """Which credentials beside W3C's may enter a store. The weak profiles tie no signer to the content's issuer.

    Attributes:
        profiles: Weak profiles to accept: ``nqminds-jcs``, ``nqminds-2018``.
        unsigned: Accept credentials without a proof.
        key: The key that signed credentials whose proof does not name it.
        max_bytes: The size of a document up to which it is read.
    """

    profiles: frozenset[str] = frozenset()
    unsigned: bool = False
    key: str | None = None
    max_bytes: int = MAX_BYTES


class NotAccepted(Invalid):
    """A credential that would have to be asked for: without a proof, or with a weak one."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps of a credential.

    Attributes:
        digest: SHA-256 of the signed document's canonical bytes.
        facts: Its kind, label, name and links; empty if it is malformed.
        valid: Whether shape, proof and issuer hold (time aside), and why not.
        starts: Since when it holds, in seconds since 1970; None for ever.
        ends: Until when.
        signature: The proof's value of a credential of a weak profile: TAIBOM links by it.
        document: The canonical bytes.
    """

    digest: bytes
    id: str
    facts: Facts
    issuer: str
    signer: str
    profile: str
    valid: bool
    reason: str
    starts: int | None
    ends: int | None
    signature: str
    document: bytes = field(repr=False)

    @property
    def links(self) -> tuple[Link, ...]:
        """The links to other credentials."""
        return self.facts.links


def examine(credential: bytes | Document, accepted: Accepted) -> Record:
    """Verifies a credential.

    Raises:
        NotAccepted: If its proof is weak or absent and that was not asked for.
        Invalid: If it is no credential at all: not JSON, too large, without an id.
    """
    if isinstance(credential, bytes):
        document = parse(credential, max_bytes=accepted.max_bytes)
    else:
        document = credential
        check_depth(document)
    data = canonical(document)
    if len(data) > accepted.max_bytes:
        raise Invalid(f"larger than {accepted.max_bytes} bytes in canonical form")
    if not isinstance(credential, bytes):
        document = parse(data, max_bytes=accepted.max_bytes)  # what is stored can be read again
    id = document.get("id")
    if not isinstance(id, str) or not 0 < len(id) <= 500:
        raise Invalid("a credential without an id")
    digest = bytes.fromhex(digest_of_bytes(data).removeprefix("sha256:"))
    profile = profile_of(document)
    try:
        envelope, reason = _open(document, profile, accepted), ""
        facts = envelope.facts
        starts, ends = (_seconds(moment) for moment in validity(document))
        signer, issuer = envelope.signer, envelope.issuer
        if not envelope.bound and profile == W3C:
            reason = envelope.warnings[0]
    except NotAccepted:
        raise
    except Invalid as error:
        reason, starts, ends, signer = str(error), None, None, ""
        issuer = _text(document.get("issuer"))
        facts = _claimed(document)
    proof = document.get("proof")
    signature = _text(proof.get("proofValue")) if isinstance(proof, dict) and profile != W3C else ""
    record = Record(digest, id, facts, issuer, signer, profile, not reason, reason, starts, ends, signature, data)
    if b"\\u0000" in data and any("\0" in text for text in _texts(record)):
        raise Invalid("a NUL character in its text")  # PostgreSQL cannot hold it, and nobody means it
    return record


def _texts(record: Record) -> tuple[str, ...]:
    facts, hashes = record.facts, (link.hash for link in record.links)
    return record.id, record.issuer, record.signature, record.reason, facts.label, facts.name, facts.content, *hashes


def profile_of(document: Document) -> str:
    """Returns in which way a credential claims to be signed."""
    proof = document.get("proof")
    if proof is None:
        return UNSIGNED
    if not isinstance(proof, dict):
        return W3C
    if proof.get("type") == "Ed25519Signature2018":
        return "nqminds-2018"
    said = proof.get("type"), proof.get("cryptosuite", SUITE)
    return "nqminds-jcs" if said == ("DataIntegrityProof", SUITE) and "verificationMethod" not in proof else W3C


def _open(document: Document, profile: str, accepted: Accepted) -> Envelope:
    if profile == UNSIGNED:
        if not accepted.unsigned:
            raise NotAccepted("unsigned; --accept-unsigned takes it as it is")
        issuer, facts, warnings = check_shape(document)
        kind = facts.kind or None
        return Envelope(document.get("id"), kind, facts, issuer, "", False, warnings, profile=UNSIGNED, weak=True)
    if profile == W3C:
        return open_envelope(document)
    if profile not in accepted.profiles:
        raise NotAccepted(f"signed in a weak way; --profile {profile} accepts it")
    return open_foreign(document, profile, key=accepted.key)


def _claimed(document: Document) -> Facts:
    """Returns what a broken credential says about itself: its claims are shown, though they do not count."""
    try:
        return facts_of(document)
    except Invalid:
        return Facts(kind="", foreign=False, label="", name="", content="", type="", links=())


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""
