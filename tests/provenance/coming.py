"""Signers with cryptosuites that theriac does not know: a small change of its own, and a post-quantum one."""

import hashlib

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from theriac.provenance import SigningKey, issue, link_to
from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import verify
from theriac.provenance.did_key import base58_encode
from theriac.provenance.proof import SUITES, Suite, hash_data

from .subjects import SUBJECTS

SEED = bytes([7]) * 32


class Coming:
    """A signer with a cryptosuite that theriac does not know."""

    def __init__(self, name, suite, did, sign):
        self.name, self.suite, self.did, self.sign = name, suite, did, sign

    def claim(self, component, monkeypatch):
        """Returns a claim that a part is poisoned, signed with this suite by the rules of Data Integrity."""
        subject = dict(SUBJECTS["poisoning-attestation"], component=link_to(component))
        document = issue("poisoning-attestation", subject, SigningKey.new()) | {"issuer": self.did}
        named = {"cryptosuite": self.name, "verificationMethod": self.did + "#" + self.did[len("did:key:") :]}
        proof = {name: value for name, value in document.pop("proof").items() if name != "proofValue"} | named
        with monkeypatch.context() as patch:
            patch.setitem(SUITES, self.name, self.suite)
            value = "z" + base58_encode(self.sign(hash_data(document, proof)))
            document["proof"] = proof | {"proofValue": value}
            assert verify(document).valid
        return document


def eddsa_sha512():
    """Returns one that hashes with SHA-512 instead of SHA-256."""
    key = SigningKey.from_seed(SEED)
    return Coming("eddsa-jcs-sha512", Suite(hashlib.sha512, 64, SUITES["eddsa-jcs-2022"].verify), key.did, key.sign)


def mldsa44():
    """Returns one that signs with ML-DSA-44; skips the test where the cryptography library has none."""
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    try:
        private = mldsa.MLDSA44PrivateKey.from_seed_bytes(SEED)
    except UnsupportedAlgorithm as error:
        pytest.skip(str(error))
    did = "did:key:z" + base58_encode(b"\x90\x24" + private.public_key().public_bytes_raw())

    def check(signer, signature, message):
        if signer != did:
            raise Invalid("not an ML-DSA-44 key")
        private.public_key().verify(signature, message)

    return Coming("mldsa44-jcs-2024", Suite(hashlib.sha256, 2420, check), did, private.sign)


COMING = {"EdDSA with SHA-512": eddsa_sha512, "ML-DSA-44, which is post-quantum": mldsa44}
