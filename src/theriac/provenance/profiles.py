"""Credentials signed in other ways than W3C's: verified only when asked for, and always marked as weak.

Two tools of nqminds' sign the document's bytes themselves:

``nqminds-jcs``
    Their verifiable-credential-toolkit 0.6 and 0.7 says ``eddsa-jcs-2022`` but signs the canonical document alone. The
    proof names no key, so that the caller must.
``nqminds-2018``
    TAIBOM's own software, with toolkits up to 0.5, says ``Ed25519Signature2018`` and signs a compact JSON text with the
    fields in an order of its own. The key stands in the proof, which nothing covers: whoever signs brings the key.
"""

import base64
import binascii
from json.encoder import encode_basestring
from typing import Any

from cryptography.exceptions import InvalidSignature

from theriac.provenance.canonical import Document, Invalid, canonical, check_depth
from theriac.provenance.credentials import Envelope, check_shape
from theriac.provenance.did_key import base58_decode, did_of, public_key_of
from theriac.provenance.proof import SUITE, check_suite

PROFILES = ("w3c", "nqminds-jcs", "nqminds-2018")

_JCS_PROOF = {"type": "DataIntegrityProof", "cryptosuite": SUITE, "proofPurpose": "assertionMethod"}
_2018_PROOF = {"type": "Ed25519Signature2018", "proofPurpose": "assertionMethod"}
_ORDER = (
    *("@context", "id", "type", "name", "description", "issuer", "credentialSubject"),
    *("validFrom", "validUntil", "credentialStatus", "credentialSchema"),
)
_UNBOUND = "the signature covers neither the key nor the purpose nor the time of signing"


def open_foreign(document: Document, profile: str, *, key: str | None = None) -> Envelope:
    """Checks a credential as ``open_envelope`` does, with a proof of one of the two weak profiles.

    The result is never bound: nothing ties the key to the issuer.

    Args:
        document: The credential.
        profile: ``nqminds-jcs`` or ``nqminds-2018``.
        key: The signer's public key, a did:key or base64. ``nqminds-jcs`` needs it; else the proof's key must be it.

    Raises:
        Invalid: If something does not hold.
    """
    check_depth(document)
    issuer, facts, warnings = check_shape(document)
    given = _key(key) if key is not None else None
    weak: tuple[str, ...] = (_UNBOUND,)
    if profile == "nqminds-jcs":
        signer = _signer_jcs(document, given)
    elif profile == "nqminds-2018":
        signer = _signer_2018(document)
        weak = ("the key was taken from the proof itself: anybody can sign so in any name", *weak)
    else:
        raise Invalid(f"{profile[:40]!r} is not a weak profile")
    if given is not None and signer != given:
        raise Invalid(f"signed by {signer}, not by {given}")
    unbound = f"nothing ties the key {signer} to {issuer[:200]!r}"
    return Envelope(
        id=document.get("id"),
        kind=facts.kind or None,
        facts=facts,
        issuer=issuer,
        signer=signer,
        bound=False,
        warnings=(*weak, unbound, *warnings),
        profile=profile,
        weak=True,
    )


def _signer_jcs(document: Document, key: str | None) -> str:
    proof = _proof(document, _JCS_PROOF, {"proofValue"}, {"created", "verificationMethod"})
    if not proof["proofValue"].startswith("z"):
        raise Invalid("the proofValue is not base58btc")
    signature = base58_decode(proof["proofValue"][1:], 64)
    if key is None:
        raise Invalid("cannot be verified: no key; the proof names none, so that the signer's must be given")
    return _checked(key, signature, canonical({name: value for name, value in document.items() if name != "proof"}))


def _signer_2018(document: Document) -> str:
    proof = _proof(document, _2018_PROOF, {"proofValue", "verificationMethod"}, set())
    signature = _base64(proof["proofValue"], 64)
    return _checked(did_of(_base64(proof["verificationMethod"], 32)), signature, _bytes_of_2018(document))


def _checked(did: str, signature: bytes, message: bytes) -> str:
    try:
        public_key_of(did).verify(signature, message)
    except InvalidSignature:
        raise Invalid("the signature does not fit the content") from None
    return did


def _proof(document: Document, fixed: dict[str, str], texts: set[str], optional: set[str]) -> Document:
    """Returns the proof, which has the ``fixed`` values, the ``texts`` and no others but the ``optional``."""
    proof = document.get("proof")
    if not isinstance(proof, dict):
        raise Invalid("no proof" if proof is None else "not exactly one proof")
    check_suite(proof)
    if missing := (fixed.keys() | texts) - proof.keys():
        raise Invalid(f"the proof lacks {', '.join(sorted(missing))}")
    if unknown := proof.keys() - fixed.keys() - texts - optional:
        raise Invalid(f"unknown field in the proof: {', '.join(sorted(unknown))[:200]}")
    for name, value in fixed.items():
        if proof[name] != value:
            raise Invalid(f"the proof's {name} is not {value} but {repr(proof[name])[:80]}")
    for name in (texts | optional) & proof.keys():
        if not isinstance(proof[name], str):
            raise Invalid(f"the proof's {name} is not text")
    return proof


def _key(text: str) -> str:
    """Returns the did:key of a public key that is written as such or in base64."""
    did = text if text.startswith("did:key:") else did_of(_base64(text, 32))
    public_key_of(did)
    return did


def _base64(text: str, length: int) -> bytes:
    """Returns the bytes that ``text`` is, if it is the one way to write them in base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("not base64") from None
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise Invalid(f"not the base64 of {length} bytes")
    return data


def _bytes_of_2018(document: Document) -> bytes:
    """Returns what TAIBOM's software signs.

    A field that it does not know, or that is null, is dropped before signing: a file that has one could have been
    changed, and is refused.
    """
    content = {name: value for name, value in document.items() if name != "proof"}
    if unsigned := [name for name, value in content.items() if name not in _ORDER or value is None]:
        raise Invalid(f"the signature does not cover {', '.join(sorted(unsigned))[:200]}")
    schema = content.get("credentialSchema")
    if isinstance(schema, dict) and schema.keys() == {"id", "type"}:
        content["credentialSchema"] = {"id": schema["id"], "type": schema["type"]}
    elif schema is not None:
        raise Invalid("the credentialSchema is not exactly one")
    fields = [
        f"{encode_basestring(name)}:{_compact(content[name], ordered=name == 'credentialSubject')}"
        for name in _ORDER
        if name in content
    ]
    try:
        return ("{" + ",".join(fields) + "}").encode()
    except UnicodeEncodeError:
        raise Invalid("a lone surrogate") from None


def _compact(value: Any, *, ordered: bool) -> str:
    """Returns JSON without white space as Rust's serde_json writes it, with the keys in order or as they come."""
    if isinstance(value, dict):
        items = sorted(value.items()) if ordered else value.items()
        return "{" + ",".join(f"{encode_basestring(k)}:{_compact(v, ordered=ordered)}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_compact(item, ordered=ordered) for item in value) + "]"
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _real(value) if isinstance(value, float) else str(value)


def _real(value: float) -> str:
    """Returns a fraction as Rust writes it: 0.00001 for Python's 1e-05, and 1e-7 for its 1e-07."""
    mantissa, mark, exponent = repr(value).partition("e")
    if not mark:
        return mantissa
    if int(exponent) == -5:
        sign, digits = ("-", mantissa[1:]) if value < 0 else ("", mantissa)
        return f"{sign}0.0000{digits.replace('.', '')}"
    return f"{mantissa}e{int(exponent)}"
