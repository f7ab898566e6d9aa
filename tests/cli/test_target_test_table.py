"""The table of `writ target test` on terminals of any width: no code, path or command in it is cut off."""

import io
from collections.abc import Sequence

import pytest
from msgspec import structs
from rich.console import Console

from writ_cli.installation.targets.target_advice import advice
from writ_cli.installation.targets.target_test import COLUMNS, TargetRow, _show
from writ_cli.terminal.output import Screen
from writ_contracts.target_tests import StepName, TargetReport, TargetTestStep

VERSIONS = {"python": "3.13.5", "systemd": "257", "apt": "3.0.4", "restic": "0.18.0", "btrfs": "6.14"}


def visit(code: str, *steps: tuple[StepName, bool, str]) -> TargetReport:
    return TargetReport(
        target="t",
        pool="ssh",
        instance="vm-1",
        agent_version="1",
        steps=[TargetTestStep(name=name, well=well, detail=detail) for name, well, detail in steps],
        code=code,
        message="",
        versions={} if code else VERSIONS,
        operations=[] if code else ["file_read", "service_status"],
        lacking={},
        seconds=0.1,
    )


WELL = visit(
    "", ("connection", True, "web1.example.org:22"), ("host_key", True, "SHA256:x"), ("credentials", True, "as root")
)
CHANGED = visit("host_key_changed", ("connection", True, ""), ("host_key", False, "another"))
AWAY = visit("tailscale_unavailable", ("connection", False, "tailscaled cannot be asked"))
ROWS = [
    TargetRow(
        target=f"web{number}",
        backend="ssh",
        pool="ssh",
        well=not one.code,
        code=one.code,
        advice=advice(one.code, "ssh") if one.code else "",
        visit=one,
    )
    for number, one in enumerate((WELL, CHANGED, AWAY), 1)
]


def shown(width: int, rows: Sequence[TargetRow] = ROWS) -> str:
    """Return the table as a terminal of that width shows it."""
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=width, force_terminal=False)
    _show(screen, rows)
    return paper.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_table_of_backends_cuts_no_text(width: int) -> None:
    text = shown(width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    solid = "".join(text.split())
    for row in ROWS:
        assert "".join(row.advice.split()) in solid
    assert "/etc/ssh/ssh_host_ed25519_key.pub" in text


@pytest.mark.parametrize("width", [100, 132])
def test_codes_and_versions_stand_whole_in_their_cells(width: int) -> None:
    lines = shown(width).splitlines()
    assert lines[0].split("  ")[0] == "target"
    assert any(line.startswith("web2") and "host_key_changed" in line for line in lines)
    assert any(line.startswith("web3") and "tailscale_unavailable" in line for line in lines)
    assert not any(line.split()[-1:] == ["do"] for line in lines[:1])
    assert any(line.startswith("web2: what to do: do not connect; ") for line in lines)


def test_advice_is_the_last_column_of_a_wide_table() -> None:
    heading, _, first, second, *_ = shown(400).splitlines()
    assert " ".join(heading.split()) == " ".join(COLUMNS)
    assert first.startswith("web1")
    assert "do not connect; ask the host itself" in second


def test_longest_name_of_a_target_stays_whole_on_80_columns() -> None:
    longest = "web1." + "a" * 58
    lines = shown(80, [structs.replace(row, target=longest) for row in ROWS]).splitlines()
    assert [line.split()[0] for line in lines].count(longest) == len(ROWS)
    assert any(line.split() == ["web1.example.org:22"] for line in lines)
    assert max(map(len, lines)) <= 80


def test_engine_of_a_target_is_shown_with_its_disk() -> None:
    versions = {
        "engine": "26.1.5",
        "api": "1.45",
        "compose": "2.26.1",
        "rootless": "no",
        "disk": "1 GB free of 9 GB at /d",
    }
    row = structs.replace(ROWS[0], visit=structs.replace(WELL, versions=versions))
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, highlight=False, markup=False, emoji=False, width=200, force_terminal=False)
    _show(screen, [row])
    expected = "web1 has an engine: engine 26.1.5, api 1.45, compose 2.26.1, rootless no, disk 1 GB free of 9 GB at /d"
    assert expected in paper.getvalue()
    assert "has an engine" not in shown(200)


def test_targets_that_lack_the_same_for_the_same_reason_are_in_one_line() -> None:
    none = "no backup repository is declared for the target"
    lacks = structs.replace(WELL, lacking={"backup_create": none, "backup_list": none})
    own = structs.replace(WELL, lacking={"backup_create": none, "network_scan": "no scan_networks are declared"})
    rows = [structs.replace(ROWS[0], target=f"web{number}", visit=lacks) for number in range(1, 11)]
    screen, paper = Screen("table"), io.StringIO()
    screen.out = Console(file=paper, width=200, force_terminal=False)
    _show(screen, [*rows, structs.replace(ROWS[0], target="db1", visit=own)])
    named = ", ".join(f"web{number}" for number in range(1, 9))
    assert [line for line in paper.getvalue().splitlines() if " no " in line] == [
        f"{named} and 2 more have no backup_create, backup_list: {none}",
        f"db1 has no backup_create: {none}",
        "db1 has no network_scan: no scan_networks are declared",
    ]
