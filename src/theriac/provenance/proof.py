"""Data Integrity proofs with the cryptosuite ``eddsa-jcs-2022``.

W3C Recommendations "Verifiable Credential Data Integrity 1.0" and "Data Integrity EdDSA Cryptosuites v1.0" (section
3.3). We are stricter than they ask: exactly one proof, no unknown field in it, its ``@context`` present and the same as
the document's, the key a ``did:key``.

Another suite is one more line in :data:`SUITES`. A proof names its suite under the signature, so that nobody can have
it checked by another one; a suite that is not in the table verifies nothing.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature

from theriac.provenance.canonical import Document, Invalid, canonical
from theriac.provenance.did_key import base58_decode, base58_encode, public_key_of
from theriac.provenance.keys import SigningKey


@dataclass(frozen=True)
class Suite:
    """A cryptosuite over canonical JSON (JCS).

    Attributes:
        hash: Hashes the proof's options and the document.
        length: Bytes of a signature.
        verify: Takes a did:key, a signature and a message; raises ``InvalidSignature``, or ``Invalid`` if the key is
            not one of this suite's.
    """

    hash: Callable[[bytes], Any]
    length: int
    verify: Callable[[str, bytes, bytes], None]


def _ed25519(did: str, signature: bytes, message: bytes) -> None:
    public_key_of(did).verify(signature, message)


SUITE = "eddsa-jcs-2022"  # the one that we sign with
SUITES = {SUITE: Suite(hashlib.sha256, 64, _ed25519)}
_FIXED = {"type": "DataIntegrityProof", "proofPurpose": "assertionMethod"}
_REQUIRED = frozenset({*_FIXED, "cryptosuite", "verificationMethod", "proofValue"})
_OPTIONAL = frozenset({"@context", "created", "expires", "id"})


def sign(document: Document, key: SigningKey, *, created: str) -> Document:
    """Returns ``document`` with a proof by ``key``; ``created`` is an XML Schema dateTimeStamp."""
    proof = _FIXED | {"cryptosuite": SUITE, "created": created, "verificationMethod": key.verification_method}
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
    suite = SUITES[proof["cryptosuite"]]
    signature = base58_decode(proof["proofValue"][1:], suite.length)
    try:
        suite.verify(did, signature, hash_data(document, proof))
    except InvalidSignature:
        raise Invalid("the signature does not fit the content") from None
    return did


def hash_data(document: Document, proof: Document) -> bytes:
    """Returns the bytes that are signed: the suite's hash of the proof's options, then that of the document."""
    hash = SUITES[proof["cryptosuite"]].hash
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    digest: bytes = hash(canonical(options)).digest() + hash(canonical(unsecured)).digest()
    return digest


def check_suite(proof: dict[str, Any]) -> None:
    """Raises ``Invalid`` if a Data Integrity proof names a cryptosuite that is not known here."""
    suite = proof.get("cryptosuite", SUITE)
    if proof.get("type") == "DataIntegrityProof" and (not isinstance(suite, str) or suite not in SUITES):
        raise Invalid(f"the cryptosuite {repr(suite)[:80]} is not known; known are: {', '.join(SUITES)}")


def _check_fields(proof: dict[str, Any]) -> None:
    check_suite(proof)
    if missing := _REQUIRED - proof.keys():
        reason = f"the proof lacks {', '.join(sorted(missing))}"
        raise Invalid(reason + _weak_profile(proof, missing))
    if unknown := proof.keys() - _REQUIRED - _OPTIONAL:
        raise Invalid(f"unknown field in the proof: {', '.join(sorted(unknown))[:200]}")
    for name, value in _FIXED.items():
        if proof[name] != value:
            raise Invalid(f"the proof's {name} is not {value} but {repr(proof[name])[:80]}")
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
