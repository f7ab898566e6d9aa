"""Every command whose output a program may read writes whole documents, however it ends.

The commands are those of the registry, with made-up arguments: most end by an error, without a service. Those that the
scripted services answer, and local ones, also end well.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from tests.cli.commands import Command
from tests.client.scripted_api import ScriptedApi

from writ_cli.approvals.group import _as_event, _show_event
from writ_cli.main import cli
from writ_cli.terminal.output import Screen
from writ_contracts.ids import operation_id
from writ_contracts.people.approvals import ApprovalEvent, PendingApproval
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home

SERVERS = {("up",), ("keep",), ("mcp", "http"), ("mcp", "stdio")}
"""Commands that serve until they are stopped."""
STREAMS = {("keys", "rotate")}
"""Commands with a document for each result, which `-o json` has one a line."""
Words = tuple[str, ...]
"""The words of a command."""


def commands(
    group: click.Group, context: click.Context, path: Words = ()
) -> Iterator[tuple[Words, click.Command, click.Choice[str]]]:
    for name in group.list_commands(context):
        command, words = group.get_command(context, name), (*path, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, click.Context(command, info_name=name, parent=context), words)
        for option in command.params:
            if option.name == "form" and isinstance(option.type, click.Choice) and words not in SERVERS:
                yield words, command, option.type


def arguments(command: click.Command, folder: Path) -> Iterator[str]:
    """Yield the required arguments and options with values of their types."""
    for one in command.params:
        if one.required:
            yield from (() if isinstance(one, click.Argument) else (one.opts[0],))
            yield _value(one.type, folder)


def _value(kind: click.ParamType[Any], folder: Path) -> str:
    if isinstance(kind, click.Choice):
        return str(kind.choices[0])
    if isinstance(kind, click.Path):
        file = folder / ("file" if kind.exists else "new")
        if kind.exists:
            file.write_text("{}")
        return str(file)
    return "1" if isinstance(kind, click.IntRange | click.FloatRange) or kind.name in ("integer", "float") else "x"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    create_installation(Home(folder / ".writ"))
    return folder


def documents(text: str, form: str) -> list[Any]:
    if form == "yaml":
        return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def problem(done: Result, words: Words, form: str) -> str:
    if "defect in writ" in done.stderr or not isinstance(done.exception, SystemExit | None):
        return f"defect: {done.stderr} {done.exception!r}"
    if form == "csv":
        return "output beside an error" if done.exit_code and done.stdout else ""
    try:
        found = documents(done.stdout, form)
    except (ValueError, yaml.YAMLError) as error:
        return f"no {form}: {error}"
    if not found or (len(found) > 1 and form == "json" and words not in STREAMS):
        return f"{len(found)} documents"
    last = found[-1]
    is_document = isinstance(last, dict | list)
    said = not done.stderr.startswith("writ: ") or done.exit_code == 0 or (isinstance(last, dict) and "error" in last)
    return "" if is_document and said else "standard error has an error, or the output no document"


@pytest.mark.parametrize("form", ["json", "yaml", "jsonl", "csv"])
@pytest.mark.parametrize("ending", ["usage", "no installation", "not running", "no server"])
def test_output_for_programs_is_whole_documents_in_every_ending(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch, form: str, ending: str
) -> None:
    wrong, count = [], 0
    for number, (words, command, forms) in enumerate(commands(cli, click.Context(cli, info_name="writ"))):
        if form not in forms.choices:
            continue
        folder = tmp_path / str(number)
        if ending == "not running":
            shutil.copytree(made, folder)
        else:
            folder.mkdir()
        monkeypatch.chdir(folder)
        url = "nats://127.0.0.1:9" if ending == "no server" else ""
        environ = {"HOME": str(folder), "NATS_URL": url, "WRIT_HOME": "", "WRIT_PRINCIPAL": "operator"}
        line = [*words, *arguments(command, folder), "--output", form, *(["--no-such"] if ending == "usage" else [])]
        done = CliRunner(env={**environ, "WRIT_KEY_FILE": "", "WRIT_CONTEXT": ""}).invoke(cli, line, input="")
        count += 1
        if found := problem(done, words, form):
            wrong.append((" ".join(words), done.exit_code, found, done.output[:200]))
    assert count
    assert wrong == []


RESTART = ("run", "service_restart", "service_name=nginx")
ANSWERED = (
    ("op", "watch", "ID"),
    ("op", "show", "ID"),
    ("op", "list"),
    ("op", "cancel", "ID"),
    (*RESTART, "-t", "a"),
    (*RESTART, "-t", "a", "--no-wait"),
    (*RESTART, "-t", "a*"),
    ("simulate", "service_restart", "service_name=nginx", "-t", "a"),
    ("target", "list"),
    ("operations",),
    ("trace", "ID"),
    ("audit", "search"),
    ("audit", "security"),
    ("audit", "reads"),
)
LOCAL = (
    ("principal", "list"),
    ("principal", "show", "operator"),
    ("agent", "list"),
    ("keys", "list"),
    ("token", "list"),
    ("tls", "show"),
    ("policy", "validate", "FILE"),
    ("uninstall", "--dry-run"),
)


@pytest.mark.parametrize("form", ["json", "yaml", "jsonl", "csv"])
async def test_output_for_programs_is_whole_documents_in_successes(
    command: Command, served: ScriptedApi, form: str
) -> None:
    """The operation that is shown has signed events."""
    await command(*RESTART, "-t", "a", "--idempotency-key", "k")
    number, wrong = operation_id("alice", "k"), []
    rows = {one for one, _, forms in commands(cli, click.Context(cli, info_name="writ")) if form in forms.choices}
    asked = [words for words in ANSWERED if any(words[: len(one)] == one for one in rows)]
    assert asked
    for words in asked:
        done = await command(*(number if word == "ID" else word for word in words), "-o", form)
        if done.exit_code or (text := problem_of(done.stdout, form)):
            wrong.append((words, done.exit_code, done.output[:300] if done.exit_code else text))
    assert wrong == []


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_output_of_local_commands_is_one_document_in_successes(made: Path, form: str) -> None:
    wrong = []
    policy = made / ".writ" / "policy.yaml"
    for words in LOCAL:
        line = [str(policy) if word == "FILE" else word for word in (*words, "-o", form)]
        done = CliRunner(env={"WRIT_HOME": str(made / ".writ"), "NATS_URL": ""}).invoke(cli, line)
        if done.exit_code or len(documents(done.stdout, form)) != 1:
            wrong.append((words, done.exit_code, done.output[:300]))
    assert wrong == []


def problem_of(text: str, form: str) -> str:
    """Return what is wrong with the output of a command that ended well."""
    if form == "csv":
        return "" if text.splitlines() else "no heading"
    try:
        documents(text, form)
    except (ValueError, yaml.YAMLError) as error:
        return f"no {form}: {error}: {text[:300]}"
    return ""


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_approvals_that_wait_and_their_events_are_a_document_each(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    number = operation_id("alice", "k")
    waiting = PendingApproval(
        operation_id=number,
        principal="alice",
        operation="package_install",
        target="a",
        sequence=1,
        requested_at=1.0,
        until=2.0,
        digest="d" * 64,
        yours=True,
    )
    given = ApprovalEvent(
        kind="approved", operation_id=number, principal="alice", operation="package_install", target="a", by="bob"
    )
    for event in (_as_event(waiting), given):
        _show_event(Screen(form), event)
    text = capsys.readouterr().out
    assert [one["kind"] for one in documents(text, form)] == ["pending", "approved"]
    assert form == "yaml" or len(text.splitlines()) == 2


async def test_a_stream_of_approvals_has_no_single_field(command: Command) -> None:
    refused = await command("approvals", "watch", "--field", "kind")
    assert (refused.exit_code, "--field is for one result" in refused.stderr) == (2, True)


def test_an_error_in_yaml_is_a_document_after_those_before_it(tmp_path: Path) -> None:
    done = CliRunner(env={"WRIT_HOME": str(tmp_path), "NATS_URL": ""}).invoke(cli, ["targets", "-o", "yaml"])
    assert (done.exit_code, done.stdout.startswith("---\nerror:\n")) == (2, True), done.stdout
