"""Issuers that are web addresses: whether a key is theirs, as their own document says.

did:web method, and W3C Controlled Identifiers 1.0 for ``https://`` issuers. The document is read from bytes; only
:func:`fetch_document` uses the network, and only when somebody calls it.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import time
from urllib.parse import unquote, urlsplit

from theriac.provenance.canonical import Document, Invalid, parse
from theriac.provenance.did_key import public_key_of

MAX_DOCUMENT = 64 << 10
SECONDS = 10.0
_DID_WEB = re.compile(r"did:web:([a-z0-9.-]+(?:%3[Aa][0-9]{1,5})?)((?::[A-Za-z0-9._~-]+)*)", re.ASCII)


def document_url(issuer: str) -> str:
    """Returns where the document of a ``did:web`` or ``https://`` issuer is.

    >>> document_url("did:web:example.org"), document_url("did:web:example.org:labs:7")
    ('https://example.org/.well-known/did.json', 'https://example.org/labs/7/did.json')

    Raises:
        Invalid: If the issuer is neither.
    """
    if issuer.startswith("https://") and len(issuer) <= 500:
        return issuer
    found = _DID_WEB.fullmatch(issuer) if len(issuer) <= 500 else None
    if found is None or {".", ".."} & set(found[2].split(":")):
        raise Invalid(f"{issuer[:80]!r} is neither a did:web nor an https:// address")
    path = found[2].replace(":", "/") or "/.well-known"
    return f"https://{unquote(found[1])}{path}/did.json"


def resolve_did_web(document_bytes: bytes, did: str) -> frozenset[str]:
    """Returns the keys (did:key) that an issuer's document lets make claims in its name.

    Args:
        document_bytes: The DID document, or the controlled identifier document of an ``https://`` issuer.
        did: The issuer whose document it should be.

    Raises:
        Invalid: If it is not the issuer's document.
    """
    if len(document_bytes) > MAX_DOCUMENT:
        raise Invalid(f"the issuer's document is larger than {MAX_DOCUMENT} bytes")
    document = parse(document_bytes)
    if document.get("id") != did:
        raise Invalid(f"not the document of {did[:200]!r}")
    methods = [method for method in _list(document, "verificationMethod") if isinstance(method, dict)]
    named = {method["id"]: method for method in methods if isinstance(method.get("id"), str)}
    if len(named) < len(methods):
        raise Invalid("two verification methods of the issuer's document have one id, or none")
    keys = set()
    for entry in _list(document, "assertionMethod"):
        method = named.get(entry, named.get(f"{did}{entry}")) if isinstance(entry, str) else entry
        if isinstance(method, dict) and method.get("controller") == did and (key := _key(method)):
            keys.add(key)
    return frozenset(keys)


def fetch_document(issuer: str) -> bytes:
    """Fetches the document of a ``did:web`` or ``https://`` issuer.

    The address comes from a stranger: only https, only hosts on the public internet, no redirects, no proxy, at most
    64 KiB and about ten seconds.

    Raises:
        Invalid: If that does not work.
    """
    parts = urlsplit(document_url(issuer))
    try:
        host, port = parts.hostname or "", parts.port or 443
        if not host or parts.username is not None or parts.password is not None:
            raise Invalid(f"{issuer[:200]!r} names no host, or a user")
        return _get(
            host, port, parts.path + (f"?{parts.query}" if parts.query else "") or "/", _public_address(host, port)
        )
    except (OSError, http.client.HTTPException, ValueError) as error:  # a UnicodeError for a host is a ValueError
        raise Invalid(f"cannot fetch the document of {issuer[:200]!r}: {error}") from None


def _public_address(host: str, port: int) -> str:
    """Returns an address of ``host``; refuses it if one of them is not public, as in a home or behind a firewall."""
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in addresses:
        ip = ipaddress.ip_address(address.partition("%")[0])
        if not ip.is_global or ip.is_multicast:
            raise Invalid(f"{host} is not on the public internet")
    return addresses[0]


def _get(host: str, port: int, target: str, address: str, context: ssl.SSLContext | None = None) -> bytes:
    """Returns what ``https://host:port/target`` gives, from ``address``, which was looked up and judged before."""
    deadline = time.monotonic() + SECONDS
    context = context or ssl.create_default_context()
    plain = socket.create_connection((address, port), timeout=SECONDS)
    with plain, context.wrap_socket(plain, server_hostname=host) as secure:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = secure  # else it would look the host up again, and might get another answer
        connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        if response.status != 200:
            raise Invalid(f"{host} answers {response.status}; redirects are not followed")
        data = b""
        while chunk := response.read1(16 << 10):
            data += chunk
            if len(data) > MAX_DOCUMENT or time.monotonic() > deadline:
                raise Invalid(f"{host} sends more than {MAX_DOCUMENT} bytes, or too slowly")
        return data


def _list(document: Document, name: str) -> list[object]:
    value = document.get(name, [])
    if not isinstance(value, list) or len(value) > 100:
        raise Invalid(f"{name} of the issuer's document is not a list of at most 100")
    return value


def _key(method: Document) -> str:
    """Returns the Ed25519 key of a verification method as a did:key, or nothing if it has none that is usable."""
    text = method.get("publicKeyMultibase")
    if not isinstance(text, str) or "expires" in method or "revoked" in method:
        return ""
    try:
        public_key_of(f"did:key:{text}")
    except Invalid:
        return ""
    return f"did:key:{text}"
