"""The two weak profiles: they verify only when asked for, are marked, and accept no changed byte."""

import base64
import json
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from theriac.provenance.canonical import Invalid, digest_of, parse
from theriac.provenance.credentials import issue, open_envelope, verify
from theriac.provenance.did_key import SMALL_ORDER, base58_encode, did_of, public_key_of
from theriac.provenance.leaked import LEAKED
from theriac.provenance.profiles import PROFILES, open_foreign

from .subjects import FOREIGN, SUBJECTS

TOOLKIT_KEY = "9efc47b747282d7dd099d2afd8d31d5d375980876cdcd18e943742399df908cc"  # of its tests, published with them
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32)
PUBLIC = PRIVATE.public_key().public_bytes_raw()
UNSIGNED = {
    "@context": ["https://www.w3.org/ns/credentials/v2"],
    "id": "urn:uuid:97df740c-e999-4a55-8e97-bb906e7e6a2c",
    "type": "VerifiableCredential",
    "issuer": "http://localhost:3001/identity?email=a@b.example",
    "credentialSubject": FOREIGN["data"]
    | {"name": 'Zürich "4"\n\u2028', "extra": [0.5, 1e-5, -1.25e-5, 1e-7, 3, None]},
    "validFrom": "2026-01-01T00:00:00Z",
    "credentialSchema": {"id": "https://taibom.org/schemas/data/v1.0.0/TAIBOM%20Data/", "type": "JsonSchema"},
}


def serde(value):
    """JSON as Rust writes it, for this document only."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("1e-05", "0.00001").replace("-1.25e-05", "-0.0000125").replace("1e-07", "1e-7")


def signed_2018(document=UNSIGNED, private=PRIVATE, **change):
    ordered = json.loads(json.dumps(document["credentialSubject"], sort_keys=True))
    signature = private.sign(serde(document | {"credentialSubject": ordered}).encode())
    proof = {
        "type": "Ed25519Signature2018",
        "proofPurpose": "assertionMethod",
        "proofValue": base64.b64encode(signature).decode(),
        "verificationMethod": base64.b64encode(private.public_key().public_bytes_raw()).decode(),
    }
    return document | {"proof": proof | change}


def signed_jcs(**change):
    document = UNSIGNED | {"credentialSubject": FOREIGN["data"]}
    message = json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    proof = {"type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022", "proofPurpose": "assertionMethod"}
    proof["proofValue"] = "z" + base58_encode(PRIVATE.sign(message))
    return document | {"proof": proof | change}


def as_2018(document, **options):
    return open_foreign(document, "nqminds-2018", **options)


SIGNER = did_of(PUBLIC)


def as_jcs(document, key=SIGNER):
    return open_foreign(document, "nqminds-jcs", key=key)


@pytest.mark.parametrize(("document", "opened"), [(signed_2018(), as_2018), (signed_jcs(), as_jcs)])
def test_weak_profiles_hold_only_when_asked_for(document, opened):
    envelope = opened(document)
    assert (envelope.signer, envelope.bound, envelope.weak) == (did_of(PUBLIC), False, True)
    assert envelope.profile in PROFILES[1:]
    assert (envelope.kind, envelope.facts.foreign, envelope.facts.content) == ("data", True, "ab" * 32)
    assert any("nothing ties the key" in warning for warning in envelope.warnings)
    with pytest.raises(Invalid, match=f"weak profile {envelope.profile}, which must be asked for"):
        open_envelope(document)
    result = verify(json.dumps(document).encode(), opening=opened)
    assert (result.valid, result.profile, result.weak) == (True, envelope.profile, True)


def test_a_profile_does_not_take_what_another_signed(key):
    ours = issue("data", SUBJECTS["data"], key)
    for document in (ours, signed_jcs()):
        with pytest.raises(Invalid):
            as_2018(document)
    for document in (ours, signed_2018()):
        with pytest.raises(Invalid):
            as_jcs(document, key.did)
    with pytest.raises(Invalid, match="not a weak profile"):
        open_foreign(ours, "w3c")
    envelope = open_envelope(ours)
    assert (envelope.profile, envelope.weak, envelope.bound) == ("w3c", False, True)


@pytest.mark.parametrize(("document", "opened"), [(signed_2018(), as_2018), (signed_jcs(), as_jcs)])
def test_every_flipped_byte_is_noticed(document, opened):
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    assert verify(data, opening=opened).valid
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]
        result = verify(changed, opening=opened)
        assert not result.valid, (place, changed[place - 20 : place + 20])


def test_the_key_is_the_callers_or_the_proofs():
    with pytest.raises(Invalid, match="cannot be verified: no key"):
        as_jcs(signed_jcs(), None)
    base64_key = base64.b64encode(PUBLIC).decode()
    assert as_jcs(signed_jcs(), base64_key).signer == as_2018(signed_2018(), key=base64_key).signer == did_of(PUBLIC)
    other = did_of(Ed25519PrivateKey.from_private_bytes(bytes([4]) * 32).public_key().public_bytes_raw())
    with pytest.raises(Invalid, match="does not fit"):
        as_jcs(signed_jcs(), other)
    with pytest.raises(Invalid, match=f"not by {other}"):
        as_2018(signed_2018(), key=other)


def test_a_self_asserted_key_proves_nothing_about_the_issuer():
    """The attack on the reference: a stranger signs in anybody's name and brings the key along."""
    forged = signed_2018(private=Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))
    envelope = as_2018(forged)
    assert not envelope.bound
    assert any("anybody can sign so" in warning for warning in envelope.warnings)
    assert not verify(forged).valid


