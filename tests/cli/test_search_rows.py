"""Rows of a search: a table that fits 80 columns by dropping columns, CSV and JSON lines."""

import csv
import io

import click
import pytest

from writ_cli.operations.search_rows import chosen_columns, csv_text, fitting
from writ_contracts.audit import SearchRow


def row(**changed: object) -> SearchRow:
    values = {
        "operation_id": "a" * 26,
        "first_sequence": 7,
        "principal": "alice",
        "operation": "service_restart",
        "target": "web-1",
        "state": "ended",
        "outcome": "succeeded",
        "code": "",
        "requested_at": 1_000.0,
        "updated_at": 1_001.0,
        "correlation_id": "c",
        "parameters": "service_name=nginx",
        **changed,
    }
    return SearchRow(**values)  # type: ignore[arg-type]


def test_columns_are_dropped_until_a_row_fits() -> None:
    rows = [row(), row(code="auth_failed")]
    assert fitting(rows, 200) == ["when", "operation", "who", "what", "target", "outcome", "parameters", "code"]
    narrow = fitting(rows, 80)
    assert {"operation", "who", "what", "outcome"} <= set(narrow)
    assert "parameters" not in narrow
    assert fitting(rows, 20) == ["operation", "who", "what", "outcome"]


def test_csv_has_every_field_and_no_formula() -> None:
    rows = [row(reason="=cmd|' /C calc'!A0", message="two\nlines")]
    read = list(csv.DictReader(io.StringIO(csv_text(rows, []))))
    assert read[0]["operation_id"] == "a" * 26
    assert read[0]["reason"].startswith("'=")
    assert read[0]["message"] == "two\nlines"
    assert csv_text(rows, ["who", "what"]).splitlines() == ["who,what", "alice,service_restart"]


def test_an_unknown_column_is_named() -> None:
    assert chosen_columns("who, what") == ["who", "what"]
    with pytest.raises(click.UsageError, match="no column 'whom'"):
        chosen_columns("whom")
