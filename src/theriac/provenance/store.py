"""A store of credentials: one SQLite file, append-only, readable by many while one writes.

Every credential is verified once, when it is added, and the result is kept with it. A store that comes from somebody
else can be verified again as a whole (:meth:`Store.recheck`).
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from theriac.errors import UserError
from theriac.provenance.canonical import Document, Invalid, canonical, check_depth, digest_of, parse
from theriac.provenance.credentials import open_envelope
from theriac.provenance.kinds import kind_of, links_of

BATCH = 500
_APPLICATION_ID = 0x74687263  # "thrc": tells a store from other SQLite files
_VERSION = 1

_metadata = MetaData()
_credentials = Table(
    "credential",
    _metadata,
    Column("digest", Text, primary_key=True),
    Column("id", Text, nullable=False, index=True),
    Column("kind", Text),
    Column("valid", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
)
_links = Table(
    "link",
    _metadata,
    Column("source", Text, ForeignKey("credential.digest"), primary_key=True),
    Column("relation", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Index("link_target", "target", "relation"),
)
_TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table in ("credential", "link")
    for change in ("update", "delete")
]

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


@dataclass
class Added:
    """What became of a batch: how many are new, how many were there, which new ones do not hold, which were refused."""

    new: int = 0
    known: int = 0
    invalid: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Snapshot:
    """The store as it was at one moment, whatever is added meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def with_ids(self, ids: Collection[str]) -> dict[str, list[Entry]]:
        """Returns id -> the credentials with that id (there may be several), in order of their digests."""
        found: dict[str, list[Entry]] = {}
        for chunk in _chunks(sorted(ids)):
            query = select(_credentials).where(_credentials.c.id.in_(chunk)).order_by(_credentials.c.digest)
            for entry in self._entries(query):
                found.setdefault(entry.id, []).append(entry)
        return found

    def with_digests(self, digests: Collection[str]) -> dict[str, Entry]:
        """Returns digest -> credential."""
        chunks = _chunks(sorted(digests))
        queries = (select(_credentials).where(_credentials.c.digest.in_(chunk)) for chunk in chunks)
        return {entry.digest: entry for query in queries for entry in self._entries(query)}

    def links_from(self, digests: Collection[str]) -> list[StoredLink]:
        """Returns the links in these credentials."""
        return self._link_rows(_links.c.source, digests, None)

    def links_to(self, ids: Collection[str], relation: str) -> list[StoredLink]:
        """Returns the links with this relation that name one of these ids."""
        return self._link_rows(_links.c.target, ids, relation)

    def count(self) -> int:
        """Returns the number of credentials."""
        return self._connection.execute(select(func.count()).select_from(_credentials)).scalar_one()

    def entries(self) -> Iterator[Entry]:
        """Yields every credential."""
        return self._entries(select(_credentials).execution_options(yield_per=BATCH))

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
            query = select(_links).where(column.in_(chunk)).order_by(*_links.c)
            if relation is not None:
                query = query.where(_links.c.relation == relation)
            found += [StoredLink(*row) for row in self._connection.execute(query)]
        return found


