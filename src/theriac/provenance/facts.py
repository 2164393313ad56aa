"""What the graph needs of a credential, ours or TAIBOM's: read once, when it is taken in."""

from dataclasses import dataclass
from typing import Any

from theriac.provenance.canonical import Document, Invalid
from theriac.provenance.foreign import check_foreign
from theriac.provenance.kinds import CLAIMS, RELATIONS, check_subject, recognise


@dataclass(frozen=True, slots=True)
class Link:
    """An edge of the graph: the credential names ``target`` as its ``relation`` and expects ``hash`` there.

    ``hash`` is as stated: in ours the digest of the target's document; in TAIBOM's the target's signature, or the
    content's hash, or a placeholder, or nothing.
    """

    relation: str
    target: str
    hash: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a credential says, as far as the graph needs it.

    Attributes:
        kind: One of ``kinds.KINDS`` or ``attestation``; empty if its schema is not known, and then so is all else.
        foreign: Whether its schema is TAIBOM's.
        label: ``Training``, ``Weights``, ``Inferencing``, or empty.
        name: What people call what it is about; empty if nothing does.
        content: The content's hash as stated: with its algorithm in ours, bare hexadecimal in TAIBOM's.
        type: An attestation's type as stated; empty for others.
        links: Every other credential that it names, each once.
    """

    kind: str
    foreign: bool
    label: str
    name: str
    content: str
    type: str
    links: tuple[Link, ...]


_UNKNOWN = Facts("", False, "", "", "", "", ())


def facts_of(document: Document) -> Facts:
    """Returns what a credential says. Its proof is not looked at.

    Raises:
        Invalid: If its subject does not fit the kind that its schema names.
    """
    kind, foreign = recognise(document)
    subject = document.get("credentialSubject")
    if not isinstance(subject, dict):
        raise Invalid("there is not exactly one credentialSubject")
    if not kind:
        return _UNKNOWN
    if foreign:
        check_foreign(kind, subject)
    else:
        check_subject(kind, subject)
    claim = subject["attestation"] if kind.endswith("attestation") else {}
    return Facts(
        kind=kind,
        foreign=foreign,
        label=subject["label"] if kind == "data" or kind == "ai-system" else "",
        name=_name(kind, subject),
        content=_content(subject.get("hash")) if kind == "data" or kind == "code" else "",
        type=claim.get("type", ""),
        links=_links(kind, subject),
    )


def details_of(document: Document) -> Document:
    """Returns what an attestation claims, as stated: its inner object; empty for anything but an attestation.

    Nothing is checked here; a document that :func:`facts_of` refuses gives what can be found in it.
    """
    kind, _ = recognise(document)
    subject = document.get("credentialSubject")
    claim = subject.get("attestation") if isinstance(subject, dict) and kind.endswith("attestation") else None
    if not isinstance(claim, dict):
        return {}
    inner = claim.get(CLAIMS.get(kind, ("", ""))[1])
    if isinstance(inner, dict):
        return inner
    # of TAIBOM's attestation of anything the kind does not tell the type
    return {name: value for name, value in claim.items() if name != "type" or kind == "attestation"}


def _links(kind: str, subject: Document) -> tuple[Link, ...]:
    links: dict[Link, None] = {}
    for relation in RELATIONS.get(kind, ()):
        value = subject.get(relation)
        for item in value if isinstance(value, list) else [value] if value else []:
            links[Link(relation, item["id"], item.get("hash") or "")] = None
    return tuple(links)


def _name(kind: str, subject: Document) -> str:
    if kind == "sbom":  # CycloneDX names what it is about in its metadata
        subject = subject["metadata"].get("component")
    name = subject.get("name") if isinstance(subject, dict) else None
    return name if isinstance(name, str) and len(name) <= 1_000 else ""


def _content(hash: Any) -> str:
    if isinstance(hash, dict):
        hash = hash.get("value")
    return hash if isinstance(hash, str) else ""
