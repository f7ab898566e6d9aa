"""Every table of the command fits a terminal of 80 columns: ids, names, times and words stay whole."""

import ast
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console

import writ_cli
from writ_cli.installation.targets.target_test import COLUMNS as TESTED
from writ_cli.operations.catalogue import operations_list as catalogue
from writ_cli.operations.records.search_rows import NARROWED, WIDE
from writ_cli.terminal.output import Screen
from writ_cli.terminal.table_widths import Step
from writ_contracts.catalogue import BUILT_IN
from writ_testing.each_case import each_case

ID = "bpus7uwbcx4ft3jsgkfhhw4g2u"
NAME, TIME, TEXT = (
    "copilot-for-operator",
    "2026-11-28 00:28:05+0000",
    "an intrusion on web-3, and what was done about it " * 2,
)
LONG = "container_create"
CELLS = {
    **dict.fromkeys(("stop", "window", "emergency", "session"), ID),
    **dict.fromkeys(
        ("by", "who", "of", "person", "principal", "requested by", "declared by", "author", "endorsed by"), NAME
    ),
    **dict.fromkeys(
        ("target", "role", "pool", "plugin", "label", "acts for", "via", "process", "rule", "parameter"), NAME
    ),
    **dict.fromkeys(("when", "since", "until", "enrolled", "removed", "created", "expires", "good until", "at"), TIME),
    **dict.fromkeys(
        ("reason", "why", "note", "limits", "waits for", "reach", "targets", "operations", "tags", "if"), TEXT
    ),
    **dict.fromkeys(("message", "parameters", "roles", "rules", "problem", "finding", "what it does"), TEXT),
    **dict.fromkeys(("principals", "allowed", "versions", "what to do", "backends"), TEXT),
    **dict.fromkeys(("what", "type", "default"), LONG),
    **dict.fromkeys(("state", "outcome", "decision", "effect", "matches", "kind", "class", "risk"), "succeeded"),
    **dict.fromkeys(("code", "worth", "backend", "host key", "credentials", "connection"), "own_emergency"),
    **dict.fromkeys(
        ("agents", "security", "pid", "health port", "restarts", "version", "used", "key here", "from"), "12345"
    ),
    **dict.fromkeys(("digest", "clock", "time left"), "9 min 53 s"),
    "operation": ID,
    "sequence": "1234567",
    "detail": TEXT,
    "read": TEXT,
    "site": "a" * 32,
    "key": "agent-local-web-1",
    "public": "U" + ID.upper() * 2 + "AAA",
    "age": "12 days",
    "used by": TEXT,
    "file": "/etc/writ/keys/policy.seed",
    "findings": "12",
    "stored as": "0123456789abcdef" * 4,
    "error": TEXT,
    "token": "tok-" + ID[:12],
    "id": ID[:12],
    "fingerprint": "0123456789abcdef",
    "subject": "CN=Yubico FIDO Root CA Serial 450203556,O=Yubico AB,C=SE",
    "recorded": TIME,
    "public key": "U" + ID.upper() * 2 + "AAA",
    "context": "test-site",
    "device": NAME,
    "proof": "verified",
    "url": "nats://127.0.0.1:4222",
    "": "current",
}
"""A cell of each column, as long as it is likely to be."""
PENDING = ("operation", "digest", "requested by", "what", "target", "waits for", "time left", "reason")
NARROW: dict[tuple[str, ...], dict[str, str]] = {
    ("pool", "public key"): {"pool": "local-web-1"},
    PENDING: {"reason": ""},  # where it does not fit it is printed beneath
}


class Shape(Struct, frozen=True):
    where: str
    columns: tuple[str, ...]
    drop: tuple[Step, ...]

    @property
    def left_out(self) -> set[str]:
        """Return the columns that a narrow table may leave out; others are at most stacked in pairs."""
        return {name for step in self.drop if isinstance(step, str) for name in step.split("\n")}


COLUMNS_AT = {"table": 0, "listing": 1}
"""The position of the columns among the arguments of each method that prints a table."""