class Store:
    """A file of credentials. Use it as a context manager, or call :meth:`close`.

    Args:
        path: The file.
        write: Open for adding, making the file if there is none; else it must exist and is never changed.

    Raises:
        UserError: If the file is absent, is not a store, or cannot be opened.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self._write = write
        if not write and not path.is_file():
            raise UserError("no such store", where=path, do="name the store that theriac audit or attest wrote")
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(path, write)
        try:
            if write:
                self._create()
            with self._failing_clearly(), self._engine.connect() as connection:
                application = connection.exec_driver_sql("PRAGMA application_id").scalar()
                version = connection.exec_driver_sql("PRAGMA user_version").scalar()
            if (application, version) != (_APPLICATION_ID, _VERSION):
                raise UserError("not a store of credentials, or one of another version", where=path)
        except UserError:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Returns the store itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Closes the file, leaving no other files beside it unless somebody else still uses it."""
        if self._write:
            with suppress(DBAPIError, sqlite3.Error):
                cursor = self._engine.raw_connection().cursor()
                cursor.execute("PRAGMA busy_timeout = 0")
                cursor.execute("PRAGMA journal_mode = DELETE")
        self._engine.dispose()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Yields a view that does not change while it is used."""
        with self._failing_clearly(), self._engine.begin() as connection:
            yield Snapshot(connection)

    def add(self, credentials: Iterable[bytes | Document]) -> Added:
        """Verifies and adds credentials, in batches that are stored whole or not at all.

        Credentials that do not hold are kept and marked, so that nobody can make a claim vanish by breaking it. What is
        no credential at all (not JSON, no id) is refused.
        """
        added = Added()
        iterator = iter(credentials)
        while batch := list(islice(iterator, BATCH)):
            documents: dict[str, Document] = {}
            for credential in batch:
                try:
                    document = parse(credential) if isinstance(credential, bytes) else credential
                    check_depth(document)
                    digest = digest_of(document)
                    if not isinstance(document.get("id"), str):
                        raise Invalid("a credential without an id")
                except Invalid as error:
                    added.refused.append(str(error))
                    continue
                added.known += digest in documents
                documents[digest] = document
            self._add_batch(documents, added)
        return added

    def recheck(self) -> None:
        """Verifies every credential again and compares the results with what the file says.

        Raises:
            UserError: If they differ: the file was tampered with or damaged.
        """
        with self.snapshot() as view:
            for entry in view.entries():
                row, links = _rows(entry.digest, entry.document)
                stored = {(link.relation, link.target, link.hash) for link in view.links_from([entry.digest])}
                same = (row["id"], row["kind"], row["valid"]) == (entry.id, entry.kind, entry.valid)
                if digest_of(entry.document) != entry.digest or not same or stored != set(links):
                    raise UserError(f"the store does not agree with its credential {entry.digest}", where=self.path)

    def _add_batch(self, documents: dict[str, Document], added: Added) -> None:
        with self.snapshot() as view:
            known = view.with_digests(documents).keys()
        added.known += len(known)
        rows, links = [], []
        for digest, document in documents.items():
            if digest in known:
                continue
            row, linked = _rows(digest, document)
            rows.append(row)
            links += [{"source": digest, "relation": r, "target": t, "hash": h} for r, t, h in linked]
            if not row["valid"]:
                added.invalid.append(f"{row['id']}: {row['reason']}")
        if rows:
            with self._writing() as connection:
                connection.execute(insert(_credentials).on_conflict_do_nothing(), rows)
                if links:
                    connection.execute(insert(_links).on_conflict_do_nothing(), links)
        added.new += len(rows)

    def _create(self) -> None:
        with self._writing() as connection:
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0:
                _metadata.create_all(connection)
                for trigger in _TRIGGERS:
                    connection.exec_driver_sql(trigger)
                connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if not self._write:
            raise UserError("the store is open for reading only", where=self.path)
        engine = self._engine.execution_options(immediate=True)
        with self._failing_clearly(), engine.begin() as connection:
            yield connection

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise UserError(f"cannot use the store: {error.orig}", where=self.path) from None


def _engine(path: Path, write: bool) -> Engine:
    mode = "rwc" if write else "ro"

    def connect() -> sqlite3.Connection:
        url = f"file:{quote(str(path.absolute()))}?mode={mode}"
        # SQLAlchemy begins transactions below, so that readers see one moment and writers queue instead of failing
        connection = sqlite3.connect(url, uri=True, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _rows(digest: str, document: Document) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Verifies a credential and returns its row and its links."""
    try:
        envelope = open_envelope(document)
        valid, reason = envelope.bound, "" if envelope.bound else envelope.warnings[0]
    except Invalid as error:
        valid, reason = False, str(error)
    subject = document.get("credentialSubject")
    row = {"digest": digest, "id": document["id"], "kind": kind_of(document), "valid": valid, "reason": reason}
    links = sorted(set(links_of(subject))) if isinstance(subject, dict) else []
    return row | {"document": canonical(document)}, links


def _chunks(values: list[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(values), BATCH):
        yield values[start : start + BATCH]
