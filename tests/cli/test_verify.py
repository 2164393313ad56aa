"""``theriac verify`` on what others signed: weak profiles, and issuers that are web addresses."""

import json
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.provenance import SigningKey, issue
from theriac.provenance.proof import sign

SAMPLE = "fixtures/taibom/legacy_signed_sample.json"
SUBJECT = {
    "name": "signs",
    "label": "Training",
    "location": {"type": "local", "path": "x"},
    "hash": "sha256:" + "ab" * 32,
    "lastAccessed": "2026-05-01T00:00:00Z",
}
# Signed once by a few lines that share nothing with theriac, with the key of 32 bytes of 3.
LEGACY = json.loads(
    """{"@context": ["https://www.w3.org/ns/credentials/v2"], "id": "urn:uuid:1", "type": "VerifiableCredential",
    "issuer": "http://localhost:3001/x", "credentialSubject": {"name": "p", "datasets": [{"id": "urn:a", "hash": "b"}]},
    "credentialSchema": {"id": "https://taibom.org/schemas/data-pack/v1.0.0/", "type": "JsonSchema"},
    "proof": {"type": "Ed25519Signature2018", "proofPurpose": "assertionMethod",
    "proofValue": "HZxN8JXVNVW0kVuIn5N9gog1fMbPKQJUVl9zhbPVgDD/xHmkwvzQphEA9ETsC+n2j61m25pFjsNxWdnqf9+8Cg==",
    "verificationMethod": "7UkoxijRwsbq6QM4kFmVYSlZJzpcY/k2NsFGFKyHN9E="}}"""
)


@pytest.fixture
def legacy(tmp_path):
    file = tmp_path / "legacy.json"
    file.write_text(json.dumps(LEGACY))
    return str(file)


def test_a_weak_profile_is_tried_only_when_asked_for(legacy, capsys):
    assert run(["verify", legacy]) == 1
    text = capsys.readouterr().out
    assert text.startswith("INVALID")
    assert "nqminds-2018" in text
    assert run(["verify", legacy, "--profile", "nqminds-2018"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("VALID (weak profile nqminds-2018): data-pack urn:uuid:1 signed by did:key:z6Mk")
    assert "but the key was taken from the proof itself" in text
    assert "but nothing ties the key" in text
    assert run(["verify", legacy, "--profile", "nqminds-2018", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["valid"], answer["weak"], answer["profile"]) == (True, True, "nqminds-2018")
    assert run(["verify", legacy, "--profile", "nqminds-jcs"]) == 1
    assert run(["verify", legacy, "--profile", "nqminds-2018", "--signer-key", "A" * 43 + "="]) == 1


def test_a_changed_legacy_file(legacy):
    Path(legacy).write_text(Path(legacy).read_text().replace("urn:a", "urn:b"))
    assert run(["verify", legacy, "--profile", "nqminds-2018"]) == 1


def test_taiboms_own_file(test_files, capsys):
    file = test_files / SAMPLE
    if not file.exists():
        pytest.skip("no file of TAIBOM's; an equivalent is tested above")
    assert run(["verify", str(file)]) == 1
    assert run(["verify", str(file), "--profile", "nqminds-2018"]) == 0
    assert "VALID (weak profile" in capsys.readouterr().out


def test_an_issuers_document_binds_its_key(tmp_path, capsys):
    key = SigningKey.from_seed(bytes([1]) * 32)
    document = issue("data", SUBJECT, key)
    bare = {name: value for name, value in document.items() if name != "proof"} | {"issuer": "did:web:example.org"}
    file, page = tmp_path / "vc.json", tmp_path / "did.json"
    file.write_text(json.dumps(sign(bare, key, created=document["validFrom"])))
    method = {"id": "#1", "controller": "did:web:example.org", "publicKeyMultibase": key.did.removeprefix("did:key:")}
    page.write_text(json.dumps({"id": "did:web:example.org", "assertionMethod": [method]}))
    assert run(["verify", str(file)]) == 1
    assert run(["verify", str(file), "--issuer-document", str(page)]) == 0
    assert "but" not in capsys.readouterr().out.splitlines()[-1]
    page.write_text(json.dumps({"id": "did:web:example.org", "assertionMethod": []}))
    assert run(["verify", str(file), "--issuer-document", str(page)]) == 1


def test_an_unreachable_issuer_is_no_pass(tmp_path, capsys):
    """The reference goes on with the key in the proof when the issuer does not answer."""
    key = SigningKey.from_seed(bytes([1]) * 32)
    document = issue("data", SUBJECT, key)
    bare = {name: value for name, value in document.items() if name != "proof"} | {"issuer": "https://127.0.0.1:1/me"}
    file = tmp_path / "vc.json"
    file.write_text(json.dumps(sign(bare, key, created=document["validFrom"])))
    assert run(["verify", str(file), "--allow-network"]) == 1
    assert "not on the public internet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ["--signer-key", "x"],
        ["--profile", "nqminds-2018", "--allow-network"],
        ["--profile", "any"],
    ],
)
def test_options_that_do_not_go_together(legacy, options):
    assert run(["verify", legacy, *options]) == 2
