"""One process at a time makes the tables of a database: several at once leave it unusable for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tfprune.errors import StorageError, TrackingError
from tfprune.storage import replacing, sweep
from tfprune.tracking.server import shown

SQLITE = "sqlite:///"
_KEY = 0x7466_7072_756E_65  # "tfprune" as a number; locks of a PostgreSQL database are numbers
_WAIT = 600  # seconds


def server_of(uri: str) -> str:
    """``postgresql``, ``mysql`` or another kind of database server; empty for whatever is none.

    Example:
        >>> server_of("postgresql+psycopg2://me@there/records"), server_of("sqlite:///mlflow.db")
        ('postgresql', '')
    """
    kind = uri.partition("://")[0].partition("+")[0]
    return kind if kind in ("postgresql", "mysql", "mssql") else ""


def with_driver(uri: str) -> str:
    """An address with the driver that is there: which one ``postgresql://`` means depends on SQLAlchemy's version."""
    plain = "postgresql://"
    return f"postgresql+psycopg2://{uri[len(plain) :]}" if uri.startswith(plain) and not find_spec("psycopg") else uri


def schema_lock(uri: str, make: Callable[[str], Any]) -> AbstractContextManager[None]:
    """Hold the lock of a store's tables: a file beside SQLite, else what the database server offers.

    Args:
        uri: of the store; one whose maker sees to this himself, as a tracking server does, is not locked.
        make: makes the tables of a new SQLite database, given its URI.

    Raises:
        StorageError: the folder of the database cannot be written.
        TrackingError: another process has held the lock for minutes.
    """
    return _beside_the_file(Path(uri[len(SQLITE) :]), make) if uri.startswith(SQLITE) else _on_the_server(uri)


@contextmanager
def _beside_the_file(path: Path, make: Callable[[str], Any]) -> Iterator[None]:
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".mlflow.lock")
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; choose another place with track.uri"
        ) from error
    try:
        sweep(folder)
        if not path.exists():
            # Tables that a kill or a full disk cut off halfway would be unusable for good.
            with replacing(path.absolute()) as temporary:
                make(f"{SQLITE}{temporary}")
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")  # of a file that cannot be read MLflow makes sure for 100 s
        yield
    finally:
        lock.release()


@contextmanager
def _on_the_server(uri: str) -> Iterator[None]:
    """A lock that the server gives back by itself when the process that holds it dies."""
    server = server_of(uri)
    if server not in ("postgresql", "mysql"):
        yield
        return
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        if server == "postgresql":
            # Until the transaction ends, not the session: a pooler hands sessions on to others.
            connection.execute(text(f"SET LOCAL lock_timeout = '{_WAIT}s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_KEY})"))
        else:
            # Such names belong to the whole server, and hold 64 characters at most.
            name = "CONCAT('tfprune.', MD5(DATABASE()))"
            if connection.execute(text(f"SELECT GET_LOCK({name}, {_WAIT})")).scalar() != 1:
                raise TrackingError(f"another process has been making the tables of {shown(uri)} for {_WAIT} s; end it")
        yield  # closing the connection gives the lock back
