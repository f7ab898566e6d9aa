"""The index file stores all of a batch or none, is deleted when it is damaged, and never counts against the journal."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.audit import killed_writer

from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.index_file import IndexDamaged
from writ_audit.projection import EventRow, OperationRow, OutcomeRow, RecordChange, TermRow
from writ_contracts.errors import Unreachable
from writ_contracts.history.audit import SearchQuery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[AuditIndex]:
    index = AuditIndex(path)
    yield index
    index.close()


def opened(sequence: int, operation: str = "op") -> RecordChange:
    """A denied operation."""
    row = EventRow(sequence=sequence, subject="s", kind="refused", at=1.0, operation_id=operation, principal="alice")
    began = OperationRow(
        operation_id=operation,
        first_sequence=sequence,
        principal="alice",
        acts_for="",
        operation="file_read",
        target="web-1",
        requested_at=1.0,
        correlation_id="c",
    )
    step = OutcomeRow(
        operation_id=operation, sequence=sequence, state="ended", outcome="denied", code="no_rule", at=1.0
    )
    return RecordChange(event=row, opened=began, step=step)


def count(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    connection.close()
    return int(found)


def with_terms(sequence: int, *terms: tuple[str, str]) -> RecordChange:
    change = opened(sequence, f"op{sequence}")
    return structs.replace(change, terms=tuple(TermRow(kind, value, sequence) for kind, value in terms))


def test_several_values_of_a_rule_or_parameter_are_alternatives(index: AuditIndex) -> None:
    index.apply(
        [
            with_terms(1, ("rule", "r1"), ("rule", "r2"), ("p:service_name", "nginx"), ("p:force", "true")),
            with_terms(2, ("rule", "r2"), ("p:service_name", "apache2")),
            with_terms(3, ("rule", "r3"), ("p:service_name", "sshd"), ("p:force", "true")),
        ],
        IndexPosition(3, "o", "l"),
    )

    def found(query: SearchQuery) -> list[int]:
        return [row.first_sequence for row in index.search(query, None)]

    assert found(SearchQuery(rules=["r1", "r2"])) == [2, 1]
    assert found(SearchQuery(rule="r3", rules=["r1"])) == [3, 1]
    names = {"service_name": ["nginx", "sshd"]}
    assert found(SearchQuery(parameter_values=names)) == [3, 1]
    assert found(SearchQuery(parameter_values=names, parameters={"force": "true"}, rules=["r1", "r2"])) == [1]


def test_indexed_events_are_there_after_a_restart(path: Path, index: AuditIndex) -> None:
    index.apply([opened(1)], IndexPosition(1, "o", "l"))
    index.close()
    again = AuditIndex(path)
    assert again.place == IndexPosition(1, "o", "l")
    assert [row.operation_id for row in again.search(SearchQuery(), None)] == ["op"]
    assert again.rebuilt == ""
    again.close()


def test_the_same_record_twice_changes_nothing(index: AuditIndex) -> None:
    index.apply([opened(1)], IndexPosition(1))
    index.apply([opened(1), opened(2, "other")], IndexPosition(2))
    assert [row.operation_id for row in index.search(SearchQuery(), None)] == ["other", "op"]


def test_a_batch_that_fails_leaves_nothing_behind(path: Path, index: AuditIndex) -> None:
    broken = RecordChange(event=EventRow(sequence=2**70, subject="s", kind="refused", at=1.0))
    with pytest.raises(OverflowError):
        index.apply([opened(1), broken], IndexPosition(2))
    assert index.place == IndexPosition()
    assert count(path) == 0
    index.apply([opened(1)], IndexPosition(1))
    assert count(path) == 1


def test_a_file_that_is_no_database_is_replaced(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to look like a file" * 100)
    index = AuditIndex(path)
    assert "not a database" in index.rebuilt
    assert index.place == IndexPosition()
    index.close()


def test_an_index_of_another_schema_is_replaced(path: Path) -> None:
    AuditIndex(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    index = AuditIndex(path)
    assert index.rebuilt == "its schema is version 999, this program's is 8"
    index.close()


def test_damage_of_the_index_is_reported_and_reset_rebuilds_it(path: Path, index: AuditIndex) -> None:
    index.apply([opened(number, f"op{number}") for number in range(1, 500)], IndexPosition(499))
    index.close()
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 100] = b"\xff" * 100
    path.write_bytes(data)
    try:
        damaged = AuditIndex(path)
    except IndexDamaged:
        pytest.fail("an index that cannot be opened is replaced")
    if not damaged.rebuilt:
        with pytest.raises(IndexDamaged):
            damaged.search(SearchQuery(limit=1000), None)
        damaged.reset("damaged")
    assert damaged.place == IndexPosition()
    damaged.apply([opened(1)], IndexPosition(1))
    damaged.close()


def test_index_reports_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="unable to open"):
        AuditIndex(tmp_path / "nowhere" / "audit.sqlite")


@pytest.mark.parametrize("seed", range(6))
def test_a_writer_killed_in_mid_batch_leaves_whole_batches(path: Path, seed: int) -> None:
    command = [sys.executable, killed_writer.__file__, str(path)]
    reply = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        try:
            for _ in range(random.Random(seed).randint(1, 40)):
                reply = int(process.stdout.readline())
        finally:
            process.kill()
    index = AuditIndex(path)
    assert index.rebuilt == ""
    assert index.place.position >= reply
    assert index.place.position == count(path)
    assert index.place.last == f"digest of {index.place.position}"
    index.close()
