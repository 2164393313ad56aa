"""Opening the database behind a store: SQLite or PostgreSQL, by Alembic's migrations brought to the present form."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine, event, inspect, make_url, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from theriac.errors import UserError
from theriac.provenance.tables import VERSION

_APPLICATION_ID = 0x74687263  # "thrc": tells a store from other SQLite files
_WRITER = 0x7468726961  # PostgreSQL's advisory lock: one writer at a time


def is_url(path: str) -> bool:
    """Returns whether a store is named by the URL of a database."""
    return path.startswith(("postgresql://", "postgresql+psycopg://", "postgres://"))


def open_engine(path: str, write: bool) -> Engine:
    """Returns the engine of a store; nothing is connected yet.

    Raises:
        UserError: If the file is absent or its folder cannot be made, or the URL or its driver is wrong.
    """
    return _postgres(path, write) if is_url(path) else _sqlite(Path(path), write)


def for_writing(engine: Engine) -> Engine:
    """Returns the engine whose transactions are the only ones that write, and see everything written before."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(writing=True)
    # REPEATABLE READ would go on to see the database as it was before the wait for the lock
    return engine.execution_options(writing=True, isolation_level="READ COMMITTED")


def prepare(engine: Engine, where: str) -> None:
    """Brings the database to the present form, making the tables if it is empty."""
    with engine.connect() as connection:
        version = version_of(connection)
        empty = not inspect(connection).get_table_names()
    if version == VERSION:
        return
    if not version and not empty:
        raise UserError("not a store of credentials", where=where, do="name another")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with for_writing(engine).begin() as connection:
        if version_of(connection) == VERSION:  # another process was faster
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")


def version_of(connection: Connection) -> str:
    """Returns the version of the store's tables; empty if it is no store."""
    if connection.dialect.name == "sqlite":
        application = connection.exec_driver_sql("PRAGMA application_id").scalar()
        if application != _APPLICATION_ID:
            return ""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def _sqlite(path: Path, write: bool) -> Engine:
    if not write and not path.is_file():
        raise UserError("no such store", where=path, do="name the store that theriac audit or attest wrote")
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None

    def connect() -> sqlite3.Connection:
        url = f"file:{quote(str(path.absolute()))}?mode={'rwc' if write else 'ro'}"
        # SQLAlchemy begins transactions below, so that readers see one moment and writers queue instead of failing
        connection = sqlite3.connect(url, uri=True, timeout=60, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -262144")
        if write:
            connection.execute("PRAGMA journal_mode = WAL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _is_writing(connection) else "BEGIN")

    return engine


def _postgres(path: str, write: bool) -> Engine:
    try:
        url = make_url(path).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="REPEATABLE READ", pool_pre_ping=True)
    except ArgumentError:
        raise UserError("not the URL of a database", where="--store", do="write postgresql://USER@HOST/NAME") from None
    except ImportError:
        raise UserError("PostgreSQL's driver is missing", do="pip install 'theriac[postgres]'") from None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if _is_writing(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER})")
        elif not write:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    return engine


def _is_writing(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writing"))
