"""Issuers that are web addresses: their documents, and fetching them from an address that a stranger wrote."""

import json
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import issue, open_envelope, verify
from theriac.provenance.did_web import MAX_DOCUMENT, _get, document_url, fetch_document, resolve_did_web
from theriac.provenance.leaked import LEAKED
from theriac.provenance.proof import sign

from .subjects import SUBJECTS

DID = "did:web:example.org"


def did_document(*dids, did=DID, **change):
    methods = [
        {"id": f"{did}#{n}", "type": "Multikey", "controller": did, "publicKeyMultibase": key.removeprefix("did:key:")}
        for n, key in enumerate(dids)
    ]
    document = {"id": did, "verificationMethod": methods, "assertionMethod": [method["id"] for method in methods]}
    return json.dumps(document | change).encode()


@pytest.fixture
def by_web(key):
    """Returns a function that signs in the name of a web address."""

    def make(issuer):
        document = issue("data", SUBJECTS["data"], key)
        bare = {name: value for name, value in document.items() if name != "proof"}
        return sign(bare | {"issuer": issuer}, key, created=document["validFrom"])

    return make


@pytest.mark.parametrize("issuer", [DID, "https://example.org/me"])
def test_an_issuer_whose_document_names_the_key_is_bound(by_web, key, stranger, issuer):
    def owns(issuer, signer, content):
        return signer in resolve_did_web(content, issuer)

    document = by_web(issuer)
    ours = partial(open_envelope, owns=partial(owns, content=did_document(stranger.did, key.did, did=issuer)))
    assert ours(document).bound
    assert verify(document, opening=ours).warnings == ()
    others = partial(open_envelope, owns=partial(owns, content=did_document(stranger.did, did=issuer)))
    if issuer == DID:
        assert "not by its issuer" in verify(document, opening=others).reason
    else:
        assert not others(document).bound
    elsewhere = partial(open_envelope, owns=partial(owns, content=did_document(key.did, did="did:web:evil.example")))
    assert "not the document of" in verify(document, opening=elsewhere).reason


def test_which_keys_count(key, stranger):
    method = {"id": "#k", "controller": DID, "publicKeyMultibase": key.did.removeprefix("did:key:")}
    assert resolve_did_web(did_document(assertionMethod=[method]), DID) == {key.did}  # embedded
    relative = did_document(verificationMethod=[method | {"id": f"{DID}#k"}], assertionMethod=["#k"])
    assert resolve_did_web(relative, DID) == {key.did}
    assert resolve_did_web(did_document(key.did, assertionMethod=[]), DID) == frozenset()  # for other purposes
    for change in (
        {"controller": "did:web:evil.example"},
        {"revoked": "2026-01-01T00:00:00Z"},
        {"publicKeyMultibase": "zjunk"},
        {"publicKeyMultibase": min(LEAKED).removeprefix("did:key:")},
        {"publicKeyMultibase": None},
    ):
        assert resolve_did_web(did_document(assertionMethod=[method | change]), DID) == frozenset()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "not JSON"),
        (b'{"id": "did:web:example.org", "id": "x"}', "twice"),
        (did_document(assertionMethod="x"), "not a list"),
        (did_document(verificationMethod=[{"id": "#a"}, {"id": "#a"}]), "one id"),
        (b" " * (MAX_DOCUMENT + 1), "larger than"),
        (b"[" * 1000, "not JSON|deep"),
    ],
)
def test_documents_that_are_refused(content, reason):
    with pytest.raises(Invalid, match=reason):
        resolve_did_web(content, DID)


def test_addresses():
    assert document_url("did:web:example.org%3A8443") == "https://example.org:8443/.well-known/did.json"
    assert document_url("https://example.org/x") == "https://example.org/x"
    for issuer in (
        "http://example.org",
        "did:web:",
        "did:web:a/b",
        "did:web:a:..:b",
        "did:web:a@b",
        "did:web:a%2fb",
        "urn:a",
    ):
        with pytest.raises(Invalid, match="neither"):
            document_url(issuer)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://10.0.0.1",
    ],
)
def test_nothing_inside_the_network_is_asked(issuer):
    with pytest.raises(Invalid, match="not on the public internet"):
        fetch_document(issuer)


@pytest.mark.parametrize(
    "issuer", ["https://user@example.org/", "https:///x", "https://example.org:99999/", "https://\udcff/"]
)
def test_addresses_that_cannot_be_asked(issuer):
    with pytest.raises(Invalid):
        fetch_document(issuer)


@pytest.fixture
def server(tmp_path):
    """A real https server on this machine, and a context that trusts it."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.org")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, private.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)
    pem = certificate.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    file = tmp_path / "server.pem"
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + pem)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("Location", "https://evil.example/")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (2 * MAX_DOCUMENT) if self.path == "/large" else b"{}")

        def log_message(self, *_):
            pass

    opened = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    opened.socket = context.wrap_socket(opened.socket, server_side=True)
    thread = Thread(target=opened.serve_forever, daemon=True)
    thread.start()
    trusting = ssl.create_default_context(cadata=pem.decode())
    yield lambda path, host="example.org", trust=trusting: _get(host, opened.server_port, path, "127.0.0.1", trust)
    opened.shutdown()
    opened.server_close()


def test_fetching(server):
    assert server("/did.json") == b"{}"
    with pytest.raises(Invalid, match="redirects are not followed"):
        server("/redirect")
    with pytest.raises(Invalid, match="sends more"):
        server("/large")
    with pytest.raises(ssl.SSLCertVerificationError):
        server("/did.json", host="evil.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        server("/did.json", trust=None)
