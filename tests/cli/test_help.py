"""`writ help`, the sections of the overview, and completions."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from writ_cli.arguments import help_sections, usual_names
from writ_cli.arguments.shell_scripts import SCRIPTS
from writ_cli.main import COMPLETE, cli
from writ_testing.installations.commands import run_command

COLUMNS = 80
INVENTORY = """
targets:
  - {id: web-1, role: production, backend: local, agent: local-web, tags: [web]}
  - {id: db-1, role: production, backend: local, agent: local-web}
"""
PRINCIPALS = """
principals:
  - {id: alice, kind: human, roles: [operator], key: UAGGL7FE3Q3MJF6PF4CA3K6MBV5LQVYXY7IVRWEPLM3AMTT2ZRXOO7Z4}
"""


def completed(home: Path, *words: str, last: str = "") -> list[str]:
    """Return bash's completions after these words."""
    line = ["writ", *words, last]
    environ = {**os.environ, "WRIT_HOME": str(home), "_WRIT_COMPLETE": "bash_complete"}
    environ |= {"COMP_LINE": " ".join(line)}
    done = asyncio.run(run_command([], environ))
    assert (done.status, done.err) == (0, "")
    return [row.partition(",")[2] for row in done.out.splitlines() if row]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "inventory.yaml").write_text(INVENTORY)
    (folder / "principals.yaml").write_text(PRINCIPALS)
    return folder


def test_every_command_is_in_a_section_with_a_line_that_fits() -> None:
    names = set(cli.list_commands(click.Context(cli)))
    placed = {name: line for rows in help_sections.SECTIONS.values() for name, line in rows.items()}
    assert names == set(placed), "see writ_cli/arguments/help_sections.py"
    shown = CliRunner().invoke(cli, []).output.partition("Operations:")[2]
    assert [row for row in shown.splitlines() if len(row) >= COLUMNS or "..." in row] == []
    assert f"{help_sections.OTHER}:" not in shown


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, (*path, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def test_every_command_loads_and_has_a_help_text() -> None:
    found = dict(commands(cli))
    assert {("run",), ("policy", "explain"), ("target", "list"), ("approvals", "show")} < set(found)
    assert [path for path, command in found.items() if not command.help] == []


def test_help_of_every_group_has_whole_sentences_in_80_columns() -> None:
    groups = [path for path, command in commands(cli) if isinstance(command, click.Group)]
    assert ("credential", "root") in groups
    for path in groups:
        shown = CliRunner().invoke(cli, [*path, "--help"], prog_name="writ").output
        rows = shown.partition("Commands:")[2].splitlines()
        assert [row for row in rows if len(row) > COLUMNS or row.endswith("...")] == [], path


def test_help_of_every_command_fits_80_columns() -> None:
    for path, _ in commands(cli):
        shown = CliRunner().invoke(cli, [*path, "--help"], prog_name="writ", terminal_width=COLUMNS).output
        assert [row for row in shown.splitlines() if len(row) > COLUMNS] == [], path


def test_help_of_a_run_lists_its_targets_before_options_of_the_request_and_of_the_output() -> None:
    shown = CliRunner().invoke(cli, ["run", "--help"]).output
    assert shown.index("-t, --target") < shown.index("--dry-run") < shown.index("-o, --output")


def test_every_list_has_quiet_and_watch() -> None:
    named = ("list", "search", "history", "operations")
    lists = {path: command for path, command in commands(cli) if path[-1] in named}
    lacking = {path for path, one in lists.items() if not {"quiet", "watch"} <= {each.name for each in one.params}}
    assert lacking == set()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("statsu",), "'status'?"),
        (("policy", "vaildate"), "'validate'?"),
        (("target", "renam"), "'rename'?"),
        (("explain",), "`writ policy explain`?"),
        (("publish",), "`writ policy publish`?"),
        (("test",), "`writ target test` or `writ policy test`?"),
    ],
)
def test_unknown_command_names_the_nearest_or_the_group_that_has_it(words: tuple[str, ...], hint: str) -> None:
    done = CliRunner().invoke(cli, words, prog_name="writ")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"writ: No such command {words[-1]!r}; did you mean {hint}")
    assert "(see `writ" in done.stderr


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (("policy", "lint"), "writ policy validate"),
        (("whoami",), "writ context"),
        (("logs",), "writ audit search"),
        (("target", "edit"), "writ target set"),
        (("principal", "delete"), "writ principal remove"),
        (("op", "describe"), "writ op show"),
        (("op", "get"), "writ op show"),
        (("audit", "proof"), "writ journal verify"),
        (("audit", "export"), "writ journal archive"),
        (("approvals", "deny"), "writ approvals reject"),
        (("token", "delete"), "writ token revoke"),
        (("start",), "writ up"),
        (("targets",), "writ target list"),
        (("inventory",), "writ target list"),
        (("backends", "test"), "writ target test"),
        (("session",), "writ sessions list"),
        (("agent-env",), "writ agent env"),
    ],
)
def test_name_of_another_program_leads_to_our_command(words: tuple[str, ...], ours: str) -> None:
    done = CliRunner().invoke(cli, words, prog_name="writ")
    assert done.exit_code == 2
    name = words[-1] if words[0] in cli.list_commands(click.Context(cli)) else words[0]
    assert done.stderr.startswith(f"writ: No such command {name!r}; did you mean `{ours}`? (see `writ")