def tables() -> Iterator[Shape]:
    """The tables of the command, from its source."""
    known = {"COLUMNS": TESTED, "names": WIDE, "NARROWED": NARROWED}
    for path in sorted(Path(writ_cli.__file__).parent.rglob("*.py")):
        if path.stem == Screen.__module__.rpartition(".")[2]:
            continue
        source = path.read_text()
        if not any(f".{method}(" in source for method in COLUMNS_AT):
            continue
        nodes = list(ast.walk(ast.parse(source)))
        named = {
            target.id: node.value
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
        }

        def read(node: ast.expr, named: dict[str, ast.expr] = named) -> tuple[Any, ...]:
            if isinstance(node, ast.Name):
                return tuple(known[node.id]) if node.id in known else read(named[node.id])
            return NARROWED if isinstance(node, ast.IfExp) else tuple(ast.literal_eval(node))

        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COLUMNS_AT:
                drop = next((read(one.value) for one in node.keywords if one.arg == "drop"), ())
                columns = read(node.args[COLUMNS_AT[node.func.attr]])
                yield Shape(f"{path.stem}:{columns[0]}:{columns[1]}", columns, drop)


TABLES = {one.where: one for one in tables()}


def rendered(columns: tuple[str, ...], row: list[str], drop: tuple[Step, ...], width: int) -> str:
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=width, force_terminal=False)
    screen.table(columns, [row], drop=drop)
    return paper.getvalue()


def test_check_finds_the_tables_of_the_command() -> None:
    assert len(TABLES) >= 20


@each_case("where", TABLES)
@each_case("width", [80, 132])
def test_a_table_fits_and_breaks_no_word(where: str, width: int) -> None:
    shape = TABLES[where]
    stacked = {name for step in shape.drop if isinstance(step, tuple) for name in step}
    assert shape.left_out | stacked <= set(shape.columns)
    cells = {**CELLS, **NARROW.get(shape.columns, {})}
    row = [cells[name] for name in shape.columns]
    text = rendered(shape.columns, row, shape.drop, width)
    assert max(map(len, text.splitlines())) <= width
    kept = [cell for name, cell in zip(shape.columns, row, strict=True) if name not in shape.left_out]
    shown = text.split()
    assert [word for cell in kept for word in cell.split() if word not in shown] == []
    for cell in {*kept} & {ID, TIME, NAME}:
        assert any(cell in line for line in text.splitlines())


ESSENTIAL = {
    "search_rows:when:operation": ("when", "operation", "who", "what", "target", "outcome"),
    "emergencies:operation:when": ("when", "operation", "who", "what", "target", "outcome"),
    "emergencies:emergency:state": ("emergency", "state", "declared by", "until", "targets"),
    "group:operation:digest": ("operation", "requested by", "what", "target", "time left"),
    "own_operations:operation:what": ("operation", "what", "target", "state", "waits for"),
    "record_events:sequence:when": ("sequence", "when", "kind", "who", "operation"),
    "stops:stop:by": ("stop", "by", "until", "reach", "reason"),
    "windows:window:of": ("window", "of", "until", "operations", "targets"),
    "versions:version:": ("version", "when", "author", "reason"),
    "group:id:person": ("id", "person", "label", "kind", "enrolled", "removed"),
    "tokens:token:principal": ("token", "principal", "expires", "limits"),
    "target_list:target:role": ("target", "role", "pool", "agents"),
}
"""What the reader of a list needs: who did what, on what, until when, and how it ended."""


@each_case(("where", "names"), ESSENTIAL.items())
def test_table_at_80_columns_shows_what_its_reader_needs(where: str, names: tuple[str, ...]) -> None:
    shape = TABLES[where]
    text = rendered(shape.columns, [CELLS[name] for name in shape.columns], shape.drop, 80)
    heading = " ".join(text.partition("─")[0].split())
    assert [name for name in names if name not in heading] == []


