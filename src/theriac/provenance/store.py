"""A store of credentials: one SQLite file, or a PostgreSQL database; append-only, read by many while one writes.

Every credential is verified once, before it is added, and the result is kept with it. A store that comes from somebody
else can be verified again as a whole (:meth:`Store.recheck`).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from theriac.errors import UserError
from theriac.provenance.canonical import Document, Invalid
from theriac.provenance.database import for_writing, is_url, open_engine, prepare, version_of
from theriac.provenance.ingest import insert_records, recheck_links
from theriac.provenance.intake import UNSIGNED, W3C, Accepted, NotAccepted, Record, examine
from theriac.provenance.pool import Examined, examine_all
from theriac.provenance.snapshot import Snapshot
from theriac.provenance.tables import VERSION


@dataclass
class Added:
    """What became of credentials that were added.

    Attributes:
        new: How many are new.
        known: How many were there.
        invalid: Id and reason of the new ones that do not hold; they are kept, marked.
        refused: Why others were kept out: no credentials at all.
        kept_out: Why others were kept out: unsigned, or signed in a weak way, and nobody asked for them.
        weak: How many of the new ones are unsigned or signed in a weak way.
    """

    new: int = 0
    known: int = 0
    invalid: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)
    weak: int = 0


class Store:
    """Credentials in a file or a database. Use it as a context manager, or call :meth:`close`.

    Args:
        path: The SQLite file, or a ``postgresql://`` URL.
        write: Open for adding, making the store if there is none; else it must exist and is never changed.

    Raises:
        UserError: If the store is absent, is not one, or cannot be opened.
    """

    def __init__(self, path: Path | str, *, write: bool = False) -> None:
        self.path = str(path)
        self._write = write
        self.where = make_url(self.path).render_as_string() if is_url(self.path) else self.path
        self._engine = open_engine(self.path, write)
        try:
            with self._failing_clearly():
                if write:
                    prepare(self._engine, self.where)
                with self._engine.connect() as connection:
                    version = version_of(connection)
            if version != VERSION:
                do = "import it into a new one: theriac import OLD --store NEW" if version else "name another"
                raise UserError("not a store of credentials, or one of another version", where=self.where, do=do)
        except UserError:
            self._engine.dispose()
            raise

    def __enter__(self) -> Self:
        """Returns the store itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the store."""
        self.close()

    def close(self) -> None:
        """Closes the store, leaving no other files beside it unless somebody else still uses it."""
        if self._write and not is_url(self.path):
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

    def add(
        self,
        credentials: Iterable[bytes | Document],
        *,
        accepted: Accepted | None = None,
        workers: int = 0,
    ) -> Added:
        """Verifies and adds credentials, in batches that are stored whole or not at all.

        Credentials that do not hold are kept and marked, so that nobody can make a claim vanish by breaking it. What is
        no credential at all (not JSON, no id) is refused.

        Args:
            credentials: Files' bytes, or parsed documents.
            accepted: Which unsigned or weakly signed credentials to take, too; none by default.
            workers: Processes that verify beside this one; 0 verifies in this one.
        """
        added = Added()
        for batch in examine_all(((None, credential) for credential in credentials), accepted or Accepted(), workers):
            self.add_examined(batch, added)
        return added

    def add_examined(self, batch: Examined, added: Added) -> None:
        """Adds a batch of verified credentials, whole or not at all, and counts it in ``added``."""
        fresh: list[Record] = []
        if batch.records:
            with self._writing() as connection:
                fresh = insert_records(connection, batch.records)
        added.new += len(fresh)
        added.known += len(batch.records) - len(fresh)
        added.weak += sum(record.profile != W3C for record in fresh if record.valid)
        added.invalid += [f"{record.id}: {record.reason}" for record in fresh if not record.valid]
        added.refused += batch.refused
        added.kept_out += batch.kept_out

    def recheck(self, accepted: Accepted | None = None) -> None:
        """Verifies every credential again and compares the results with what the store says.

        Args:
            accepted: Which weak credentials were asked for; by default those that the store has are taken as asked for.

        Raises:
            UserError: If they differ: the store was tampered with or damaged.
        """
        with self.snapshot() as view:
            for entry in view.entries():
                weak = accepted or Accepted(frozenset({entry.profile}), entry.profile == UNSIGNED)
                try:
                    record = examine(entry.document, weak)
                except (NotAccepted, Invalid):
                    record = None
                said = (entry.digest, entry.id, entry.kind, entry.valid, entry.signer, entry.starts, entry.ends)
                if record is None or _said(record) != said or not recheck_links(view.connection, entry.pk, record):
                    raise UserError(f"the store does not agree with its credential {entry.digest}", where=self.where)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if not self._write:
            raise UserError("the store is open for reading only", where=self.where)
        with self._failing_clearly(), for_writing(self._engine).begin() as connection:
            yield connection

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())[:300]
            raise UserError(f"cannot use the store: {said}", where=self.where) from None


def _said(record: Record) -> tuple[object, ...]:
    digest = f"sha256:{record.digest.hex()}"
    return digest, record.id, record.facts.kind, record.valid, record.signer, record.starts, record.ends
