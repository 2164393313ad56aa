"""The W3C test vector of eddsa-jcs-2022, byte for byte, and everything that must not pass for a proof."""

import base64
import json
from contextlib import suppress
from random import Random

import pytest

from theriac.provenance.canonical import Invalid, canonical
from theriac.provenance.credentials import verify
from theriac.provenance.did_key import SMALL_ORDER, base58_decode, base58_encode, did_of, public_key_of
from theriac.provenance.keys import SigningKey
from theriac.provenance.proof import hash_data, sign, signer_of

# Appendix B.2 of "Data Integrity EdDSA Cryptosuites v1.0" (W3C Recommendation).
SECRET = "z3u2en7t5LR2WtQH5PfFqMqwVHBeXouLzo6haApm8XHqvjxq"
DID = "did:key:z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
UNSIGNED = {
    "@context": ["https://www.w3.org/ns/credentials/v2", "https://www.w3.org/ns/credentials/examples/v2"],
    "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
    "type": ["VerifiableCredential", "AlumniCredential"],
    "name": "Alumni Credential",
    "description": "A minimum viable example of an Alumni Credential.",
    "issuer": "https://vc.example/issuers/5678",
    "validFrom": "2023-01-01T00:00:00Z",
    "credentialSubject": {"id": "did:example:abcdefgh", "alumniOf": "The School of Examples"},
}
HASHES = (
    "66ab154f5c2890a140cb8388a22a160454f80575f6eae09e5a097cabe539a1db"
    "59b7cb6251b8991add1ce0bc83107e3db9dbbab5bd2c28f687db1a03abc92f19"
)
PROOF_VALUE = "z2HnFSSPPBzR36zdDgK8PbEHeXbR56YF24jwMpt3R1eHXQzJDMWS93FCzpvJpwTWd3GAVFuUfjoJdcnTMuVor51aX"


@pytest.fixture
def w3c_key():
    return SigningKey.from_seed(base58_decode(SECRET[1:], 34)[2:])


@pytest.fixture
def signed(w3c_key):
    return sign(UNSIGNED, w3c_key, created="2023-02-24T23:36:38Z")


def test_w3c_vector_is_reproduced_byte_for_byte(w3c_key, signed):
    assert w3c_key.did == DID
    assert hash_data(signed, signed["proof"]).hex() == HASHES
    assert signed["proof"]["proofValue"] == PROOF_VALUE
    assert signer_of(signed) == DID


def test_w3c_files(signed, test_files):
    suite = test_files / "fixtures" / "w3c-eddsa-jcs-2022" / "eddsa-jcs-2022"
    if not suite.is_dir():
        pytest.skip("no W3C files; the vector itself is tested above")
    unsecured = {name: value for name, value in signed.items() if name != "proof"}
    assert canonical(unsecured) == (suite / "canonDocJCS.txt").read_bytes()
    options = {name: value for name, value in signed["proof"].items() if name != "proofValue"}
    assert canonical(options) == (suite / "proofCanonJCS.txt").read_bytes()
    file = (suite / "signedJCS.json").read_bytes()
    assert json.loads(file) == signed
    verification = verify(file)
    assert verification.valid
    assert verification.signer == DID
    assert "nothing ties the key" in verification.warnings[0]


