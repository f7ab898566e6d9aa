"""Rows of a search: a table that fits 80 columns by dropping columns, CSV and JSON lines."""

import csv
import io

import click
import pytest
from rich.console import Console

from writ_cli.operations.records.search_advice import hidden_advice, unknown_name, unsearchable
from writ_cli.operations.records.search_rows import chosen_columns, csv_text, show_rows
from writ_cli.operations.running import output_labels
from writ_cli.terminal.output import Screen
from writ_client.whole_ids import one_of
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.history.audit import HiddenValues, SearchReply, SearchRow, UnknownName


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


def printed(rows: list[SearchRow], width: int) -> list[str]:
    """Return the lines of the table on a terminal of this width, without trailing blanks."""
    paper, screen = io.StringIO(), Screen("table")
    screen.out = Console(file=paper, highlight=False, markup=False, width=width, force_terminal=False)
    show_rows(screen, SearchReply(rows=rows), [])
    return [line.rstrip() for line in paper.getvalue().splitlines()]


def test_wide_terminal_shows_a_row_on_one_line() -> None:
    heading, _, first, second = printed([row(), row(requested_at=900.0, code="auth_failed")], 200)
    assert heading.split() == ["when", "operation", "who", "what", "target", "outcome", "parameters", "code"]
    assert first.startswith(f"1970-01-01 00:16:40+0000  {'a' * 26}  alice  service_restart  web-1   succeeded  ")
    assert second.endswith("auth_failed")


def test_terminal_of_eighty_columns_shows_who_did_what_when_where_and_how_it_ended() -> None:
    rows = [row(principal="operator"), row(principal="operator", target="shop-db-1", outcome="denied")]
    assert printed(rows, 80) == [
        "when                        who       what             target     outcome",
        "operation",
        "─" * 75,
        "1970-01-01 00:16:40+0000    operator  service_restart  web-1      succeeded",
        "a" * 26,
        "1970-01-01 00:16:40+0000    operator  service_restart  shop-db-1  denied",
        "a" * 26,
    ]


def test_outcome_of_a_dry_run_says_that_nothing_ran() -> None:
    rows = [row(dry_run=True, outcome=outcome) for outcome in ("failed", "denied", "previewed")]
    endings = [line.split("web-1", 1)[1].split("  service")[0].strip() for line in printed(rows, 200)[2:]]
    assert endings == ["failed (dry run)", "denied (dry run)", "previewed"]


def test_narrow_terminal_keeps_the_time_of_each_operation_with_its_zone() -> None:
    assert [line.split() for line in printed([row()], 44)] == [
        ["when", "who"],
        ["operation", "what"],
        ["─" * 43],
        ["1970-01-01", "00:16:40+0000", "alice"],
        ["a" * 26, "service_restart"],
    ]


def test_csv_has_every_field_and_no_formula() -> None:
    rows = [row(reason="=cmd|' /C calc'!A0", message="two\nlines")]
    read = list(csv.DictReader(io.StringIO(csv_text(rows, []))))
    assert read[0]["operation_id"] == "a" * 26
    assert read[0]["reason"].startswith("'=")
    assert read[0]["message"] == "two\nlines"
    assert read[0]["requested_at"] == "1000.0"
    assert read[0]["requested_at_iso"] == "1970-01-01T00:16:40.000Z"
    assert csv_text(rows, ["who", "what"]).splitlines() == ["who,what", "alice,service_restart"]


def test_csv_on_a_terminal_carries_no_escape_sequence_of_a_requester() -> None:
    text = csv_text([row(reason="\x1b]0;renamed\x07\x1b[31m\u202e", message="\r=1\n2")], ["reason", "message"])
    assert text.splitlines() == ["reason,message", '�]0;renamed��[31m�,"�=1', '2"']


def test_a_parameter_that_no_search_finds_is_explained() -> None:
    assert list(unsearchable(["service_name", "file_path"])) == []
    assert list(unsearchable(["file_pth", "content"])) == [
        "no operation known here has a parameter 'file_pth'; did you mean 'file_path'?",
        "values of content cannot be searched: a search would confirm guesses of a secret",
    ]


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (None, []),
        (HiddenValues(since=1_000.0), ["hidden values can be found in requests since 1970-01-01 00:16:40+0000"]),
        (
            HiddenValues(),
            ["hidden values on record are in no form that can be searched"],
        ),
        (HiddenValues(problem="no executor"), ["hidden values were not searched: no executor"]),
    ],
)
def test_search_without_a_result_says_since_when_hidden_values_can_be_found(
    hidden: HiddenValues | None, expected: list[str]
) -> None:
    assert list(hidden_advice(SearchReply(hidden=hidden), ["service_name"])) == expected
    assert list(hidden_advice(SearchReply(hidden=hidden), [])) == [one for one in expected if "not searched" in one]
    found = SearchReply(rows=[row()], hidden=hidden)
    assert list(hidden_advice(found, ["service_name"])) == [one for one in expected if "not searched" in one]


def test_broken_plugin_does_not_make_a_search_without_a_result_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ConfigError("the plugin cannot be loaded")

    monkeypatch.setattr(output_labels, "load_catalogue", broken)
    output_labels.catalogue.cache_clear()
    try:
        assert list(unsearchable(["file_path"])) == []
    finally:
        output_labels.catalogue.cache_clear()


def test_an_unknown_column_is_named() -> None:
    assert chosen_columns("who, what") == ["who", "what"]
    with pytest.raises(click.UsageError, match="no column 'whom'"):
        chosen_columns("whom")


def test_an_id_may_be_a_unique_prefix_of_known_ones() -> None:
    ids = ["aab" + "a" * 23, "aac" + "a" * 23, "b" * 26]
    assert one_of("b", ids, "stop") == ids[2]
    assert one_of(ids[0], ids, "stop") == ids[0]
    assert one_of("c" * 26, ids, "stop") == "c" * 26  # the service knows more: it was lifted, or never was
    for prefix, why in (("aa", "2 stop ids begin with 'aa'"), ("c", "no stop id begins"), ("", "no stop id")):
        with pytest.raises(Invalid, match=why):
            one_of(prefix, ids, "stop")


def test_principal_without_operations_may_be_named_by_security_events() -> None:
    """A refused publish is a security event of its principal, and no operation."""
    for nearest, suggestion in (([], ""), (["bob"], "; did you mean 'bob'?")):
        assert unknown_name(UnknownName(filter="principal", name="bot", nearest=nearest)) == (
            "no operation on record has principal 'bot' (security events that name it: "
            f"`writ audit security --principal bot`){suggestion}"
        )
    assert unknown_name(UnknownName(filter="client", name="x")) == "nothing on record has client 'x'"
