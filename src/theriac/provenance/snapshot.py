"""What a store holds: its tables, and reading them as they were at one moment."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, MetaData, Select, Table, Text, func, select
from sqlalchemy.engine import Connection

from theriac.errors import UserError
from theriac.provenance.canonical import Document, Invalid, parse

BATCH = 500

METADATA = MetaData()
CREDENTIALS = Table(
    "credential",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("id", Text, nullable=False, index=True),
    Column("kind", Text),
    Column("valid", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
LINKS = Table(
    "link",
    METADATA,
    Column("source", Text, ForeignKey("credential.digest"), primary_key=True),
    Column("relation", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Index("link_target", "target", "relation"),
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """A stored credential; ``valid`` says whether shape, proof and issuer held when it was added (time aside)."""

    digest: str
    id: str
    kind: str | None
    valid: bool
    reason: str
    document: Document = field(repr=False)

    @property
    def subject(self) -> Document:
        """What the credential claims; empty if it is malformed."""
        subject = self.document.get("credentialSubject")
        return subject if isinstance(subject, dict) else {}


@dataclass(frozen=True)
class StoredLink:
    """An edge of the graph: the credential with digest ``source`` names ``target`` and expects ``hash`` there."""

    source: str
    relation: str
    target: str
    hash: str


class Snapshot:
    """The store as it was at one moment, whatever is added meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def with_ids(self, ids: Collection[str]) -> dict[str, list[Entry]]:
        """Returns id -> the credentials with that id (there may be several), in order of their digests."""
        found: dict[str, list[Entry]] = {}
        for chunk in _chunks(sorted(ids)):
            query = select(CREDENTIALS).where(CREDENTIALS.c.id.in_(chunk)).order_by(CREDENTIALS.c.digest)
            for entry in self._entries(query):
                found.setdefault(entry.id, []).append(entry)
        return found

    def with_digests(self, digests: Collection[str]) -> dict[str, Entry]:
        """Returns digest -> credential."""
        chunks = _chunks(sorted(digests))
        queries = (select(CREDENTIALS).where(CREDENTIALS.c.digest.in_(chunk)) for chunk in chunks)
        return {entry.digest: entry for query in queries for entry in self._entries(query)}

    def links_from(self, digests: Collection[str]) -> list[StoredLink]:
        """Returns the links in these credentials."""
        return self._link_rows(LINKS.c.source, digests, None)

    def links_to(self, ids: Collection[str], relation: str) -> list[StoredLink]:
        """Returns the links with this relation that name one of these ids."""
        return self._link_rows(LINKS.c.target, ids, relation)

    def count(self) -> int:
        """Returns the number of credentials."""
        return self._connection.execute(select(func.count()).select_from(CREDENTIALS)).scalar_one()

    def entries(self) -> Iterator[Entry]:
        """Yields every credential."""
        return self._entries(select(CREDENTIALS).execution_options(yield_per=BATCH))

    def _entries(self, query: Select[Any]) -> Iterator[Entry]:
        for row in self._connection.execute(query):
            try:
                if not isinstance(row.document, bytes):
                    raise Invalid("not bytes")
                document = parse(row.document)
            except Invalid as error:
                raise UserError(f"credential {row.digest} in the store is damaged: {error}") from None
            yield Entry(row.digest, row.id, row.kind, row.valid, row.reason, document)

    def _link_rows(self, column: Column[str], values: Collection[str], relation: str | None) -> list[StoredLink]:
        found = []
        for chunk in _chunks(sorted(values)):
            query = select(LINKS).where(column.in_(chunk)).order_by(*LINKS.c)
            if relation is not None:
                query = query.where(LINKS.c.relation == relation)
            found += [StoredLink(*row) for row in self._connection.execute(query)]
        return found


def _chunks(values: list[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