def test_other_profiles_are_not_taken_for_this_one(w3c_key):
    """Two tools in the wild sign other bytes: the bare canonical document, or it under the old suite."""
    raw = w3c_key.sign(canonical(UNSIGNED))
    proof = {"type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022", "proofPurpose": "assertionMethod"}
    bare = UNSIGNED | {"proof": proof | {"proofValue": "z" + base58_encode(raw)}}
    with pytest.raises(Invalid, match="lacks verificationMethod"):
        signer_of(bare)
    bare["proof"] |= {"verificationMethod": w3c_key.verification_method, "@context": UNSIGNED["@context"]}
    with pytest.raises(Invalid, match="signature does not fit"):
        signer_of(bare)
    old = {"type": "Ed25519Signature2018", "proofPurpose": "assertionMethod", "cryptosuite": ""}
    old |= {"proofValue": base64.b64encode(raw).decode(), "verificationMethod": w3c_key.verification_method}
    with pytest.raises(Invalid, match="type is not DataIntegrityProof"):
        signer_of(UNSIGNED | {"proof": old})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proofPurpose": "authentication"}, "proofPurpose"),
        ({"cryptosuite": "eddsa-rdfc-2022"}, "cryptosuite"),
        ({"challenge": "x"}, "unknown field"),
        ({"created": "2023-02-24T23:36:39Z"}, "signature does not fit"),
        ({"expires": "2099-02-24T23:36:39Z"}, "signature does not fit"),
        ({"@context": ["https://www.w3.org/ns/credentials/v2"]}, "another @context"),
        ({"verificationMethod": DID}, "verificationMethod"),
        ({"verificationMethod": f"{DID}#key-1"}, "verificationMethod"),
        ({"verificationMethod": 5}, "not text"),
        ({"verificationMethod": "did:web:x#did:web:x"}, "verificationMethod"),
        ({"proofValue": PROOF_VALUE[1:]}, "base58btc"),
        ({"proofValue": "z1" + PROOF_VALUE[1:]}, "wrong length"),
        ({"proofValue": PROOF_VALUE[:-1]}, "signature does not fit"),
        ({"proofValue": PROOF_VALUE + " "}, "not base58"),
        ({"proofValue": "z0" + PROOF_VALUE[2:]}, "not base58"),
        ({"proofValue": "z" + "1" * 100_000}, "wrong length"),
    ],
)
def test_changed_proof(signed, change, reason):
    with pytest.raises(Invalid, match=reason):
        signer_of(signed | {"proof": signed["proof"] | change})


def test_proof_sets_and_absent_proofs(signed):
    with pytest.raises(Invalid, match="exactly one proof"):
        signer_of(signed | {"proof": [signed["proof"]]})
    with pytest.raises(Invalid, match="no proof"):
        signer_of(UNSIGNED)


def test_the_signatures_second_form_is_refused(signed):
    """S + L verifies in careless implementations, which lets anyone make a second file of the same meaning."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = base58_decode(PROOF_VALUE[1:], 64)
    second = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    proof = signed["proof"] | {"proofValue": "z" + base58_encode(second)}
    with pytest.raises(Invalid, match="signature does not fit"):
        signer_of(signed | {"proof": proof})


def test_small_order_keys_are_refused():
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    for y in SMALL_ORDER:
        x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        doubled = (y * y + x_squared) * pow(1 - d * x_squared * y * y, -1, p) % p
        assert doubled in {1, p - 1, 0}  # twice a point of order 8 is one of order 4, and so on down to the neutral one
        for encoded in (y, y + 2**255, *([y + p] if y < 19 else [])):
            with pytest.raises(Invalid, match="not a usable"):
                public_key_of(did_of(encoded.to_bytes(32, "little")))


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0a", bytes(range(64)), b"\xff" * 64])
def test_base58_round_trip(data):
    assert base58_decode(base58_encode(data), len(data)) == data


def test_base58_has_one_way_to_write_a_value():
    random = Random(3)
    for _ in range(500):
        data = bytes(random.randrange(4)) + random.randbytes(random.randrange(6))
        text = base58_encode(data)
        assert base58_decode(text, len(data)) == data
        for other, length in ((f"1{text}", len(data)), (text[1:], len(data)), (text, len(data) + 1)):
            with suppress(Invalid):
                assert base58_encode(base58_decode(other, length)) == other


def test_did_keys_of_other_kinds():
    with pytest.raises(Invalid, match="not an Ed25519"):
        public_key_of("did:key:z" + base58_encode(b"\xec\x01" + bytes(32)))
    with pytest.raises(Invalid, match="not a did:key"):
        public_key_of("did:web:example.org")
