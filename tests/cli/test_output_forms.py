"""`-o yaml` and `--field`: the result in other forms, and a part of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from rich.text import Text
from tests.cli.commands import Command
from tests.cli.test_help import INVENTORY, PRINCIPALS
from tests.client.scripted_api import ScriptedApi

from writ_cli.main import cli
from writ_cli.terminal.field_path import select
from writ_cli.terminal.output import Screen
from writ_cli.terminal.watching import watched
from writ_contracts.errors import Invalid, TimedOut
from writ_contracts.ids import operation_id

DATA: dict[str, Any] = {"rows": [{"id": "a", "tags": ["x", "y"]}, {"id": "b", "tags": []}], "next": None}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("next", [None]),
        ("rows.1.id", ["b"]),
        ("rows.*.id", ["a", "b"]),
        ("rows.*.tags.*", ["x", "y"]),
        ("*.0", [DATA["rows"][0]]),
    ],
)
def test_a_path_selects_one_part_or_each(path: str, parts: list[object]) -> None:
    data = {"rows": DATA["rows"]} if path.startswith("*") else DATA
    assert select(data, path) == parts


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("row", "the result has no field 'row': it has rows, next; did you mean 'rows'?"),
        ("rows.7", "rows is a list of 2: '7' is neither"),
        ("rows.0.id.x", "rows.0.id has no fields, so no 'x'"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_what_there_is(path: str, message: str) -> None:
    with pytest.raises(Invalid, match=r".*") as refused:
        select(DATA, path)
    assert message in str(refused.value)


def test_a_list_of_no_tokens_has_a_line_in_place_of_headings(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "principals.yaml").write_text(PRINCIPALS)
    words = ["token", "list", "--home", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.output) == (0, "no token is known; `writ token create PRINCIPAL` makes one\n")
    assert CliRunner().invoke(cli, [*words, "-q"]).output == ""


def test_creation_of_a_token_without_a_gateway_names_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    agent = PRINCIPALS.replace("alice", "copilot").replace("human", "agent")
    (tmp_path / "principals.yaml").write_text(agent)
    done = CliRunner().invoke(cli, ["token", "create", "copilot", "--home", str(tmp_path)])
    expected = "writ: there is no gateway yet that could request for copilot: `writ principal add NAME --kind agent"
    assert (done.exit_code, done.stderr.startswith(expected)) == (2, True), done.stderr


def test_results_are_printed_as_yaml_and_in_parts(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "principals.yaml").write_text(PRINCIPALS)
    runner, words = CliRunner(), ["principal", "list", "--home", str(tmp_path)]
    as_json = json.loads(runner.invoke(cli, [*words, "-o", "json"]).output)
    assert yaml.safe_load(runner.invoke(cli, [*words, "-o", "yaml"]).output) == as_json
    part = "*.id" if isinstance(as_json, list) else "principals.*.id"
    assert runner.invoke(cli, [*words, "--field", part]).output == "alice\n"
    for odd in (["--field", "nothing.here"], ["--field", "*.id", "-o", "yaml"]):
        assert runner.invoke(cli, [*words, *odd]).exit_code == 2


async def test_a_missing_field_of_an_ended_operation_names_the_operation(command: Command, served: ScriptedApi) -> None:
    words = ("run", "service_restart", "-t", "a", "service_name=nginx", "--idempotency-key", "mine")
    done = await command(*words, "--field", "output.stat")
    number = operation_id("alice", "mine")
    assert done.exit_code == 2
    assert done.stderr.endswith(f"; operation {number}: succeeded\n"), done.stderr
    assert len(served.requests) == 1


async def test_an_operation_of_another_is_not_shown_as_ones_own_but_by_trace(command: Command) -> None:
    number = operation_id("bob", "his")
    done = await command("op", "show", number)
    advice = (
        f"`writ approvals show {number}` shows it to its approvers, and `writ trace {number}` shows those of others"
    )
    assert (done.exit_code, advice in done.stderr) == (2, True), done.stderr


def test_text_from_outside_stays_harmless_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {"message": "\x1b[2J\u202e\x07 ü"}
    for screen in (Screen("yaml"), Screen("json"), Screen("table", "message")):
        screen.data(hostile)
        shown = capsys.readouterr().out
        assert all(char.isprintable() or char == "\n" for char in shown), shown
    Screen("yaml").data(hostile)
    assert yaml.safe_load(capsys.readouterr().out) == hostile


def test_a_quiet_list_is_its_first_column(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "principals.yaml").write_text(PRINCIPALS)
    runner, words = CliRunner(), ["principal", "list", "--home", str(tmp_path), "-q"]
    assert runner.invoke(cli, words).output == "alice\n"
    assert "--quiet is for lists" in runner.invoke(cli, [*words, "-o", "json"]).output


async def test_a_watched_list_is_shown_when_it_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    states = iter(["one", "one", "two"])

    async def show() -> int:
        print(next(states))
        return 0

    assert await watched(show, every=0, times=3) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


async def test_each_state_of_a_watched_list_is_a_document_of_a_yaml_stream(capsys: pytest.CaptureFixture[str]) -> None:
    states = iter([[{"id": "a"}], [{"id": "b"}]])

    async def show() -> int:
        Screen("yaml").data(next(states))
        return 0

    assert await watched(show, every=0, times=2, form="yaml") == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [[{"id": "a"}], [{"id": "b"}]]


async def test_watched_list_goes_on_after_a_time_without_replies(capsys: pytest.CaptureFixture[str]) -> None:
    states = iter(["one", TimedOut("no \x1banswer"), TimedOut("no \x1banswer"), "one"])

    async def show() -> int:
        state = next(states)
        if isinstance(state, TimedOut):
            raise state
        print(state)
        return 0

    assert await watched(show, every=0, times=2) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("one\none\n", "writ: no �answer; still watching\n")


async def test_watched_list_that_cannot_be_read_at_first_ends() -> None:
    async def show() -> int:
        raise TimedOut("no answer")

    with pytest.raises(TimedOut):
        await watched(show, every=0)


@pytest.mark.parametrize(
    "words",
    [("version",), ("schema", "policy"), ("operations",), ("operations", "-o", "json"), ("operations", "-o", "yaml")],
)
def test_output_on_a_full_disk_is_one_line_on_standard_error(words: tuple[str, ...]) -> None:
    command = str(Path(sys.executable).with_name("writ"))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([command, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    what_now = "What was requested may have been done, as `writ op list` and `writ audit search` show"
    assert (done.returncode, done.stderr) == (
        1,
        f"writ: No space left on device: the output is incomplete. {what_now}\n",
    )


HOSTILE = "\x1b[2J\x1b[1;1Hdigest\u202e\n  preview"


@pytest.mark.parametrize(
    "values",
    [
        [(HOSTILE, "x")],
        [(HOSTILE, [{"a": 1}])],
        [("packages", [{HOSTILE: 1}])],
        [(f"last_{HOSTILE}_at", 1.7e9)],
    ],
)
def test_names_from_an_agent_stay_harmless_for_people(
    capsys: pytest.CaptureFixture[str], values: list[tuple[str, object]]
) -> None:
    """An approver reads the card of a request, with the fields of its preview, on a terminal."""
    Screen("table").fields(values)
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown), shown
    assert not any(line.startswith("  preview") for line in shown.splitlines())


def test_styled_text_from_outside_stays_harmless_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    screen, text = Screen("table"), Text("\x1b[2J", style="red")
    screen.line("a ", text)
    screen.table(("name", "state"), [("b", text)])
    assert all(char.isprintable() or char == "\n" for char in capsys.readouterr().out)
    assert text.plain == "\x1b[2J"


async def test_reads_are_not_watched_since_each_look_is_one(command: Command) -> None:
    refused = await command("audit", "reads", "--watch")
    assert (refused.exit_code, "No such option" in refused.stderr) == (2, True), refused.output