def test_policy_simulate_names_the_two_commands_that_may_be_meant() -> None:
    done = CliRunner().invoke(cli, ["policy", "simulate", "service_restart"], prog_name="writ")
    expected = "`writ simulate` (one request of your own) or `writ policy matrix` (combinations of targets, "
    assert (done.exit_code, done.stderr.partition("did you mean ")[2].startswith(expected)) == (2, True), done.stderr


def test_every_usual_name_is_of_no_command_and_leads_to_one() -> None:
    known = {" ".join(("writ", *path)) for path, _ in commands(cli)}
    for path, names in usual_names.ELSEWHERE.items():
        assert path in {"writ"} | known
        assert {f"{path} {name}" for name in names} & known == set()
        assert {f"writ {command}" for command in names.values()} <= known


def test_operation_in_place_of_a_command_leads_to_run_and_its_parameters() -> None:
    done = CliRunner().invoke(cli, ["service_restart", "-t", "web-1"], prog_name="writ")
    expected = (
        "service_restart is an operation: `writ run service_restart` requests it, `writ operations service_restart`"
    )
    assert (done.exit_code, done.stderr.startswith(f"writ: {expected}")) == (2, True), done.stderr
    shown = CliRunner().invoke(cli, ["operations", "service_restart"]).output
    for words in (["service_restart"], ["run", "service_restart"], ["simulate", "service_restart"]):
        assert CliRunner().invoke(cli, ["help", *words]).output == shown