@pytest.mark.parametrize("opened", [as_2018, partial(as_2018, key=None)])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proofValue": signed_2018()["proof"]["proofValue"] + "\n"}, "base64"),
        ({"proofValue": signed_2018()["proof"]["proofValue"].rstrip("=")}, "base64"),
        ({"proofValue": base64.urlsafe_b64encode(b"\xff" * 64).decode()}, "base64"),
        ({"proofValue": signed_2018()["proof"]["proofValue"][:-3] + "B=="}, "not the base64|does not fit"),
        ({"proofValue": "A" * 100_000}, "base64 of 64 bytes"),
        ({"proofValue": None}, "not text"),
        ({"verificationMethod": did_of(PUBLIC)}, "base64"),
        ({"verificationMethod": base64.b64encode(PUBLIC).decode()[:-2] + "x="}, "not the base64|does not fit"),
        ({"verificationMethod": base64.b64encode(PUBLIC + b"\0").decode()}, "base64 of 32 bytes"),
        ({"proofPurpose": "authentication"}, "proofPurpose"),
        ({"created": "2026-01-01T00:00:00Z"}, "unknown field"),
        ({"type": "DataIntegrityProof"}, "type"),
    ],
)
def test_changed_proofs_of_2018(opened, change, reason):
    with pytest.raises(Invalid, match=reason):
        opened(signed_2018(**change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proofValue": "m" + "A" * 88}, "base58btc"),
        ({"proofValue": "z1" + signed_jcs()["proof"]["proofValue"][1:]}, "wrong length"),
        ({"cryptosuite": "mldsa44-jcs-2025"}, "cryptosuite"),
        ({"verificationMethod": 5}, "not text"),
        ({"expires": "2099-01-01T00:00:00Z"}, "unknown field"),
    ],
)
def test_changed_proofs_of_jcs(change, reason):
    with pytest.raises(Invalid, match=reason):
        as_jcs(signed_jcs(**change))


@pytest.mark.parametrize("field", ["termsOfUse", "holder", "name", "credentialStatus"])
def test_what_the_old_software_drops_before_signing_is_refused(field):
    with pytest.raises(Invalid, match=f"does not cover {field}"):
        as_2018(signed_2018() | {field: None})
    with pytest.raises(Invalid, match=r"does not cover|does not fit"):
        as_2018(signed_2018() | {field: "x"})


@pytest.mark.parametrize("y", sorted(SMALL_ORDER))
def test_small_order_keys_are_refused(y):
    """Under the neutral point, R = point and S = 0 fits every message."""
    weak = y.to_bytes(32, "little")
    proof = {
        "verificationMethod": base64.b64encode(weak).decode(),
        "proofValue": base64.b64encode(weak + bytes(32)).decode(),
    }
    with pytest.raises(Invalid, match="not a usable"):
        as_2018(signed_2018(**proof))
    with pytest.raises(Invalid, match="not a usable"):
        as_jcs(signed_jcs(), base64.b64encode(weak).decode())


@pytest.mark.parametrize("did", sorted(LEAKED))
def test_keys_that_everybody_has_are_refused(did):
    with pytest.raises(Invalid, match="private half was published"):
        public_key_of(did)
    with pytest.raises(Invalid, match="private half was published"):
        as_jcs(signed_jcs(), did)


def test_time_and_shape_hold_for_weak_profiles_too():
    expired = UNSIGNED | {"validFrom": "2026-01-01T00:00:00Z", "validUntil": "2026-01-02T00:00:00Z"}
    order = ("@context", "id", "type", "issuer", "credentialSubject", "validFrom", "validUntil", "credentialSchema")
    document = signed_2018({name: expired[name] for name in order})
    assert as_2018(document).signer
    assert "expired" in verify(document, opening=as_2018).reason
    with pytest.raises(Invalid, match="not a TAIBOM data credential"):
        as_2018(signed_2018(UNSIGNED | {"credentialSubject": {"name": "x"}}))


def test_a_document_that_is_too_deep():
    deep = signed_2018()
    for _ in range(100):
        deep = deep | {"credentialSubject": {"a": deep["credentialSubject"]}}
    with pytest.raises(Invalid, match="levels deep"):
        as_2018(deep)


def test_files_of_taiboms_software(test_files):
    folder = test_files / "fixtures" / "taibom"
    if not folder.is_dir():
        pytest.skip("no files of TAIBOM's; equivalents are tested above")
    old, new = (
        (folder / name).read_bytes() for name in ("legacy_signed_sample.json", "nqminds_toolkit_0.7_vc_fixture.json")
    )
    result = verify(old, opening=as_2018)
    assert (result.valid, result.profile, result.digest) == (True, "nqminds-2018", digest_of(parse(old)))
    key = base64.b64encode(bytes.fromhex(TOOLKIT_KEY)).decode()
    result = verify(new, opening=partial(as_jcs, key=key), any_layout=True)
    assert (result.valid, result.profile) == (True, "nqminds-jcs")
    assert "nqminds-2018" in verify(old).reason
    assert "nqminds-jcs" in verify(new, any_layout=True).reason
    for place in range(0, len(old), 3):
        assert not verify(old[:place] + bytes([old[place] ^ 1]) + old[place + 1 :], opening=as_2018).valid, place
