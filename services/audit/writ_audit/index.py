"""The index of the journal: one SQLite file. Only this module and `index_file` import sqlite3.

All of its content can be rebuilt from the journal. A batch of changes and the position after it are one transaction, so
an index that was killed at any moment is complete up to its position.

Errors: IndexDamaged (rebuild the index), Unreachable (such as a full disk: try later).

WAL mode: readers and the one writer do not block each other (https://www.sqlite.org/wal.html).
"""

import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

from msgspec import Struct, structs

from writ_audit.index_file import IndexDamaged, connect, errors, prepare
from writ_audit.projection import APPROVER, DIGEST_KEY, OperationRow, RecordChange
from writ_audit.search_conditions import NO_DIGESTS, Digests, Term, names_an_id, search_conditions, search_terms
from writ_contracts.history.audit import SearchQuery, SearchRow, SecurityFilter
from writ_contracts.subjects import security_event

_SEARCH = """
SELECT operation_id, o.first_sequence, principal, operation, target, state, outcome, code, requested_at, updated_at,
    correlation_id,
    (SELECT count(*) FROM events e WHERE e.operation_id = o.operation_id AND e.operation_id != ''
        AND e.kind = 'security')
    + (SELECT count(*) FROM events e WHERE e.correlation_id = o.correlation_id AND e.operation_id = ''
        AND e.kind = 'security'),
    reason, rules, parameters, message, dry_run
FROM :source WHERE :where ORDER BY :at DESC LIMIT ?
"""
"""The text of `:source`, `:where` and `:at` comes from this module only; values are bound."""
_BY_TERM = "terms d CROSS JOIN operations o ON d.kind = ? AND d.value = ? AND o.first_sequence = d.first_sequence"
"""SQLite evaluates a CROSS JOIN in the written order. A rare value has few operations, so they are read first; those of
a common value come in order of the journal.
"""
_LINKED = """
SELECT sequence FROM events WHERE operation_id = ? AND operation_id != ''
UNION
SELECT sequence FROM events
WHERE correlation_id = ? AND correlation_id != '' AND kind = 'security' AND operation_id = ''
ORDER BY 1
"""
_CORRELATED = """
SELECT sequence, kind, principal FROM events
WHERE correlation_id = ? AND correlation_id != '' AND sequence > ? ORDER BY sequence LIMIT ?
"""
_OWNERS = """
SELECT DISTINCT e.principal, coalesce(o.acts_for, '')
FROM events e LEFT JOIN operations o ON o.operation_id = e.operation_id
WHERE e.correlation_id = ? AND e.correlation_id != '' AND e.principal != ''
"""
_SECURITY = """
SELECT sequence FROM events WHERE kind = 'security' AND (:before IS NULL OR sequence < :before)
    AND (:subject IS NULL OR subject = :subject) AND (:principal IS NULL OR principal = :principal)
    AND (:since IS NULL OR at >= :since)
ORDER BY sequence DESC LIMIT :limit
"""
_BEFORE = """
SELECT first_sequence FROM operations WHERE requested_at < ? AND state != 'archived' ORDER BY requested_at DESC LIMIT 1
"""
_AFTER = """
SELECT first_sequence FROM operations WHERE requested_at > ? AND state != 'archived' ORDER BY requested_at LIMIT 1
"""
_OWN = (
    ("operations o INDEXED BY operations_by_principal", "principal = ?"),
    ("operations o INDEXED BY operations_by_human", "acts_for = ? AND acts_for != ''"),
)
"""The records of a principal, and those of its agents. SQLite cannot know how few they are, and reads all records of an
operation or outcome in place of them: a principal without any had it read 100,000 records in a second.
"""
_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM terms WHERE kind = ? AND value = ? LIMIT ?)"
RARE = 1_000
"""Operations with a term, up to which a search of own records begins with the term."""
READERS = 4
"""Reads at the same time. SQLite releases the GIL, so a short one does not wait for the end of a long one."""
DISORDER = 900.0
"""Seconds by which the times of requests may differ from the order of the journal. A decision is recorded within 600 s.
"""
MOST_NAMES = 10_000
_VERDICT = "INSERT OR IGNORE INTO terms SELECT ?, ?, first_sequence FROM operations WHERE operation_id = ?"
_STEP = """
UPDATE operations SET sequence = :sequence, state = :state, outcome = :outcome, code = :code, updated_at = :at,
    message = CASE WHEN :message = '' THEN message ELSE :message END,
    emergency = CASE WHEN :emergency = '' THEN emergency ELSE :emergency END
WHERE operation_id = :operation_id AND sequence < :sequence
"""


class IndexPosition(Struct, frozen=True):
    """A position in the journal, with the journal's identity: digests of its first record and of the record at
    `position`.
    """

    position: int = 0
    origin: str = ""
    last: str = ""


class OperationOwner(Struct, frozen=True):
    """The principal of an operation, and the human that it acts for."""

    operation_id: str
    principal: str
    acts_for: str
    correlation_id: str


class LinkedEvent(Struct, frozen=True):
    """An event with a correlation id; `principal` is "" where it names none."""

    sequence: int
    kind: str
    principal: str


