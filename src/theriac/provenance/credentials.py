"""Credentials: W3C Verifiable Credentials (data model 2.0) about AI systems, issued and verified.

A credential says who claims what since when, and its proof ties that to a key. ``verify`` says whether the proof holds;
it does not say whether the signer deserves trust.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from theriac.provenance.canonical import (
    Document,
    Invalid,
    check_depth,
    digest_of,
    evenly_laid_out,
    parse,
)
from theriac.provenance.facts import Facts, facts_of
from theriac.provenance.keys import SigningKey
from theriac.provenance.kinds import check_subject, kind_of, schema_url
from theriac.provenance.proof import sign, signer_of

CONTEXT = "https://www.w3.org/ns/credentials/v2"
UNDEFINED_TERMS = "https://www.w3.org/ns/credentials/undefined-terms/v2"
CLOCK_SKEW = timedelta(minutes=5)
Owns = Callable[[str, str], bool]
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True)
class Envelope:
    """What a credential whose proof holds says about itself.

    Attributes:
        facts: What it says, as far as the graph needs it.
        issuer: Who claims it.
        signer: The DID of the key that signed; the same as ``issuer`` unless ``bound`` is false.
        bound: Whether the key is known to be the issuer's.
        warnings: What could not be checked.
        profile: How it was signed, one of :data:`theriac.provenance.profiles.PROFILES`.
        weak: Whether that profile proves less than W3C's.
    """

    id: str | None
    kind: str | None
    facts: Facts
    issuer: str
    signer: str
    bound: bool
    warnings: tuple[str, ...] = ()
    profile: str = "w3c"
    weak: bool = False


@dataclass(frozen=True)
class Verification:
    """Whether a credential holds. What else is known of it is given even if it does not, but then proves nothing."""

    valid: bool
    reason: str = ""
    id: str | None = None
    kind: str | None = None
    issuer: str | None = None
    signer: str | None = None
    digest: str | None = None
    warnings: tuple[str, ...] = ()
    profile: str = "w3c"
    weak: bool = False


def issue(
    kind: str,
    subject: Mapping[str, Any],
    key: SigningKey,
    *,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    id: str | None = None,
) -> Document:
    """Returns a signed credential that says ``subject``.

    Args:
        kind: One of :data:`theriac.provenance.kinds.KINDS`.
        subject: What is claimed.
        key: The issuer's key.
        valid_from: Since when it holds; now by default. Taken as the time of signing, too.
        valid_until: Until when it holds; for ever by default.
        id: The credential's URI; a random ``urn:uuid`` by default.

    Raises:
        Invalid: If the subject does not fit the kind.
    """
    check_subject(kind, subject)
    start = to_text(valid_from or datetime.now(UTC))
    document: Document = {
        "@context": [CONTEXT, UNDEFINED_TERMS],
        "id": id or f"urn:uuid:{uuid.uuid4()}",
        "type": ["VerifiableCredential"],
        "issuer": key.did,
        "validFrom": start,
    }
    if valid_until is not None:
        document["validUntil"] = to_text(valid_until)
    document["credentialSchema"] = {"id": schema_url(kind), "type": "JsonSchema"}
    document["credentialSubject"] = dict(subject)
    return sign(document, key, created=start)


def open_envelope(document: Document, *, owns: Owns | None = None) -> Envelope:
    """Checks everything about a credential that does not change with time: shape, subject, proof, issuer.

    Args:
        document: The credential.
        owns: Says whether a key (a did:key) is an issuer's (a ``did:web`` or a URL); by default nobody knows.

    Raises:
        Invalid: If something does not hold.
    """
    issuer, facts, warnings = check_shape(document)
    signer = signer_of(document)
    bound = issuer == signer or (owns is not None and owns(issuer, signer))
    if not bound and not issuer.startswith("https://"):
        raise Invalid(f"signed by {signer}, not by its issuer {issuer[:200]!r}")
    if not bound:
        unbound = f"nothing ties the key {signer} to {issuer[:200]!r}: take it as signed by the key alone"
        warnings = (unbound, *warnings)
    return Envelope(
        id=document.get("id"),
        kind=facts.kind or None,
        facts=facts,
        issuer=issuer,
        signer=signer,
        bound=bound,
        warnings=warnings,
    )


def check_shape(document: Document) -> tuple[str, Facts, tuple[str, ...]]:
    """Checks all but the proof; returns the issuer as stated, the facts, and what could not be checked.

    Raises:
        Invalid: If it is not a credential, or its subject does not fit its kind.
    """
    context, types = document.get("@context"), document.get("type")
    if not isinstance(context, list) or not context or context[0] != CONTEXT:
        raise Invalid(f"not a verifiable credential: its first @context is not {CONTEXT}")
    if "VerifiableCredential" not in (types if isinstance(types, list) else [types]):
        raise Invalid("not a verifiable credential: its type lacks VerifiableCredential")
    if not isinstance(document.get("id", ""), str):
        raise Invalid("the id is not text")
    facts = facts_of(document)
    issuer = _issuer_of(document)
    validity(document)
    warnings = []
    if not facts.kind:
        warnings.append("its schema is not known: what it says was not checked")
    if "credentialStatus" in document:
        warnings.append("its status list was not looked up: it may have been revoked")
    return issuer, facts, tuple(warnings)


def verify(
    credential: bytes | Document,
    *,
    at: datetime | None = None,
    signer: str | None = None,
    any_layout: bool = False,
    opening: Callable[[Document], Envelope] = open_envelope,
) -> Verification:
    """Says whether a credential holds. Never raises for a bad credential.

    A file (``bytes``) must also be laid out evenly, as JSON writers do (see ``canonical.evenly_laid_out``), so that no
    changed byte goes unseen, not even in white space; ``any_layout`` asks for the signed content only.

    Args:
        credential: A file's bytes, or the parsed document.
        at: The time at which it should hold; now by default.
        signer: The DID of the key that must have signed it.
        any_layout: Accept any layout of the file.
        opening: How to check what does not change with time; with W3C's profile by default. Another is
            :func:`theriac.provenance.profiles.open_foreign`.
    """
    document: Document = {}
    try:
        document = parse(credential) if isinstance(credential, bytes) else credential
        check_depth(document)
        digest = digest_of(document)
        if isinstance(credential, bytes) and not any_layout and not evenly_laid_out(credential, document):
            raise Invalid("a byte outside the signed content was changed, or the file is laid out by hand")
        envelope = opening(document)
        check_time(document, at or datetime.now(UTC))
        if signer is not None and envelope.signer != signer:
            raise Invalid(f"signed by {envelope.signer}, not by {signer}")
    except Invalid as error:
        return Verification(valid=False, reason=str(error), **_claimed(document))
    return Verification(
        valid=True,
        id=envelope.id,
        kind=envelope.kind,
        issuer=envelope.issuer,
        signer=envelope.signer,
        digest=digest,
        warnings=envelope.warnings,
        profile=envelope.profile,
        weak=envelope.weak,
    )


def check_time(document: Document, at: datetime) -> None:
    """Raises ``Invalid`` if the credential does not hold at that time; five minutes of clock skew are forgiven."""
    not_before, not_after = validity(document)
    if not_before is not None and at + CLOCK_SKEW < not_before:
        raise Invalid(f"not valid before {to_text(not_before)}")
    if not_after is not None and at > not_after:
        raise Invalid(f"expired at {to_text(not_after)}")


def link_to(document: Document) -> dict[str, str]:
    """Returns the link by which other credentials name this one: its id and the digest of its signed document."""
    return {"id": document["id"], "hash": digest_of(document)}


def to_text(moment: datetime) -> str:
    """Returns an XML Schema dateTimeStamp in UTC, to the second.

    >>> to_text(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def validity(document: Document) -> tuple[datetime | None, datetime | None]:
    """Returns since when and until when both the claim and its proof hold."""
    proof = document.get("proof")
    proof = proof if isinstance(proof, dict) else {}
    times = ((document, "validFrom", "validUntil"), (proof, "created", "expires"))
    starts = [moment for holder, name, _ in times if (moment := _moment(holder, name))]
    ends = [moment for holder, _, name in times if (moment := _moment(holder, name))]
    return max(starts, default=None), min(ends, default=None)


def _moment(holder: Document, name: str) -> datetime | None:
    text = holder.get(name)
    if text is None:
        return None
    try:
        return _read_moment(text)
    except (ValueError, OverflowError, TypeError):
        raise Invalid(f"{name} is not a date and time with its zone") from None


@lru_cache(maxsize=1024)  # the same times are asked for again: signing, validity, and of a whole batch
def _read_moment(text: str) -> datetime:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError
    return datetime.fromisoformat(f"{found[1]}{(found[2] or '')[:7]}{found[3]}").astimezone(UTC)


def _issuer_of(document: Document) -> str:
    issuer = document.get("issuer")
    if isinstance(issuer, dict):
        issuer = issuer.get("id")
    if not isinstance(issuer, str) or not issuer:
        raise Invalid("there is no issuer")
    return issuer


def _claimed(document: Document) -> dict[str, Any]:
    """Returns what a broken credential says about itself."""
    facts: dict[str, Any] = {"kind": kind_of(document)}
    if isinstance(document.get("id"), str):
        facts["id"] = document["id"]
    try:
        facts["issuer"] = _issuer_of(document)
        facts["digest"] = digest_of(document)
    except (Invalid, RecursionError):
        pass
    return facts
