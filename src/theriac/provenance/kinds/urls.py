"""The URLs of schemas: they alone say what kind a credential is, and whether it is TAIBOM's or ours.

TAIBOM names a schema in two ways: by its file in the repository, or by its page on taibom.org. Nothing is ever fetched
from any of them.
"""

import re
from functools import lru_cache

from theriac.provenance.canonical import Document

SCHEMA_ROOT = "https://theriac.dev/schemas"
SCHEMA_VERSION = "v1"
_MAX_URL = 500

# The file names' stems in TAIBOM's repository, and what the samples and its command line call them instead.
_NUMBERED = {
    "5-identity": "identity",
    "10-data": "data",
    "20-data-pack": "data-pack",
    "20-datapack": "data-pack",
    "25-config": "config",
    "30-sbom": "sbom",
    "40-code": "code",
    "50-ai-system": "ai-system",
    "60-attestation": "attestation",
    "61-licence-attestation": "licence-attestation",
    "61-license-attestation": "licence-attestation",
    "62-sbom-attestation": "sbom-attestation",
    "63-vulnerability-attestation": "vulnerability-attestation",
    "64-provided-attestation": "provided-attestation",
    "65-poisoning-attestation": "poisoning-attestation",
    "66-polluted-attestation": "pollution-attestation",
    "66-pollution-attestation": "pollution-attestation",
    "67-bias-attestation": "bias-attestation",
    "68-best-practice-attestation": "best-practice-attestation",
    "69-functional-performance-attestation": "functional-performance-attestation",
}
_NAMED = {stem.partition("-")[2]: kind for stem, kind in _NUMBERED.items()}
_VERSION = r"v[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}"
_FILE = re.compile(
    r"https://github\.com/nqminds/Trusted-AI-BOM/blob/(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/){1,12}"
    rf"([0-9]{{1,2}}-[a-z-]+)\.{_VERSION}\.schema\.(?:yaml|json)"
)
_PAGE = re.compile(rf"https://taibom\.org/schemas/([a-z-]+)/{_VERSION}(?:/(?:[A-Za-z0-9%_-]+/?)?)?")
_OURS = re.compile(rf"{re.escape(SCHEMA_ROOT)}/([a-z-]+)/{SCHEMA_VERSION}")


def schema_url(kind: str) -> str:
    """Returns the URL by which credentials name the schema of ``kind``."""
    return f"{SCHEMA_ROOT}/{kind}/{SCHEMA_VERSION}"


def named_by(document: Document) -> tuple[str, bool]:
    """Returns the kind that a credential's schema URL names, and whether it is TAIBOM's; ``("", False)`` if unknown.

    The kind need not exist.
    """
    schema = document.get("credentialSchema")
    url = schema.get("id") if isinstance(schema, dict) else None
    return _read(url) if isinstance(url, str) and len(url) <= _MAX_URL else ("", False)


@lru_cache(maxsize=1024)
def _read(url: str) -> tuple[str, bool]:
    if found := _OURS.fullmatch(url):
        return found[1], False
    if found := _FILE.fullmatch(url):
        kind = _NUMBERED.get(found[1], "")
    else:
        found = _PAGE.fullmatch(url)
        kind = _NAMED.get(found[1], "") if found else ""
    return kind, bool(kind)