class AuditIndex:
    """The index file. Thread-safe: at most one writer and `READERS` readers at a time, each with its own connection."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. An unusable file is replaced by an empty one; `rebuilt` then gives the reason."""
        self._path = path
        self._write_lock = threading.Lock()
        self._readers = LifoQueue[sqlite3.Connection | None](READERS)
        for _ in range(READERS):
            self._readers.put(None)
        self.rebuilt = ""
        try:
            self._open()
        except IndexDamaged as error:
            self.reset(str(error))

    def _open(self) -> None:
        with errors():
            self._writer = connect(self._path)
            try:
                prepare(self._writer)
            except BaseException:
                self._writer.close()
                raise
            self._place = _read_place(self._writer)

    def reset(self, why: str) -> None:
        """Delete the content, so that the index is rebuilt from the first event of the journal."""
        with self._write_lock, self._no_readers():
            self._close_writer()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._open()
            self.rebuilt = why

    @property
    def place(self) -> IndexPosition:
        return self._place

    def apply(self, changes: Sequence[RecordChange], place: IndexPosition) -> None:
        """Apply the changes and move to `place` in one transaction."""
        with self._write_lock, errors(), self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            _insert(self._writer, "events", [change.event for change in changes])
            _insert(self._writer, "operations", list(_operations(changes)))
            _insert(self._writer, "terms", [term for change in changes for term in change.terms])
            verdicts = [(APPROVER, change.approver, change.event.operation_id) for change in changes if change.approver]
            self._writer.executemany(_VERDICT, verdicts)
            self._writer.executemany(_STEP, [structs.asdict(change.step) for change in changes if change.step])
            self._writer.execute("UPDATE place SET position = ?, origin = ?, last = ?", structs.astuple(place))
        self._place = place

    def search(self, query: SearchQuery, only_of: str | None, digests: Digests = NO_DIGESTS) -> list[SearchRow]:
        """Return the newest matches, and one more than `limit` if there are more. `only_of`: only operations of this
        principal. `digests`: the search digests of sought values.
        """
        # Most alternatives occur nowhere: a value is on record in one form, unless the audit level was changed.
        terms = sorted((self._occurring(each) for each in search_terms(query, digests)), key=len)
        # Each alternative is read in the order of the journal. A union of them would be sorted first, for 0.4 s.
        if only_of is not None and not names_an_id(query) and not any(map(self._is_rare, terms)):
            pages = [self._page(query, terms, [only_of], source=source, first=own) for source, own in _OWN]
        elif terms:
            leading, *others = terms
            at = "d.first_sequence"
            pages = [self._page(query, others, term, only_of=only_of, source=_BY_TERM, at=at) for term in leading]
        else:
            pages = [self._page(query, (), (), only_of=only_of)]
        rows = {row.operation_id: row for page in pages for row in page}
        return sorted(rows.values(), key=lambda row: -row.first_sequence)[: query.limit + 1]

    def _page(
        self,
        query: SearchQuery,
        terms: Sequence[Sequence[Term]],
        leading: Sequence[str],
        *,
        only_of: str | None = None,
        source: str = "operations o",
        first: str = "1",
        at: str = "o.first_sequence",
    ) -> list[SearchRow]:
        """Return the newest operations in `source` that match. `leading`: the values of `source` and of the condition
        `first`; `terms`: an operation must have one of each group.
        """
        where, values = search_conditions(query, only_of, terms)
        bounds, more = self._bounds(query)
        sql = _SEARCH.replace(":source", source).replace(":where", " AND ".join([first, where, *bounds]))
        rows = self._read(sql.replace(":at", at), [*leading, *values, *more, query.limit + 1])
        typed = ((*values, bool(dry_run)) for *values, dry_run in rows)
        return [SearchRow(**dict(zip(SearchRow.__struct_fields__, row, strict=True))) for row in typed]

    def _is_rare(self, terms: Sequence[Term]) -> bool:
        return sum(int(self._read(_COUNTED, [*term, RARE + 1])[0][0]) for term in terms) <= RARE

    def _occurring(self, terms: Sequence[Term]) -> list[Term]:
        sql = "SELECT 1 FROM terms WHERE kind = ? AND value = ? LIMIT 1"
        return [term for term in dict.fromkeys(terms) if self._read(sql, term)]

    def searchable_since(self, keys: Sequence[str]) -> float | None:
        """Return the time of the first request with search digests under one of these keys."""
        first = "SELECT min(first_sequence) FROM terms WHERE kind = ? AND value = ?"
        firsts = [row[0][0] for key in keys if (row := self._read(first, [DIGEST_KEY, key]))]
        known = [sequence for sequence in firsts if sequence is not None]
        rows = self._read("SELECT requested_at FROM operations WHERE first_sequence = ?", [min(known, default=0)])
        return rows[0][0] if rows else None

    def _bounds(self, query: SearchQuery) -> tuple[list[str], list[object]]:
        """Return the range of sequences that the times of the query allow, so that a search of the last hour reads only
        an hour.

        Times of requests follow the order of the journal except for `DISORDER` seconds. Archived operations do not once
        an index was rebuilt: they have the sequence of their `archived` event.
        """
        bounds, values = list[str](), list[object]()
        if query.since is not None and (row := self._read(_BEFORE, [query.since - DISORDER])):
            bounds.append(":at > ?")
            values.append(row[0][0])
        if query.until is not None and (row := self._read(_AFTER, [query.until + DISORDER])):
            archived = self._read("SELECT 1 FROM operations WHERE state = 'archived' LIMIT 1", [])
            bounds += [] if archived else [":at < ?"]
            values += [] if archived else [row[0][0]]
        return bounds, values

    def names(self, column: str, only_of: str | None) -> list[str]:
        """Return the distinct values of a column, for suggestions."""
        if column not in ("principal", "target", "operation", "client", "session"):
            raise ValueError(column)
        own = "1" if only_of is None else "(principal = :own OR (acts_for = :own AND acts_for != ''))"
        sql = f"SELECT DISTINCT {column} FROM operations WHERE {own} AND {column} != '' LIMIT {MOST_NAMES}"  # noqa: S608
        return [str(row[0]) for row in self._read(sql, {"own": only_of})]

    def values(self, kind: str) -> list[str]:
        """Return the distinct values of a kind of terms, such as `rule`, for suggestions."""
        sql = "SELECT DISTINCT value FROM terms WHERE kind = ? LIMIT ?"
        return [str(row[0]) for row in self._read(sql, [kind, MOST_NAMES])]

    def operation(self, operation_id: str) -> OperationOwner | None:
        """Return the owner of this operation, or None if no event of it was read."""
        sql = "SELECT operation_id, principal, acts_for, correlation_id FROM operations WHERE operation_id = ?"
        return next((OperationOwner(*row) for row in self._read(sql, [operation_id])), None)

    def linked(self, operation_id: str, correlation_id: str) -> list[int]:
        """Return the sequences of all events of the operation, and of security events with its correlation id."""
        return [int(row[0]) for row in self._read(_LINKED, [operation_id, correlation_id])]

    def correlated(self, correlation_id: str, after: int, limit: int) -> list[LinkedEvent]:
        """Return the events with a correlation id after a sequence, in order."""
        return [LinkedEvent(*row) for row in self._read(_CORRELATED, [correlation_id, after, limit])]

    def places(self, kinds: Collection[str], after: int, last: int) -> list[tuple[str, int]]:
        """Return subject and sequence of the events of these kinds between `after`, exclusive, and `last`, in order."""
        marks = ", ".join("?" * len(kinds))
        sql = f"SELECT subject, sequence FROM events WHERE sequence > ? AND sequence <= ? AND kind IN ({marks})"  # noqa: S608
        return self._read(f"{sql} ORDER BY sequence", [after, last, *kinds])

    def owners(self, correlation_id: str) -> list[tuple[str, str]]:
        """Return the principals of events with a correlation id, each with the human behind its operation or ""."""
        return self._read(_OWNERS, [correlation_id])

    def security(self, query: SecurityFilter, limit: int) -> list[int]:
        """Return the sequences of security events, the newest first, or those of recorded reads."""
        subject = None if query.kind is None else security_event(query.kind)
        sql = _SECURITY.replace("'security'", "'record_read'") if query.reads else _SECURITY
        values = {"subject": subject, "principal": query.principal, "since": query.since, "before": query.before}
        return [int(row[0]) for row in self._read(sql, {**values, "limit": limit})]

    def _read(self, sql: str, values: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
        reader = self._readers.get()
        try:
            with errors():
                reader = reader or connect(self._path)
                return reader.execute(sql, values).fetchall()
        finally:
            self._readers.put(reader)

    @contextmanager
    def _no_readers(self) -> Iterator[None]:
        """Wait for the end of all reads, close their connections, and let no other begin within the block."""
        for reader in [self._readers.get() for _ in range(READERS)]:
            if reader is not None:
                reader.close()
        try:
            yield
        finally:
            for _ in range(READERS):
                self._readers.put(None)

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it."""
        with self._write_lock, self._no_readers():
            self._close_writer()

    def _close_writer(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.close()


def _read_place(connection: sqlite3.Connection) -> IndexPosition:
    row = connection.execute("SELECT position, origin, last FROM place").fetchone()
    if row is None:
        raise IndexDamaged("it does not say how far it has read")
    return IndexPosition(*row)


def _operations(changes: Sequence[RecordChange]) -> Iterator[Struct]:
    for change in changes:
        if change.opened is not None:
            yield _FirstRow(**structs.asdict(change.opened), sequence=0, state="", code="", updated_at=0.0)


class _FirstRow(OperationRow, frozen=True, kw_only=True):
    """A row as first written. The outcome row of the same event is applied directly after it."""

    sequence: int
    state: str
    code: str
    updated_at: float
    message: str = ""


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Struct]) -> None:
    if rows:
        names = rows[0].__struct_fields__
        slots = ", ".join("?" * len(names))
        # INSERT OR IGNORE: an operation id can begin only once, so an operation that was read before stays unchanged.
        sql = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({slots})"  # noqa: S608
        connection.executemany(sql, [structs.astuple(row) for row in rows])
