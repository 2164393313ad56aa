"""The tables of a store of credentials.

``credential`` and ``link`` hold what the documents say; it never changes. Beside it they hold what follows from all
documents together: to which credential a link leads and whether it holds (``to``, ``state``, ``plain``), and since when
a credential is retracted. That is kept up to date as credentials arrive, so that queries need not work it out.

Ids are compared by their first 16 bytes of SHA-256 (``key``): shorter than URNs, and nobody can make two ids collide.
"""

import hashlib
from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

VERSION = "0001"
METADATA = MetaData()
_PK = BigInteger().with_variant(Integer, "sqlite")

CREDENTIALS = Table(
    "credential",
    METADATA,
    Column("pk", _PK, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("key", LargeBinary, nullable=False, index=True),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False, index=True),
    Column("label", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("signer", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("valid", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("starts", BigInteger),
    Column("ends", BigInteger),
    Column("fanout", Integer, nullable=False),
    Column("retracted", BigInteger),
    Column("document", LargeBinary, nullable=False),
)
LINKS = Table(
    "link",
    METADATA,
    Column("source", _PK, ForeignKey("credential.pk"), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("relation", SmallInteger, nullable=False),
    Column("target", LargeBinary, nullable=False),
    Column("hash", Text, nullable=False),
    Column("to", _PK),
    Column("state", SmallInteger, nullable=False),
    Column("plain", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
Index("link_target", LINKS.c.target, LINKS.c.relation, LINKS.c.source)

RELATIONS = {"code": 1, "sbom": 2, "data": 3, "aiSystem": 4, "datasets": 5, "derivedFrom": 6, "retracts": 9}
CLAIMS = {
    "licence-attestation": 20,
    "sbom-attestation": 21,
    "vulnerability-attestation": 22,
    "provided-attestation": 23,
    "poisoning-attestation": 24,
    "pollution-attestation": 25,
    "bias-attestation": 26,
    "best-practice-attestation": 27,
    "functional-performance-attestation": 28,
    "poisoning-check-attestation": 29,
    "checked-attestation": 30,
    "attestation": 31,
}
CLAIM = 20  # codes from here on are claims about a component
OTHER = 99

# Whole-graph searches start from the rare rows: those that need a look, those that are broken, and the claims.
Index("link_walk", LINKS.c.source, sqlite_where=~LINKS.c.plain, postgresql_where=~LINKS.c.plain)
Index(
    "link_claim",
    LINKS.c.relation,
    LINKS.c.target,
    LINKS.c.source,
    sqlite_where=LINKS.c.relation >= CLAIM,
    postgresql_where=LINKS.c.relation >= CLAIM,
)


class State(IntEnum):
    """What is known of a link. Up to ``UNCHECKED`` it can be followed."""

    DIGEST = 1  # it names the digest of the credential
    SIGNATURE = 2  # it names the credential's signature, as TAIBOM's tool does
    CONTENT = 3  # it names the hash of the data that the credential describes
    UNCHECKED = 4  # what it names cannot be compared with an unsigned credential
    ABSENT = 5  # the store has no credential with that id
    DIFFERS = 6  # it names another document than the one that is there
    CONFLICT = 7  # several credentials have the id, and it does not say which
    BROKEN = 8  # the credential that it names does not hold
    WRONG = 9  # the credential is not of a kind that it may lead to


def key_of_id(id: str) -> bytes:
    """Returns the 16 bytes by which the store compares ids."""
    return hashlib.sha256(id.encode()).digest()[:16]


def relation_code(relation: str, kind: str) -> int:
    """Returns the code of a link: of its relation, and for a claim of the kind of claim."""
    return CLAIMS.get(kind, OTHER) if relation == "component" else RELATIONS.get(relation, OTHER)
