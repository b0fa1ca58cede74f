"""The file of a ledger: one writer, durable transactions, schema version, damage refused.

SQLite in WAL mode with `synchronous=FULL`: a transaction that was acknowledged is on the disk, so
neither `kill -9` nor a power cut loses it; one that was not acknowledged is there whole or not at
all. One writer is enforced by a lock on a file beside the ledger, which the system frees when the
process ends, however it ends. Readers need no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.persons import keyed

APPLICATION_ID: Final = 0x51444C47  # "QDLG"
SCHEMA_VERSION: Final = 1
_BUSY_S = 10.0

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, terms TEXT NOT NULL,
    last_day TEXT, last_ms INTEGER NOT NULL
);
CREATE TABLE calls (
    call_id TEXT NOT NULL, ended INTEGER NOT NULL CHECK (ended IN (0, 1)),
    campaign INTEGER NOT NULL REFERENCES campaigns (id), at_ms INTEGER NOT NULL,
    day TEXT NOT NULL, outcome TEXT NOT NULL, wait_ms INTEGER,
    person BLOB, person_until_ms INTEGER,
    PRIMARY KEY (campaign, call_id, ended)
) WITHOUT ROWID;
CREATE INDEX calls_of_person ON calls (person, at_ms) WHERE person IS NOT NULL;
CREATE INDEX calls_of_campaign ON calls (campaign, at_ms);
CREATE TABLE windows (
    campaign INTEGER NOT NULL REFERENCES campaigns (id), kind TEXT NOT NULL,
    length INTEGER NOT NULL, number INTEGER NOT NULL, answered INTEGER NOT NULL,
    cut INTEGER NOT NULL, "left" INTEGER NOT NULL, amd INTEGER NOT NULL,
    PRIMARY KEY (campaign, kind, length, number)
) WITHOUT ROWID;
CREATE TABLE statistics (
    campaign INTEGER NOT NULL REFERENCES campaigns (id), day TEXT NOT NULL, name TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (campaign, day, name)
) WITHOUT ROWID;
CREATE TABLE decisions (
    event_id TEXT PRIMARY KEY, campaign INTEGER NOT NULL REFERENCES campaigns (id),
    at_ms INTEGER NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX decisions_by_time ON decisions (at_ms);
CREATE TABLE audit (
    number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    campaign TEXT NOT NULL, content TEXT NOT NULL, mark BLOB NOT NULL
);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
"""
_MIGRATIONS: Mapping[int, str] = {}
"""Older schema version to the statements that lead to the next one."""


class Lock:
    """The right to write: held by one process, freed by the system when that process ends."""

    def __init__(self, ledger: Path) -> None:
        path = ledger.with_name(ledger.name + ".lock")
        try:
            self._file: IO[str] = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise LedgerError(f"ledger {str(ledger)!r}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise LedgerError(
                f"ledger {str(ledger)!r} is being written by process {holder}; one writer only"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def free(self) -> None:
        """Give the right back."""
        self._file.close()


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one line that names the ledger."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            raise _damaged(path, text) from None
        raise LedgerError(f"ledger {str(path)!r}: {text}") from None


def open_to_write(path: Path, key: bytes, *, make: bool = False) -> sqlite3.Connection:
    """A connection for the one writer.

    Args:
        path: the ledger.
        key: its key.
        make: make the file if there is none. Otherwise that is an error: a new ledger knows of no
            silent call, so a lost one must never be replaced unnoticed.

    Raises:
        LedgerError: missing, damaged, no ledger, another key, a version that cannot be read, or no
            access.
    """
    if not make and not path.is_file():
        raise LedgerError(
            f"there is no ledger {str(path)!r}; make a new one with: quietdial ledger init {path}"
        )
    with one_line(path):
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if make and _is_empty(connection):
                _make(connection, key)
            _check(connection, path, key, writer=True)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")
        except BaseException:
            connection.close()
            raise
        return connection


def open_to_read(path: Path, key: bytes | None = None) -> sqlite3.Connection:
    """A connection that cannot write; `LedgerError` as `open_to_write`.

    Without the key numbers are read, but marks cannot be checked.
    """
    if not path.is_file():
        raise LedgerError(f"there is no ledger {str(path)!r}")
    with one_line(path):
        uri = path.resolve().as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        try:
            _check(connection, path, key, writer=False)
        except BaseException:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; acknowledged only when it is on the disk."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def meta_of(connection: sqlite3.Connection, name: str) -> Any:
    """A value of the table `meta`; None if it is not there."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _is_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and not connection.execute("PRAGMA application_id").fetchone()[0]


def _make(connection: sqlite3.Connection, key: bytes) -> None:
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    with transaction(connection):
        for statement in _statements(_SCHEMA):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("INSERT INTO meta VALUES ('key', ?)", (_fingerprint(key),))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; a transaction is needed, which `executescript` would end."""
    text = ""
    for line in script.splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def _fingerprint(key: bytes) -> bytes:
    return keyed(key, b"fingerprint", b"")


def _check(connection: sqlite3.Connection, path: Path, key: bytes | None, *, writer: bool) -> None:
    number = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if number != APPLICATION_ID:
        raise LedgerError(f"{str(path)!r} is not a ledger of quietdial")
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"ledger {str(path)!r} has schema version {version}, this program reads up to "
            f"{SCHEMA_VERSION}; use a newer quietdial"
        )
    if version < SCHEMA_VERSION:
        if not writer or any(v not in _MIGRATIONS for v in range(version, SCHEMA_VERSION)):
            raise LedgerError(
                f"ledger {str(path)!r} has schema version {version}, this program needs "
                f"{SCHEMA_VERSION}"
            )
        with transaction(connection):
            for older in range(version, SCHEMA_VERSION):
                for statement in _statements(_MIGRATIONS[older]):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _damaged(path, str(found))
    if key is not None and not hmac.compare_digest(
        bytes(meta_of(connection, "key") or b""), _fingerprint(key)
    ):
        raise LedgerError(
            f"ledger {str(path)!r} was made with another key; without its key quarantines and "
            "marks cannot be read"
        )


def _damaged(path: Path, how: str) -> LedgerError:
    return LedgerError(
        f"ledger {str(path)!r} is damaged ({' '.join(how.split())}); restore a copy, do not dial "
        "on an empty one"
    )