def test_longest_target_name_stays_whole_in_the_list_of_targets_at_80_columns() -> None:
    shape, name = TABLES["target_list:target:role"], "w" * 64
    cells = {**CELLS, "target": name, "role": "development", "pool": "local-web-1"}
    text = rendered(shape.columns, [cells[one] for one in shape.columns], shape.drop, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert [word for word in (name, "development", "local-web-1") if word not in text.split()] == []


def test_a_word_longer_than_the_terminal_is_folded_and_leaves_the_other_columns_whole() -> None:
    accounts = "passwd|shadow|group|gshadow|sudoers|authorized_keys[0-9]*|id_[a-z0-9]+"
    pattern = rf"(?i)(.*/)?({accounts})|.*/(sudoers\.d|\.ssh)/.*"
    columns = ("rule", "effect", "matches", "why")
    row = ["keep-accounts-and-keys", "require_approval", "no", f"file_path.pattern: got /srv/a, expected {pattern}"]
    text = rendered(columns, row, (), 80)
    assert max(map(len, text.splitlines())) <= 80
    for cell in ("keep-accounts-and-keys", "require_approval", "file_path.pattern"):
        assert any(cell in line for line in text.splitlines()), text
    at = text.splitlines()[0].index("why")
    assert pattern in "".join(line[at:].strip() for line in text.splitlines())


def test_a_long_word_among_others_stays_whole_where_there_is_room() -> None:
    rule = "keep-accounts-and-keys-from-copies"
    rows = [
        ["service_start, service_stop, service_restart, snapshot_create", "vm", "operator", "always"],
        ["file_copy", "vm", "operator", f"sometimes: not denied by {rule}"],
    ]
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=80, force_terminal=False)
    screen.table(("operations", "targets", "principals", "allowed"), rows)
    text = paper.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert {rule, "service_restart,", "snapshot_create"} <= {*text.split()}


def test_a_list_of_targets_wraps_after_a_comma_where_no_column_can_be_dropped() -> None:
    row = ["network_status", "stage-1, prod-1, dock-1", "bot", f"sometimes: {'x' * 40}"]
    other = ["container_inspect, container_list, container_logs", "dock-1", "contractor", "always"]
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=76, force_terminal=False)
    screen.table(("operations", "targets", "principals", "allowed", "by"), [[*row, ""], [*other, ""]], drop=("by",))
    text = paper.getvalue()
    assert max(map(len, text.splitlines())) <= 76
    words = text.split()
    assert {"stage-1,", "prod-1,", "dock-1", "container_inspect,", "container_list,", "container_logs"} <= {*words}


CELL = st.text(alphabet="abcdefg,  -é漢", max_size=60).map(str.strip)


@given(rows=st.lists(st.lists(CELL, min_size=6, max_size=6), min_size=1, max_size=4), width=st.integers(40, 120))
def test_a_table_shows_every_character_however_narrow_the_terminal_is(rows: list[list[str]], width: int) -> None:
    columns = ("one", "two", "three", "four", "five", "six")
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=width, force_terminal=False)
    screen.table(columns, rows)
    text = paper.getvalue()
    assert max(map(cell_len, text.splitlines())) <= width
    shown = Counter("".join(text.replace("─", "").split()))
    assert shown == Counter("".join("".join([*columns, *(cell for row in rows for cell in row)]).split()))


@pytest.mark.parametrize("name", ["container_create", "package_update", "file_write"])
def test_parameters_of_an_operation_are_readable_at_80_columns(name: str) -> None:
    operation = next(one for one in BUILT_IN if one.name == name)
    rows = list(catalogue._parameters(operation))
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=80, force_terminal=False)
    screen.table(("parameter", "type", "default", "class", "limits"), rows, drop=("class",))
    text = paper.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert {str(word) for row in rows for word in str(row[0]).split()} <= {*text.split()}
    assert {"parameter", "type", "limits"} <= {*text.split()}


def test_a_pipe_gets_every_column() -> None:
    row = [CELLS[name] for name in WIDE]
    assert all(cell in rendered(WIDE, row, NARROWED, 10_000) for cell in row)
