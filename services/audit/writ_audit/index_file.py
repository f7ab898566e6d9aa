"""The SQLite file of the index: its schema, connections to it, and its errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from writ_contracts.errors import Unreachable, WritError

SCHEMA_VERSION = 8
_SCHEMA = """
CREATE TABLE place (id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL, origin TEXT NOT NULL,
    last TEXT NOT NULL);
INSERT INTO place VALUES (1, 0, '', '');
CREATE TABLE operations (operation_id TEXT PRIMARY KEY, first_sequence INTEGER NOT NULL, principal TEXT NOT NULL,
    acts_for TEXT NOT NULL, operation TEXT NOT NULL, target TEXT NOT NULL, requested_at REAL NOT NULL,
    correlation_id TEXT NOT NULL, emergency TEXT NOT NULL, client TEXT NOT NULL, session TEXT NOT NULL,
    sequence INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT,
    code TEXT NOT NULL, updated_at REAL NOT NULL, reason TEXT NOT NULL, rules TEXT NOT NULL, parameters TEXT NOT NULL,
    message TEXT NOT NULL, dry_run INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE terms (kind TEXT NOT NULL, value TEXT NOT NULL, first_sequence INTEGER NOT NULL,
    PRIMARY KEY (kind, value, first_sequence)) WITHOUT ROWID;
CREATE INDEX operations_by_time ON operations (requested_at, first_sequence) WHERE state != 'archived';
CREATE INDEX archived_operations ON operations (state) WHERE state = 'archived';
CREATE INDEX operations_by_sequence ON operations (first_sequence);
CREATE INDEX operations_by_principal ON operations (principal, first_sequence);
CREATE INDEX operations_by_human ON operations (acts_for, first_sequence) WHERE acts_for != '';
CREATE INDEX operations_by_target ON operations (target, first_sequence);
CREATE INDEX operations_by_name ON operations (operation, first_sequence);
CREATE INDEX operations_by_outcome ON operations (outcome, first_sequence);
CREATE INDEX operations_by_correlation ON operations (correlation_id, first_sequence);
CREATE INDEX operations_by_emergency ON operations (emergency, first_sequence) WHERE emergency != '';
CREATE INDEX operations_by_client ON operations (client, first_sequence) WHERE client != '';
CREATE INDEX operations_by_session ON operations (session, first_sequence) WHERE session != '';
CREATE TABLE events (sequence INTEGER PRIMARY KEY, subject TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
    operation_id TEXT NOT NULL, correlation_id TEXT NOT NULL, principal TEXT NOT NULL);
CREATE INDEX events_by_operation ON events (operation_id, sequence) WHERE operation_id != '';
CREATE INDEX events_by_correlation ON events (correlation_id, sequence) WHERE correlation_id != '';
CREATE INDEX security_events ON events (sequence) WHERE kind = 'security';
CREATE INDEX record_reads ON events (sequence) WHERE kind = 'record_read';
CREATE INDEX security_by_correlation ON events (correlation_id) WHERE kind = 'security' AND operation_id = '';
"""


class IndexDamaged(WritError):
    """The file is not an index, or one of another version. It has to be rebuilt."""

    default_code = "unavailable"
    retry = True


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection in WAL mode."""
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file. Raises IndexDamaged for another schema."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version == 0 and tables == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version != SCHEMA_VERSION:
        raise IndexDamaged(f"its schema is version {version}, this program's is {SCHEMA_VERSION}")


@contextmanager
def errors() -> Iterator[None]:
    """Raise SQLite's errors as IndexDamaged or Unreachable."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise IndexDamaged(f"SQLite: {error}") from error
        raise Unreachable(f"the index cannot be used now: {error}") from error
