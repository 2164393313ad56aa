"""A store of credentials: one SQLite file, append-only, readable by many while one writes.

Every credential is verified once, when it is added, and the result is kept with it. A store that comes from somebody
else can be verified again as a whole (:meth:`Store.recheck`).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from theriac.errors import UserError
from theriac.provenance.canonical import Document, Invalid, canonical, check_depth, digest_of, digest_of_bytes, parse
from theriac.provenance.credentials import open_envelope
from theriac.provenance.kinds import kind_of, links_of
from theriac.provenance.snapshot import BATCH, CREDENTIALS, LINKS, METADATA, Snapshot

_APPLICATION_ID = 0x74687263  # "thrc": tells a store from other SQLite files
_VERSION = 1

_TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table in ("credential", "link")
    for change in ("update", "delete")
]


@dataclass
class Added:
    """What became of a batch: how many are new, how many were there, which new ones do not hold, which were refused."""

    new: int = 0
    known: int = 0
    invalid: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


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
            documents: dict[str, tuple[Document, bytes]] = {}
            for credential in batch:
                try:
                    document = parse(credential) if isinstance(credential, bytes) else credential
                    check_depth(document)
                    data = canonical(document)
                    document = parse(data)  # what is stored can be read again
                    if not isinstance(document.get("id"), str):
                        raise Invalid("a credential without an id")
                except Invalid as error:
                    added.refused.append(str(error))
                    continue
                digest = digest_of_bytes(data)
                added.known += digest in documents
                documents[digest] = document, data
            self._add_batch(documents, added)
        return added

    def recheck(self) -> None:
        """Verifies every credential again and compares the results with what the file says.

        Raises:
            UserError: If they differ: the file was tampered with or damaged.
        """
        with self.snapshot() as view:
            for entry in view.entries():
                row, links = _verified(entry.document)
                stored = {(link.relation, link.target, link.hash) for link in view.links_from([entry.digest])}
                same = (row["id"], row["kind"], row["valid"]) == (entry.id, entry.kind, entry.valid)
                if digest_of(entry.document) != entry.digest or not same or stored != set(links):
                    raise UserError(f"the store does not agree with its credential {entry.digest}", where=self.path)

    def _add_batch(self, documents: dict[str, tuple[Document, bytes]], added: Added) -> None:
        with self.snapshot() as view:
            known = view.with_digests(documents).keys()
        added.known += len(known)
        rows, links = [], []
        for digest, (document, data) in documents.items():
            if digest in known:
                continue
            row, linked = _verified(document)
            rows.append(row | {"digest": digest, "document": data})
            links += [{"source": digest, "relation": r, "target": t, "hash": h} for r, t, h in linked]
            if not row["valid"]:
                added.invalid.append(f"{row['id']}: {row['reason']}")
        if rows:
            with self._writing() as connection:
                connection.execute(insert(CREDENTIALS).on_conflict_do_nothing(), rows)
                if links:
                    connection.execute(insert(LINKS).on_conflict_do_nothing(), links)
        added.new += len(rows)

    def _create(self) -> None:
        with self._writing() as connection:
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0:
                METADATA.create_all(connection)
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


def _verified(document: Document) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    """Verifies a credential; returns what its row says about it, and its links."""
    try:
        envelope = open_envelope(document)
        valid, reason = envelope.bound, "" if envelope.bound else envelope.warnings[0]
    except Invalid as error:
        valid, reason = False, str(error)
    subject = document.get("credentialSubject")
    links = sorted(set(links_of(subject))) if isinstance(subject, dict) else []
    return {"id": document["id"], "kind": kind_of(document), "valid": valid, "reason": reason}, links
