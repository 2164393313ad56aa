"""Data Integrity proofs with the cryptosuite ``eddsa-jcs-2022``.

W3C Recommendations "Verifiable Credential Data Integrity 1.0" and "Data Integrity EdDSA Cryptosuites v1.0" (section
3.3). We are stricter than they ask: exactly one proof, no unknown field in it, its ``@context`` present and the same as
the document's, the key a ``did:key``.
"""

import hashlib
from typing import Any

from cryptography.exceptions import InvalidSignature

from theriac.provenance.canonical import Document, Invalid, canonical
from theriac.provenance.did_key import base58_decode, base58_encode, public_key_of
from theriac.provenance.keys import SigningKey

SUITE = "eddsa-jcs-2022"
_FIXED = {"type": "DataIntegrityProof", "cryptosuite": SUITE, "proofPurpose": "assertionMethod"}
_REQUIRED = frozenset({*_FIXED, "verificationMethod", "proofValue"})
_OPTIONAL = frozenset({"@context", "created", "expires", "id"})


def sign(document: Document, key: SigningKey, *, created: str) -> Document:
    """Returns ``document`` with a proof by ``key``; ``created`` is an XML Schema dateTimeStamp."""
    proof = _FIXED | {"created": created, "verificationMethod": key.verification_method}
    if "@context" in document:
        proof["@context"] = document["@context"]
    signature = key.sign(hash_data(document, proof))
    return document | {"proof": proof | {"proofValue": "z" + base58_encode(signature)}}


def signer_of(document: Document) -> str:
    """Returns the DID of the key that signed ``document``.

    Raises:
        Invalid: If there is not exactly one proof that holds.
    """
    proof = document.get("proof")
    if not isinstance(proof, dict):
        raise Invalid("no proof" if proof is None else "not exactly one proof")
    _check_fields(proof)
    if proof.get("@context") != document.get("@context"):
        raise Invalid("the proof was made for another @context")
    method: str = proof["verificationMethod"]
    did, mark, fragment = method.partition("#")
    if not mark or did != f"did:key:{fragment}":
        raise Invalid("the verificationMethod is not a did:key with itself as the fragment")
    if not proof["proofValue"].startswith("z"):
        raise Invalid("the proofValue is not base58btc")
    signature = base58_decode(proof["proofValue"][1:], 64)
    try:
        public_key_of(did).verify(signature, hash_data(document, proof))
    except InvalidSignature:
        raise Invalid("the signature does not fit the content") from None
    return did


def hash_data(document: Document, proof: Document) -> bytes:
    """Returns the 64 bytes that are signed: the hash of the proof's options, then that of the document."""
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    return hashlib.sha256(canonical(options)).digest() + hashlib.sha256(canonical(unsecured)).digest()


def _check_fields(proof: dict[str, Any]) -> None:
    if missing := _REQUIRED - proof.keys():
        reason = f"the proof lacks {', '.join(sorted(missing))}"
        raise Invalid(reason + _weak_profile(proof, missing))
    if unknown := proof.keys() - _REQUIRED - _OPTIONAL:
        raise Invalid(f"unknown field in the proof: {', '.join(sorted(unknown))[:200]}")
    for name, value in _FIXED.items():
        if proof[name] != value:
            raise Invalid(f"the proof's {name} is not {value}")
    for name in ("verificationMethod", "proofValue"):
        if not isinstance(proof[name], str):
            raise Invalid(f"the proof's {name} is not text")


def _weak_profile(proof: dict[str, Any], missing: frozenset[str]) -> str:
    """Returns which weak profile to ask for, if the proof looks like one of theirs."""
    if proof.get("type") == "Ed25519Signature2018":
        profile = "nqminds-2018"
    elif missing == {"verificationMethod"} and proof.get("cryptosuite") == SUITE:
        profile = "nqminds-jcs"
    else:
        return ""
    return f"; it may be of the weak profile {profile}, which must be asked for"