def test_unknown_option_names_the_nearest() -> None:
    done = CliRunner().invoke(cli, ["run", "--reson", "x"], prog_name="writ")
    assert done.exit_code == 2
    expected = "writ: No such option '--reson'; did you mean '--reason'? (see `writ run --help`)\n"
    assert done.stderr == expected


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--home", "X", "up"], "writ up --home X"),
        (["--home=X", "up", "--detach"], "writ up --home=X …"),
        (["-ojson", "status"], "writ status -ojson"),
        (["--as", "bob", "policy", "show"], "writ policy show --as bob"),
        (["target", "--home", "a b", "list"], "writ target list --home 'a b'"),
        (["--as", "bob", "context"], "writ context --as bob"),
        (["--home", "X", "run", "file_write", "-t", "web-1", "content=secret"], "writ run --home X …"),
    ],
)
def test_option_before_the_command_is_refused_with_the_right_order(words: list[str], meant: str) -> None:
    done = CliRunner().invoke(cli, words, prog_name="writ")
    assert (done.exit_code, f" before the command: write `{meant}` (see" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("words", [["--nope", "up"], ["--home", "X"], ["--as", "bob", "policy"], ["up", "--hom"]])
def test_option_that_no_order_makes_right_is_refused_without_an_order(words: list[str]) -> None:
    done = CliRunner().invoke(cli, words, prog_name="writ")
    assert (done.exit_code, "No such option" in done.stderr, "before" in done.stderr) == (2, True, False)


def test_unknown_command_names_many_groups_once() -> None:
    done = CliRunner().invoke(cli, ["list"], prog_name="writ")
    assert done.exit_code == 2
    assert done.stderr.startswith("writ: No such command 'list'; these have one: `writ agent`, `writ op`, ")


def test_version_is_shown_by_a_command_too() -> None:
    runner = CliRunner()
    assert runner.invoke(cli, ["version"]).output == runner.invoke(cli, ["--version"]).output


def test_help_of_a_command_is_that_of_its_option() -> None:
    runner = CliRunner()
    by_option = runner.invoke(cli, ["op", "list", "--help"], prog_name="writ").output
    assert runner.invoke(cli, ["help", "op", "list"]).output == by_option
    assert runner.invoke(cli, ["help", "nothing"]).exit_code == 2
    group = runner.invoke(cli, ["audit"], prog_name="writ")
    assert (group.exit_code, group.stderr) == (0, "")
    assert group.stdout == runner.invoke(cli, ["audit", "--help"], prog_name="writ").stdout
    assert runner.invoke(cli, ["help"]).output == runner.invoke(cli, [], prog_name="writ").output


def test_shell_completes_commands(home: Path) -> None:
    assert completed(home, last="sta") == ["status"]
    assert completed(home, "policy", last="val") == ["validate"]
    assert set(completed(home)) == set(cli.list_commands(click.Context(cli)))


def test_shell_completes_operations_their_parameters_targets_and_principals(home: Path) -> None:
    assert "service_restart" in completed(home, "run", last="service_re")
    assert completed(home, "run", "service_restart", last="service_n") == ["service_name="]
    assert completed(home, "run", "service_restart", "service_name=nginx", last="service_n") == []
    assert completed(home, "run", "service_restart", "-t", last="web") == ["web-1"]
    assert completed(home, "run", "service_restart", "--as", last="a") == ["alice"]


def test_shell_completes_names_in_filters_and_questions(home: Path) -> None:
    assert completed(home, "run", "service_restart", "--tag", last="w") == ["web"]
    assert completed(home, "audit", "search", "--principal", last="") == ["alice"]
    assert completed(home, "audit", "search", "--operation", last="service_re") == ["service_restart"]
    assert completed(home, "policy", "can-i", "service_restart", last="service_n") == ["service_name="]
    assert completed(home, "policy", "who-can", "service_restart", "-t", last="d") == ["db-1"]
    assert completed(home, "principal", "rotate", last="a") == ["alice"]
    assert completed(home, "target", "test", last="web") == ["web-1"]
    assert completed(home, "target", "add", "--pool") == ["local-web"]
    assert completed(home, "audit", "search", "-p", last="service_n") == ["service_name="]
    assert "unit=" not in completed(home, "audit", "search", "--operation", "service_restart", "-p")


def test_shell_completes_nothing_where_nothing_runs(home: Path, tmp_path: Path) -> None:
    assert completed(home, "op", "show", last="") == []
    assert completed(home, "stop", "lift", last="") == []
    assert completed(tmp_path / "none", "run", "service_restart", "-t", last="w") == []


@pytest.mark.parametrize(
    ("line", "words", "last"),
    [
        ("writ run --as=alice service_re", ["run", "--as=alice"], "service_re"),
        ("writ run service_restart --target=w", ["run", "service_restart"], "--target=w"),
        ("writ run --reason 'two words' ", ["run", "--reason", "two words"], ""),
        ("writ ", [], ""),
    ],
)
def test_bash_gets_words_with_their_equals_signs(
    line: str, words: list[str], last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert SCRIPTS["bash"](cli, {}, "writ", COMPLETE).get_completion_args() == (words, last)


def test_script_of_an_earlier_release_completes_in_the_middle_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "writ\nrun\nfile_del\nservice_restart")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert SCRIPTS["bash"](cli, {}, "writ", COMPLETE).get_completion_args() == (["run"], "file_del")


def test_bash_completes_nothing_without_a_message_where_unset_variables_are_errors(tmp_path: Path) -> None:
    (tmp_path / "writ").write_text("#!/bin/sh\n")
    (tmp_path / "writ").chmod(0o755)
    script = CliRunner().invoke(cli, ["completion", "bash"]).output
    words = 'COMP_LINE="writ x" COMP_POINT=6 COMP_WORDS=(writ x) COMP_CWORD=1'
    command = ["bash", "-uc", f"{script}\n{words}; _writ_completion writ"]
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_command(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert (done.exit_code, "_WRIT_COMPLETE" in done.output) == (0, True)


def test_fish_gets_descriptions_with_their_commas() -> None:
    script = CliRunner().invoke(cli, ["completion", "fish"]).output
    assert (script.count("string split"), script.count('string split -m 1 ","')) == (1, 1)
