from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest

from theriac.provenance.canonical import digest_of, parse, to_bytes
from theriac.provenance.credentials import issue, link_to, verify
from theriac.provenance.kinds import KINDS
from theriac.provenance.proof import sign

from .subjects import LINK, SUBJECTS

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def document(key):
    return issue("data", SUBJECTS["data"], key, valid_from=NOW)


def resign(document, key):
    """What a forger with a key of their own can make."""
    return sign(
        {name: value for name, value in document.items() if name != "proof"}, key, created="2026-06-01T00:00:00Z"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_issued_and_verified(key, kind):
    credential = issue(kind, SUBJECTS[kind], key)
    verification = verify(to_bytes(credential))
    assert verification.valid
    assert (verification.kind, verification.issuer, verification.id) == (kind, key.did, credential["id"])
    assert (verification.signer, verification.digest) == (key.did, digest_of(credential))
    assert verification.warnings == ()


def test_every_flipped_byte_is_noticed(document):
    data = to_bytes(document)
    assert verify(data, at=NOW).valid
    white = {space: [other for other in b" \n\t\r" if other != space] for space in b" \n\t\r"}
    changes = chain.from_iterable(
        [(place, byte ^ (1 << bit)) for bit in range(8)]
        + [(place, byte ^ 0xFF), *((place, w) for w in white.get(byte, []))]
        for place, byte in enumerate(data)
    )
    missed = [
        change
        for change in changes
        if verify(data[: change[0]] + bytes([change[1]]) + data[change[0] + 1 :], at=NOW).valid
    ]
    assert missed == []


def test_every_lost_doubled_or_swapped_byte_is_noticed(document):
    data = to_bytes(document)
    for place in range(len(data)):
        lost, doubled = data[:place] + data[place + 1 :], data[: place + 1] + data[place:]
        swapped = data[:place] + data[place : place + 2][::-1] + data[place + 2 :]
        for changed in {lost, doubled, swapped} - {data, data[:-1]}:  # some editors take the final newline away
            assert not verify(changed, at=NOW).valid, place


def test_layout_only_matters_for_files(document):
    by_hand = to_bytes(document).replace(b'"name": ', b'"name":   ')
    assert "laid out by hand" in verify(by_hand, at=NOW).reason
    assert verify(by_hand, at=NOW, any_layout=True).valid
    assert verify(parse(by_hand), at=NOW).valid


@pytest.mark.parametrize(
    "issuer", ["did:web:example.org", "urn:uuid:0", "http://localhost:1/identity", "", None, {"id": 5}]
)
def test_the_signer_must_be_the_issuer(document, stranger, issuer):
    verification = verify(resign(document | {"issuer": issuer}, stranger), at=NOW)
    assert not verification.valid
    assert "issuer" in verification.reason


def test_a_stranger_cannot_sign_for_the_issuer(document, key, stranger):
    forged = resign(document, stranger)
    assert "not by its issuer" in verify(forged, at=NOW).reason
    honest = resign(document | {"issuer": stranger.did}, stranger)
    assert verify(honest, at=NOW).valid
    assert f"not by {key.did}" in verify(honest, at=NOW, signer=key.did).reason


def test_an_issuer_that_is_a_web_page_is_not_taken_on_trust(document, key):
    verification = verify(resign(document | {"issuer": {"id": "https://example.org/me"}}, key), at=NOW)
    assert (verification.valid, verification.issuer) == (True, "https://example.org/me")
    assert "nothing ties the key" in verification.warnings[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"@context": ["https://www.w3.org/2018/credentials/v1"]}, "@context"),
        ({"@context": "https://www.w3.org/ns/credentials/v2"}, "@context"),
        ({"type": ["VerifiablePresentation"]}, "VerifiableCredential"),
        ({"credentialSubject": [SUBJECTS["data"]]}, "exactly one credentialSubject"),
        ({"credentialSubject": {"name": "x"}}, "not a data credential"),
        ({"validFrom": "2026-06-01"}, "validFrom is not a date"),
        ({"validFrom": "2026-06-31T00:00:00Z"}, "validFrom is not a date"),
        ({"validFrom": "2026-06-01T00:00:00"}, "validFrom is not a date"),
        ({"validUntil": "2026-05-31T23:59:59Z"}, "expired"),
        ({"validFrom": "2026-06-01T01:00:00Z"}, "not valid before"),
        ({"id": 5}, "id is not text"),
    ],
)
def test_well_signed_but_not_a_credential_that_holds(document, key, change, reason):
    assert reason in verify(resign(document | change, key), at=NOW).reason


def test_what_cannot_be_checked_is_said(document, key):
    status = {
        "credentialStatus": {"type": "BitstringStatusListEntry"},
        "credentialSchema": {"id": "https://x.example/s"},
    }
    verification = verify(resign(document | status, key), at=NOW)
    assert verification.valid
    assert verification.kind is None
    assert ["schema" in verification.warnings[0], "revoked" in verification.warnings[1]] == [True, True]


def test_validity_in_time(key):
    document = issue("data", SUBJECTS["data"], key, valid_from=NOW, valid_until=NOW + timedelta(days=1))
    assert not verify(document, at=NOW - timedelta(hours=1)).valid
    assert verify(document, at=NOW - timedelta(minutes=1)).valid  # clocks differ
    assert verify(document, at=NOW + timedelta(hours=23)).valid
    assert "expired" in verify(document, at=NOW + timedelta(hours=25)).reason


def test_reordered_lists_and_substituted_subjects_fail(key):
    other = LINK | {"id": "urn:uuid:1"}
    pack = issue("data-pack", {"name": "pack", "datasets": [LINK, other]}, key, valid_from=NOW)
    swapped = pack | {"credentialSubject": {"name": "pack", "datasets": [other, LINK]}}
    assert not verify(swapped, at=NOW).valid
    second = issue("data-pack", {"name": "pack 2", "datasets": [LINK]}, key, valid_from=NOW)
    assert not verify(pack | {"proof": second["proof"]}, at=NOW).valid


def test_a_document_that_contains_itself(document):
    document["credentialSubject"]["loop"] = document
    assert "levels deep" in verify(document).reason


def test_links_name_id_and_digest(document):
    assert link_to(document) == {"id": document["id"], "hash": digest_of(document)}


@pytest.mark.parametrize(
    "data", [b'{"\\ud800": 1}', b'{"a": "\\ud800"}', b'{"a": NaN}', b'{"a": 1, "a": 1}', b"[" * 100_000]
)
def test_hostile_files_are_invalid_and_nothing_worse(data):
    result = verify(data)
    assert not result.valid
    assert result.reason
